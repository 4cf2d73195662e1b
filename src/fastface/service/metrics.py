"""Figures for Prometheus."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from fastface.service.gate import Refused
from fastface.service.jobs import Jobs
from fastface.service.workers import Workers


class Metrics:
    """Figures for Prometheus, where its client is installed.

    Args:
        jobs: that are counted.
        workers: that are counted; None: there are none here.
    """

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
        """An answer was given: the path's template, and its status."""
        if self._client is not None:
            self._requests.labels(path, str(status)).inc()

    def page(self) -> Response:
        """All figures.

        Raises:
            Refused: the client is not installed.
        """
        if self._client is None:
            raise Refused(501, "not_installed", "install prometheus-client for this")
        for state, number in self._jobs.counts().items():
            self._states.labels(state).set(number)
        self._alive.set(0 if self._workers is None else len(self._workers.pids))
        return Response(self._client.generate_latest(self._registry), media_type=self._client.CONTENT_TYPE_LATEST)
