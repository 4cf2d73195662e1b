"""The HTTP interface: `create_app(settings)` is an ASGI application; `fastface serve` runs it.

Needs the extra `service`. The paths are in routes/, a file for each resource.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from fastface.errors import FastFaceError, InputValidationError
from fastface.service.context import Context
from fastface.service.description import describe
from fastface.service.embedded import EmbeddedJobs
from fastface.service.gate import Gate, Refused, body, refused
from fastface.service.jobs import Jobs
from fastface.service.keys import Keys
from fastface.service.metrics import Metrics
from fastface.service.monitor import Monitor
from fastface.service.place import Place
from fastface.service.routes import galleries, pages, results, state, system
from fastface.service.routes import jobs as job_paths
from fastface.service.schemas import problems
from fastface.service.settings import ServiceSettings
from fastface.service.storage import Storage
from fastface.service.uploads import Uploads
from fastface.service.workers import Workers
from fastface.version import __version__

if TYPE_CHECKING:
    from fastface.service.broker.workers import RemoteWorkers

__all__ = ["ServiceSettings", "create_app"]


def create_app(settings: ServiceSettings, jobs: Jobs | None = None) -> FastAPI:
    """The application.

    Args:
        settings: see :class:`ServiceSettings`.
        jobs: what keeps the jobs; None: a SQLite file in the service's folder.

    Raises:
        InputValidationError: a folder is none, or they lie within each other.
        JobError: the jobs cannot be opened, or reached.
        StorageError: the storage cannot be written.
    """
    options = replace(settings.worker, root=None if settings.root is None else os.fspath(settings.root))
    settings = replace(settings, worker=options)
    place = Place(settings.folder, settings.root, None if settings.storage is None else Storage(settings.storage))
    kept, workers = _keeper(settings, place, jobs)
    monitor = Monitor(kept, None if workers is None else lambda: workers.alive)
    metrics = Metrics(kept, workers, monitor)
    context = Context(settings, place, kept, workers, Uploads(settings, place, kept), metrics, monitor)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if workers is not None:
            await anyio.to_thread.run_sync(workers.start)
        await anyio.to_thread.run_sync(monitor.start)
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(monitor.stop)
            if workers is not None:
                await anyio.to_thread.run_sync(workers.stop)

    # The pages that show the interface load scripts from elsewhere; openapi.json is enough.
    app = FastAPI(title="fastface", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
                  description="Videos in, timelines out: who is on screen, when and where.")  # fmt: skip
    app.add_middleware(
        Gate,
        keys=Keys(place.folder / "keys.json"),
        required=settings.require_keys,
        a_minute=settings.requests_a_minute,
        failures=min(settings.failures_a_minute, settings.requests_a_minute),
        count=context.metrics.count,
        origins=settings.origins,
    )
    if settings.origins:  # outside the gate: what a browser asks first has no key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["authorization", "content-type", "idempotency-key"],
        )
    _add_errors(app)
    for paths in (state, job_paths, results, galleries, system, pages):
        app.include_router(paths.router(context))
    describe(app, settings.require_keys)
    return app


def _keeper(settings: ServiceSettings, place: Place, jobs: Jobs | None) -> tuple[Jobs, Workers | RemoteWorkers | None]:
    """What keeps the jobs, and who does them."""
    options = settings.worker
    if settings.broker is None:
        if settings.storage is not None:
            raise InputValidationError("a storage is for workers on other machines: give a broker, too")
        kept = jobs if jobs is not None else EmbeddedJobs(place.database, max_attempts=options.max_attempts)
        return kept, Workers(kept, place, settings.devices, options) if settings.devices else None
    if settings.devices or jobs is not None:
        raise InputValidationError("with a broker, workers are started by `fastface worker`, with their devices")
    from fastface.service.broker.redis_jobs import RedisJobs
    from fastface.service.broker.workers import RemoteWorkers

    if place.storage is not None:
        place.storage.check()
    shared = RedisJobs(settings.broker, max_attempts=options.max_attempts)
    return shared, RemoteWorkers(settings.broker, shared, place, options.keep_uploads)


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
                                       errors=problems(error)))  # fmt: skip

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        if error.status_code == 405:  # the framework names the methods of one route, but a path has several
            headers["allow"] = ", ".join(_methods(request))
        return answer(request, Refused(error.status_code, code, str(error.detail)), headers)

    app.add_exception_handler(Refused, ours)
    app.add_exception_handler(FastFaceError, ours)
    app.add_exception_handler(RequestValidationError, wrong)
    app.add_exception_handler(HTTPException, http)


def _methods(request: Request) -> list[str]:
    """The methods that the path of a request takes."""
    routes = request.app.router.routes
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
