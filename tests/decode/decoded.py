"""Frames as they stand in the decoder's ring, of NVDEC and of libav."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from fake_gpu import packed

from fastface.decode import LibavDecoder
from fastface.decode.device import NO_PTS
from fastface.decode.nvdec import NvdecDecoder


def whole(path: Path) -> tuple[list[int], np.ndarray]:
    """pts, and [N, rows, row] samples as they stand in the ring, of libav's frames."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [NO_PTS if f.pts is None else f.pts for f in frames], np.stack([packed(f) for f in frames])


def visible(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Without the column that rounds an odd width up, which is nobody's."""
    if width % 2:
        pixels = pixels.copy()
        pixels[:, :height, width] = 0
    return pixels


def take(decoder: NvdecDecoder) -> tuple[list[int], list[float], list[int], np.ndarray]:
    """index, time, pts and samples of all batches, on the host; each is released."""
    rows: list[tuple[list[int], list[float], list[int], np.ndarray]] = []
    for batch in decoder:
        batch.synchronize()
        host = batch.pixels.get() if hasattr(batch.pixels, "get") else np.array(batch.pixels)
        rows.append((list(batch.index), list(batch.time), list(batch.pts), visible(host, batch.width, batch.height)))
        batch.release()
    index, time, pts = ([x for r in rows for x in r[i]] for i in range(3))
    return index, time, pts, np.concatenate([r[3] for r in rows])


def check_equals_libav(decoder: NvdecDecoder, path: Path) -> None:
    """Frames in the order shown, their times, and what is told of a clip of 120 frames are libav's."""
    index, time, pts, pixels = take(decoder)
    want_pts, want = whole(path)
    assert index == list(range(120))
    assert pts == want_pts
    assert np.array_equal(pixels, want)
    with LibavDecoder(path) as reference:
        assert np.concatenate([b.time for b in reference]).tolist() == time
    assert decoder.info == reference.info
    assert decoder.stats == reference.stats
