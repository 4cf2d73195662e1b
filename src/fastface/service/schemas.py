"""What the interface is told and tells, as pydantic models, and what its description says of them."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fastface.service.jobs import Job

MAX_PATHS = 1000


class JobsIn(BaseModel):
    """Videos under the service's root, by path."""

    model_config = ConfigDict(extra="forbid", strict=True)
    path: str | None = Field(None, max_length=4096, description="one video, relative to the service's root")
    paths: list[str] | None = Field(None, min_length=1, max_length=MAX_PATHS, description="or several")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="of fastface.Pipeline: min_face_size, every, ..."
    )


class ProgressOut(BaseModel):
    stage: str
    frames_done: int
    frames_total: int | None
    fps: float
    seconds_left: float | None


class JobOut(BaseModel):
    id: str
    name: str
    state: str = Field(description="queued, running, done, failed or cancelled")
    cancelling: bool
    settings: dict[str, Any]
    created: str
    started: str | None
    finished: str | None
    attempt: int
    progress: ProgressOut
    error: dict[str, str] | None
    timeline: str | None = Field(description="where the result is, once the job is done")


class JobsOut(BaseModel):
    jobs: list[JobOut]


class PageOut(JobsOut):
    next: str | None = Field(description="give it as `after` for the next page")


class ErrorFacts(BaseModel):
    code: str
    message: str
    details: dict[str, Any]


class ErrorOut(BaseModel):
    error: ErrorFacts
    request_id: str


EXAMPLE_JOB = {
    "id": "6f1c3a4be2f04c7a9b6e0d5c8a7f1e23", "name": "holiday.mp4", "state": "running", "cancelling": False,
    "settings": {"every": 2}, "created": "2026-11-23T12:00:00Z", "started": "2026-11-23T12:00:01Z", "finished": None,
    "attempt": 1, "progress": {"stage": "frames", "frames_done": 500, "frames_total": 2000, "fps": 250.0,
    "seconds_left": 6.0}, "error": None, "timeline": None,
}  # fmt: skip

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorOut, "description": "refused; `error.code` says why"},
    "5XX": {"model": ErrorOut, "description": "the service's fault"},
}
"""What every path may answer."""


def ok(example: Any, description: str) -> dict[str, Any]:
    """An answer of the description."""
    return {"description": description, "content": {"application/json": {"example": example}}}


def iso(seconds: float) -> str:
    """A moment, in UTC."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def told(job: Job) -> JobOut:
    """A job for whoever asked: without where its files are."""
    return JobOut(
        id=job.id,
        name=job.request.name,
        state=job.state,
        cancelling=job.cancelling,
        settings=dict(job.request.settings),
        created=iso(job.created),
        started=None if job.started is None else iso(job.started),
        finished=None if job.finished is None else iso(job.finished),
        attempt=job.attempt,
        progress=ProgressOut(**asdict(job.progress)),
        error=None if job.error is None else dict(job.error),
        timeline=f"/v1/jobs/{job.id}/timeline" if job.state == "done" else None,
    )


def problems(error: Any) -> list[dict[str, str]]:
    """Where and what is wrong with a request, without what was sent."""
    return [{"where": ".".join(str(part) for part in e["loc"])[:200], "what": str(e["msg"])[:200]}
            for e in error.errors()[:20]]  # fmt: skip
