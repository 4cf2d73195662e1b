"""What stands before every request: its number, who asks, how often, and what an error looks like."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from starlette.requests import ClientDisconnect

from fastface.errors import GalleryError, InputValidationError, ModelError, VideoProcessingError
from fastface.service.jobs import JobError, JobsUnavailable, KeyConflict, TooManyJobs, UnknownJob
from fastface.service.keys import Keys
from fastface.service.storage import StorageError

_log = logging.getLogger("fastface.service")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

OPEN = ("/healthz", "/readyz", "/")
"""What anybody may ask; the page and its files hold nothing of anybody's."""

OPEN_UNDER = "/dashboard/"
"""And what is under this."""

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class Refused(Exception):
    """A request that is answered with an error.

    Attributes:
        status: of HTTP.
        code: one word for programs.
        message: one sentence for people.
        details: what else is known, as JSON.
    """

    def __init__(self, status: int, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.details = status, code, message, details


_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (UnknownJob, 404, "not_found"),
    (KeyConflict, 409, "key_conflict"),
    (TooManyJobs, 429, "too_many_jobs"),
    (JobsUnavailable, 503, "unavailable"),
    (StorageError, 503, "unavailable"),
    (JobError, 409, "conflict"),
    (InputValidationError, 422, "bad_input"),
    (VideoProcessingError, 422, "bad_video"),
    (GalleryError, 422, "gallery"),
    (ModelError, 503, "model"),
)


def refused(error: Exception) -> Refused:
    """What an error is to whoever asked; what is not ours is told to the log only."""
    if isinstance(error, Refused):
        return error
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            return Refused(status, code, str(error))
    return Refused(500, "internal", "the service failed; its log says more under this request_id")


def body(error: Refused, request_id: str) -> dict[str, Any]:
    """The JSON of an error."""
    return {
        "error": {"code": error.code, "message": error.message, "details": error.details},
        "request_id": request_id,
    }


class Buckets:
    """How often each may ask: as many requests at once as a minute has, filled up as time passes.

    Args:
        a_minute: requests.
        most: askers that are remembered; the one that was not heard of for longest is forgotten first.
    """

    def __init__(self, a_minute: int, most: int = 10_000) -> None:
        self._rate, self._most = a_minute / 60, most
        self._full = float(a_minute)
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str, now: float | None = None) -> float:
        """0: go on; else the seconds to wait."""
        now = time.monotonic() if now is None else now
        left, since = self._known.pop(who, (self._full, now))
        left = min(self._full, left + (now - since) * self._rate)
        good = left >= 1
        self._known[who] = (left - 1 if good else left, now)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return 0.0 if good else (1 - left) / self._rate


class Gate:
    """ASGI middleware.

    Args:
        app: what stands behind.
        keys: of those who may ask.
        required: whether a key is needed; without, only this machine's own names are answered as Host (so that no page
            of the web can ask under a name that it made point here), and no page of another origin may change
            anything.
        a_minute: requests of one key, or of one address.
        failures: requests of one address that have no good key, a minute.
        count: called with the path's template, or "other", and the status of each answer.
        origins: of pages that may ask without a key.
    """

    def __init__(
        self,
        app: Any,
        *,
        keys: Keys,
        required: bool,
        a_minute: int,
        failures: int,
        count: Callable[[str, int], None],
        origins: Sequence[str] = (),
    ) -> None:
        self._app, self._keys, self._required, self._count = app, keys, required, count
        self._origins = frozenset(origin.lower() for origin in origins)
        self._buckets, self._failures = Buckets(a_minute), Buckets(failures)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = id
        begun = 0

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = int(message["status"])
                there = {name.lower() for name, _ in message.get("headers", ())}
                more = [(name, value) for name, value in _HEADERS if name not in there]
                message["headers"] = [*message.get("headers", ()), *more, (b"x-request-id", id.encode())]
            await send(message)

        try:
            scope["state"]["owner"] = self._owner(scope)
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            pass  # nobody is there to be told
        except Exception as error:
            told = refused(error)
            if told.status >= 500:
                _log.exception("request %s failed", id)
            if begun:
                raise
            await _say(answer, told, id)
        finally:
            route = scope.get("route")
            self._count(getattr(route, "path", "other"), begun or 499)

    def _owner(self, scope: Scope) -> str:
        """Who asks.

        Raises:
            Refused: nobody who may, or too often.
        """
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        address = str((scope.get("client") or ("unknown",))[0])
        is_open = scope["path"] in OPEN or scope["path"].startswith(OPEN_UNDER)
        if is_open and scope["method"] in ("GET", "HEAD"):
            self._pass(self._buckets, f"open {address}")
            return ""
        if not self._required:
            self._from_here(scope, headers)
            self._pass(self._buckets, address)
            return "local"
        kind, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        owner = self._keys.owner(key.strip()) if kind.lower() == "bearer" else None
        if owner is None:
            self._pass(self._failures, address)
            raise Refused(401, "no_key", "give a key of this service: Authorization: Bearer ff_...")
        self._pass(self._buckets, f"key {owner}")
        return owner

    @staticmethod
    def _pass(buckets: Buckets, who: str) -> None:
        wait = buckets.take(who)
        if wait:
            raise Refused(429, "too_many_requests", "there were too many requests", retry_after=round(wait + 0.5))

    def _from_here(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name not in LOCAL_HOSTS:
            raise Refused(403, "host", "without keys, this service is asked as localhost only")
        origin = headers.get(b"origin")
        allowed = {f"http://{host}", *self._origins}
        if origin is not None and origin.decode("latin-1").lower() not in allowed:
            raise Refused(403, "origin", "without keys, no page of another origin may ask this service")


async def _say(send: Send, error: Refused, id: str) -> None:
    headers = [(b"content-type", b"application/json")]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if "retry_after" in error.details:
        headers.append((b"retry-after", str(error.details["retry_after"]).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body(error, id)).encode()})
