"""The whole way on the GPU: the same timeline as the CPU's, and no frame in host memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import fastface
from fastface.types import Faces

pytestmark = [pytest.mark.gpu, pytest.mark.media]

EMBEDDER = "facenet-msceleb1m"


def found(ours: fastface.Timeline, theirs: Reference) -> tuple[int, int, int]:
    """Faces of theirs of score >= 0.9, how many of them ours has at IoU >= 0.95, and how many more are ties.

    O-Net's scores saturate, and several boxes of one face may have the very same. Which of them the last suppression
    keeps is then for the order of NumPy's sort to say, which differs from processor to processor.
    """
    sure = hits = ties = 0
    for i in np.flatnonzero(theirs.faces.score >= 0.9):
        sure += 1
        here = ours.faces.frame == theirs.faces.frame[i]
        box, mine = theirs.faces.box[i], ours.faces.box[here]
        sides = np.clip(np.minimum(mine[:, 2:], box[2:]) - np.maximum(mine[:, :2], box[:2]), 0, None)
        inter = sides.prod(1)
        iou = inter / ((mine[:, 2:] - mine[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - inter)
        if (iou >= 0.95).any():
            hits += 1
        else:
            same = np.abs(ours.faces.score[here] - theirs.faces.score[i]) <= 3e-7
            ties += bool((same & (iou >= 0.6)).any())
    return sure, hits, ties


def partner(ours: fastface.Timeline, theirs: Reference) -> dict[int, set[int]]:
    """Which of our identities each of theirs shares faces with (same frame, box centre within the box)."""
    out: dict[int, set[int]] = {p: set() for p in theirs.identities}
    for i in np.flatnonzero(theirs.faces.identity >= 0):
        box = theirs.faces.box[i]
        same = np.flatnonzero((ours.faces.frame == theirs.faces.frame[i]) & (ours.faces.identity >= 0))
        centre = (ours.faces.box[same, :2] + ours.faces.box[same, 2:]) / 2
        inside = ((centre > box[:2]) & (centre < box[2:])).all(1)
        out[int(theirs.faces.identity[i])] |= set(ours.faces.identity[same[inside]].tolist())
    return out


NAMES = ("hamilton.mp4", "crowd.mp4", "people.mp4")


@dataclass(frozen=True)
class Reference:
    """What the CPU found, to the last bit."""

    faces: Faces

    @property
    def identities(self) -> list[int]:
        return np.unique(self.faces.identity[self.faces.identity >= 0]).tolist()


def reference(path: Path, **settings: Any) -> Reference:
    with fastface.Pipeline(device="cpu", embedder=EMBEDDER, **settings) as pipeline:
        return Reference(pipeline.process(path).faces)


@pytest.fixture(scope="module")
def cpu(media: Path) -> dict[str, Reference]:
    """Of each video. The CPU takes minutes for them, so they are kept in FASTFACE_CPU_REFERENCES, if that is a folder,
    and taken from there, wherever they were made: `python tests/gpu/test_gpu_pipeline.py` makes them."""
    folder = os.environ.get("FASTFACE_CPU_REFERENCES")
    out = {}
    for name in NAMES:
        kept = Path(folder) / f"{name}-{fastface.__version__}.npz" if folder else None
        if kept is not None and kept.is_file():
            with np.load(kept) as columns:
                out[name] = Reference(Faces(**columns))
            continue
        out[name] = reference(media / name)
        if kept is not None:
            np.savez(kept, **vars(out[name].faces))
    return out


@pytest.mark.parametrize(("precision", "share"), [("fp32", 1.0), ("fp16", 0.995)])
@pytest.mark.parametrize("name", ["hamilton.mp4", "crowd.mp4", "people.mp4"])
def test_timeline_equals_the_cpu(media, cpu, name, precision, share):
    with fastface.Pipeline(device="cuda", embedder=EMBEDDER, precision=precision) as pipeline:
        ours = pipeline.process(media / name)
    assert ours.run["decoder"]["name"] == "nvdec"
    assert ours.run["warnings"] == []
    sure, hits, ties = found(ours, cpu[name])
    print(f"{name} {precision}: {hits} of {sure} sure faces at IoU >= 0.95, {ties} more are ties")
    assert sure > 100
    assert hits >= 0.995 * sure
    assert hits + ties >= share * sure
    pairs = partner(ours, cpu[name])
    assert all(len(p) == 1 for p in pairs.values()), pairs
    assert len({next(iter(p)) for p in pairs.values()}) == len(pairs) == len(ours.identities)


def test_embedding_every_face_gives_the_same_people(media):
    wanted = reference(media / "hamilton.mp4", embed="every", every=4)
    with fastface.Pipeline(device="cuda", embedder=EMBEDDER, embed="every", every=4) as pipeline:
        ours = pipeline.process(media / "hamilton.mp4")
    assert ours.run["embedder"]["faces_embedded"] == len(ours.faces) == len(wanted.faces) > 50
    pairs = partner(ours, wanted)
    assert len(pairs) >= 2
    assert all(len(p) == 1 for p in pairs.values()), pairs


def test_ten_bits_give_what_the_cpu_gives(media, tmp_path):
    """HEVC of 10 bits, so P016 on the device: the same faces as libav's frames on the CPU."""
    path = tmp_path / "ten.mp4"
    with av.open(str(media / "hamilton.mp4")) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx265", 30, options={"x265-params": "log-level=error:keyint=24"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p10le"
        for number, frame in enumerate(source.decode(video=0)):
            if number < 60:
                frame.pts = None
                target.mux(stream.encode(frame.reformat(format="yuv420p10le")))
        target.mux(stream.encode(None))
    theirs = reference(path, min_track_score=0)
    with fastface.Pipeline(device="cuda", embedder=EMBEDDER, min_track_score=0) as pipeline:
        ours = pipeline.process(path)
    assert ours.run["decoder"]["name"] == "nvdec"
    sure, hits, ties = found(ours, theirs)
    assert sure > 40
    assert hits + ties >= 0.995 * sure


