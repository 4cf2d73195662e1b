"""Frames in device memory, as our kernels read them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastface.decode.color import COEFFICIENTS, yuv_coefficients

# FrameGeometry in csrc/cuda/frame.cuh.
GEOMETRY = np.dtype(
    [("frame_stride", "i8")]
    + [(n, "i4") for n in ("pitch", "coded_width", "coded_height", "uv_row", "width", "height", "rotation", "rgb")]
    + [(n, "i4") for n in COEFFICIENTS],
    align=True,
)


@dataclass(frozen=True)
class DeviceFrames:
    """N frames in the memory of one GPU.

    Attributes:
        samples: torch tensor on the GPU: [N, H, W, 3] uint8 RGB, or [N, rows, pitch] uint8 NV12 or int16 (bits of
            uint16) P016, rows of Y first, then half as many of interleaved U and V.
        width, height: pixels as displayed.
        geometry: [1] structured array of dtype GEOMETRY.
        depth: bits of a sample, 8 or 16.
    """

    samples: Any
    width: int
    height: int
    geometry: np.ndarray
    depth: int = 8
    _count: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_count", int(self.samples.shape[0]))  # torch takes a while to say it

    def __len__(self) -> int:
        return self._count

    def part(self, begin: int, end: int) -> DeviceFrames:
        """Frames [begin, end)."""
        return self if end - begin == len(self) else replace(self, samples=self.samples[begin:end])

    @classmethod
    def from_rgb(cls, pixels: Any) -> DeviceFrames:
        """Frames [N, H, W, 3] uint8, contiguous."""
        height, width, channels = pixels.shape[1:]
        if channels != 3 or not pixels.is_cuda or pixels.element_size() != 1 or not pixels.is_contiguous():
            raise ValueError(
                f"frames are {pixels.dtype} {list(pixels.shape)} on {pixels.device}, must be contiguous "
                "uint8 [N, H, W, 3] on a GPU"
            )
        geometry = np.zeros(1, GEOMETRY)
        geometry["frame_stride"] = 3 * width * height
        geometry["pitch"] = 3 * width
        geometry["coded_width"] = geometry["width"] = width
        geometry["coded_height"] = geometry["height"] = height
        geometry["rgb"] = 1
        return cls(pixels, width, height, geometry)

    @classmethod
    def from_nv12(
        cls, samples: Any, width: int, height: int, *, matrix: str, full_range: bool, rotation: int = 0
    ) -> DeviceFrames:
        """Frames [N, rows, pitch], rows = coded height * 3 / 2; width and height are the coded ones.

        rotation: degrees clockwise from coded to displayed: 0, 90, 180, 270.
        """
        depth = 8 * samples.element_size()
        if samples.ndim != 3 or not samples.is_cuda or depth not in (8, 16) or not samples.is_contiguous():
            raise ValueError(
                f"frames are {samples.dtype} {list(samples.shape)} on {samples.device}, must be "
                "contiguous 8 or 16 bit [N, rows, pitch] on a GPU"
            )
        rows, pitch = samples.shape[1:]
        if rows < height + (height + 1) // 2 or pitch < width + width % 2:
            raise ValueError(f"frames have {rows} rows of {pitch} samples, too few for {width} x {height}")
        geometry = np.zeros(1, GEOMETRY)
        geometry["frame_stride"] = rows * pitch
        geometry["pitch"] = pitch
        geometry["coded_width"], geometry["coded_height"] = width, height
        geometry["uv_row"] = height
        shown = (height, width) if rotation in (90, 270) else (width, height)
        geometry["width"], geometry["height"] = shown
        geometry["rotation"] = rotation
        for name, value in yuv_coefficients(matrix, full_range, depth).items():
            geometry[name] = value
        return cls(samples, *shown, geometry, depth)
