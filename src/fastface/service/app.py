"""The HTTP interface: `create_app(settings)` is an ASGI application; `fastface serve` runs it.

Needs the extra `service`.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import json
import mimetypes
import os
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from fastface.errors import FastFaceError, InputValidationError
from fastface.export import FORMATS
from fastface.service.embedded import EmbeddedJobs
from fastface.service.gate import Gate, Refused, body, refused
from fastface.service.jobs import MAX_PAGE, OVER, Job, JobRequest, Jobs, checked_settings
from fastface.service.keys import Keys
from fastface.service.place import Place
from fastface.service.worker import WorkerOptions
from fastface.service.workers import Workers
from fastface.validation import Limits, check_file
from fastface.version import __version__

_SUFFIXES = frozenset([".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".flv",
                       ".wmv", ".3gp", ".ogv", ".mxf", ".h264", ".hevc", ".mjpeg", ".mjpg"])  # fmt: skip
_MAX_JSON = 1 << 20
_MAX_PATHS = 1000
_MAX_UPLOADS = 4  # of one owner at a time
_MAX_STREAMS = 32  # of events, of one owner at a time
_IDLE = 30.0  # seconds that an upload may say nothing
_SLOWEST = 2000  # bytes a second, of an upload that lasts for more than a minute
_LOOK = 0.25  # seconds between two looks for events
_PING = 15.0  # seconds between two signs of life in a stream of events


@dataclass(frozen=True)
class ServiceSettings:
    """How a service is run.

    Attributes:
        folder: where it keeps jobs, uploads and results; see :class:`fastface.service.place.Place`.
        root: the folder whose videos jobs may name by path; None: none may.
        devices: a worker each: "cpu", "cuda:0", ...; none: others work, or nobody.
        require_keys: whether a key is needed. Without, it must listen on loopback only.
        max_upload_bytes: size of a video that is sent.
        max_jobs: of one owner, that are not over.
        requests_a_minute: of one key, or one address.
        origins: of web pages that may ask (CORS); none by default.
        min_free_bytes: of the disk, that an upload must leave.
        worker: how workers work; its root is set from `root`.
    """

    folder: str | os.PathLike[str]
    root: str | os.PathLike[str] | None = None
    devices: Sequence[str] = ()
    require_keys: bool = True
    max_upload_bytes: int = 2_000_000_000
    max_jobs: int = 100
    requests_a_minute: int = 600
    origins: Sequence[str] = ()
    min_free_bytes: int = 1_000_000_000
    worker: WorkerOptions = field(default_factory=WorkerOptions)


class JobsIn(BaseModel):
    """Videos under the service's root, by path."""

    model_config = ConfigDict(extra="forbid", strict=True)
    path: str | None = Field(None, max_length=4096, description="one video, relative to the service's root")
    paths: list[str] | None = Field(None, min_length=1, max_length=_MAX_PATHS, description="or several")
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


_EXAMPLE = {
    "id": "6f1c3a4be2f04c7a9b6e0d5c8a7f1e23", "name": "holiday.mp4", "state": "running", "cancelling": False,
    "settings": {"every": 2}, "created": "2026-11-23T12:00:00Z", "started": "2026-11-23T12:00:01Z", "finished": None,
    "attempt": 1, "progress": {"stage": "frames", "frames_done": 500, "frames_total": 2000, "fps": 250.0,
    "seconds_left": 6.0}, "error": None, "timeline": None,
}  # fmt: skip
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
    "parameters": [
        {"name": "Idempotency-Key", "in": "header", "required": False,
         "schema": {"type": "string", "minLength": 1, "maxLength": 200},
         "description": "the same key with the same request gives the same jobs again"},
    ],
}  # fmt: skip
_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorOut, "description": "refused; `error.code` says why"},
    "5XX": {"model": ErrorOut, "description": "the service's fault"},
}


