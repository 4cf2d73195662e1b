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
