"""Errors of other libraries become ours, at whatever stage they are raised, with the original as their cause."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import pytest
import torch

import fastface
from fastface import faults, logs
from fastface.errors import FastFaceError, GPUError, GPUMemoryError, InputValidationError, VideoProcessingError
from film import MODEL, Film


def foreign(module: str, name: str, base: type[Exception] = RuntimeError) -> type[Exception]:
    """An error class as a library that is not installed here has it."""
    return type(name, (base,), {"__module__": module})


RAW: list[tuple[Exception, type[FastFaceError]]] = [
    (av.error.InvalidDataError(1094995529, "Invalid data found"), VideoProcessingError),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), GPUMemoryError),
    (RuntimeError("CUDA error: an illegal memory access was encountered"), GPUError),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), GPUError),
    (foreign("cupy.cuda.memory", "OutOfMemoryError", MemoryError)("Out of memory allocating 1,024 bytes"),
     GPUMemoryError),
    (foreign("cupy_backends.cuda.api.runtime", "CUDARuntimeError")("cudaErrorMemoryAllocation: out of memory"),
     GPUMemoryError),
    (foreign("cupy_backends.cuda.api.driver", "CUDADriverError")("CUDA_ERROR_LAUNCH_FAILED"), GPUError),
    (foreign("cupy.cuda.compiler", "CompileException", Exception)("nvrtc: error"), GPUError),
    (foreign("_PyNvVideoCodec_130", "PyNvVCException", Exception)("HW decoder failed"), GPUError),
    (RuntimeError("cuvidCreateDecoder(&m_hDecoder) returned error 2: CUDA_ERROR_OUT_OF_MEMORY"), GPUMemoryError),
    (foreign("pynvml", "NVMLError", Exception)("Driver Not Loaded"), GPUError),
]  # fmt: skip
OTHERS = [ValueError("x"), RuntimeError("the deque changed"), KeyboardInterrupt(), MemoryError(),
          fastface.GalleryError("cuda"), OSError(5, "I/O error")]  # fmt: skip


@pytest.mark.parametrize(("raw", "ours"), RAW, ids=lambda v: getattr(v, "__name__", type(v).__name__))
def test_what_each_becomes(raw: Exception, ours: type[FastFaceError]) -> None:
    with pytest.raises(ours) as caught, faults.translated():
        raise raw
    assert type(caught.value) is ours
    assert caught.value.__cause__ is raw
    assert faults.first_line(raw) in str(caught.value)


@pytest.mark.parametrize("raw", OTHERS, ids=lambda v: type(v).__name__)
def test_what_stays_as_it_is(raw: BaseException) -> None:
    with pytest.raises(type(raw)) as caught, faults.translated():
        raise raw
    assert caught.value is raw


STAGES = ("open", "detect", "signatures", "crop", "embed")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("raw", "ours"), [RAW[0], RAW[1], RAW[8]], ids=["av", "torch", "nvvideocodec"])
def test_none_escapes_raw_from_any_stage(
    film: Film, pipeline: fastface.Pipeline, monkeypatch: pytest.MonkeyPatch, stage: str, raw: Exception,
    ours: type[FastFaceError],
) -> None:  # fmt: skip
    def fail(*arguments: Any, **settings: Any) -> Any:
        raise raw

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.executor, stage, fail)
        with pytest.raises(ours) as caught:
            pipeline.process(film.path)
        assert caught.value.__cause__ is raw
    assert len(pipeline.process(film.path).faces) > 0, "a failure changes nothing for the next video"


def test_while_frames_are_being_decoded(
    film: Film, pipeline: fastface.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastface.decode import LibavDecoder

    real = LibavDecoder.__iter__

    def broken(self: Any) -> Iterator[Any]:
        yield next(real(self))
        raise RAW[0][0]

    monkeypatch.setattr(LibavDecoder, "__iter__", broken)
    with pytest.raises(VideoProcessingError, match="libav failed"):
        pipeline.process(film.path)


@pytest.fixture(scope="module")
def pipeline(embedder_spec: object) -> Iterator[fastface.Pipeline]:
    with fastface.Pipeline(device="cpu", embedder=MODEL, min_face_size=60, every=12) as made:
        yield made


@pytest.mark.parametrize("call", ["detect", "embed", "process_frames", "gallery"])
def test_nor_from_any_other_call(
    pipeline: fastface.Pipeline, monkeypatch: pytest.MonkeyPatch, call: str, tmp_path: Any
) -> None:
    def fail(*arguments: Any, **settings: Any) -> Any:
        raise RAW[1][0]

    for stage in ("detect", "detect_frames", "embed_frames", "given"):
        monkeypatch.setattr(pipeline.executor, stage, fail)
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    (tmp_path / "ann").mkdir()
    from PIL import Image

    Image.fromarray(frames[0]).save(tmp_path / "ann" / "a.png")
    calls: dict[str, Callable[[], Any]] = {
        "detect": lambda: pipeline.detect(frames),
        "embed": lambda: pipeline.embed(frames, np.zeros((1, 1, 4), np.float32)),
        "process_frames": lambda: pipeline.process_frames([(frames, [0.0])]),
        "gallery": lambda: pipeline.gallery(tmp_path),
    }
    with pytest.raises(GPUMemoryError):
        calls[call]()


class TestLog:
    @pytest.fixture(autouse=True)
    def put_back(self) -> Iterator[None]:
        logger = logging.getLogger("fastface")
        before = (logger.handlers[:], logger.level, logger.propagate)
        yield
        logger.handlers, logger.propagate = before[0], before[2]
        logger.setLevel(before[1])

    def lines(self, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    def test_a_run(self, film: Film, pipeline: fastface.Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
        logs.configure("json", "info")
        pipeline.process(film.path)
        started, finished = self.lines(capsys)
        assert (started["event"], finished["event"]) == ("started", "finished")
        for line in (started, finished):
            assert line["video"] == str(film.path)
            assert line["level"] == "info"
            assert line["time"].endswith("+00:00")

    def test_a_failure(self, pipeline: fastface.Pipeline, capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
        logs.configure("json", "info")
        with pytest.raises(InputValidationError):
            pipeline.process(tmp_path / "no.mp4")
        _, failed = self.lines(capsys)
        assert (failed["event"], failed["level"], failed["error"]) == ("failed", "error", "InputValidationError")
        assert "does not exist" in failed["message"]

    def test_the_state_of_the_gpu(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(faults, "gpu_state", lambda: {"memory_free": 5})
        logs.configure("json", "info")
        logging.getLogger("fastface.decode").warning("x", extra={"frame": 7})
        logging.getLogger("fastface").info("y")
        warning, info = self.lines(capsys)
        assert (warning["gpu"], warning["frame"], warning["event"]) == ({"memory_free": 5}, 7, "log")
        assert "gpu" not in info

    def test_settings_that_are_none(self) -> None:
        with pytest.raises(InputValidationError, match="format is 'xml'"):
            logs.configure("xml")  # type: ignore[arg-type]
        with pytest.raises(InputValidationError, match="level is 'loud'"):
            logs.configure("text", "loud")

    def test_on_the_command_line(self, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
        from fastface.cli import main

        arguments = ["process", str(tmp_path / "no.mp4"), "--device", "cpu", "--embedder", MODEL]
        assert main(["--log-format", "json", *arguments]) == 3
        assert [line["event"] for line in self.lines(capsys)] == ["started", "failed"]
        for options in ([], ["--log-level", "warning"]):  # told once: by the command, not by the log of the run too
            assert main([*options, *arguments]) == 3
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith("fastface process: ")
            assert "does not exist" in line
