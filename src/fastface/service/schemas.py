"""What the interface is told and tells, as pydantic models, and what its description says of them."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from fastface.service.jobs import MAX_CLIP_SECONDS, Job, Kind, State
from fastface.service.names import MAX_GALLERY, MAX_NAME

MAX_PATHS = 1000
PHOTOGRAPHS = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "application/octet-stream")
"""What photographs are sent as."""


class _In(BaseModel):
    """A body: nothing but what is named, and of no other type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class JobsIn(_In):
    """Videos under the service's root, by path."""

    path: str | None = Field(None, max_length=4096, description="one video, relative to the service's root")
    paths: list[str] | None = Field(None, min_length=1, max_length=MAX_PATHS, description="or several")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="of fastface.Pipeline: min_face_size, every, ...; gallery: one of yours, which names people",
    )


class PersonIn(_In):
    """How a person of a video is called."""

    name: str | None = Field(max_length=MAX_NAME, description="null takes the name away")
    gallery: str | None = Field(None, description="one of yours, in which the person is enrolled under that name")


class ClipIn(_In):
    """Moments of a video; see fastface.Timeline.clips."""

    person: int | str | None = Field(None, description="id or name: whose moments")
    split: list[int | str] | None = Field(None, min_length=2, max_length=2, description="two people side by side")
    join: bool = Field(True, description="one file of all moments; else a job, and a file, for each (100 at most)")
    max_gap: float = Field(0.0, ge=0, le=MAX_CLIP_SECONDS, description="seconds; moments closer than that are one")
    pad: float = Field(0.0, ge=0, le=MAX_CLIP_SECONDS, description="seconds to add before and after")
    condense: float | None = Field(
        None, ge=0, le=MAX_CLIP_SECONDS, description="the whole video without what is longer than this and has no face"
    )
    fast: bool = Field(False, description="copy pictures where they can be cut without encoding them again")
    follow: list[int] | None = Field(
        None, min_length=2, max_length=2, description="width and height in pixels of a window that follows the face"
    )
    start: float | None = Field(None, ge=0, le=MAX_CLIP_SECONDS, description="seconds; moments after that only")
    end: float | None = Field(None, ge=0, le=MAX_CLIP_SECONDS, description="seconds; moments before that only")


class GalleryIn(_In):
    name: str = Field(max_length=MAX_GALLERY, description="letters, digits, '-', '_', '.' and single spaces")


class SearchIn(_In):
    """A person of a video, or a photograph that was sent before."""

    job: str = Field(max_length=64, description="id of a job that is done")
    person: int | None = Field(None, ge=0, description="id of a person of its video; none where it is a photograph's")


class EnrolIn(SearchIn):
    name: str = Field(max_length=MAX_NAME, description="of the person, who may be there already")


class RenameIn(_In):
    name: str = Field(max_length=MAX_NAME)


class ProgressOut(BaseModel):
    stage: str
    frames_done: int
    frames_total: int | None
    fps: float
    seconds_left: float | None


class JobOut(BaseModel):
    id: str
    kind: Kind = Field(description="process: a video; clip: moments of one; photo: a photograph")
    source: str | None = Field(description="of a clip: the job whose video it is cut from")
    name: str
    state: State
    cancelling: bool
    settings: dict[str, Any]
    created: str
    started: str | None
    finished: str | None
    attempt: int
    progress: ProgressOut
    error: dict[str, str] | None
    timeline: str | None = Field(description="where the result is, once a video is done")
    people: str | None = Field(description="where its people are, once a video is done")
    clip: str | None = Field(description="where the file is, once a clip is done")


class JobsOut(BaseModel):
    jobs: list[JobOut]


class PageOut(JobsOut):
    next: str | None = Field(description="give it as `after` for the next page")


Span = Annotated[list[float], Field(min_length=2, max_length=2)]


class PersonOut(BaseModel):
    id: int
    name: str | None
    seconds: float = Field(description="on screen")
    first: float | None = Field(description="seconds from the first frame shown")
    last: float | None
    spans: list[Span] = Field(description="start and end of each moment, in seconds")
    similarity: float | None = Field(description="cosine with the gallery's person, or of what was joined to this one")
    thumbnail: str | None = Field(description="where a picture is")


class PeopleOut(BaseModel):
    duration: float | None = Field(description="seconds of the video")
    people: list[PersonOut]


class ThumbnailOut(BaseModel):
    person: int
    url: str


class ThumbnailsOut(BaseModel):
    thumbnails: list[ThumbnailOut]


class GalleryOut(BaseModel):
    name: str
    model: str | None = Field(description="the embedder of its vectors; null while nobody is in it")
    size: int = Field(description="people")


class GalleriesOut(BaseModel):
    galleries: list[GalleryOut]


class EnrolledOut(BaseModel):
    person: str = Field(description="id within the gallery: the name, or unknown-7")
    name: str | None
    vectors: int = Field(description="photographs and videos that the person was enrolled from")


class GalleryPeopleOut(GalleryOut):
    people: list[EnrolledOut]


class MatchOut(BaseModel):
    person: str
    name: str | None
    similarity: float = Field(description="cosine, in [-1, 1]")
    known: bool = Field(description="similar enough to be taken for this person")


