"""What came of a job: its timeline, people, their pictures, and clips."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from fastface.export import FORMATS
from fastface.service.clips import clip_requests
from fastface.service.context import Context
from fastface.service.galleries import Galleries
from fastface.service.gate import Refused
from fastface.service.jobs import MAX_PAGE
from fastface.service.people import name_person, people_of
from fastface.service.schemas import (
    ERRORS,
    EXAMPLE_CLIP,
    EXAMPLE_PERSON,
    IDEMPOTENCY,
    NEXT,
    ClipId,
    ClipIn,
    JobId,
    JobsOut,
    PageOut,
    PeopleOut,
    PersonId,
    PersonIn,
    PersonOut,
    ThumbnailOut,
    ThumbnailsOut,
    body_of,
    ok,
    told,
)
from fastface.service.uploads import json_body

NewName = Annotated[PersonIn, Depends(json_body(PersonIn))]
Cut = Annotated[ClipIn, Depends(json_body(ClipIn))]

_FILE = {"schema": {"type": "string", "format": "binary"}}
_MEDIA = {".json": "application/json", ".otio": "application/json", ".csv": "text/csv", ".vtt": "text/vtt",
          ".txt": "text/plain", ".edl": "text/plain"}  # fmt: skip
"""Of an export's ending; of others application/octet-stream. Not left to the machine's own table."""

_BYTES = {media: _FILE for media in (*_MEDIA.values(), "application/octet-stream")} | {"application/json": {}}


def router(context: Context) -> APIRouter:
    """/v1/jobs/{id}/..."""
    paths = APIRouter(prefix="/v1/jobs/{id}", tags=["results"])
    galleries = Galleries(context.place)

    @paths.get("/timeline", response_class=FileResponse,
               responses={**ERRORS, 200: {"description": "the file", "content": _BYTES}})  # fmt: skip
    def timeline(
        request: Request,
        id: JobId,
        format: str = Query("json", max_length=40, json_schema_extra={"enum": [f.name for f in FORMATS]}),
        rate: float | None = Query(None, gt=0, le=1000, description="edl, otio: frames a second"),
        start_timecode: str | None = Query(None, max_length=20, description="edl, otio"),
        embeddings: bool = Query(False, description="json: with what each track looks like"),
    ) -> FileResponse:
        """The result, in any format that fastface writes."""
        return _exported(context, id, request.state.owner, format, embeddings=embeddings, rate=rate,
                         start_timecode=start_timecode)  # fmt: skip

    @paths.get("/people", response_model=PeopleOut,
               responses={**ERRORS, 200: ok({"duration": 93.6, "people": [EXAMPLE_PERSON]},
                                            "who is longest there first")})  # fmt: skip
    def people(request: Request, id: JobId) -> PeopleOut:
        """Who is in the video, and when."""
        return people_of(context, id, request.state.owner)

    @paths.patch("/people/{person}", response_model=PersonOut,
                 openapi_extra=body_of({"name": "Ann"}, {"name": "Ann", "gallery": "family"}, model=PersonIn),
                 responses={**ERRORS, 200: ok(EXAMPLE_PERSON, "the person, as called now")})  # fmt: skip
    def name(request: Request, id: JobId, person: PersonId, asked: NewName) -> PersonOut:
        """Say who somebody is; with a gallery, so that they are known in other videos."""
        return name_person(context, galleries, id, request.state.owner, person, asked.name, asked.gallery)

    @paths.get("/thumbnails", response_model=ThumbnailsOut,
               responses={**ERRORS, 200: ok({"thumbnails": [{"person": 0, "url": EXAMPLE_PERSON["thumbnail"]}]},
                                            "those that there are")})  # fmt: skip
    def thumbnails(request: Request, id: JobId) -> ThumbnailsOut:
        """Pictures of the people."""
        _, result = context.done(id, request.state.owner, "process")
        pictured = sorted(context.place.pictured(result))
        return ThumbnailsOut(thumbnails=[ThumbnailOut(person=p, url=f"/v1/jobs/{id}/thumbnails/{p}") for p in pictured])

    @paths.get("/thumbnails/{person}", response_class=Response,
               responses={**ERRORS, 200: {"description": "a face", "content": {"image/jpeg": _FILE}}})  # fmt: skip
    def thumbnail(request: Request, id: JobId, person: PersonId) -> Response:
        """A picture of a person."""
        _, result = context.done(id, request.state.owner, "process")
        picture = context.place.picture(result, person)
        if picture is None:
            raise Refused(404, "not_found", "there is no picture of such a person")
        return Response(picture, media_type="image/jpeg")

    @paths.post("/clips", status_code=201, response_model=JobsOut,
                openapi_extra={**body_of({"person": 0, "pad": 0.5}, {"person": "Ann", "follow": [608, 1080]},
                                         {"condense": 2.0}, model=ClipIn), "parameters": [IDEMPOTENCY]},
                responses={**ERRORS, 200: {"model": JobsOut, "description": "the key was used before for the same"},
                           201: ok({"jobs": [EXAMPLE_CLIP]}, "the jobs that cut them")})  # fmt: skip
    async def cut(request: Request, response: Response, id: JobId, asked: Cut) -> JobsOut:
        """Cut a person's moments out of the job's video."""
        owner, settings = request.state.owner, asked.model_dump(exclude_none=True)
        requests = await anyio.to_thread.run_sync(clip_requests, context, id, owner, settings)
        made, new = await context.uploads.make(owner, requests, request.headers.get("idempotency-key"))
        response.status_code = 201 if new else 200
        return JobsOut(jobs=[told(job) for job in made])

    @paths.get("/clips", response_model=PageOut,
               responses={**ERRORS, 200: ok({"jobs": [EXAMPLE_CLIP], "next": None}, "a page")})  # fmt: skip
    def clips(
        request: Request,
        id: JobId,
        after: str | None = Query(None, pattern=NEXT),
        limit: int = Query(50, ge=1, le=MAX_PAGE),
    ) -> PageOut:
        """The clips of the job's video, newest first."""
        context.jobs.get(id, request.state.owner)
        page = context.jobs.list(request.state.owner, source=id, after=after, limit=limit)
        return PageOut(jobs=[told(job) for job in page.jobs], next=page.next)

    @paths.get("/clip", response_class=FileResponse,
               responses={**ERRORS, 200: {"description": "the clip", "content": {"video/mp4": _FILE}},
                          206: {"description": "the range that was asked for"}})  # fmt: skip
    def clip(request: Request, id: ClipId) -> FileResponse:
        """The file of a clip."""
        job, result = context.done(id, request.state.owner, "clip")
        try:
            path = context.place.near(context.place.result(result))
        except FileNotFoundError as error:
            raise Refused(404, "not_found", "the job was removed") from error
        return FileResponse(path, media_type="video/mp4", filename=job.request.name)

    return paths


def _exported(context: Context, id: str, owner: str, name: str, *, embeddings: bool, **options: Any) -> FileResponse:
    from fastface.export import export, format_of

    job = context.jobs.get(id, owner)
    chosen = format_of("", name)
    _, result = context.done(id, owner, "process")
    timeline = context.timeline(result)
    path = context.place.work / f"export-{secrets.token_hex(16)}{chosen.ending}"
    try:
        if chosen.name == "json":
            timeline.to_json(path, embeddings="inside" if embeddings else "no")
        else:
            export(timeline, path, chosen.name, **options)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    media = _MEDIA.get(path.suffix, "application/octet-stream")
    return FileResponse(path, media_type=media, filename=f"{job.id}{chosen.ending}",
                        background=BackgroundTask(path.unlink, missing_ok=True))  # fmt: skip
