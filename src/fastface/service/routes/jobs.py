"""Jobs: asked for, listed, followed, ended."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from fastface.errors import FastFaceError
from fastface.service.context import Context
from fastface.service.gate import Refused
from fastface.service.jobs import MAX_PAGE, OVER, Jobs, State
from fastface.service.schemas import (
    ERRORS,
    EXAMPLE_JOB,
    IDEMPOTENCY,
    NEXT,
    JobId,
    JobOut,
    JobsIn,
    JobsOut,
    PageOut,
    iso,
    ok,
    told,
)

_MAX_STREAMS = 32  # of events, of one owner at a time
_LOOK = 0.25  # seconds between two looks for events
_PING = 15.0  # seconds between two signs of life in a stream of events

_SENDING = {
    "requestBody": {
        "required": True,
        "description": "JSON that names videos under the service's root, or the bytes of one video.",
        "content": {
            "application/json": {
                "schema": JobsIn.model_json_schema(),
                "examples": {
                    "one": {"value": {"path": "holiday.mp4", "settings": {"every": 2}}},
                    "several": {"value": {"paths": ["a.mp4", "b/c.mkv"]}},
                },
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "video/*": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "parameters": [IDEMPOTENCY],
}  # fmt: skip


def router(context: Context) -> APIRouter:
    """/v1/jobs"""
    paths = APIRouter(prefix="/v1/jobs", tags=["jobs"])
    streams = _Streams(context.jobs)

    @paths.post("", status_code=201, response_model=JobsOut, openapi_extra=_SENDING,
                responses={**ERRORS, 200: {"model": JobsOut, "description": "the key was used before for the same"},
                           201: ok({"jobs": [EXAMPLE_JOB]}, "the jobs were made")})  # fmt: skip
    async def submit(
        request: Request,
        response: Response,
        name: str = Query("video.mp4", max_length=255, description="of a video that is sent"),
        settings: str | None = Query(None, max_length=10_000, description="of a video that is sent, as JSON"),
    ) -> JobsOut:
        """Ask for videos to be processed."""
        made, new = await context.uploads.submit(request, name, settings)
        response.status_code = 201 if new else 200
        return JobsOut(jobs=[told(job) for job in made])

    @paths.get("", response_model=PageOut,
               responses={**ERRORS, 200: ok({"jobs": [EXAMPLE_JOB], "next": "41"}, "a page")})  # fmt: skip
    def list_jobs(
        request: Request,
        state: State | None = None,
        after: str | None = Query(None, pattern=NEXT),
        limit: int = Query(50, ge=1, le=MAX_PAGE),
    ) -> Response:
        """Jobs, newest first."""
        page = context.jobs.list(request.state.owner, state=state, after=after, limit=limit)
        out = PageOut(jobs=[told(job) for job in page.jobs], next=page.next)
        # Asked for more often than all else: written here, in a thread, and not looked at a second time.
        return Response(out.model_dump_json(), media_type="application/json")

    @paths.get("/{id}", response_model=JobOut, responses={**ERRORS, 200: ok(EXAMPLE_JOB, "the job")})
    def get_job(request: Request, id: JobId) -> JobOut:
        """One job."""
        return told(context.jobs.get(id, request.state.owner))

    @paths.delete("/{id}", response_model=JobOut,
                  responses={**ERRORS, 200: ok(EXAMPLE_JOB, "the job as it was, or as it is now")})  # fmt: skip
    def delete_job(request: Request, id: JobId) -> JobOut:
        """Cancel a job that is not over; remove one that is, with its result."""
        return told(context.remove(id, request.state.owner))

    @paths.get("/{id}/events", response_class=StreamingResponse,
               responses={**ERRORS, 200: {"description": "server-sent events, until the job is over",
                                          "content": {"text/event-stream": {}}}})  # fmt: skip
    async def events(
        request: Request, id: JobId, after: int = Query(0, ge=0, description="number of the last event that is known")
    ) -> StreamingResponse:
        """What happens to a job, as it happens. A reader that comes back says Last-Event-ID."""
        last = request.headers.get("last-event-id", "")
        after = int(last) if re.fullmatch("[0-9]{1,18}", last) else after
        stream = await streams.open(id, request.state.owner, after)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    return paths


class _Streams:
    """Streams of events that are read."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._open: Counter[str] = Counter()

    async def open(self, id: str, owner: str, after: int) -> AsyncIterator[str]:
        await anyio.to_thread.run_sync(self._jobs.get, id, owner)
        if self._open[owner] >= _MAX_STREAMS:
            raise Refused(429, "too_many_streams", f"{_MAX_STREAMS} streams are read already", retry_after=10)
        return self._events(id, owner, after)

    async def _events(self, id: str, owner: str, after: int) -> AsyncIterator[str]:
        self._open[owner] += 1
        said = time.monotonic()
        try:
            while True:
                try:
                    job = await anyio.to_thread.run_sync(self._jobs.get, id, owner)
                except FastFaceError:
                    return  # it was removed
                for event in await anyio.to_thread.run_sync(self._jobs.events, id, after):
                    after, said = event.number, time.monotonic()
                    data = json.dumps({"kind": event.kind, "at": iso(event.at), **event.data})
                    yield f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n"
                if job.state in OVER:  # as it was before the events were asked for: they are all there
                    return
                if time.monotonic() - said > _PING:
                    said = time.monotonic()
                    yield ": still here\n\n"
                await asyncio.sleep(_LOOK)
        finally:
            self._open[owner] -= 1
            if self._open[owner] <= 0:
                del self._open[owner]
