"""`fastface worker` processes, and what must have come of their jobs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fastface.service.broker.redis_jobs import RedisJobs
from fastface.service.place import Place
from fastface.timeline import Timeline
from film import MODEL


class Fleet:
    """`fastface worker` processes; a context manager, at whose end they are killed.

    Args:
        url: of Redis.
        place: the service's.
        storage: the workers share no folder.
    """

    def __init__(self, url: str, place: Place, storage: str | None = None, lease: float = 3.0) -> None:
        where = [str(place.folder)] if storage is None else ["--storage", storage, str(place.folder / "copies")]
        self._command = [sys.executable, "-m", "fastface", "worker", *where, "--broker", url, "--root",
                         str(place.root), "--device", "cpu", "--embedder", MODEL, "--threads", "1", "--lease",
                         str(lease), "--checkpoint", "0.3", "--max-attempts", "100"]  # fmt: skip
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self._command, start_new_session=True, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def same(path: Path, wanted: Timeline) -> None:
    got = Timeline.from_json(path)
    for name in ("frame", "time", "box", "track", "identity"):
        np.testing.assert_allclose(getattr(got.faces, name), getattr(wanted.faces, name), atol=0.01)
    assert [p.instances for p in got.identities] == [
        p.instances for p in Timeline.from_dict(wanted.to_dict()).identities
    ]


def ended_once(jobs: RedisJobs, job: Any) -> None:
    assert [event.kind for event in jobs.events(job.id)].count("done") == 1
