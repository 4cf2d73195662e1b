"""What a service knows of workers on other machines."""

from __future__ import annotations

import logging
import threading
import time

from fastface.service.broker.celery_app import Resend, make_app, sender
from fastface.service.broker.redis_jobs import RedisJobs
from fastface.service.jobs import JobsUnavailable
from fastface.service.place import Place

_log = logging.getLogger("fastface.service")

_SWEEP = 600.0  # seconds between two looks for files that no job needs


class RemoteWorkers:
    """Tells workers of jobs, and tidies up. It starts none: `fastface worker` does, on whatever machine.

    Args:
        url: of Redis.
        jobs: that are told of.
        place: that is tidied.
        keep_uploads: see :meth:`Place.sweep`.
        prefix: see :class:`RedisJobs`.
    """

    def __init__(self, url: str, jobs: RedisJobs, place: Place, keep_uploads: float, prefix: str = "fastface") -> None:
        self._jobs, self._place, self._keep_uploads = jobs, place, keep_uploads
        send = sender(make_app(url, prefix))
        jobs.notify = send
        self._resend = Resend(jobs, send, prefix)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sweep, name="fastface-sweep", daemon=True)

    def start(self) -> None:
        self._resend.__enter__()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._resend.__exit__()
        self._thread.join()

    @property
    def alive(self) -> int:
        """How many live; 0 as well while Redis cannot be asked."""
        try:
            return len(self._jobs.workers())
        except JobsUnavailable:
            return 0

    def _sweep(self) -> None:
        while True:
            begin = time.monotonic()
            try:
                self._place.sweep(self._jobs, keep_uploads=self._keep_uploads)
            except Exception as error:
                _log.warning("what no job needs was not removed: %s", error)
            if self._stopped.wait(max(1.0, _SWEEP - (time.monotonic() - begin))):
                return
