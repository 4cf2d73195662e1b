"""Windows cut by a GPU's way: the same pictures as on the CPU, with stand-ins for NVDEC and the kernel.

The kernel itself is compared with Pillow in tests/detect/test_cuda_simulated.py.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "decode"))

from coded import make_coded, ntsc, timeline_of
from decode_clips import CLIPS, make
from fake_gpu import FakeGpu

from fastface.clip import on_gpu
from fastface.clip.cut import OnCpu
from fastface.clip.source import Cut, open_source
from fastface.clip.view import Camera, Follow, Sampled, Split, sampled
from fastface.decode.device import Unsupported
from fastface.errors import GPUError, InputValidationError


class PillowCutter:
    """What the kernel does, by Pillow."""

    def __init__(self, surfaces: Any, window: tuple[int, int], device_id: int) -> None:
        (self.block,) = surfaces.backend.allocate(1, on_gpu.BATCH)
        self.form, self.window = surfaces.form, window
        self.host = np.zeros((2 * on_gpu.BATCH, window[1] * 3 // 2, window[0]), np.uint8)

    def cut(self, session: Any, frame_of: np.ndarray, window: np.ndarray) -> np.ndarray:
        width, height = self.form.width, self.form.height
        w, h = self.window
        assert session.stream == threading.get_ident(), "what it queued is waited for, in its thread"
        for v, (slot, box) in enumerate(zip(frame_of, window, strict=True)):
            uv = self.block[slot, height:]
            y = np.ascontiguousarray(self.block[slot, :height, :width])
            out = tuple(np.empty(shape, np.uint8) for shape in ((h, w), (h // 2, w // 2), (h // 2, w // 2)))
            sampled((y, uv[:, 0::2], uv[:, 1::2]), box, out)
            self.host[v] = np.concatenate([p.ravel() for p in out]).reshape(self.host[v].shape)
        return self.host


def wandering(rng: np.random.Generator, source: Any, present: np.ndarray) -> Camera:
    n, info = len(source.stamps), source.info
    side = rng.uniform(20, 40, n)
    x, y = rng.uniform(0, info.width - side), rng.uniform(0, info.height - side)
    return Camera(np.stack([x, y, x + side, y + side], 1), present)


@pytest.fixture(params=["h264_closed", "h264_vfr", "h264_ts", "hevc_idr", "vp9"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    path = tmp_path / f"clip.{CLIPS[request.param].suffix}"
    make(path, CLIPS[request.param])
    return open_source(path)


def both_ways(source: Any, layout_of: Any, cuts: list[Cut]) -> list[FakeGpu]:
    """Compare the pictures of some cuts; gives the GPUs that were used."""
    maker = FakeGpu.maker()
    gpu = on_gpu.OnGpu(source, layout_of, _backend=maker, _cutter=PillowCutter)
    cpu = OnCpu(source, lambda convert, reader: Sampled(convert, layout_of(reader)))
    for cut in cuts:
        ours, theirs = ([(n, f.to_ndarray()) for n, f in way(cut, 1)] for way in (gpu, cpu))
        assert [n for n, _ in ours] == [n for n, _ in theirs] == list(range(*cut))
        for (_, a), (_, b) in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    gpu.close()
    return list(maker.made)


def test_following_window(source: Any) -> None:
    """From a key picture, from between two, over several, and none at all."""
    n = len(source.stamps)
    camera = wandering(np.random.default_rng(1), source, np.ones(n, bool))
    cuts = [Cut(0, 20), Cut(17, 18), Cut(35, 95), Cut(n - 9, n), Cut(5, 5)]
    (gpu,) = both_ways(source, lambda reader: Follow(camera, (48, 64)), cuts)
    assert gpu.opened == gpu.closed == 1, "a session serves one part after the other"


def test_split_screen(source: Any) -> None:
    """Who is away stands still: also where a part begins while they are, or they never were there before."""
    n = len(source.stamps)
    rng = np.random.default_rng(2)
    number = np.arange(n)
    cameras = tuple(wandering(rng, source, here) for here in (number % 40 < 25, (number > 50) & (number < 70)))
    both_ways(source, lambda reader: Split(reader, cameras, (64, 48)), [Cut(0, 45), Cut(30, 60), Cut(66, 90)])


def test_a_session_that_is_left_in_the_middle(tmp_path: Path) -> None:
    make(tmp_path / "clip.mp4", CLIPS["h264_closed"])
    source = open_source(tmp_path / "clip.mp4")
    camera = wandering(np.random.default_rng(1), source, np.ones(len(source.stamps), bool))
    maker = FakeGpu.maker()
    gpu = on_gpu.OnGpu(source, lambda reader: Follow(camera, (48, 64)), _backend=maker, _cutter=PillowCutter)
    pictures = gpu(Cut(0, 60), 1)
    assert next(pictures)[0] == 0
    pictures.close()
    assert [n for n, _ in gpu(Cut(40, 60), 1)] == list(range(40, 60))
    assert (maker.made[0].opened, maker.made[0].closed) == (1, 0), "the session serves the next part"
    maker.made[0].fail_at = 5
    with pytest.raises(GPUError, match=r"NVDEC failed in .*it broke"):
        list(gpu(Cut(0, 60), 1))
    assert maker.made[0].closed == 1
    gpu.close()
    assert maker.made[0].opened == maker.made[0].closed


def test_sessions_end_as_soon_as_no_part_is_to_come(tmp_path: Path) -> None:
    make(tmp_path / "clip.mp4", CLIPS["h264_closed"])
    source = open_source(tmp_path / "clip.mp4")
    camera = wandering(np.random.default_rng(1), source, np.ones(len(source.stamps), bool))
    maker = FakeGpu.maker()
    gpu = on_gpu.OnGpu(source, lambda reader: Follow(camera, (48, 64)), parts=3, _backend=maker, _cutter=PillowCutter)
    list(gpu(Cut(0, 10), 1))
    (device,) = maker.made
    assert (device.opened, device.closed) == (1, 0)
    second = gpu(Cut(10, 20), 1)
    next(second)
    assert [n for n, _ in gpu(Cut(20, 30), 1)] == list(range(20, 30))
    assert (device.opened, device.closed) == (2, 1), "the last part has begun: its session serves nobody after it"
    assert [n for n, _ in second] == list(range(11, 20))
    assert (device.opened, device.closed) == (2, 2)
    gpu.close()
    assert (device.opened, device.closed) == (2, 2)


def test_what_a_gpu_does_not_cut(tmp_path: Path) -> None:
    make(tmp_path / "clip.mp4", CLIPS["hevc_10bit"])
    source = open_source(tmp_path / "clip.mp4")
    with pytest.raises(Unsupported, match="8-bit 4:2:0"):
        on_gpu.OnGpu(source, lambda reader: None, _backend=FakeGpu.maker(), _cutter=PillowCutter)


def test_the_device_of_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is named is used for windows, and for nothing else; what it cannot do the CPU does, which is said."""
    coded = make_coded(tmp_path / "coded.mp4", *ntsc(4))
    timeline = timeline_of(coded, {"Ann": [(0.5, 3.0)]})
    used: list[Any] = []

    class Watched(on_gpu.OnGpu):
        def __init__(self, source: Any, layout_of: Any, device_id: int, parts: int) -> None:
            used.append(device_id)
            super().__init__(source, layout_of, device_id, parts, _backend=FakeGpu.maker(), _cutter=PillowCutter)

    monkeypatch.setattr(on_gpu, "OnGpu", Watched)
    monkeypatch.setattr("fastface.executor.gpu_problem", lambda number=0: None)
    folders = {}
    for device in ("cpu", "cuda:3"):
        (clip,) = timeline.clips(coded.path, "Ann", folder=tmp_path / device, follow=(64, 64), device=device)
        assert clip.notes == ()
        folders[device] = clip.path.read_bytes()
    assert used == [3]
    assert folders["cpu"] == folders["cuda:3"], "the same pictures are the same file"
    timeline.clips(coded.path, "Ann", folder=tmp_path / "whole", device="cuda")
    assert used == [3]

    def refuse(*arguments: Any) -> Any:
        raise Unsupported("no such chip")

    monkeypatch.setattr(on_gpu, "OnGpu", refuse)
    (clip,) = timeline.clips(coded.path, "Ann", folder=tmp_path / "none", follow=(64, 64), device="auto")
    assert "decoded on the CPU: no such chip" in clip.notes[0]
    assert clip.path.read_bytes() == folders["cpu"]


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    coded = make_coded(tmp_path / "coded.mp4", *ntsc(2))
    timeline = timeline_of(coded, {"Ann": [(0.5, 1.0)]})
    with pytest.raises(InputValidationError, match="device is 'tpu', must be"):
        timeline.clips(coded.path, "Ann", folder=tmp_path / "out", follow=(64, 64), device="tpu")
    with pytest.raises(GPUError, match="device='cuda:7' cannot be used"):
        timeline.clips(coded.path, "Ann", folder=tmp_path / "out", follow=(64, 64), device="cuda:7")
    assert not (tmp_path / "out").exists()