def _ok(example: Any, description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


def create_app(settings: ServiceSettings, jobs: Jobs | None = None) -> FastAPI:
    """The application.

    Args:
        settings: see :class:`ServiceSettings`.
        jobs: what keeps the jobs; None: a SQLite file in the service's folder.

    Raises:
        InputValidationError: a folder is none, or they lie within each other.
        JobError: the jobs cannot be opened.
    """
    options = replace(settings.worker, root=None if settings.root is None else os.fspath(settings.root))
    place = Place(settings.folder, settings.root)
    kept = jobs if jobs is not None else EmbeddedJobs(place.database, max_attempts=options.max_attempts)
    keys = Keys(place.folder / "keys.json")
    workers = Workers(kept, place, settings.devices, options) if settings.devices else None
    metrics = _Metrics(kept, workers)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if workers is not None:
            await anyio.to_thread.run_sync(workers.start)
        try:
            yield
        finally:
            if workers is not None:
                await anyio.to_thread.run_sync(workers.stop)

    # The pages that show the interface load scripts from elsewhere; openapi.json is enough.
    app = FastAPI(title="fastface", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
                  description="Videos in, timelines out: who is on screen, when and where.")  # fmt: skip
    app.add_middleware(
        Gate,
        keys=keys,
        required=settings.require_keys,
        a_minute=settings.requests_a_minute,
        count=metrics.count,
        origins=settings.origins,
    )
    if settings.origins:  # outside the gate: what a browser asks first has no key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type", "idempotency-key"],
        )
    _add_errors(app)
    service = _Service(settings, options, place, kept)

    @app.get("/healthz", tags=["state"])
    def healthz() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["state"], responses=_ERRORS)
    def readyz() -> dict[str, Any]:
        """Whether jobs can be taken and done."""
        kept.counts()
        alive = None if workers is None else len(workers.pids)
        if alive == 0:
            raise Refused(503, "no_worker", "no worker is alive")
        return {"status": "ok", "workers": alive}

    @app.get("/metrics", tags=["state"], response_class=Response, responses=_ERRORS)
    def metrics_page() -> Response:
        """Figures for Prometheus."""
        return metrics.page()

    @app.post("/v1/jobs", tags=["jobs"], status_code=201, response_model=JobsOut, openapi_extra=_SENDING,
              responses={**_ERRORS, 200: {"model": JobsOut, "description": "the key was used before for the same"},
                         201: _ok({"jobs": [_EXAMPLE]}, "the jobs were made")})  # fmt: skip
    async def submit(
        request: Request,
        response: Response,
        name: str = Query("video.mp4", max_length=255, description="of a video that is sent"),
        settings: str | None = Query(None, max_length=10_000, description="of a video that is sent, as JSON"),
    ) -> JobsOut:
        """Ask for videos to be processed."""
        made, new = await service.submit(request, name, settings)
        response.status_code = 201 if new else 200
        return JobsOut(jobs=[_told(job) for job in made])

    @app.get("/v1/jobs", tags=["jobs"], response_model=PageOut,
             responses={**_ERRORS, 200: _ok({"jobs": [_EXAMPLE], "next": "41"}, "a page")})  # fmt: skip
    def list_jobs(
        request: Request,
        state: str | None = Query(None, max_length=20),
        after: str | None = Query(None, max_length=20),
        limit: int = Query(50, ge=1, le=MAX_PAGE),
    ) -> PageOut:
        """Jobs, newest first."""
        page = kept.list(request.state.owner, state=state, after=after, limit=limit)
        return PageOut(jobs=[_told(job) for job in page.jobs], next=page.next)

    @app.get("/v1/jobs/{id}", tags=["jobs"], response_model=JobOut,
             responses={**_ERRORS, 200: _ok(_EXAMPLE, "the job")})  # fmt: skip
    def get_job(request: Request, id: str) -> JobOut:
        """One job."""
        return _told(kept.get(id, request.state.owner))

    @app.delete("/v1/jobs/{id}", tags=["jobs"], response_model=JobOut,
                responses={**_ERRORS, 200: _ok(_EXAMPLE, "the job as it was, or as it is now")})  # fmt: skip
    def delete_job(request: Request, id: str) -> JobOut:
        """Cancel a job that is not over; remove one that is, with its result."""
        return _told(service.delete(id, request.state.owner))

    @app.get("/v1/jobs/{id}/events", tags=["jobs"], response_class=StreamingResponse,
             responses={**_ERRORS, 200: {"description": "server-sent events, until the job is over",
                                         "content": {"text/event-stream": {}}}})  # fmt: skip
    async def events(
        request: Request, id: str, after: int = Query(0, ge=0, description="number of the last event that is known")
    ) -> StreamingResponse:
        """What happens to a job, as it happens. A reader that comes back says Last-Event-ID."""
        last = request.headers.get("last-event-id", "")
        after = int(last) if re.fullmatch("[0-9]{1,18}", last) else after
        stream = await service.stream(id, request.state.owner, after)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    @app.get("/v1/jobs/{id}/timeline", tags=["jobs"], response_class=FileResponse,
             responses={**_ERRORS, 200: {"description": "the file"}})  # fmt: skip
    def timeline(
        request: Request,
        id: str,
        format: str = Query("json", max_length=40, description=", ".join(f.name for f in FORMATS)),
        rate: float | None = Query(None, gt=0, le=1000, description="edl, otio: frames a second"),
        start_timecode: str | None = Query(None, max_length=20, description="edl, otio"),
        embeddings: bool = Query(False, description="json: with what each track looks like"),
    ) -> FileResponse:
        """The result, in any format that fastface writes."""
        job = kept.get(id, request.state.owner)
        return service.timeline(job, format, embeddings=embeddings, rate=rate, start_timecode=start_timecode)

    return app


