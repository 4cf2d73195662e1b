"""Each stage on the GPU, and the whole, beside facenet-pytorch + OpenCV doing the same in the same run.

    python -m pytest benchmarks/test_gpu.py            (or benchmarks/gpu.py, which also writes the results)

Needs crowd.mp4 in FASTFACE_MEDIA, looped by remuxing to FASTFACE_BENCH_FRAMES frames (12,000 unless set), and an NVIDIA
GPU with PyNvVideoCodec. Other codecs and sizes are encoded from it by libav.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "decode"))

import baseline
from decode_clips import loop

import fastface
from fastface.decode.cuda import SessionPool
from fastface.decode.demuxer import Demuxers
from fastface.spent import Spent

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

EMBEDDER = "facenet-msceleb1m"
FRAMES = int(os.environ.get("FASTFACE_BENCH_FRAMES", "12000"))


@pytest.fixture(scope="session")
def crowd() -> Path:
    folder = Path(os.environ.get("FASTFACE_MEDIA", Path(__file__).parents[2] / "shared" / "media"))
    if not (folder / "crowd.mp4").is_file():
        pytest.skip("crowd.mp4 is not in FASTFACE_MEDIA")
    return folder / "crowd.mp4"


@pytest.fixture(scope="session")
def looped(crowd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("loop") / "loop.mp4"
    loop(crowd, path, FRAMES)
    return path


OTHERS = {
    "hevc": ("libx265", 1080, 1),
    "720p": ("libx264", 720, 1),
    "2160p": ("libx264", 2160, 1),
    "one_gop": ("libx264", 1080, 10),
}
"""Codec, height, and how often crowd.mp4's 105 frames follow each other in one group of pictures."""


