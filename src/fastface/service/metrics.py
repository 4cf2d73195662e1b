"""Figures for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from starlette.responses import Response

from fastface.service.gate import Refused
from fastface.service.jobs import Jobs
from fastface.service.monitor import GpuSample, Monitor
from fastface.service.workers import Crew


class Metrics:
    """Figures for Prometheus, where its client is installed.

    Args:
        jobs: that are counted.
        workers: that are counted; None: there are none here.
        monitor: whose newest sample is told.
    """

    def __init__(self, jobs: Jobs, workers: Crew | None, monitor: Monitor) -> None:
        self._jobs, self._workers = jobs, workers
        try:
            import prometheus_client
            import prometheus_client.core
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
        self._registry.register(_Machine(prometheus_client.core, monitor))

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
        self._alive.set(0 if self._workers is None else self._workers.alive)
        return Response(self._client.generate_latest(self._registry), media_type=self._client.CONTENT_TYPE_LATEST)


_GPU: tuple[tuple[str, str, Callable[[GpuSample], float | None]], ...] = (
    ("utilization_percent", "of the last moment in which a kernel ran", lambda gpu: gpu.gpu),
    ("nvdec_percent", "of the time that its video decoders were busy", lambda gpu: gpu.nvdec),
    ("memory_bytes", "memory in use", lambda gpu: gpu.memory),
    ("memory_total_bytes", "memory there is", lambda gpu: gpu.memory_total),
)


class _Machine:
    """The monitor's newest sample; nothing before the first."""

    def __init__(self, core: Any, monitor: Monitor) -> None:
        self._core, self._monitor = core, monitor

    def collect(self) -> Iterator[Any]:
        sample = self._monitor.last
        if sample is None:
            return
        gauge = self._core.GaugeMetricFamily
        yield gauge("fastface_cpu_percent", "of all cores", sample.cpu)
        yield gauge("fastface_memory_bytes", "the machine's memory in use", sample.memory)
        yield gauge("fastface_memory_total_bytes", "the machine's memory", sample.memory_total)
        yield gauge("fastface_frames_per_second", "frames a second of all jobs", sample.fps)
        yield self._core.CounterMetricFamily("fastface_jobs_done", "jobs done since the service began", sample.done)
        for name, what, value in _GPU:
            family = gauge(f"fastface_gpu_{name}", what, labels=["gpu", "name"])
            for gpu in sample.gpus:
                figure = value(gpu)
                if figure is not None:
                    family.add_metric([str(gpu.index), gpu.name], figure)
            yield family
