"""Jobs in one SQLite file (write-ahead log), for one machine and as many processes as one likes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from fastface.errors import InputValidationError, shown
from fastface.service.jobs import (
    MAX_KEY,
    MAX_PAGE,
    OVER,
    STATES,
    Claim,
    Job,
    JobError,
    JobEvent,
    JobRequest,
    KeyConflict,
    Page,
    Progress,
    TooManyJobs,
    UnknownJob,
    fingerprint,
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL,
    cancelling INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    not_before REAL NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    token TEXT,
    lease REAL,
    progress TEXT NOT NULL,
    error TEXT,
    result TEXT,
    source TEXT
);
CREATE INDEX IF NOT EXISTS jobs_state ON jobs (state, seq);
CREATE INDEX IF NOT EXISTS jobs_owner ON jobs (owner, state, seq);
CREATE INDEX IF NOT EXISTS jobs_newest ON jobs (owner, seq);
CREATE TABLE IF NOT EXISTS keys (
    owner TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, jobs TEXT NOT NULL, created REAL NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_job ON events (job, number);
"""

KEY_SECONDS = 24 * 3600.0
"""How long an idempotency key is remembered at least."""


class EmbeddedJobs:
    """Keeps jobs in a file; see :class:`fastface.service.jobs.Jobs`.

    Args:
        path: of the file, on a local disk. It is made where there is none.
        max_attempts: how often a job is begun until it is given up.

    Raises:
        JobError: the file cannot be opened, or is something else.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_attempts: int = 3) -> None:
        self._path, self._max_attempts = Path(path), max_attempts
        self._local = threading.local()
        try:
            self._database().executescript(_SCHEMA)
            self._migrate()
        except sqlite3.Error as error:
            raise JobError(f"the jobs in {os.fspath(path)!r} cannot be opened: {error}") from error

    def _migrate(self) -> None:
        """Files of the first version know no clips."""
        with self._writing() as database:
            if "source" not in {row["name"] for row in database.execute("PRAGMA table_info(jobs)")}:
                database.execute("ALTER TABLE jobs ADD COLUMN source TEXT")
            database.execute("CREATE INDEX IF NOT EXISTS jobs_source ON jobs (source, seq) WHERE source IS NOT NULL")

    def _database(self) -> sqlite3.Connection:
        """This thread's connection."""
        database: sqlite3.Connection | None = getattr(self._local, "database", None)
        if database is None:
            database = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            database.row_factory = sqlite3.Row
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            self._local.database = database
        return database

    def close(self) -> None:
        """Close this thread's connection."""
        database: sqlite3.Connection | None = getattr(self._local, "database", None)
        if database is not None:
            database.close()
            self._local.database = None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes beside: all of it, or nothing."""
        database = self._database()
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    # Those who ask

    def submit(
        self, owner: str, requests: Sequence[JobRequest], *, key: str | None = None, at_most: int | None = None
    ) -> tuple[list[Job], bool]:
        if not requests:
            raise InputValidationError("there is nothing to do: give at least one request")
        if key is not None and not 1 <= len(key) <= MAX_KEY:
            raise InputValidationError(f"the idempotency key has {len(key)} characters, must have 1 to {MAX_KEY}")
        now, mark = time.time(), fingerprint(requests)
        with self._writing() as database:
            if key is not None:
                database.execute("DELETE FROM keys WHERE created < ?", (now - KEY_SECONDS,))
                known = database.execute("SELECT * FROM keys WHERE owner = ? AND key = ?", (owner, key)).fetchone()
                if known is not None:
                    if known["fingerprint"] != mark:
                        raise KeyConflict("this idempotency key was used for another request")
                    rows = [self._row(database, id) for id in json.loads(known["jobs"])]
                    if all(row is not None for row in rows):
                        return [_job(row) for row in rows if row is not None], False
            if at_most is not None:
                (active,) = database.execute(
                    "SELECT count(*) FROM jobs WHERE owner = ? AND state IN ('queued', 'running')", (owner,)
                ).fetchone()
                if active + len(requests) > at_most:
                    raise TooManyJobs(
                        f"{active} jobs are not over, and {len(requests)} more would be more than {at_most}"
                    )
            ids = [secrets.token_hex(16) for _ in requests]
            for id, request in zip(ids, requests, strict=True):
                database.execute(
                    "INSERT INTO jobs (id, owner, request, state, created, progress, source)"
                    " VALUES (?, ?, ?, 'queued', ?, ?, ?)",
                    (
                        id,
                        owner,
                        json.dumps(asdict(request)),
                        now,
                        json.dumps(asdict(Progress("queued"))),
                        request.source,
                    ),
                )
                _event(database, id, "queued", {"name": request.name})
            if key is not None:
                database.execute(
                    "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?)", (owner, key, mark, json.dumps(ids), now)
                )
            return [_job(self._must(database, id, owner)) for id in ids], True

    def get(self, id: str, owner: str | None = None) -> Job:
        return _job(self._must(self._database(), id, owner))

    def cancel(self, id: str, owner: str | None = None) -> Job:
        with self._writing() as database:
            row = self._must(database, id, owner)
            if row["state"] == "queued":
                self._over(database, id, "cancelled", {})
            elif row["state"] == "running" and not row["cancelling"]:
                database.execute("UPDATE jobs SET cancelling = 1 WHERE id = ?", (id,))
                _event(database, id, "cancelling", {})
            return _job(self._must(database, id, owner))

    def remove(self, id: str, owner: str | None = None) -> str | None:
        with self._writing() as database:
            row = self._must(database, id, owner)
            if row["state"] not in OVER:
                raise JobError(f"the job is {row['state']}; only one that is over can be removed")
            database.execute("DELETE FROM events WHERE job = ?", (id,))
            database.execute("DELETE FROM jobs WHERE id = ?", (id,))
            result: str | None = row["result"]
            return result

    def events(self, id: str, after: int = 0) -> Sequence[JobEvent]:
        rows = self._database().execute(
            "SELECT * FROM events WHERE job = ? AND number > ? ORDER BY number", (id, max(0, min(after, 1 << 62)))
        )
        return [JobEvent(row["number"], row["kind"], row["at"], json.loads(row["data"])) for row in rows]

    def counts(self) -> dict[str, int]:
        rows = self._database().execute("SELECT state, count(*) AS n FROM jobs GROUP BY state")
        return {**dict.fromkeys(STATES, 0), **{row["state"]: row["n"] for row in rows}}

    def files(self, keep_uploads: float = 0.0) -> set[str]:
        database, out = self._database(), set()
        for row in database.execute("SELECT id, request FROM jobs WHERE state IN ('queued', 'running')"):
            request = JobRequest(**json.loads(row["request"]))
            out |= {f"{row['id']}.checkpoint", *([request.path] if request.place == "upload" else [])}
        since = time.time() - keep_uploads
        for row in database.execute("SELECT request FROM jobs WHERE state = 'done' AND finished > ?", (since,)):
            request = JobRequest(**json.loads(row["request"]))
            if request.place == "upload" and request.kind == "process":
                out.add(request.path)
        return out | {row["result"] for row in database.execute("SELECT result FROM jobs WHERE result IS NOT NULL")}

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
        before = int(after) if after is not None else 1 << 62
        wanted = {"owner": owner, "state": state, "source": source}
        where = " AND ".join(["seq < :before", *(f"{name} = :{name}" for name, v in wanted.items() if v is not None)])
        rows = (
            self._database()
            .execute(
                f"SELECT * FROM jobs WHERE {where} ORDER BY seq DESC LIMIT :limit",
                {"before": before, "limit": limit + 1, **wanted},
            )
            .fetchall()
        )
        more = len(rows) > limit
        return Page(tuple(_job(row) for row in rows[:limit]), str(rows[limit - 1]["seq"]) if more else None)

    # Workers

    def claim(self, worker: str, seconds: float) -> Claim | None:
        now = time.time()
        if (
            not self._database()
            .execute(  # without the lock that writing takes, while there is nothing to do
                "SELECT 1 FROM jobs WHERE state = 'queued' OR (state = 'running' AND lease < ?) LIMIT 1", (now,)
            )
            .fetchone()
        ):
            return None
        with self._writing() as database:
            for row in database.execute("SELECT * FROM jobs WHERE state = 'running' AND lease < ?", (now,)).fetchall():
                self._lost(database, row)
            row = database.execute(
                "SELECT * FROM jobs WHERE state = 'queued' AND not_before <= ? ORDER BY (SELECT count(*) FROM jobs"
                " AS other WHERE other.owner = jobs.owner AND other.state = 'running'), seq LIMIT 1",
                (now,),
            ).fetchone()
            if row is None:
                return None
            token = secrets.token_hex(16)
            progress = json.dumps(asdict(Progress("loading")))
            database.execute(
                "UPDATE jobs SET state = 'running', worker = ?, token = ?, lease = ?, started = ?, progress = ?,"
                " attempt = attempt + 1 WHERE id = ?",
                (worker, token, now + seconds, now, progress, row["id"]),
            )
            _event(database, row["id"], "started", {"attempt": row["attempt"] + 1})
            return Claim(_job(self._must(database, row["id"], None)), token)

    def _lost(self, database: sqlite3.Connection, row: sqlite3.Row) -> None:
        """A worker died with this job."""
        if row["cancelling"]:
            self._over(database, row["id"], "cancelled", {})
        elif row["attempt"] >= self._max_attempts:
            error = {"code": "worker_lost", "message": f"{row['attempt']} workers died with this job"}
            self._over(database, row["id"], "failed", error)
        else:
            self._queue(database, row["id"], 0.0)
            _event(database, row["id"], "retried", {"code": "worker_lost", "message": "the worker died"})

    def beat(self, claim: Claim, seconds: float, progress: Progress | None = None) -> Literal["go", "cancel", "lost"]:
        with self._writing() as database:
            row = self._held(database, claim)
            if row is None:
                return "lost"
            database.execute("UPDATE jobs SET lease = ? WHERE id = ?", (time.time() + seconds, claim.job.id))
            if progress is not None:
                facts = asdict(progress)
                database.execute("UPDATE jobs SET progress = ? WHERE id = ?", (json.dumps(facts), claim.job.id))
                database.execute("DELETE FROM events WHERE job = ? AND kind = 'progress'", (claim.job.id,))
                _event(database, claim.job.id, "progress", facts)
            return "cancel" if row["cancelling"] else "go"

    def finish(self, claim: Claim, result: str) -> bool:
        with self._writing() as database:
            row = self._held(database, claim)
            if row is None:
                return False
            progress = {**json.loads(row["progress"]), "stage": "done", "seconds_left": 0.0}
            database.execute(
                "UPDATE jobs SET result = ?, progress = ? WHERE id = ?", (result, json.dumps(progress), claim.job.id)
            )
            self._over(database, claim.job.id, "done", {})
            return True

    def fail(self, claim: Claim, code: str, message: str, *, again: bool = False) -> bool:
        with self._writing() as database:
            row = self._held(database, claim)
            if row is None:
                return False
            error = {"code": code, "message": message}
            if again and row["attempt"] < self._max_attempts and not row["cancelling"]:
                self._queue(database, claim.job.id, time.time() + 2.0 ** row["attempt"])
                _event(database, claim.job.id, "retried", error)
            else:
                self._over(database, claim.job.id, "failed", error)
            return True

    def end(self, claim: Claim) -> bool:
        with self._writing() as database:
            if self._held(database, claim) is None:
                return False
            self._over(database, claim.job.id, "cancelled", {})
            return True

    def give_back(self, claim: Claim) -> bool:
        with self._writing() as database:
            row = self._held(database, claim)
            if row is None:
                return False
            if row["cancelling"]:
                self._over(database, claim.job.id, "cancelled", {})
            else:
                self._queue(database, claim.job.id, 0.0)
                database.execute("UPDATE jobs SET attempt = attempt - 1 WHERE id = ?", (claim.job.id,))
                _event(database, claim.job.id, "queued", {"name": claim.job.request.name})
            return True

    def release(self, worker: str) -> int:
        with self._writing() as database:
            rows = database.execute("SELECT * FROM jobs WHERE worker = ? AND state = 'running'", (worker,)).fetchall()
            for row in rows:
                self._lost(database, row)
            return len(rows)

    # Rows

    @staticmethod
    def _row(database: sqlite3.Connection, id: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = database.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
        return row

    def _must(self, database: sqlite3.Connection, id: str, owner: str | None) -> sqlite3.Row:
        row = self._row(database, id)
        if row is None or (owner is not None and row["owner"] != owner):
            raise UnknownJob(f"there is no job {shown(id)}")
        return row

    def _held(self, database: sqlite3.Connection, claim: Claim) -> sqlite3.Row | None:
        """The job, if the claim still counts."""
        row = self._row(database, claim.job.id)
        return row if row is not None and row["state"] == "running" and row["token"] == claim.token else None

    @staticmethod
    def _queue(database: sqlite3.Connection, id: str, not_before: float) -> None:
        database.execute(
            "UPDATE jobs SET state = 'queued', worker = NULL, token = NULL, lease = NULL, not_before = ? WHERE id = ?",
            (not_before, id),
        )

    @staticmethod
    def _over(database: sqlite3.Connection, id: str, state: str, error: Mapping[str, str]) -> None:
        database.execute(
            "UPDATE jobs SET state = ?, cancelling = 0, worker = NULL, token = NULL, lease = NULL, finished = ?,"
            " error = ? WHERE id = ?",
            (state, time.time(), json.dumps(error) if error else None, id),
        )
        _event(database, id, state, error)


def _event(database: sqlite3.Connection, id: str, kind: str, data: Mapping[str, Any]) -> None:
    database.execute(
        "INSERT INTO events (job, kind, at, data) VALUES (?, ?, ?, ?)", (id, kind, time.time(), json.dumps(data))
    )


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        owner=row["owner"],
        request=JobRequest(**json.loads(row["request"])),
        state=row["state"],
        cancelling=bool(row["cancelling"]),
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        attempt=row["attempt"],
        progress=Progress(**json.loads(row["progress"])),
        error=None if row["error"] is None else json.loads(row["error"]),
        result=row["result"],
    )