class MatchesOut(BaseModel):
    matches: list[MatchOut]
    threshold: float | None = Field(description="cosine from which one is known; null where nobody is there")
    far: float | None = Field(description="chance that a stranger is known; null: not measured for this embedder")


class ErrorFacts(BaseModel):
    code: str
    message: str
    details: dict[str, Any]


class ErrorOut(BaseModel):
    error: ErrorFacts
    request_id: str


EXAMPLE_ID = "6f1c3a4be2f04c7a9b6e0d5c8a7f1e23"
EXAMPLE_CLIP_ID = "b1946ac92492d2347c6235b4d2611184"
EXAMPLE_JOB: dict[str, Any] = {
    "id": EXAMPLE_ID, "kind": "process", "source": None, "name": "holiday.mp4", "state": "running", "cancelling": False,
    "settings": {"every": 2}, "created": "2026-11-23T12:00:00.000Z", "started": "2026-11-23T12:00:01.000Z",
    "finished": None, "attempt": 1, "progress": {"stage": "frames", "frames_done": 500, "frames_total": 2000,
    "fps": 250.0, "seconds_left": 6.0}, "error": None, "timeline": None, "people": None, "clip": None,
}  # fmt: skip
EXAMPLE_CLIP: dict[str, Any] = {
    **EXAMPLE_JOB, "id": EXAMPLE_CLIP_ID, "kind": "clip", "source": EXAMPLE_ID,
    "name": "holiday, Ann.mp4", "settings": {"person": 0, "join": True, "pad": 0.5},
}  # fmt: skip
EXAMPLE_PERSON = {
    "id": 0, "name": "Ann", "seconds": 12.4, "first": 0.0, "last": 71.2, "spans": [[0.0, 8.2], [67.0, 71.2]],
    "similarity": 0.83, "thumbnail": f"/v1/jobs/{EXAMPLE_ID}/thumbnails/0",
}  # fmt: skip
EXAMPLE_ENROLLED = {"person": "Ann", "name": "Ann", "vectors": 3}
EXAMPLE_GALLERY = {"name": "family", "model": "facenet-vggface2", "size": 1}
EXAMPLE_MATCHES = {
    "matches": [{"person": "Ann", "name": "Ann", "similarity": 0.81, "known": True},
                {"person": "Bob", "name": "Bob", "similarity": 0.12, "known": False}],
    "threshold": 0.5, "far": 0.001,
}  # fmt: skip

NEXT = r"^[0-9]{1,18}$"
"""What a page gives as `next`."""

JobId = Annotated[str, Path(description="id of a job", examples=[EXAMPLE_ID])]
ClipId = Annotated[str, Path(description="id of a clip's job", examples=[EXAMPLE_CLIP_ID])]
PersonId = Annotated[int, Path(ge=0, le=2**53 - 1, description="id of a person of the job's video", examples=[0])]
GalleryName = Annotated[str, Path(description="name of a gallery", examples=["family"])]
KnownId = Annotated[str, Path(description="id of somebody in the gallery: the name, or unknown-7", examples=["Ann"])]

IDEMPOTENCY: dict[str, Any] = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    "description": "the same key with the same request gives the same jobs again",
}  # fmt: skip

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorOut, "description": "refused; `error.code` says why"},
    "5XX": {"model": ErrorOut, "description": "the service's fault"},
}
"""What every path may answer."""


def ok(example: Any, description: str) -> dict[str, Any]:
    """An answer of the description."""
    return {"description": description, "content": {"application/json": {"example": example}}}


def body_of(*examples: Any, model: type[BaseModel], photograph: bool = False) -> dict[str, Any]:
    """A body of the description: JSON, and perhaps a photograph in its place."""
    content: dict[str, Any] = {
        "application/json": {
            "schema": model.model_json_schema(),
            "examples": {str(number): {"value": value} for number, value in enumerate(examples, 1)},
        }
    }
    if photograph:
        content |= {kind: {"schema": {"type": "string", "format": "binary"}} for kind in PHOTOGRAPHS}
    return {"requestBody": {"required": True, "content": content}}


def iso(seconds: float) -> str:
    """A moment, in UTC."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def told(job: Job) -> JobOut:
    """A job for whoever asked: without where its files are."""
    done = job.request.kind if job.state == "done" else None
    return JobOut(
        id=job.id,
        kind=job.request.kind,
        source=job.request.source,
        name=job.request.name,
        state=job.state,
        cancelling=job.cancelling,
        settings=dict(job.request.settings),
        created=iso(job.created),
        started=None if job.started is None else iso(job.started),
        finished=None if job.finished is None else iso(job.finished),
        attempt=job.attempt,
        progress=ProgressOut(**vars(job.progress)),
        error=None if job.error is None else dict(job.error),
        timeline=f"/v1/jobs/{job.id}/timeline" if done == "process" else None,
        people=f"/v1/jobs/{job.id}/people" if done == "process" else None,
        clip=f"/v1/jobs/{job.id}/clip" if done == "clip" else None,
    )


def problems(error: Any) -> list[dict[str, str]]:
    """Where and what is wrong with a request, without what was sent."""
    return [{"where": ".".join(str(part) for part in e["loc"])[:200], "what": str(e["msg"])[:200]}
            for e in error.errors()[:20]]  # fmt: skip