class _Service:
    """What the paths of the interface do."""

    def __init__(self, settings: ServiceSettings, options: WorkerOptions, place: Place, jobs: Jobs) -> None:
        self._settings, self._place, self._jobs = settings, place, jobs
        self._limits = Limits(options.max_bytes, options.max_seconds, options.max_pixels)
        self._sending: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()

    async def submit(self, request: Request, name: str, settings: str | None) -> tuple[list[Job], bool]:
        owner, key = request.state.owner, request.headers.get("idempotency-key")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            content = await _all(request)
            requests = await anyio.to_thread.run_sync(self._named, content)
            return await self._submit(owner, requests, key)
        # No page of the web may send these without being allowed to (CORS), as it may text/plain.
        if kind != "application/octet-stream" and not kind.startswith("video/"):
            raise Refused(415, "content_type", "send application/json, application/octet-stream or video/...")
        chosen = _settings(settings)
        await anyio.to_thread.run_sync(self._room, owner, request.headers.get("content-length"))
        if self._sending[owner] >= _MAX_UPLOADS:
            raise Refused(429, "too_many_uploads", f"{_MAX_UPLOADS} videos are being sent already", retry_after=10)
        self._sending[owner] += 1
        path = self._place.uploads / (secrets.token_hex(16) + _suffix(name))
        kept = False
        try:
            digest = await self._receive(request, path)
            wanted = JobRequest("upload", path.name, _plain(name), chosen, digest)
            await anyio.to_thread.run_sync(self._look, wanted)
            kept = True  # where this is cancelled, nobody knows if there is a job; what none needs is swept
            try:
                made, kept = await self._submit(owner, [wanted], key)
            except FastFaceError:
                kept = False
                raise
            return made, kept
        finally:
            self._sending[owner] -= 1
            if not self._sending[owner]:
                del self._sending[owner]
            if not kept:
                path.unlink(missing_ok=True)

    async def _submit(self, owner: str, requests: list[JobRequest], key: str | None) -> tuple[list[Job], bool]:
        return await anyio.to_thread.run_sync(
            lambda: self._jobs.submit(owner, requests, key=key, at_most=self._settings.max_jobs)
        )

    def _named(self, content: bytes) -> list[JobRequest]:
        """Requests of a JSON body."""
        try:
            asked = JobsIn.model_validate_json(content)
        except ValidationError as error:
            raise Refused(422, "invalid_request", "the body is not as it must be", errors=_problems(error)) from error
        if (asked.path is None) == (asked.paths is None):
            raise Refused(422, "invalid_request", "give path or paths, and not both")
        chosen = checked_settings(asked.settings)
        names = asked.paths if asked.paths is not None else [asked.path or ""]
        requests = []
        for name in names:
            if len(name) > 4096:
                raise InputValidationError(f"a path has {len(name)} characters, must have at most 4096")
            wanted = JobRequest("root", name, _plain(os.path.basename(name)), chosen)
            requests.append(replace(wanted, path=self._look(wanted)))
        return requests

    def _look(self, wanted: JobRequest) -> str:
        """Look at a video before it becomes a job; gives its path relative to its folder, links resolved.

        Raises:
            InputValidationError: it is none, or not where it may be.
        """
        try:
            resolved, base = self._place.video(wanted)
            check_file(wanted.path, replace(self._limits, root=base))
            return str(resolved.relative_to(base))
        except InputValidationError as error:
            raise InputValidationError(self._place.told(str(error), wanted)) from error

    def _room(self, owner: str, length: str | None) -> None:
        """Whether a video may be sent at all; so that none is sent for nothing."""
        most = self._settings.max_upload_bytes
        size = int(length) if length is not None and re.fullmatch("[0-9]{1,18}", length) else 0
        if size > most:
            raise Refused(413, "too_large", f"the video has {size:,} bytes, must have at most {most:,}")
        if shutil.disk_usage(self._place.uploads).free - size < self._settings.min_free_bytes:
            raise Refused(507, "disk_full", "there is no room for the video")
        active = sum(len(self._jobs.list(owner, state=s, limit=MAX_PAGE).jobs) for s in ("queued", "running"))
        if active >= self._settings.max_jobs:
            raise Refused(429, "too_many_jobs", f"{active} jobs are not over, which is the most", retry_after=10)

    async def _receive(self, request: Request, path: Path) -> str:
        """Write what is sent to a file that nobody uses yet; gives its sha256."""
        most, size, begin = self._settings.max_upload_bytes, 0, time.monotonic()
        digest = hashlib.sha256()
        stream = request.stream().__aiter__()
        temporary = path.with_name(f"{path.name}.part")
        file = await anyio.to_thread.run_sync(lambda: temporary.open("xb"))
        try:

            def write(chunk: bytes) -> None:
                digest.update(chunk)
                file.write(chunk)

            while True:
                try:
                    chunk = await asyncio.wait_for(stream.__anext__(), _IDLE)
                except StopAsyncIteration:
                    break
                except asyncio.TimeoutError as error:
                    raise Refused(408, "too_slow", f"nothing came for {_IDLE:.0f} s") from error
                size += len(chunk)
                seconds = time.monotonic() - begin
                if size > most:
                    raise Refused(413, "too_large", f"the video has more than {most:,} bytes")
                if seconds > 60 and size / seconds < _SLOWEST:
                    raise Refused(408, "too_slow", f"the video comes at less than {_SLOWEST:,} bytes a second")
                if chunk:
                    await anyio.to_thread.run_sync(write, chunk)
            await anyio.to_thread.run_sync(file.close)
            temporary.rename(path)
        finally:
            file.close()
            temporary.unlink(missing_ok=True)
        return digest.hexdigest()

    def delete(self, id: str, owner: str) -> Job:
        before = self._jobs.get(id, owner)
        if before.state not in OVER:
            job = self._jobs.cancel(id, owner)
            if job.state in OVER:  # it waited: no worker will tidy up
                self._place.tidy(job)
            return job
        result = self._jobs.remove(id, owner)
        self._place.tidy(before)
        if result is not None:
            self._place.result(result).unlink(missing_ok=True)
        return before

    async def stream(self, id: str, owner: str, after: int) -> AsyncIterator[str]:
        await anyio.to_thread.run_sync(self._jobs.get, id, owner)
        if self._streams[owner] >= _MAX_STREAMS:
            raise Refused(429, "too_many_streams", f"{_MAX_STREAMS} streams are read already", retry_after=10)
        return self._events(id, owner, after)

    async def _events(self, id: str, owner: str, after: int) -> AsyncIterator[str]:
        self._streams[owner] += 1
        said = time.monotonic()
        try:
            while True:
                try:
                    job = await anyio.to_thread.run_sync(self._jobs.get, id, owner)
                except FastFaceError:
                    return  # it was removed
                for event in await anyio.to_thread.run_sync(self._jobs.events, id, after):
                    after, said = event.number, time.monotonic()
                    data = json.dumps({"kind": event.kind, "at": _iso(event.at), **event.data})
                    yield f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n"
                if job.state in OVER:  # as it was before the events were asked for: they are all there
                    return
                if time.monotonic() - said > _PING:
                    said = time.monotonic()
                    yield ": still here\n\n"
                await asyncio.sleep(_LOOK)
        finally:
            self._streams[owner] -= 1
            if self._streams[owner] <= 0:
                del self._streams[owner]

    def timeline(self, job: Job, name: str, *, embeddings: bool, **options: Any) -> FileResponse:
        from fastface.export import export, format_of
        from fastface.timeline import Timeline

        chosen = format_of("", name)
        if job.result is None:
            raise Refused(409, "not_done", f"the job is {job.state}; it has no timeline", state=job.state)
        try:
            timeline = Timeline.from_json(self._place.result(job.result))
        except FileNotFoundError as error:
            raise Refused(404, "not_found", "the job was removed") from error
        path = self._place.work / f"export-{secrets.token_hex(16)}{chosen.ending}"
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