def little_memory(video: str, precision: str, left: int) -> None:
    """With nearly all of the GPU's memory taken, fewer frames go through at once, with the same result; afterwards
    everything is as before."""
    import torch
    from taking import all_but

    from fastface.decode import LibavDecoder
    from fastface.detect.cuda import CudaMTCNN
    from fastface.gpu.frames import DeviceFrames
    from fastface.settings import DetectorSettings

    with LibavDecoder(video, batch_size=32) as decoder:
        frames = DeviceFrames.from_rgb(torch.from_numpy(next(iter(decoder)).pixels).cuda())
    detector = CudaMTCNN(DetectorSettings(), precision=precision)
    wanted = detector.detect(frames)
    assert detector.frames_a_pass == 32
    assert detector.usual == 16
    del detector
    torch.cuda.empty_cache()
    small = CudaMTCNN(DetectorSettings(), precision=precision)
    hog = all_but(left)
    got = small.detect(frames)
    assert small.frames_a_pass == small.fewest < 16
    other, rest = CudaMTCNN(DetectorSettings(min_face_size=12)), []
    for size in (64 << 20, 8 << 20, 2 << 20):  # also what torch has put aside
        with contextlib.suppress(torch.cuda.OutOfMemoryError):
            while True:
                rest.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
    with pytest.raises(fastface.GPUMemoryError, match="a single frame of 1920 x 1080"):
        other.detect(frames)
    del rest, hog
    torch.cuda.empty_cache()
    assert len(wanted) > 100
    for name in ("row", "box", "score", "landmarks"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))
    print("bytes free afterwards, and torch's:", torch.cuda.mem_get_info(), torch.cuda.memory_allocated(),
          torch.cuda.memory_reserved())  # fmt: skip
    with fastface.Pipeline(device="cuda", embedder=EMBEDDER) as pipeline:
        assert pipeline.process(video).run["decoder"]["name"] == "nvdec"


