"""The GPU decoder on a GPU: against libav, bit for bit."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decode_clips import FOR_NVDEC, loop
from decoded import take, whole

from fastface.decode import LibavDecoder
from fastface.decode.device import Unsupported
from fastface.decode.nvdec import NvdecDecoder
from fastface.errors import GPUError

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", FOR_NVDEC)
@pytest.mark.parametrize("sessions", [1, 4])
def test_bit_for_bit(clip: Any, name: str, sessions: int) -> None:
    path = clip(name)
    try:
        decoder = NvdecDecoder(path, sessions=sessions, batch_size=16, min_frames=25)
    except Unsupported as error:
        if not name.startswith("av1"):  # the chips that the project uses differ in this alone
            raise
        pytest.xfail(error.reason)
    with decoder:
        index, time, pts, pixels = take(decoder)
    want_pts, want = whole(path)
    assert index == list(range(120))
    assert pts == want_pts
    assert decoder.stats.skipped == 0
    assert np.array_equal(pixels, want)
    with LibavDecoder(path) as reference:
        assert np.concatenate([b.time for b in reference]).tolist() == time


def test_ring_is_used_again_while_a_stream_still_reads(clip: Any, tmp_path: Path) -> None:
    """A slow reader on its own stream: what it reads must not have been overwritten."""
    import cupy

    loop(clip("h264_closed"), tmp_path / "long.mp4", 600)
    want = whole(clip("h264_closed"))[1]
    stream = cupy.cuda.Stream(non_blocking=True)
    slow = cupy.RawKernel(
        r"""extern "C" __global__ void slow(long long cycles) {
            long long begin = clock64(); while (clock64() - begin < cycles) {} }""", "slow"
    )  # fmt: skip
    copies = []
    with NvdecDecoder(tmp_path / "long.mp4", sessions=4, batch_size=4, memory=1, hold=1, min_frames=25) as decoder:
        for batch in decoder:
            with stream:
                batch.wait(stream)
                slow((1,), (1,), (2_000_000,))
                copies.append((batch.index, batch.pixels.copy()))
            batch.release(stream)
    stream.synchronize()
    assert sum(len(i) for i, _ in copies) == 600
    for index, pixels in copies:
        assert np.array_equal(pixels.get(), want[index % 120])


@pytest.mark.alone
def test_nothing_is_left_behind(clip: Any) -> None:
    import cupy

    def once() -> None:
        with NvdecDecoder(clip("h264_closed"), sessions=4) as decoder:
            take(decoder)

    once()
    cupy.cuda.Device().synchronize()
    free = cupy.cuda.runtime.memGetInfo()[0]
    for _ in range(5):
        once()
    assert cupy.cuda.runtime.memGetInfo()[0] >= free - (64 << 20)
    assert not [t for t in threading.enumerate() if t.name.startswith("fastface-")]


def test_a_device_that_is_not_there(clip: Any) -> None:
    with pytest.raises(GPUError, match="device_id is 99"):
        NvdecDecoder(clip("h264_closed"), device_id=99)