class _Metrics:
    """Figures for Prometheus, where its client is installed."""

    def __init__(self, jobs: Jobs, workers: Workers | None) -> None:
        self._jobs, self._workers = jobs, workers
        try:
            import prometheus_client
        except ImportError:
            self._client: Any = None
            return
        self._client = prometheus_client
        self._registry = prometheus_client.CollectorRegistry()
        self._requests = prometheus_client.Counter(
            "fastface_requests_total", "answers", ["path", "status"], registry=self._registry
        )
        self._states = prometheus_client.Gauge("fastface_jobs", "jobs", ["state"], registry=self._registry)
        self._alive = prometheus_client.Gauge("fastface_workers", "workers that live", registry=self._registry)

    def count(self, path: str, status: int) -> None:
        if self._client is not None:
            self._requests.labels(path, str(status)).inc()

    def page(self) -> Response:
        if self._client is None:
            raise Refused(501, "not_installed", "install prometheus-client for this")
        for state, number in self._jobs.counts().items():
            self._states.labels(state).set(number)
        self._alive.set(0 if self._workers is None else len(self._workers.pids))
        return Response(self._client.generate_latest(self._registry), media_type=self._client.CONTENT_TYPE_LATEST)


def _add_errors(app: FastAPI) -> None:
    """Every error that the framework or a path raises is told in one shape."""

    def answer(request: Request, error: Refused, headers: dict[str, str] | None = None) -> JSONResponse:
        wait = error.details.get("retry_after")
        more = {**(headers or {}), **({"retry-after": str(wait)} if wait is not None else {})}
        return JSONResponse(body(error, request.state.request_id), error.status, more)

    async def ours(request: Request, error: Exception) -> JSONResponse:
        return answer(request, refused(error))

    async def wrong(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return answer(request, Refused(422, "invalid_request", "the request is not as it must be",
                                       errors=_problems(error)))  # fmt: skip

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
        return answer(request, Refused(error.status_code, code, str(error.detail)), dict(error.headers or {}))

    app.add_exception_handler(Refused, ours)
    app.add_exception_handler(FastFaceError, ours)
    app.add_exception_handler(RequestValidationError, wrong)
    app.add_exception_handler(HTTPException, http)


def _problems(error: Any) -> list[dict[str, str]]:
    """Where and what, without what was sent."""
    return [{"where": ".".join(str(part) for part in e["loc"])[:200], "what": str(e["msg"])[:200]}
            for e in error.errors()[:20]]  # fmt: skip


async def _all(request: Request) -> bytes:
    """The body of a request, which must be small."""
    content = bytearray()

    async def read() -> None:
        async for chunk in request.stream():
            content.extend(chunk)
            if len(content) > _MAX_JSON:
                raise Refused(413, "too_large", f"the body has more than {_MAX_JSON:,} bytes")

    try:
        await asyncio.wait_for(read(), _IDLE)
    except asyncio.TimeoutError as error:
        raise Refused(408, "too_slow", f"the body did not come within {_IDLE:.0f} s") from error
    return bytes(content)


def _settings(text: str | None) -> dict[str, Any]:
    """Settings out of a query."""
    try:
        value = {} if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(422, "invalid_request", "settings is not JSON") from error
    if not isinstance(value, dict):
        raise Refused(422, "invalid_request", "settings must be an object")
    return checked_settings(value)


def _suffix(name: str) -> str:
    """The ending of a file's name, if it is one that videos have."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix if suffix in _SUFFIXES else ""


def _plain(name: str) -> str:
    """A name as it is shown: one line of text without folders."""
    name = re.split(r"[/\\]", name)[-1]
    return "".join(c if c.isprintable() else "_" for c in name)[:255] or "video"


def _iso(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _told(job: Job) -> JobOut:
    """A job for whoever asked: without where its files are."""
    return JobOut(
        id=job.id,
        name=job.request.name,
        state=job.state,
        cancelling=job.cancelling,
        settings=dict(job.request.settings),
        created=_iso(job.created),
        started=None if job.started is None else _iso(job.started),
        finished=None if job.finished is None else _iso(job.finished),
        attempt=job.attempt,
        progress=ProgressOut(**asdict(job.progress)),
        error=None if job.error is None else dict(job.error),
        timeline=f"/v1/jobs/{job.id}/timeline" if job.state == "done" else None,
    )
