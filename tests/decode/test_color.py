"""YUV to RGB: against libswscale, and against the standards."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace, VideoReformatter

from fastface import _core
from fastface.decode.color import yuv_coefficients

SPACES = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709, "bt2020": Colorspace.BT2020}


def planes(rng: np.random.Generator, height: int, width: int, top: int = 256) -> list[np.ndarray]:
    sizes = [(height, width), ((height + 1) // 2, (width + 1) // 2), ((height + 1) // 2, (width + 1) // 2)]
    return [rng.integers(0, top, s).astype(np.uint8 if top == 256 else np.uint16) for s in sizes]


def convert(yuv: list[np.ndarray], matrix: str, full: bool, depth: int = 8) -> np.ndarray:
    height, width = yuv[0].shape
    out = np.zeros((height, width, 3), np.uint8)
    _core.yuv420_to_rgb(*yuv, width, height, [*yuv_coefficients(matrix, full, depth).values()], out, 2)
    return out


@pytest.mark.parametrize("matrix", SPACES)
@pytest.mark.parametrize("full", [False, True])
def test_equals_libswscale(matrix, full):
    """Within one level everywhere; on x86 with SIMD they are the same bytes."""
    rng = np.random.default_rng(1)
    yuv = planes(rng, 64, 128)
    frame = av.VideoFrame(128, 64, "yuv420p")
    for plane, values in zip(frame.planes, yuv, strict=True):
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, : plane.width] = values
        plane.update(padded)
    frame.color_range = 2 if full else 1
    wanted = VideoReformatter().reformat(frame, format="rgb24", src_colorspace=SPACES[matrix]).to_ndarray()
    assert np.abs(convert(yuv, matrix, full).astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("full", [False, True])
def test_follows_the_standard(matrix, full):
    rng = np.random.default_rng(2)
    yuv = planes(rng, 33, 47)  # odd sizes: the last row and column share their chroma with nobody
    y, u, v = (p.astype(float) for p in yuv)
    u, v = (p.repeat(2, 0).repeat(2, 1)[:33, :47] - 128 for p in (u, v))
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[matrix]
    y, u, v = (y / 255, u / 255, v / 255) if full else ((y - 16) / 219, u / 224, v / 224)
    r, b = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    wanted = np.clip(np.stack([r, g, b], -1) * 255, 0, 255)
    error = convert(yuv, matrix, full) - wanted
    assert np.abs(error).max() < 3.1
    assert -1.6 < error.mean() < 0.1


def test_sixteen_bits_equal_eight():
    yuv = planes(np.random.default_rng(3), 20, 30)
    wide = [p.astype(np.uint16) << 8 for p in yuv]
    np.testing.assert_array_equal(convert(wide, "bt709", False, 16), convert(yuv, "bt709", False))


def test_planes_that_are_too_small_are_refused():
    y, u, v = planes(np.random.default_rng(4), 20, 30)
    with pytest.raises(ValueError, match="smaller than 30 x 20"):
        _core.yuv420_to_rgb(y, u[:5], v, 30, 20, [*yuv_coefficients("bt709", False).values()],
                            np.zeros((20, 30, 3), np.uint8))  # fmt: skip