@pytest.mark.alone
@pytest.mark.parametrize(("precision", "left"), [("fp16", 150), ("fp32", 900)])
def test_little_memory_makes_smaller_passes(media, precision, left):
    """In a process of its own: what it takes away must be missing nowhere else. In float32 it is not the buffers for
    which there is no room, but what torch allocates while a pass is queued."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_gpu_pipeline as t; "
    code += f"t.little_memory({str(media / 'crowd.mp4')!r}, {precision!r}, {left})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.alone
def test_the_result_says_how_much_memory_was_used(media):
    with fastface.Pipeline(device="cuda", embedder=EMBEDDER) as pipeline:
        timeline = pipeline.process(media / "crowd.mp4")
        detector, _ = pipeline.executor._lanes[0]
        assert timeline.run["gpu_memory_peak"] > detector._buffers.nbytes > 100 << 20


def test_nothing_is_left_of_a_run_that_ends_early(media, monkeypatch):
    """Frames that libav decoded for the GPU, and blocks of NVDEC's ring: another video's must not be taken for them."""

    class Enough(Exception):
        pass

    def progress(done: int, total: int | None) -> None:
        raise Enough

    with fastface.Pipeline(device="cuda", embedder=EMBEDDER) as pipeline:
        executor = pipeline.executor
        opened = executor.open
        for fallback in (True, False):
            by_one = lambda path, f=fallback, **more: opened(path, **{**more, "fallback": f})  # noqa: E731
            monkeypatch.setattr(executor, "open", by_one)
            with pytest.raises(Enough):
                pipeline.process(media / "crowd.mp4", progress=progress)
            assert executor._frames_of == {}
            assert executor._blocks == {}


def test_a_second_video_uses_the_sessions_again(media, monkeypatch):
    from fastface.decode import cuda

    made = []
    init = cuda._CudaSession.__init__
    monkeypatch.setattr(cuda._CudaSession, "__init__", lambda self, *args: (made.append(1), init(self, *args))[1])
    with fastface.Pipeline(device="cuda", embedder=EMBEDDER) as pipeline:
        first, again = pipeline.process(media / "people.mp4"), pipeline.process(media / "people.mp4")
        count = len(made)
        pipeline.process(media / "hamilton.mp4")  # another size
    assert 1 <= count <= 8
    assert len(made) > count
    for column in ("frame", "box", "score", "track", "identity"):
        np.testing.assert_array_equal(getattr(first.faces, column), getattr(again.faces, column))


def test_frames_stay_on_the_device(media, tmp_path):
    """Every copy to the host, as CUPTI sees it: at most 8 KiB a frame, none as large as a plane of luma."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    with fastface.Pipeline(device="cuda", embedder=EMBEDDER) as pipeline:
        pipeline.process(media / "crowd.mp4")
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as trace:
            timeline = pipeline.process(media / "crowd.mp4")
            torch.cuda.synchronize()
    trace.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    sizes = [e["args"]["bytes"] for e in events if e.get("cat") == "gpu_memcpy" and "DtoH" in e["name"]]
    frames = timeline.run["frames_decoded"]
    print(f"{len(sizes)} copies to the host, {sum(sizes) / frames:.0f} bytes a frame, the largest {max(sizes)}")
    assert len(sizes) >= frames // 32  # the profiler did see them,
    assert sum(sizes) >= 18 * 32 * frames  # the frames' thumbnails at least
    assert sum(sizes) <= 8192 * frames
    assert max(sizes) < timeline.video["width"] * timeline.video["height"]


if __name__ == "__main__":
    for name in NAMES:
        path = Path(os.environ["FASTFACE_MEDIA"]) / name
        np.savez(Path(os.environ["FASTFACE_CPU_REFERENCES"]) / f"{name}-{fastface.__version__}.npz",
                 **vars(reference(path).faces))  # fmt: skip