@pytest.fixture(scope="session")
def other(crowd: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """crowd.mp4 in another codec or size, looped to the same number of pixels (one_gop: as it is)."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            codec, height, times = OTHERS[name]
            folder = tmp_path_factory.mktemp(name)
            encode(crowd, folder / "once.mp4", codec, height, times)
            made[name] = folder / "once.mp4"
            if times == 1:
                made[name] = folder / "loop.mp4"
                loop(folder / "once.mp4", made[name], FRAMES * 1080**2 // height**2 if height > 1080 else FRAMES)
        return made[name]

    return make


def encode(source: Path, out: Path, codec: str, height: int, times: int) -> None:
    """Write a video again `times` times in one group of pictures."""
    import av

    with av.open(str(source)) as container:
        frames = [f.reformat(width=height * 16 // 9, height=height) for f in container.decode(video=0)]
    gop = times * len(frames)
    options = {"preset": "fast", "crf": "23"}
    if codec == "libx265":
        options["x265-params"] = f"log-level=error:keyint={gop}:min-keyint={gop}:scenecut=0"
    else:
        options.update(g=str(gop), keyint_min=str(gop), sc_threshold="0")
    with av.open(str(out), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = height * 16 // 9, height, "yuv420p"
        for i in range(gop):
            frame = frames[i % len(frames)]
            frame.pts, frame.time_base, frame.pict_type = i, Fraction(1, 25), 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def pipeline(crowd: Path) -> Iterator[fastface.Pipeline]:
    with fastface.Pipeline(device="cuda", embedder=EMBEDDER) as pipeline:
        pipeline.process(crowd)  # compiles the kernels
        yield pipeline


@pytest.fixture(scope="session")
def pictures(crowd: Path) -> np.ndarray:
    """32 frames of 1080p, RGB, on the host."""
    from fastface.decode import LibavDecoder

    with LibavDecoder(crowd, batch_size=32) as decoder:
        return next(iter(decoder)).pixels


def measure(benchmark: Any, unit: str, rounds: int, work: Callable[[], int]) -> int:
    """Times `work`, which gives how many it did and leaves the device idle."""
    counts: list[int] = []

    def timed() -> None:
        torch.cuda.synchronize()
        counts.append(work())
        torch.cuda.synchronize()

    benchmark.pedantic(timed, rounds=rounds, warmup_rounds=1)
    assert len(set(counts)) == 1
    benchmark.extra_info.update(unit=unit, count=counts[0])
    return counts[0]


POOL, DEMUXERS = SessionPool(), Demuxers()


def decode(path: Path, sessions: int | None) -> int:
    """With sessions and a demuxing process that are used again, as a pipeline does."""
    from fastface.decode.nvdec import NvdecDecoder

    stream, frames = torch.cuda.current_stream().cuda_stream, 0
    with NvdecDecoder(path, sessions=sessions, ordered=False, pool=POOL, demuxers=DEMUXERS) as decoder:
        for batch in decoder:
            frames += len(batch)
            batch.release(stream)
    return frames


def test_decode_all_sessions(benchmark, looped):
    assert measure(benchmark, "fps", 5, lambda: decode(looped, None)) >= FRAMES


def test_decode_opencv(benchmark, crowd):
    def work() -> int:
        import cv2

        capture, frames = cv2.VideoCapture(str(crowd)), 0
        while capture.read()[0]:
            frames += 1
        capture.release()
        return frames

    measure(benchmark, "fps", 2, work)


def test_detect(benchmark, pipeline, pictures):
    """32 frames on the device, again and again."""
    executor = pipeline.executor
    batch = executor.given(torch.from_numpy(pictures).cuda(), np.arange(32), np.arange(32.0), None, False)
    assert len(executor.detect(batch)) > 100

    def work() -> int:
        return sum(len(pending.result()[1]) for _, pending in executor._queued([batch] * 40, Spent()))

    measure(benchmark, "fps", 5, work)


def test_detect_facenet_pytorch(benchmark, pictures):
    from facenet_pytorch import MTCNN

    mtcnn = MTCNN(keep_all=True, device=torch.device("cuda"))
    batch = list(pictures)

    def work() -> int:
        mtcnn.detect(batch)
        return len(batch)

    measure(benchmark, "fps", 2, work)


@pytest.fixture(scope="session")
def crops() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (256, 3, 160, 160), np.uint8)


def test_embed(benchmark, pipeline, crops):
    embedder, pixels = pipeline.executor._embedder, torch.from_numpy(crops).cuda()
    places = torch.arange(256, device="cuda")
    measure(benchmark, "faces/s", 5, lambda: sum(len(embedder.embed(pixels, places)) for _ in range(20)))


def test_embed_facenet_pytorch(benchmark, crops):
    from fastface import models
    from fastface.embed.network import load_network

    network = load_network(models.resolve(EMBEDDER), "cuda", fold=False, channels_last=False)
    batch = torch.from_numpy(crops).cuda().float()

    @torch.no_grad()
    def work() -> int:
        for _ in range(4):
            network((batch - 127.5) / 128)
        return 4 * len(batch)

    measure(benchmark, "faces/s", 3, work)


def whole(benchmark: Any, pipeline: fastface.Pipeline, path: Path, rounds: int) -> None:
    timelines: list[fastface.Timeline] = []

    def work() -> int:
        timelines.append(pipeline.process(path))
        return int(timelines[-1].run["frames_decoded"])

    measure(benchmark, "fps", rounds, work)
    last = timelines[-1]
    assert last.run["decoder"]["name"] == "nvdec"
    spent = [timeline.run["seconds_spent"] for timeline in timelines[-rounds:]]
    benchmark.extra_info.update(faces=len(last.faces), seconds_spent=spent)


def test_end_to_end(benchmark, pipeline, looped):
    whole(benchmark, pipeline, looped, 5)


def test_end_to_end_every(benchmark, looped, crowd):
    with fastface.Pipeline(device="cuda", embedder=EMBEDDER, embed="every") as pipeline:
        pipeline.process(crowd)
        whole(benchmark, pipeline, looped, 3)


@pytest.mark.parametrize("size", [40, 80])
def test_end_to_end_min_face(benchmark, looped, crowd, size):
    with fastface.Pipeline(device="cuda", embedder=EMBEDDER, min_face_size=size) as pipeline:
        pipeline.process(crowd)
        whole(benchmark, pipeline, looped, 1)


@pytest.mark.parametrize("name", list(OTHERS))
def test_decode_of(benchmark, other, name):
    path = other(name)
    measure(benchmark, "fps", 2, lambda: decode(path, None))


@pytest.mark.parametrize("name", list(OTHERS))
def test_end_to_end_of(benchmark, pipeline, other, name):
    whole(benchmark, pipeline, other(name), 3)


def test_end_to_end_facenet_pytorch(benchmark, crowd):
    """Its README's way in batches of 32, every face embedded."""
    measure(benchmark, "fps", 1, lambda: baseline.facenet_pytorch_opencv(crowd, "cuda")[0])


def test_one_frame(benchmark, pipeline, pictures):
    """What a live feed would see: one frame, from its being there to its faces being there."""
    frame = torch.from_numpy(pictures[:1]).cuda()

    def work() -> int:
        for _ in range(20):
            pipeline.detect(frame)
        return 20

    measure(benchmark, "fps", 3, work)
