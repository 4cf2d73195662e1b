"""Each stage on the CPU against the plain way of doing the same, alternately in one run: guards the speed where there
is no GPU, on whatever machine that is.

    python -m pytest benchmarks/test_stages.py

Forty seconds on two cores. A stage must be as many times as fast as its line says, which is about two thirds of what
two cores of an AMD EPYC showed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "decode"))

from decode_clips import loop
from fake_gpu import FakeGpu

from fastface import _core, models
from fastface.decode import LibavDecoder
from fastface.decode.demuxer import Demuxers
from fastface.decode.nvdec import NvdecDecoder
from fastface.detect import ops
from fastface.detect.mtcnn import MTCNN
from fastface.embed.network import load_network
from fastface.settings import DetectorSettings
from fastface.track import FaceTracker
from fastface.types import Detections

EMBEDDER = "facenet-msceleb1m"
ROUNDS = 3
PICTURE, REORDERED = 0.0001, 4


def ratio(ours: Callable[[], Any], plain: Callable[[], Any], seconds: float = 0.1) -> float:
    """How many times as fast ours is: the median over rounds, each of which repeats short calls for a while."""

    def repeats(work: Callable[[], Any]) -> int:
        work()
        begin = time.perf_counter()
        work()
        return max(1, int(seconds / (time.perf_counter() - begin)))

    def taken(work: Callable[[], Any], times: int) -> float:
        begin = time.perf_counter()
        for _ in range(times):
            work()
        return (time.perf_counter() - begin) / times

    ways = [(work, repeats(work)) for work in (ours, plain)]
    rounds = [[taken(*way) for way in ways] for _ in range(ROUNDS)]
    return float(np.median([theirs / mine for mine, theirs in rounds]))


@pytest.fixture
def as_fast(benchmark: Any) -> Callable[..., None]:
    def check(least: float, ours: Callable[[], Any], plain: Callable[[], Any]) -> None:
        benchmark.pedantic(ours, rounds=2)
        seen = ratio(ours, plain)
        benchmark.extra_info.update(ratio=round(seen, 2), least=least)
        print(f"{seen:.2f} times as fast, must be {least}")
        assert seen >= least

    return check


@pytest.fixture(scope="module")
def frames(video: Path) -> np.ndarray:
    """[8, height, width, 3] uint8."""
    with LibavDecoder(video, batch_size=8) as decoder:
        return next(iter(decoder)).pixels


class PacedSession:
    """Stands in for a session of NVDEC: a picture takes a while, for which the interpreter's lock is free."""

    stream = 1

    def __init__(self) -> None:
        self._stamps: list[int] = []

    def decode(self, coded: Any, tag: int) -> list[tuple[int, None]]:
        out = sorted(self._stamps)
        if coded is None:
            self._stamps = []
        else:
            time.sleep(PICTURE)
            self._stamps.append(tag)
            out = out[: len(self._stamps) - REORDERED]
            self._stamps = [s for s in self._stamps if s not in out]
        return [(stamp, None) for stamp in out]

    def adopt(self) -> None: ...
    def check(self) -> None: ...
    def copy(self, surface: None, block: Any, slot: int) -> None: ...
    def wait(self, event: Any) -> None: ...
    def record(self, event: Any) -> None: ...
    def close(self) -> None: ...


class Paced(FakeGpu):
    engines = 7

    def session(self) -> Any:
        return PacedSession()


def test_demuxing(as_fast: Callable[..., None], video: Path, tmp_path: Path) -> None:
    """For eight sessions that take what they get, by a process of its own, against a thread of this one."""
    loop(video, tmp_path / "loop.mp4", 9000)
    demuxers = Demuxers()

    def decode(beside: Demuxers | None) -> None:
        with NvdecDecoder(
            tmp_path / "loop.mp4", ordered=False, batch_size=16, demuxers=beside, _backend=Paced.maker()
        ) as decoder:
            for batch in decoder:
                batch.release(0)

    as_fast(1.07, lambda: decode(demuxers), lambda: decode(None))
    demuxers.close()


