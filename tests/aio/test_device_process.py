"""Pipelines in processes of their own: the same results and errors, and an end whatever happens to either side."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
import torch
from aio_settings import QUICK

import fastface
from fastface import device_process
from fastface.batch import BatchProcessor
from fastface.device_process import DeviceProcess
from fastface.watch import Cancelled, Watch, watching
from film import Film

SETTINGS = {**QUICK, "device": "cpu"}


def equal(got: fastface.Timeline, wanted: fastface.Timeline) -> None:
    for column in ("frame", "time", "box", "score", "landmarks", "track", "identity"):
        np.testing.assert_array_equal(getattr(got.faces, column), getattr(wanted.faces, column))
    assert got.identities == wanted.identities
    assert got.embeddings is not None
    assert wanted.embeddings is not None
    np.testing.assert_array_equal(got.embeddings.mean, wanted.embeddings.mean)


@pytest.fixture
def apart() -> Iterator[DeviceProcess]:
    with DeviceProcess(SETTINGS, None) as process:
        yield process


def test_videos_errors_and_the_log(
    apart: DeviceProcess, film: Film, quick: fastface.Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(fastface.InputValidationError, match=r"none\.mp4"):
        apart.process(str(tmp_path / "none.mp4"))
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(fastface.InputValidationError):
        apart.process(str(tmp_path / "text.mp4"))
    told = [r for r in caplog.records if r.levelno >= logging.WARNING and "none.mp4" in r.getMessage()]
    assert told, "what the other process logs is logged here"
    equal(apart.process(str(film.path)), quick.process(film.path))


def test_errors_that_do_not_survive_a_pipe() -> None:
    class Odd(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(f"{a} and {b}")

    told = device_process._sendable(Odd(1, 2))
    assert (type(told), str(told)) == (RuntimeError, "Odd: 1 and 2")
    error = fastface.VideoProcessingError("broken", frame=7, time=0.25)
    assert device_process._sendable(error) is error


def test_a_process_that_is_killed(apart: DeviceProcess, long_film: Path, film: Film) -> None:
    timer = threading.Timer(1.0, apart._process.kill)
    timer.start()
    with pytest.raises(fastface.GPUError, match="the process that used cpu was killed by signal 9"):
        apart.process(str(long_film))
    with pytest.raises(fastface.GPUError, match="killed by signal 9"):
        apart.process(str(film.path))


def test_cancelled_at_once(apart: DeviceProcess, long_film: Path) -> None:
    over = threading.Event()
    threading.Timer(1.0, over.set).start()
    with watching(Watch(over.is_set)), pytest.raises(Cancelled):
        apart.process(str(long_film))
    begin = time.monotonic()
    apart.close()
    assert time.monotonic() - begin < 1
    assert apart._process.returncode == -signal.SIGKILL


def test_it_ends_with_its_maker(film: Film) -> None:
    """Killed, so that it cannot say so."""
    code = (
        "import sys, time; from fastface.device_process import DeviceProcess\n"
        f"print(DeviceProcess({SETTINGS!r}, None)._process.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        child = psutil.Process(int(maker.stdout.readline()))
        os.kill(maker.pid, signal.SIGKILL)
        psutil.wait_procs([child], timeout=20)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


class OnCpu(DeviceProcess):
    """What is asked of a GPU, done by the CPU."""

    made: ClassVar[list[str]] = []

    def __init__(self, settings: dict[str, Any], gallery: Any) -> None:
        self.made.append(settings["device"])
        super().__init__({**settings, "device": "cpu"}, gallery)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(OnCpu, "made", [])
    monkeypatch.setattr(device_process, "DeviceProcess", OnCpu)
    monkeypatch.setattr("fastface.executor.gpu_count", lambda: 2)
    monkeypatch.setattr("fastface.executor.gpu_problem", lambda number=0: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 << 30, 16 << 30))
    return OnCpu.made


def test_several_gpus(two_gpus: list[str], film: Film, tmp_path: Path, embedder_spec: object) -> None:
    """A process each, with the gallery; one that dies is followed by another."""
    batch = BatchProcessor(**QUICK)
    assert batch.devices == ("cuda:0", "cuda:1")
    nobody = {"Nobody": np.eye(1, 128, dtype=np.float32)}
    gallery = fastface.Gallery(QUICK["embedder"], nobody, warnings=["one was left out"])
    results = sorted(batch.run([film.path, tmp_path / "none.mp4", film.path], gallery=gallery), key=lambda r: r.index)
    assert sorted(two_gpus) == ["cuda:0", "cuda:1"]
    assert isinstance(results[1].error, fastface.InputValidationError)
    assert {r.device for r in results} <= {"cuda:0", "cuda:1"}
    first, last = results[0].timeline, results[2].timeline
    assert first is not None
    assert last is not None
    equal(first, last)
    assert "one was left out" in first.run["warnings"]
    assert not [p for p in psutil.Process().children() if device_process.__name__ in p.cmdline()]


def test_one_video_needs_no_other_process(
    two_gpus: list[str], film: Film, quick: fastface.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Here:
        def __init__(self, **settings: Any) -> None: ...
        def __enter__(self) -> fastface.Pipeline:
            return quick

        def __exit__(self, *exc: object) -> None: ...

    monkeypatch.setattr("fastface.pipeline.Pipeline", Here)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    (result,) = fastface.process_many([film.path], **QUICK)
    assert (result.device, two_gpus) == ("cuda:0", [])
    assert result.timeline is not None
