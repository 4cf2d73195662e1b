"""Jobs in Redis, for as many machines as one likes."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.resources import files
from typing import Any, Literal
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.retry import Retry

from fastface.errors import InputValidationError, shown
from fastface.service.embedded import KEY_SECONDS
from fastface.service.jobs import (
    MAX_KEY,
    MAX_PAGE,
    STATES,
    Claim,
    Job,
    JobError,
    JobEvent,
    JobRequest,
    JobsUnavailable,
    KeyConflict,
    Page,
    Progress,
    TooManyJobs,
    UnknownJob,
    fingerprint,
)

_log = logging.getLogger("fastface.service")

_TRIES = 8  # of one call, within about 2 s where nothing listens
_TIMEOUT = 3.0  # seconds that Redis may take for an answer


def checked_url(url: str) -> str:
    """The URL of a Redis.

    Raises:
        InputValidationError: it is none. The message does not show it, because it may hold a password.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise InputValidationError("the broker's URL must be redis://HOST:PORT/NUMBER, or rediss:// with TLS")
    return url


class RedisJobs:
    """Keeps jobs in Redis; see :class:`fastface.service.jobs.Jobs`.

    Each call is one script, which Redis runs as a whole. The clock is Redis' own. A call whose answer is lost is made
    again, and changes nothing the second time.

    Args:
        url: redis://HOST:PORT/NUMBER.
        max_attempts: how often a job is begun until it is given up.
        prefix: of all names in Redis: services with different ones know nothing of each other.
        notify: called with the ids of jobs that may be taken now. What it raises is logged: jobs that nobody knows of
            are looked for.

    Raises:
        InputValidationError: the URL is none.
        JobsUnavailable: Redis cannot be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        max_attempts: int = 3,
        prefix: str = "fastface",
        notify: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        self._max_attempts, self._prefix, self.notify = max_attempts, f"{{{prefix}}}:", notify
        self._redis: Any = redis.Redis.from_url(
            checked_url(url),
            decode_responses=True,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            health_check_interval=15,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), _TRIES),
            retry_on_error=[BusyLoadingError, redis.exceptions.ConnectionError, redis.exceptions.TimeoutError],
        )
        text = files("fastface.service.broker").joinpath("jobs.lua").read_text()
        self._script = self._redis.register_script(text)
        self.counts()

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _call(self, name: str, *arguments: Any) -> Any:
        try:
            return self._script(keys=[self._prefix], args=[name, self._max_attempts, *arguments])
        except RedisError as error:
            raise _unavailable(error) from error

    # Those who ask

    def submit(
        self, owner: str, requests: Sequence[JobRequest], *, key: str | None = None, at_most: int | None = None
    ) -> tuple[list[Job], bool]:
        if not requests:
            raise InputValidationError("there is nothing to do: give at least one request")
        if key is not None and not 1 <= len(key) <= MAX_KEY:
            raise InputValidationError(f"the idempotency key has {len(key)} characters, must have 1 to {MAX_KEY}")
        name = "" if key is None else hashlib.sha256(json.dumps([owner, key]).encode()).hexdigest()
        new: list[str] = []
        for request in requests:
            new += [secrets.token_hex(16), json.dumps(asdict(request)), json.dumps({"name": request.name})]
            new.append(request.source or "")
        limit = "" if at_most is None else at_most
        answer = self._call("submit", owner, limit, name, fingerprint(requests), int(KEY_SECONDS), *new)
        if answer[0] == "conflict":
            raise KeyConflict("this idempotency key was used for another request")
        if answer[0] == "many":
            raise TooManyJobs(f"{answer[1]} jobs are not over, and {len(requests)} more would be more than {at_most}")
        jobs, made = [_job(row) for row in answer[1]], answer[0] == "made"
        if made:
            self._tell([job.id for job in jobs])
        return jobs, made

    def _tell(self, ids: Sequence[str]) -> None:
        if self.notify is None:
            return
        try:
            self.notify(ids)
        except Exception as error:
            _log.warning("no worker was told of %d jobs yet: %s", len(ids), error)

    def get(self, id: str, owner: str | None = None) -> Job:
        try:
            row = self._redis.hgetall(f"{self._prefix}job:{_known(id)}")
        except RedisError as error:
            raise _unavailable(error) from error
        if not row or (owner is not None and row["owner"] != owner):
            raise UnknownJob(f"there is no job {shown(id)}")
        return _job(row)

    def list(
        self,
        owner: str | None = None,
        *,
        state: str | None = None,
        source: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page:
        if state is not None and state not in STATES:
            raise InputValidationError(f"state is {shown(state)}, must be one of {', '.join(STATES)}")
        if isinstance(limit, bool) or not 1 <= limit <= MAX_PAGE:
            raise InputValidationError(f"limit is {limit!r}, must be from 1 to {MAX_PAGE}")
        if after is not None and not re.fullmatch("[0-9]{1,18}", after):
            raise InputValidationError(f"after is {shown(after)}, must be what the page before gave as next")
        rows = self._call("list", state or "any", owner or "", source or "", after or "+inf", limit + 1)
        more = len(rows) > limit
        return Page(tuple(_job(row) for row in rows[:limit]), _facts(rows[limit - 1])["seq"] if more else None)

    def cancel(self, id: str, owner: str | None = None) -> Job:
        row = self._call("cancel", _known(id), owner or "")
        if row is None:
            raise UnknownJob(f"there is no job {shown(id)}")
        return _job(row)

    def remove(self, id: str, owner: str | None = None) -> str | None:
        answer = self._call("remove", _known(id), owner or "")
        if answer is None:
            raise UnknownJob(f"there is no job {shown(id)}")
        if answer[0] == "not over":
            raise JobError(f"the job is {answer[1]}; only one that is over can be removed")
        return answer[1] or None

    def events(self, id: str, after: int = 0) -> Sequence[JobEvent]:
        try:
            rows = self._redis.zrangebyscore(
                f"{self._prefix}events:{_known(id)}", f"({max(0, min(after, 1 << 62))}", "+inf"
            )
        except UnknownJob:
            return []
        except RedisError as error:
            raise _unavailable(error) from error
        return [JobEvent(**json.loads(row)) for row in rows]

    def counts(self) -> dict[str, int]:
        try:
            with self._redis.pipeline(transaction=True) as together:
                for state in STATES:
                    together.zcard(f"{self._prefix}list:{state}")
                return dict(zip(STATES, together.execute(), strict=True))
        except RedisError as error:
            raise _unavailable(error) from error

    def files(self, keep_uploads: float = 0.0) -> set[str]:
        rows, done, results = self._call("files", keep_uploads)
        out = set(results)
        for job in map(_job, rows):
            out |= {f"{job.id}.checkpoint", *([job.request.path] if job.request.place == "upload" else [])}
        sent = (request for request in (_job(row).request for row in done) if request.place == "upload")
        return out | {request.path for request in sent if request.kind == "process"}

    # Workers

    def claim(self, worker: str, seconds: float) -> Claim | None:
        token = secrets.token_hex(16)
        row = self._call("claim", worker, seconds, token, json.dumps(asdict(Progress("loading"))))
        return None if row is None else Claim(_job(row), token)

    def beat(self, claim: Claim, seconds: float, progress: Progress | None = None) -> Literal["go", "cancel", "lost"]:
        facts = "" if progress is None else json.dumps(asdict(progress))
        answer: Literal["go", "cancel", "lost"] = self._call("beat", claim.job.id, claim.token, seconds, facts)
        return answer

    def finish(self, claim: Claim, result: str) -> bool:
        return bool(self._call("finish", claim.job.id, claim.token, result))

    def fail(self, claim: Claim, code: str, message: str, *, again: bool = False) -> bool:
        error = json.dumps({"code": code, "message": message})
        return bool(self._call("fail", claim.job.id, claim.token, error, int(again)))

    def end(self, claim: Claim) -> bool:
        return bool(self._call("end", claim.job.id, claim.token))

    def give_back(self, claim: Claim) -> bool:
        data = json.dumps({"name": claim.job.request.name})
        given = bool(self._call("give_back", claim.job.id, claim.token, data))
        if given:
            self._tell([claim.job.id])
        return given

    def release(self, worker: str) -> int:
        return int(self._call("release", worker))

    # The broker

    def unsent(self, list: str, limit: int = 100) -> Sequence[str]:
        """Ids of jobs that may be taken, as many as there are more of them than messages; jobs whose lease ran out, and
        those that waited for another try, are among them from their time on.

        Args:
            list: name of Redis' list with the messages.
            limit: so many at most.
        """
        ids: Sequence[str] = self._call("unsent", list, limit)
        return ids

    def here(self, worker: str, seconds: float) -> None:
        """A worker lives, for that long at least; 0: it ends."""
        self._call("here", worker, seconds)

    def workers(self) -> Sequence[str]:
        """Names of workers that live."""
        names: Sequence[str] = self._call("workers")
        return names


def _unavailable(error: RedisError) -> JobsUnavailable:
    """Whoever asked is not told where Redis is; the log is."""
    _log.warning("Redis cannot be asked: %s: %s", type(error).__name__, error)
    return JobsUnavailable("the jobs cannot be reached now")


def _known(id: str) -> str:
    """An id that a job can have; any other is no part of a name in Redis."""
    if not re.fullmatch("[0-9a-f]{32}", id):
        raise UnknownJob(f"there is no job {shown(id)}")
    return id


def _facts(row: Any) -> dict[str, str]:
    """A hash, as a script gives it."""
    return dict(row) if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))


def _job(row: Any) -> Job:
    facts = _facts(row)
    progress = Progress(**json.loads(facts["progress"])) if "progress" in facts else Progress("queued")
    if facts["state"] == "done":
        progress = replace(progress, stage="done", seconds_left=0.0)
    state: Any = facts["state"]
    return Job(
        id=facts["id"],
        owner=facts["owner"],
        request=JobRequest(**json.loads(facts["request"])),
        state=state,
        cancelling=facts["cancelling"] == "1",
        created=float(facts["created"]),
        started=float(facts["started"]) if "started" in facts else None,
        finished=float(facts["finished"]) if "finished" in facts else None,
        attempt=int(facts["attempt"]),
        progress=progress,
        error=json.loads(facts["error"]) if "error" in facts else None,
        result=facts.get("result"),
    )