def test_resampling(as_fast: Callable[..., None], frames: np.ndarray) -> None:
    """One level of the pyramid, against torch's interpolate."""
    pixels = torch.from_numpy(frames)
    size = frames.shape[1] * 6 // 10, frames.shape[2] * 6 // 10
    as_fast(4, lambda: ops.resize_area(pixels, *size), lambda: ops.resize_area_reference(pixels, *size))


def test_crops(as_fast: Callable[..., None], frames: np.ndarray) -> None:
    """What R-Net looks at, against slices and interpolate."""
    rng, pixels = np.random.default_rng(1), torch.from_numpy(frames)
    row = torch.from_numpy(rng.integers(0, len(frames), 200))
    at = rng.integers(0, [frames.shape[2] - 80, frames.shape[1] - 80], (200, 2))
    rect = torch.from_numpy(np.concatenate([at, at + rng.integers(20, 80, (200, 1))], 1).astype(np.int32))
    as_fast(8, lambda: ops.crop_area(pixels, row, rect, 24), lambda: ops.crop_area_reference(pixels, row, rect, 24))


def test_suppression(as_fast: Callable[..., None]) -> None:
    """Against the same in NumPy."""
    rng = np.random.default_rng(2)
    at = rng.uniform(0, 600, (1500, 2))
    boxes = torch.from_numpy(np.concatenate([at, at + rng.uniform(20, 90, (1500, 1))], 1).astype(np.float32))
    scores, group = torch.from_numpy(rng.random(1500, np.float32)), torch.from_numpy(np.sort(rng.integers(0, 8, 1500)))
    as_fast(50, lambda: ops.nms(boxes, scores, group, 0.7), lambda: ops.nms_reference(boxes, scores, group, 0.7))


def test_detecting(as_fast: Callable[..., None], frames: np.ndarray) -> None:
    """Against facenet-pytorch's own."""
    from facenet_pytorch import MTCNN as Theirs

    ours, theirs, pictures = MTCNN(DetectorSettings()), Theirs(keep_all=True), list(frames)
    as_fast(1.7, lambda: ours.detect(frames), lambda: theirs.detect(pictures))


def test_embedding(as_fast: Callable[..., None]) -> None:
    """Folded and channels last, against the network as it comes."""
    spec = models.resolve(EMBEDDER)
    ours, plain = load_network(spec, "cpu"), load_network(spec, "cpu", fold=False, channels_last=False)
    x = torch.from_numpy(np.random.default_rng(3).standard_normal((16, 3, 160, 160), np.float32))
    with torch.inference_mode():
        as_fast(1.1, lambda: ours(x), lambda: plain(x))


def test_matching(as_fast: Callable[..., None]) -> None:
    """The nearest of 20,000 people to each of 64 faces, against NumPy's product and the greatest of each row."""
    rng = np.random.default_rng(4)
    known, asked = (rng.standard_normal((n, 128), np.float32) for n in (20_000, 64))
    for x in (known, asked):
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    matcher = _core.Matcher(128)
    matcher.add(known, np.arange(len(known)))
    as_fast(0.65, lambda: matcher.search(asked, threads=torch.get_num_threads()), lambda: (asked @ known.T).argmax(1))


def test_tracking(as_fast: Callable[..., None], frames: np.ndarray) -> None:
    """A batch with faces in every frame costs next to nothing beside their detection."""
    rng, found = np.random.default_rng(5), MTCNN(DetectorSettings()).detect(frames)
    signatures = rng.integers(0, 256, (len(frames), 3 * 18 * 32), np.uint8)
    assert isinstance(found, Detections)
    assert len(found)
    times = np.arange(len(frames)) * 0.04

    def track() -> None:
        FaceTracker(0.04).update(times, signatures, found)

    detector = MTCNN(DetectorSettings())
    as_fast(5000, track, lambda: detector.detect(frames))
