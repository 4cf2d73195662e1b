"""What the monitor sees: the real machine, and GPUs that a stand-in for NVML has."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from asking import request_for, wait_for

from fastface.service.embedded import EmbeddedJobs
from fastface.service.jobs import Progress
from fastface.service.monitor import INTERVAL, KEPT, Gpus, Monitor


class FakeNVML:
    """Two GPUs, as much of NVML as the monitor asks."""

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):
        pass

    def __init__(self) -> None:
        self.begun = 0
        self.lost: set[int] = set()
        self.dumb: set[int] = set()
        self.load = {0: (37, 91), 1: (100, 0)}

    def nvmlInit(self) -> None:
        self.begun += 1

    def nvmlShutdown(self) -> None:
        self.begun -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        return SimpleNamespace(index=index)

    def nvmlDeviceGetName(self, handle: Any) -> Any:
        return "NVIDIA Drawn 1" if handle.index else b"NVIDIA Drawn 0"

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        if handle.index in self.lost:
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(used=(handle.index + 1) << 30, total=80 << 30, free=0)

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:
        if handle.index in self.dumb:
            raise self.NVMLError_NotSupported("not of a part of a GPU")
        return SimpleNamespace(gpu=self.load[handle.index][0], memory=3)

    def nvmlDeviceGetDecoderUtilization(self, handle: Any) -> list[int]:
        return [self.load[handle.index][1], 167_000]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNVML:
    fake = FakeNVML()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


@pytest.fixture
def no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.fixture
def keeper(tmp_path: Path) -> EmbeddedJobs:
    return EmbeddedJobs(tmp_path / "jobs.sqlite")


def seen(monitor: Monitor, condition: Any) -> Any:
    return wait_for(lambda: [s for s in monitor.samples() if condition(s)])[0]


class TestMachine:
    @pytest.mark.usefixtures("no_nvml")
    def test_the_real_one(self, keeper: EmbeddedJobs) -> None:
        monitor = Monitor(keeper, lambda: 3, interval=0.02)
        assert monitor.last is None
        before = time.time()
        monitor.start()
        try:
            wait_for(lambda: len(monitor.samples()) >= 5)
            seen(monitor, lambda s: sum(range(10_000)) and s.cpu > 0)  # which is work that it sees, in the end
        finally:
            monitor.stop()
        samples = monitor.samples()
        assert [s.at for s in samples] == sorted({s.at for s in samples})
        assert before <= samples[0].at <= samples[-1].at <= time.time()
        for sample in samples:
            assert 0 <= sample.cpu <= 100
            assert 0 < sample.memory < sample.memory_total == psutil.virtual_memory().total
            assert (sample.gpus, sample.workers, sample.fps, sample.done) == ((), 3, 0.0, 0)
            assert sample.jobs == {"queued": 0, "running": 0}
        assert monitor.last == samples[-1]
        assert monitor.samples(samples[1].at) == samples[2:]
        assert monitor.samples(samples[-1].at) == []

    def test_an_hour_by_two_seconds(self, keeper: EmbeddedJobs) -> None:
        assert (INTERVAL, KEPT) == (2.0, 3600.0)
        monitor = Monitor(keeper, interval=0.01, kept=0.05)
        monitor.start()
        try:
            first = wait_for(lambda: monitor.last).at
            wait_for(lambda: monitor.samples()[0].at > first)
            assert len(monitor.samples()) <= 5
        finally:
            monitor.stop()

    def test_started_and_stopped_twice(self, keeper: EmbeddedJobs, nvml: FakeNVML) -> None:
        monitor = Monitor(keeper, interval=0.02)
        for _ in range(2):
            monitor.start()
            monitor.start()
            assert nvml.begun == 1
            count = len(monitor.samples())
            wait_for(lambda count=count: len(monitor.samples()) > count)
            monitor.stop()
            monitor.stop()
            assert nvml.begun == 0

    def test_a_clock_that_is_set_back(self, keeper: EmbeddedJobs, monkeypatch: pytest.MonkeyPatch) -> None:
        monitor = Monitor(keeper)
        now = SimpleNamespace(time=lambda: 5000.0, monotonic=time.monotonic)
        monkeypatch.setattr("fastface.service.monitor.time", now)
        monitor._look()
        now.time = lambda: 4000.0
        monitor._look()
        assert [s.at for s in monitor.samples()] == [4000.0], "times ascend, so that `since` finds what is new"


class TestGpus:
    def test_two(self, keeper: EmbeddedJobs, nvml: FakeNVML) -> None:
        monitor = Monitor(keeper, interval=0.02)
        monitor.start()
        try:
            sample = seen(monitor, lambda s: s.gpus)
            assert sample.to_dict()["gpus"] == (
                {"index": 0, "name": "NVIDIA Drawn 0", "gpu": 37.0, "nvdec": 91.0, "memory": 1 << 30,
                 "memory_total": 80 << 30},
                {"index": 1, "name": "NVIDIA Drawn 1", "gpu": 100.0, "nvdec": 0.0, "memory": 2 << 30,
                 "memory_total": 80 << 30},
            )  # fmt: skip
            nvml.load[1] = (5, 6)
            assert seen(monitor, lambda s: s.gpus[1].gpu == 5.0).gpus[1].nvdec == 6.0
        finally:
            monitor.stop()

    def test_what_the_driver_does_not_tell(self, nvml: FakeNVML) -> None:
        nvml.dumb.add(0)
        first, second = Gpus().read()
        assert (first.gpu, first.nvdec, second.gpu) == (None, 91.0, 100.0)

    def test_one_that_is_lost(self, nvml: FakeNVML, caplog: pytest.LogCaptureFixture) -> None:
        gpus = Gpus()
        nvml.lost.add(0)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert [g.index for g in gpus.read()] == [1]
        assert caplog.text.count("GPU 0 (NVIDIA Drawn 0) cannot be read: GPU is lost") == 1
        nvml.lost.clear()
        assert [g.index for g in gpus.read()] == [0, 1]

    def test_the_stand_in_has_what_the_package_has(self) -> None:
        real = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
        names = [name for name in vars(FakeNVML) if name.startswith(("nvml", "NVML"))]
        assert len(names) == 10
        for name in names:
            assert callable(getattr(real, name)), name
        assert issubclass(real.NVMLError, Exception)
        assert issubclass(type(real.NVMLError(real.NVML_ERROR_NOT_SUPPORTED)), real.NVMLError)
        assert type(real.NVMLError(real.NVML_ERROR_NOT_SUPPORTED)).__name__ == "NVMLError_NotSupported"

    @pytest.mark.usefixtures("no_nvml")
    def test_without_the_package(self) -> None:
        gpus = Gpus()
        assert gpus.read() == ()
        gpus.close()

    def test_without_a_driver(self, nvml: FakeNVML, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_driver() -> None:
            raise nvml.NVMLError("Driver Not Loaded")

        monkeypatch.setattr(nvml, "nvmlInit", no_driver)
        gpus = Gpus()
        assert gpus.read() == ()
        gpus.close()
        assert nvml.begun == 0, "what was not begun is not ended"


@pytest.mark.usefixtures("no_nvml")
class TestJobs:
    def test_queue_speed_and_what_was_done(self, keeper: EmbeddedJobs) -> None:
        keeper.submit("ann", [request_for("old.mp4")])
        claim = keeper.claim("w", 60)
        assert claim is not None
        keeper.finish(claim, "old")
        monitor = Monitor(keeper)
        monitor._look()
        assert monitor.last is not None
        assert monitor.last.done == 0, "it was done before the start"
        keeper.submit("ann", [request_for("a.mp4"), request_for("b.mp4")])
        keeper.submit("bob", [request_for("c.mp4")])
        first, second = keeper.claim("w", 60), keeper.claim("v", 60)
        assert first is not None
        assert second is not None
        keeper.beat(first, 60, Progress("frames", 10, 100, 40.5, 1.0))
        keeper.beat(second, 60, Progress("frames", 10, 100, 60.25, 1.0))
        monitor._look()
        assert monitor.last.jobs == {"queued": 1, "running": 2}
        assert (monitor.last.fps, monitor.last.workers) == (100.75, None)
        keeper.beat(second, 60, Progress("people", 100, 100, 60.25, None))
        monitor._look()
        assert monitor.last.fps == 40.5, "who gathers people goes through no frames"
        for held in (first, second):
            assert keeper.finish(held, "result")
        monitor._look()
        assert (monitor.last.done, monitor.last.fps) == (2, 0.0)
        keeper.remove(first.job.id)
        monitor._look()
        third = keeper.claim("w", 60)
        assert third is not None
        keeper.fail(third, "bad_video", "no video at all")
        monitor._look()
        assert monitor.last.done == 2, "neither what is removed nor what fails changes it"

    def test_more_jobs_than_a_page(self, keeper: EmbeddedJobs, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fastface.service.monitor.MAX_PAGE", 2)
        keeper.submit("ann", [request_for(f"{i}.mp4") for i in range(5)])
        for i in range(5):
            claim = keeper.claim(f"w{i}", 60)
            assert claim is not None
            keeper.beat(claim, 60, Progress("frames", 1, 2, 10.0, 1.0))
        monitor = Monitor(keeper)
        monitor._look()
        assert monitor.last is not None
        assert monitor.last.fps == 50.0

    def test_jobs_that_cannot_be_asked_now(self, keeper: EmbeddedJobs, caplog: pytest.LogCaptureFixture) -> None:
        calls = 0

        class Broken:
            def counts(self) -> Any:
                nonlocal calls
                calls += 1
                if calls in (2, 3):
                    raise OSError("no disk")
                return keeper.counts()

        monitor = Monitor(Broken(), interval=0.01)  # type: ignore[arg-type]
        monitor.start()
        try:
            wait_for(lambda: calls > 5)
        finally:
            monitor.stop()
        assert len(monitor.samples()) >= 3
        assert caplog.text.count("the machine and the jobs were not looked at: no disk") == 1
