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
            *("x_regions", "y_regions", "pyramid_block", "scan_block", "scan_columns"),
        )
    ]
    + [("scale", "f4")],
    align=True,
)

MAX_LEVELS = 64
"""Levels that the order of suppression has bits for."""

_SCAN_TILE = 12, 60
"""Rows and columns of cells; as in scan.cu."""
_WIDE = 24.0
"""Pixels of the frame to one of the level from which 8 threads share a window. Other levels are computed by regions."""
_EXACT = 4.0
"""The same, from which levels are kept in float32: to sum up their windows again for single cells would cost more."""
_REGION_HEIGHT, _REGION_WIDTH = 16, 424
"""Pixels of the frame, the width at most: windows of 25 pixels that begin there reach over 448, which are parts of 113
groups of four at most (kGroups in pyramid.cu)."""


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
        windows: uint32, all levels' windows of columns and of rows, and their first columns and rows in each region.
        pixels: of the canvas that holds all levels of the frames that are scanned at once.
        exact_pixels: of the float32 canvas, which holds levels of all frames.
        regional: levels of the pyramid that are computed by regions of the frame, the first ones.
        wide_blocks: blocks that compute the others, a frame.
        regions: of the frame, (down, across).
        scan_blocks: of the scan's grid, a frame.
    """

    levels: NDArray[np.void]
    windows: NDArray[np.uint32]
    pixels: int
    exact_pixels: int
    regional: int
    wide_blocks: int
    regions: tuple[int, int]
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
    entries = offset = exact = wide_block = scan_block = regional = 0
    region_width = -(-width // -(-width // _REGION_WIDTH))  # no narrow one at the end
    regions = -(-height // _REGION_HEIGHT), -(-width // region_width)

    def add(part: NDArray[np.uint32]) -> int:
        nonlocal entries
        table.append(part)
        entries += len(part)
        return entries - len(part)

    for level, scale in zip(levels, scales, strict=True):
        h, w = geometry.level_size(height, width, scale)
        stride = w + w % 2
        ratio = min(height / h, width / w)
        level["offset"], level["height"], level["width"], level["stride"] = offset, h, w, stride
        level["exact"] = exact if ratio >= _EXACT else -1
        # conv1 (3 x 3), pooling (2 x 2, ceil), conv2 and conv3 (3 x 3)
        level["rows"], level["columns"] = (h - 1) // 2 - 4, (w - 1) // 2 - 4
        level["x_windows"], level["y_windows"] = add(windows(width, w)), add(windows(height, h))
        level["scan_block"] = scan_block
        level["scan_columns"] = -(-int(level["columns"]) // _SCAN_TILE[1])
        level["scale"] = scale
        offset += at_once * h * stride
        exact += n * h * stride if ratio >= _EXACT else 0
        if max(height / h, width / w) >= _WIDE:
            level["pyramid_block"] = wide_block
            wide_block += -(-h * stride // 32)
        else:
            regional += 1
            level["x_regions"] = add(_firsts(regions[1], region_width, width, w, stride))
            level["y_regions"] = add(_firsts(regions[0], _REGION_HEIGHT, height, h, h))
        scan_block += -(-int(level["rows"]) // _SCAN_TILE[0]) * int(level["scan_columns"])
    return PyramidPlan(
        levels,
        np.concatenate([*table, np.zeros(0, np.uint32)]),
        offset,
        exact,
        regional,
        wide_block,
        regions if regional else (0, 0),
        scan_block,
    )


def _firsts(regions: int, size: int, n_in: int, n_out: int, end: int) -> NDArray[np.uint32]:
    """[regions + 1]: the first of n_out whose window begins in each region, of `size` of n_in; and `end`."""
    i = np.arange(regions, dtype=np.int64)
    return np.append((i * size * n_out + n_in - 1) // n_in, end).astype(np.uint32)
