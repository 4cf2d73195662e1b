"""What the cascade on a GPU needs to know of a frame size: the pyramid's levels, as the kernels have them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastface.detect import geometry
from fastface.errors import InputValidationError
from fastface.settings import DetectorSettings

# Level in csrc/cuda/levels.cuh.
LEVEL = np.dtype(
    [("offset", "i8"), ("exact", "i8")]
    + [
        (n, "i4")
        for n in (
            *("height", "width", "stride", "rows", "columns", "x_windows", "y_windows"),
            *("pyramid_block", "scan_block", "scan_columns", "wide", "across"),
        )
    ]
    + [("scale", "f4")],
    align=True,
)

MAX_LEVELS = 64
"""Levels that the order of suppression has bits for."""

_PYRAMID_ROWS, _SCAN_TILE = 32, (12, 60)  # rows, and columns; as in pyramid.cu and scan.cu
_WIDE = 24.0
_ACROSS = ((6.0, 64), (12.0, 32), (_WIDE, 16))
"""Pixels of the frame to one of the level from which 8 threads share a window, and what the tiles of the other levels
have from left to right: they reach over 386 pixels of the frame at most (kGroups in pyramid.cu)."""
_EXACT = 4.0
"""The same, from which levels are kept in float32: to sum up their windows again for single cells would cost more."""


def windows(n_in: int, n_out: int) -> NDArray[np.uint32]:
    """The windows of area resampling (csrc/common/area.h): [n_out], begin | end << 16.

    Raises:
        InputValidationError: n_in is more than 65535.
    """
    if n_in > 65535:
        raise InputValidationError(f"a frame has a side of {n_in} pixels, must be at most 65535")
    i = np.arange(n_out, dtype=np.int64)
    begin, end = i * n_in // n_out, ((i + 1) * n_in + n_out - 1) // n_out
    return (begin | end << 16).astype(np.uint32)


@dataclass(frozen=True)
class PyramidPlan:
    """The pyramid of frames of one size, in batches of one size.

    Attributes:
        levels: [L] of dtype LEVEL.
        windows: uint32, all levels' windows of columns and of rows.
        pixels: of the canvas that holds all levels of the frames that are scanned at once.
        exact_pixels: of the float32 canvas, which holds levels of all frames.
        pyramid_blocks, scan_blocks: of the kernels' grids, a frame.
    """

    levels: NDArray[np.void]
    windows: NDArray[np.uint32]
    pixels: int
    exact_pixels: int
    pyramid_blocks: int
    scan_blocks: int

    def __len__(self) -> int:
        return len(self.levels)


def plan_pyramid(
    n: int, height: int, width: int, settings: DetectorSettings, at_once: int | None = None
) -> PyramidPlan:
    """Lay out the pyramid of n frames, of which the canvas holds `at_once` (None: all of them).

    Raises:
        InputValidationError: the settings make too many levels, or the frames are too large.
    """
    scales = geometry.pyramid_scales(height, width, settings.min_face_size, settings.factor)
    if len(scales) > MAX_LEVELS:
        raise InputValidationError(
            f"factor is {settings.factor}, which makes {len(scales)} pyramid levels of {width} x {height}; "
            f"the GPU does {MAX_LEVELS} at most: take a smaller factor"
        )
    at_once = n if at_once is None else at_once
    levels = np.zeros(len(scales), LEVEL)
    table: list[NDArray[np.uint32]] = []
    entries = offset = exact = pyramid_block = scan_block = 0
    for level, scale in zip(levels, scales, strict=True):
        h, w = geometry.level_size(height, width, scale)
        stride = w + w % 2
        ratio = min(height / h, width / w)
        level["offset"], level["height"], level["width"], level["stride"] = offset, h, w, stride
        level["exact"] = exact if ratio >= _EXACT else -1
        # conv1 (3 x 3), pooling (2 x 2, ceil), conv2 and conv3 (3 x 3)
        level["rows"], level["columns"] = (h - 1) // 2 - 4, (w - 1) // 2 - 4
        level["x_windows"], level["y_windows"] = entries, entries + w
        level["pyramid_block"], level["scan_block"] = pyramid_block, scan_block
        level["scan_columns"] = -(-int(level["columns"]) // _SCAN_TILE[1])
        level["wide"], level["scale"] = max(height / h, width / w) >= _WIDE, scale
        table += [windows(width, w), windows(height, h)]
        entries += w + h
        offset += at_once * h * stride
        exact += n * h * stride if ratio >= _EXACT else 0
        if level["wide"]:
            pyramid_block += -(-h * stride // 32)
        else:
            level["across"] = next(pixels for most, pixels in _ACROSS if width / w < most)
            pyramid_block += -(-h // _PYRAMID_ROWS) * -(-stride // int(level["across"]))
        scan_block += -(-int(level["rows"]) // _SCAN_TILE[0]) * int(level["scan_columns"])
    return PyramidPlan(
        levels,
        np.concatenate([*table, np.zeros(0, np.uint32)]),
        offset,
        exact,
        pyramid_block,
        scan_block,
    )
