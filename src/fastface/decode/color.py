"""Which matrix and range turn a stream's YUV into RGB."""

from __future__ import annotations

# ITU-T H.273, table 4 (MatrixCoefficients), which libav's AVColorSpace follows.
_MATRICES = {1: "bt709", 4: "bt601", 5: "bt601", 6: "bt601", 7: "bt709", 9: "bt2020", 10: "bt2020"}
_RGB, _UNSPECIFIED = 0, 2
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG

HD_HEIGHT = 720
"""Untagged video is BT.709 from this many lines on, BT.601 below, as players assume."""


def matrix_of(code: int, height: int) -> tuple[str, str | None]:
    """The matrix for an AVColorSpace code, and a warning if it had to be guessed.

    Args:
        code: AVColorSpace as the stream or frame carries it; RGB (0) needs no matrix and gives the default.
        height: lines of the coded picture, which decide where the stream is untagged.
    """
    default = "bt709" if height >= HD_HEIGHT else "bt601"
    if code in (_UNSPECIFIED, _RGB):
        return default, None
    if code in _MATRICES:
        return _MATRICES[code], None
    return default, f"the stream's colour matrix (code {code}) is not supported; {default} was used"


def is_full_range(code: int, pixel_format: str) -> bool:
    """Whether Y covers [0, 255] (AVCOL_RANGE_JPEG, or one of libav's yuvj formats)."""
    return code == _FULL_RANGE or pixel_format.startswith("yuvj")


# What V adds to red, U to blue, U and V take from green, in 1 / 65536 of limited range: 2 (1 - kr) 255 / 224 and so on
# from ITU-R BT.601-7, BT.709-6 and BT.2020-2, rounded as libswscale rounds them.
_TABLES = {
    "bt601": (104597, 132201, 25675, 53279),
    "bt709": (117489, 138438, 13975, 34925),
    "bt2020": (110013, 140363, 12277, 42626),
}

MATRICES = tuple(_TABLES)
"""The names of the matrices."""

COEFFICIENTS = ("y_offset", "y_gain", "r_v", "g_u", "g_v", "b_u", "center", "shift")
"""The fields of YuvToRgb (csrc/common/color.h), in order."""


def yuv_coefficients(matrix: str, full_range: bool, depth: int = 8) -> dict[str, int]:
    """What turns the samples of a stream into RGB of [0, 255], by field of YuvToRgb.

    Args:
        matrix: "bt601", "bt709" or "bt2020".
        full_range: Y covers all codes, else [16, 235] (and U, V [16, 240]) of 8 bits, scaled up for more.
        depth: 8, or 16 for samples whose value stands in the high bits (P016).
    """
    red, blue, green_u, green_v = _TABLES[matrix]
    gain = 65536
    if full_range:
        red, blue, green_u, green_v = (c * 224 // 255 for c in (red, blue, green_u, green_v))
    else:
        gain = gain * 255 // 219
    y_gain, r_v, g_u, g_v, b_u = ((c * 8192 + 32768) >> 16 for c in (gain, red, -green_u, -green_v, blue))
    up = depth - 8
    values = ((0 if full_range else 16) << up, y_gain, r_v, g_u, g_v, b_u, 128 << up, 13 + up)
    return dict(zip(COEFFICIENTS, values, strict=True))
