"""Bodies of requests: small ones as JSON, videos and photographs as files, and jobs out of all of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from fastapi import Request
from pydantic import BaseModel, ValidationError

from fastface.errors import FastFaceError, InputValidationError
from fastface.gallery.photographs import check_photograph
from fastface.service.gate import Refused
from fastface.service.jobs import MAX_PAGE, Job, JobRequest, Jobs, checked_settings
from fastface.service.place import Place
from fastface.service.schemas import JobsIn, problems
from fastface.service.settings import ServiceSettings
from fastface.validation import Limits, check_file

_SUFFIXES = frozenset([".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".flv",
                       ".wmv", ".3gp", ".ogv", ".mxf", ".h264", ".hevc", ".mjpeg", ".mjpg"])  # fmt: skip
_MAX_JSON = 1 << 20
_LOOKS = 2  # at what was sent, at a time
_MAX_UPLOADS = 4  # of one owner at a time
_IDLE = 30.0  # seconds that an upload may say nothing
_SLOWEST = 2000  # bytes a second, of an upload that lasts for more than a minute


class Uploads:
    """Takes requests for jobs.

    Args:
        settings: see :class:`ServiceSettings`.
        place: where what is sent is kept.
        jobs: where jobs are made.
    """

    def __init__(self, settings: ServiceSettings, place: Place, jobs: Jobs) -> None:
        self._settings, self._place, self._jobs = settings, place, jobs
        worker = settings.worker
        self._limits = Limits(worker.max_bytes, worker.max_seconds, worker.max_pixels)
        self._sending: Counter[str] = Counter()
        # Decoding takes processors: a few at a time, in threads that other requests do not wait for.
        self._looking = anyio.CapacityLimiter(_LOOKS)

    async def submit(self, request: Request, name: str, settings: str | None) -> tuple[list[Job], bool]:
        """Make jobs of a request that names videos, or sends one.

        Args:
            request: as it comes.
            name: of a video that is sent.
            settings: of a video that is sent, as JSON.

        Returns:
            The jobs, and whether they were made now.

        Raises:
            Refused, FastFaceError: the request is not as it must be, or too much.
        """
        owner, key = request.state.owner, request.headers.get("idempotency-key")
        kind = content_type(request)
        if kind == "application/json":
            content = await whole_body(request)
            requests = await anyio.to_thread.run_sync(self._named, owner, content, limiter=self._looking)
            return await self.make(owner, requests, key)
        # No page of the web may send these without being allowed to (CORS), as it may text/plain.
        if kind != "application/octet-stream" and not kind.startswith("video/"):
            raise Refused(415, "content_type", "send application/json, application/octet-stream or video/...")
        chosen = _settings(settings)
        await anyio.to_thread.run_sync(self._known_gallery, owner, chosen)
        wanted = JobRequest("upload", "", plain_name(name), chosen)
        return await self._sent(request, wanted, _suffix(name), key)

    async def photograph(self, request: Request) -> Job:
        """Make a job of the photograph that a request sends.

        Raises:
            Refused, FastFaceError: it is none, or too much.
        """
        return (await self._sent(request, JobRequest("upload", "", "photograph", {}, kind="photo"), "", None))[0][0]

    async def _sent(self, request: Request, wanted: JobRequest, suffix: str, key: str | None) -> tuple[list[Job], bool]:
        """Make a job of the file that is the request's body."""
        owner = request.state.owner
        most = self._settings.max_photo_bytes if wanted.kind == "photo" else self._settings.max_upload_bytes
        await anyio.to_thread.run_sync(self._room, owner, request.headers.get("content-length"), most)
        if self._sending[owner] >= _MAX_UPLOADS:
            raise Refused(429, "too_many_uploads", f"{_MAX_UPLOADS} files are being sent already", retry_after=10)
        self._sending[owner] += 1
        path = self._place.uploads / (secrets.token_hex(16) + suffix)
        kept = False
        try:
            digest = await self._receive(request, path, most)
            wanted = replace(wanted, path=path.name, digest=digest)
            await anyio.to_thread.run_sync(self.look, wanted, limiter=self._looking)
            await anyio.to_thread.run_sync(lambda: self._place.keep(path, here=False))
            kept = True  # where this is cancelled, nobody knows if there is a job; what none needs is swept
            try:
                made, kept = await self.make(owner, [wanted], key)
            except FastFaceError:
                kept = False
                raise
            return made, kept
        finally:
            self._sending[owner] -= 1
            if not self._sending[owner]:
                del self._sending[owner]
            if not kept:
                with anyio.CancelScope(shield=True):  # also where who sends has gone
                    await anyio.to_thread.run_sync(self._place.remove, path)

    async def make(self, owner: str, requests: list[JobRequest], key: str | None) -> tuple[list[Job], bool]:
        """Make jobs, all or none; see :meth:`Jobs.submit`."""
        return await anyio.to_thread.run_sync(
            lambda: self._jobs.submit(owner, requests, key=key, at_most=self._settings.max_jobs)
        )

    def _named(self, owner: str, content: bytes) -> list[JobRequest]:
        """Requests of a JSON body."""
        asked = read_json(JobsIn, content)
        if (asked.path is None) == (asked.paths is None):
            raise Refused(422, "invalid_request", "give path or paths, and not both")
        chosen = checked_settings(asked.settings)
        self._known_gallery(owner, chosen)
        names = asked.paths if asked.paths is not None else [asked.path or ""]
        requests = []
        for name in names:
            if len(name) > 4096:
                raise InputValidationError(f"a path has {len(name)} characters, must have at most 4096")
            wanted = JobRequest("root", name, plain_name(os.path.basename(name)), chosen)
            requests.append(replace(wanted, path=self.look(wanted)))
        return requests

    def look(self, wanted: JobRequest) -> str:
        """Look at a video or photograph before it becomes a job; gives its path relative to its folder, links resolved.

        Raises:
            InputValidationError: it is none, or not where it may be.
        """
        try:
            resolved, base = self._place.video(wanted)
            if wanted.kind == "photo":
                check_photograph(resolved, self._limits.max_pixels)
            else:
                check_file(wanted.path, replace(self._limits, root=base))
            return str(resolved.relative_to(base))
        except InputValidationError as error:
            raise InputValidationError(self._place.told(str(error), wanted)) from error

    def _known_gallery(self, owner: str, settings: dict[str, Any]) -> None:
        if "gallery" in settings and settings["gallery"] not in self._place.gallery_names(owner):
            raise InputValidationError(f"there is no gallery {settings['gallery']!r}")

    def _room(self, owner: str, length: str | None, most: int) -> None:
        """Whether a file may be sent at all; so that none is sent for nothing."""
        size = int(length) if length is not None and re.fullmatch("[0-9]{1,18}", length) else 0
        if size > most:
            raise Refused(413, "too_large", f"the file has {size:,} bytes, must have at most {most:,}")
        if shutil.disk_usage(self._place.uploads).free - size < self._settings.min_free_bytes:
            raise Refused(507, "disk_full", "there is no room for the file")
        active = sum(len(self._jobs.list(owner, state=s, limit=MAX_PAGE).jobs) for s in ("queued", "running"))
        if active >= self._settings.max_jobs:
            raise Refused(429, "too_many_jobs", f"{active} jobs are not over, which is the most", retry_after=10)

    async def _receive(self, request: Request, path: Path, most: int) -> str:
        """Write what is sent to a file that nobody uses yet; gives its sha256."""
        size, begin = 0, time.monotonic()
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
                    raise Refused(413, "too_large", f"the file has more than {most:,} bytes")
                if seconds > 60 and size / seconds < _SLOWEST:
                    raise Refused(408, "too_slow", f"the file comes at less than {_SLOWEST:,} bytes a second")
                if chunk:
                    await anyio.to_thread.run_sync(write, chunk)
            await anyio.to_thread.run_sync(file.close)
            temporary.rename(path)
        finally:
            file.close()
            temporary.unlink(missing_ok=True)
        return digest.hexdigest()


async def whole_body(request: Request) -> bytes:
    """The body of a request, which must be small.

    Raises:
        Refused: it is too large, or too slow.
    """
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


def content_type(request: Request) -> str:
    """What a body is said to be, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


Model = TypeVar("Model", bound=BaseModel)


def read_json(model: type[Model], content: bytes) -> Model:
    """A body as its model.

    Raises:
        Refused: it is not as it must be.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise Refused(422, "invalid_request", "the body is not as it must be", errors=problems(error)) from error


def json_body(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """A dependency that gives the body, which must be small and JSON."""

    async def read(request: Request) -> Model:
        if content_type(request) != "application/json":
            raise Refused(415, "content_type", "send application/json")
        return read_json(model, await whole_body(request))

    return read


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


def plain_name(name: str) -> str:
    """A name as it is shown: one line of text without folders."""
    name = re.split(r"[/\\]", name)[-1]
    return "".join(c if c.isprintable() else "_" for c in name)[:255] or "video"
