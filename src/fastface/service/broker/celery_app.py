"""Celery carries messages that say "there is a job"; what a message means is for :class:`RedisJobs` to say.

A message has a job's id, but who gets it takes the job whose turn it is. So a message too many finds nothing to do, and
one that is lost is sent again by :class:`Resend`: neither makes a job happen twice, or not at all.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery
from celery.exceptions import Reject
from celery.signals import worker_shutting_down

from fastface.service.broker.redis_jobs import RedisJobs, checked_url
from fastface.service.jobs import JobsUnavailable
from fastface.service.worker import Worker

_log = logging.getLogger("fastface.service")

TASK = "fastface.job"
QUEUE = "jobs"

RESEND = 1.0  # seconds between two looks for jobs that nobody was told of
HERE = 10.0  # seconds that a worker is believed to live after it was heard of
VISIBLE = 3600  # seconds after which Celery gives a message that was not answered to another worker
_GRACE = 20.0  # seconds that a worker gets to end
_RETRY = {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5}


def messages(prefix: str) -> str:
    """Name of Redis' list with the messages that nobody has taken yet."""
    return f"{{{prefix}}}:celery:{QUEUE}"


def make_app(url: str, prefix: str = "fastface") -> Celery:
    """Celery, as services and workers use it.

    Args:
        url: redis://HOST:PORT/NUMBER.
        prefix: of all names in Redis.

    Raises:
        InputValidationError: the URL is none.
    """
    app = Celery("fastface", broker=checked_url(url), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "global_keyprefix": f"{{{prefix}}}:celery:",
            "visibility_timeout": VISIBLE,
            "socket_connect_timeout": 5.0,
            "socket_keepalive": True,
        },
        task_acks_late=True,  # a message is answered when its job is over, and not when it comes
        task_acks_on_failure_or_timeout=False,
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_reject_on_worker_lost=True,
        task_serializer="json",
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,  # none waits at a worker that is busy
    )
    return app


def sender(app: Celery) -> Callable[[Sequence[str]], None]:
    """What sends a message for each of some jobs."""

    def send(ids: Sequence[str]) -> None:
        for id in ids:
            app.send_task(TASK, args=[id], queue=QUEUE, retry=True, retry_policy=_RETRY)

    return send


class Resend:
    """Looks, again and again, for jobs that nobody was told of: a message was lost, a worker died, or the time for
    another try has come. A context manager; services have one, and each worker, too.

    Args:
        jobs: where jobs are.
        send: see :func:`sender`.
        prefix: see :class:`RedisJobs`.
        worker: name of the worker that this speaks for; None: of none.
    """

    def __init__(
        self, jobs: RedisJobs, send: Callable[[Sequence[str]], None], prefix: str, worker: str | None = None
    ) -> None:
        self._jobs, self._send, self._list, self._worker = jobs, send, messages(prefix), worker
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fastface-resend", daemon=True)

    def __enter__(self) -> Resend:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        if self._worker is not None:
            with contextlib.suppress(JobsUnavailable):
                self._jobs.here(self._worker, 0)

    def once(self) -> int:
        """Look, and send what is missing; gives how many messages that were."""
        if self._worker is not None:
            self._jobs.here(self._worker, HERE)
        ids = self._jobs.unsent(self._list)
        if ids:
            self._send(ids)
        return len(ids)

    def _run(self) -> None:
        while True:
            try:
                self.once()
            except Exception as error:  # Redis is away; whatever it is, this thread must go on
                _log.warning("no look for jobs that nobody was told of: %s", error)
            if self._over.wait(RESEND):
                return


def add_task(app: Celery, jobs: RedisJobs, worker: Worker, name: str, lease: float) -> Any:
    """Tell Celery what to do with a message: one job, if there is any.

    Args:
        app: see :func:`make_app`.
        jobs: where jobs are taken.
        worker: does them.
        name: of the worker.
        lease: see :class:`fastface.service.worker.WorkerOptions`.

    Returns:
        Celery's task.
    """

    @app.task(name=TASK, bind=True, max_retries=None)  # type: ignore[untyped-decorator]
    def job(task: Any, id: str) -> None:
        if worker.stopped.is_set():
            raise Reject("this worker ends", requeue=True)
        try:
            claim = jobs.claim(name, lease)
        except JobsUnavailable as error:
            raise task.retry(exc=error, countdown=min(60, 2**task.request.retries)) from error
        if claim is None:
            return  # it was cancelled, or another has it
        worker.do(claim)
        if worker.stopped.is_set():
            raise Reject("this worker ends", requeue=True)  # what it gave back is for another

    return job


def work(url: str, prefix: str, jobs: RedisJobs, worker: Worker, name: str, lease: float) -> int:
    """Do jobs until SIGTERM or SIGINT; then give back the one that is being done. Gives the exit code.

    One process that does one job at a time (Celery's "solo"), so that models stay loaded, and a GPU has one user.
    """
    app = make_app(url, prefix)
    add_task(app, jobs, worker, name, lease)

    def stop(**facts: Any) -> None:
        worker.stopped.set()
        threading.Thread(target=_give_up, name="fastface-end", daemon=True).start()

    # Celery's own handlers wait for the job's end, which may be hours away.
    worker_shutting_down.connect(stop, weak=False)
    consumer = app.Worker(
        hostname=f"{name}@{os.uname().nodename}",
        pool="solo",
        concurrency=1,
        queues=[QUEUE],
        loglevel="WARNING",
        quiet=True,
        redirect_stdouts=False,
        without_gossip=True,
        without_heartbeat=True,
        without_mingle=True,
    )
    try:
        with Resend(jobs, sender(app), prefix, name):
            consumer.start()
    finally:
        worker_shutting_down.disconnect(stop)
        worker.close()
    return int(consumer.exitcode or 0)


def _give_up() -> None:
    threading.Event().wait(_GRACE)
    _log.warning("this worker did not end within %.0f s, and is ended", _GRACE)
    os.kill(os.getpid(), signal.SIGKILL)
