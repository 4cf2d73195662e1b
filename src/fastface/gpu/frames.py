"""Frames in device memory, as our kernels read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# FrameGeometry in csrc/cuda/frame.cuh.
GEOMETRY = np.dtype(
    [("frame_stride", "i8")]
    + [(n, "i4") for n in ("pitch", "coded_width", "coded_height", "uv_row", "width", "height", "rotation", "rgb")]
    + [(n, "f4") for n in ("y_offset", "y_gain", "r_v", "g_u", "g_v", "b_u", "center")],
    align=True,
)

# Luma weights of red and blue: ITU-R BT.601-7, BT.709-6, BT.2020-2 (non-constant luminance).
_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


def yuv_coefficients(matrix: str, full_range: bool, depth: int = 8) -> dict[str, float]:
    """The fields of YuvToRgb (csrc/common/color.h).

    Args:
        matrix: "bt601", "bt709" or "bt2020".
        full_range: Y covers all codes, else [16, 235] (and U, V [16, 240]) of 8 bits.
        depth: 8, or 16 for P016, whose samples have their value in the high bits.
    """
    kr, kb = _WEIGHTS[matrix]
    kg = 1.0 - kr - kb
    unit = 1 << (depth - 8)
    low, y_span, c_span = (0, 255, 255) if full_range else (16, 219, 224)
    if full_range and depth > 8:
        # All codes of ten bits, say, go to 65472, not to 255 * 256.
        y_span = c_span = (1 << 16) * 1023 / 1024 / unit
    luma, chroma = 255.0 / (y_span * unit), 255.0 / (c_span * unit)
    return {
        "y_offset": float(low * unit),
        "y_gain": luma,
        "r_v": 2 * (1 - kr) * chroma,
        "g_u": -2 * (1 - kb) * kb / kg * chroma,
        "g_v": -2 * (1 - kr) * kr / kg * chroma,
        "b_u": 2 * (1 - kb) * chroma,
        "center": 128.0 * unit,
    }


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

    def __len__(self) -> int:
        return int(self.samples.shape[0])

    @property
    def device(self) -> int:
        return int(self.samples.device.index)

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
