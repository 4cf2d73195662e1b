"""What came of a job."""

from __future__ import annotations

import mimetypes
import secrets
from typing import Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from fastface.export import FORMATS
from fastface.service.context import Context
from fastface.service.gate import Refused
from fastface.service.jobs import Job
from fastface.service.place import Place
from fastface.service.schemas import ERRORS


def router(context: Context) -> APIRouter:
    """/v1/jobs/{id}/timeline"""
    paths = APIRouter(prefix="/v1/jobs/{id}", tags=["jobs"])

    @paths.get("/timeline", response_class=FileResponse, responses={**ERRORS, 200: {"description": "the file"}})
    def timeline(
        request: Request,
        id: str,
        format: str = Query("json", max_length=40, description=", ".join(f.name for f in FORMATS)),
        rate: float | None = Query(None, gt=0, le=1000, description="edl, otio: frames a second"),
        start_timecode: str | None = Query(None, max_length=20, description="edl, otio"),
        embeddings: bool = Query(False, description="json: with what each track looks like"),
    ) -> FileResponse:
        """The result, in any format that fastface writes."""
        job = context.jobs.get(id, request.state.owner)
        return _exported(context.place, job, format, embeddings=embeddings, rate=rate, start_timecode=start_timecode)

    return paths


def _exported(place: Place, job: Job, name: str, *, embeddings: bool, **options: Any) -> FileResponse:
    from fastface.export import export, format_of
    from fastface.timeline import Timeline

    chosen = format_of("", name)
    if job.result is None:
        raise Refused(409, "not_done", f"the job is {job.state}; it has no timeline", state=job.state)
    try:
        timeline = Timeline.from_json(place.result(job.result))
    except FileNotFoundError as error:
        raise Refused(404, "not_found", "the job was removed") from error
    path = place.work / f"export-{secrets.token_hex(16)}{chosen.ending}"
    try:
        if chosen.name == "json":
            timeline.to_json(path, embeddings="inside" if embeddings else "no")
        else:
            export(timeline, path, chosen.name, **options)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    media = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return FileResponse(path, media_type=media, filename=f"{job.id}{chosen.ending}",
                        background=BackgroundTask(path.unlink, missing_ok=True))  # fmt: skip
