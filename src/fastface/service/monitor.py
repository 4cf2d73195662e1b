"""How busy the machine and the service are: looked at every two seconds, kept for an hour in memory."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import psutil

from fastface.service.jobs import MAX_PAGE, Jobs

_log = logging.getLogger("fastface.service")

INTERVAL = 2.0
"""Seconds between two looks."""

KEPT = 3600.0
"""Seconds that are remembered."""


@dataclass(frozen=True)
class GpuSample:
    """Attributes:
    index: as NVML numbers it.
    name: as the driver calls it.
    gpu: percent of the last moment in which a kernel ran; None where the driver does not tell (a part of a GPU).
    nvdec: percent that its video decoders were busy; None likewise.
    memory, memory_total: bytes.
    """

    index: int
    name: str
    gpu: float | None
    nvdec: float | None
    memory: int
    memory_total: int


@dataclass(frozen=True)
class Sample:
    """Attributes:
    at: seconds since 1970; ascends from one to the next.
    cpu: percent of all cores since the last look, 0 to 100.
    memory, memory_total: bytes of the machine.
    gpus: of each GPU; none without NVML.
    jobs: how many are "queued" and "running", of all owners.
    workers: processes that live; None: the service has none of its own.
    fps: frames a second of all jobs that go through frames now.
    done: jobs that were done since the start. One that is done while another is removed, within one interval, is
        not seen.
    """

    at: float
    cpu: float
    memory: int
    memory_total: int
    gpus: tuple[GpuSample, ...]
    jobs: dict[str, int]
    workers: int | None
    fps: float
    done: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @cached_property
    def json(self) -> str:
        """As JSON. It is made once: an hour of these is asked for by every page that is opened."""
        return json.dumps(self.to_dict())


class Gpus:
    """The GPUs, by NVML (nvidia-ml-py). Without the package, a driver or a GPU there are none.

    A GPU that cannot be read any more is left out until it can, and the log says so once.
    """

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[tuple[int, str, Any]] = []
        self._silent: set[int] = set()
        try:
            nvml = importlib.import_module("pynvml")
            nvml.nvmlInit()
        except Exception as error:  # no package, no driver: its own errors cannot be named without the package
            _log.info("GPUs are not watched: %s", error)
            return
        self._nvml = nvml
        try:
            for index in range(nvml.nvmlDeviceGetCount()):
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                self._handles.append((index, _text(nvml.nvmlDeviceGetName(handle)), handle))
        except nvml.NVMLError as error:
            _log.warning("GPUs from number %d on are not watched: %s", len(self._handles), error)

    def read(self) -> tuple[GpuSample, ...]:
        """Each GPU as it is now."""
        out = []
        for index, name, handle in self._handles:
            try:
                memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
                out.append(
                    GpuSample(
                        index=index,
                        name=name,
                        gpu=self._percent(lambda h: self._nvml.nvmlDeviceGetUtilizationRates(h).gpu, handle),
                        nvdec=self._percent(lambda h: self._nvml.nvmlDeviceGetDecoderUtilization(h)[0], handle),
                        memory=int(memory.used),
                        memory_total=int(memory.total),
                    )
                )
                self._silent.discard(index)
            except self._nvml.NVMLError as error:
                if index not in self._silent:
                    self._silent.add(index)
                    _log.warning("GPU %d (%s) cannot be read: %s", index, name, error)
        return tuple(out)

    def _percent(self, ask: Callable[[Any], Any], handle: Any) -> float | None:
        try:
            return float(ask(handle))
        except self._nvml.NVMLError_NotSupported:
            return None

    def close(self) -> None:
        if self._nvml is not None:
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
            self._nvml, self._handles = None, []


class Monitor:
    """Looks at the machine and at the jobs in a thread of its own, from :meth:`start` to :meth:`stop`.

    Args:
        jobs: whose numbers are told.
        workers: gives how many worker processes live; None: the service has none of its own.
        interval: seconds between two looks, more than 0.
        kept: seconds that are remembered.
    """

    def __init__(
        self,
        jobs: Jobs,
        workers: Callable[[], int] | None = None,
        *,
        interval: float = INTERVAL,
        kept: float = KEPT,
    ) -> None:
        self._jobs, self._workers, self.interval = jobs, workers, interval
        self._samples: deque[Sample] = deque(maxlen=max(1, round(kept / interval)))
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._gpus: Gpus | None = None
        self._done, self._done_before = 0, -1
        self._failing = False

    def start(self) -> None:
        """Begin; nothing happens where it has begun."""
        if self._thread is not None:
            return
        self._stopped.clear()
        self._gpus = Gpus()
        psutil.cpu_percent(None)  # the first call has nothing to compare with, and gives 0
        self._thread = threading.Thread(target=self._watch, name="fastface-monitor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what was seen is still there."""
        if self._thread is None:
            return
        self._stopped.set()
        self._thread.join()
        self._thread = None
        if self._gpus is not None:
            self._gpus.close()
            self._gpus = None

    def samples(self, since: float = 0.0) -> list[Sample]:
        """What was seen after that moment (seconds since 1970), oldest first."""
        with self._lock:
            return [sample for sample in self._samples if sample.at > since]

    @property
    def last(self) -> Sample | None:
        """The newest; None before the first."""
        with self._lock:
            return self._samples[-1] if self._samples else None

    def _watch(self) -> None:
        due = time.monotonic()
        while True:
            try:
                self._look()
                self._failing = False
            except Exception as error:  # the jobs cannot be asked now: the thread goes on, the history has a gap
                if not self._failing:
                    _log.warning("the machine and the jobs were not looked at: %s", error)
                self._failing = True
            due = max(due + self.interval, time.monotonic())
            if self._stopped.wait(due - time.monotonic()):
                return

    def _look(self) -> None:
        counts = self._jobs.counts()
        done, before = counts["done"], self._done_before
        self._done_before = done
        if before >= 0:
            self._done += max(0, done - before)  # fewer than before: some were removed
        memory = psutil.virtual_memory()
        sample = Sample(
            at=time.time(),
            cpu=min(100.0, max(0.0, psutil.cpu_percent(None))),
            memory=int(memory.total - memory.available),
            memory_total=int(memory.total),
            gpus=() if self._gpus is None else self._gpus.read(),
            jobs={state: counts[state] for state in ("queued", "running")},
            workers=None if self._workers is None else self._workers(),
            fps=self._fps() if counts["running"] else 0.0,
            done=self._done,
        )
        _ = sample.json  # now, and not an hour of them when somebody asks
        with self._lock:
            if not self._samples or sample.at > self._samples[-1].at:  # a clock that was set back would hide samples
                self._samples.append(sample)
            else:
                self._samples.clear()
                self._samples.append(sample)

    def _fps(self) -> float:
        total, after = 0.0, None
        while True:
            page = self._jobs.list(state="running", after=after, limit=MAX_PAGE)
            total += sum(job.progress.fps for job in page.jobs if job.progress.stage == "frames")
            if page.next is None:
                return round(total, 3)
            after = page.next


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
