"""Frames that the user decoded: what they may look like, and those in host memory as RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.decode.color import MATRICES, matrix_of, yuv_coefficients
from fastface.decode.probe import DecodeStats
from fastface.errors import InputValidationError
from fastface.types import VideoInfo


def check_frames(is_uint8: bool, dtype: Any, shape: tuple[int, ...]) -> bool:
    """Whether these are RGB [N, H, W, 3] frames; False: NV12 [N, H * 3 / 2, W].

    Raises:
        InputValidationError: they are neither.
    """
    rgb = len(shape) == 4 and shape[3] == 3
    nv12 = len(shape) == 3 and shape[1] % 3 == 0 and shape[2] % 2 == 0
    if not is_uint8 or not (rgb or nv12) or 0 in shape[1:]:
        raise InputValidationError(
            f"frames are {dtype} {list(shape)}, must be uint8: RGB [N, H, W, 3], or NV12 [N, H * 3 / 2, W] with even H "
            "and W"
        )
    return rgb


def matrix_or_default(matrix: str | None, height: int) -> str:
    """The matrix that turns NV12 into RGB: as given, or what players assume.

    Raises:
        InputValidationError: there is no such matrix.
    """
    if matrix is None:
        return matrix_of(UNTAGGED, height)[0]
    if matrix not in MATRICES:
        raise InputValidationError(f"matrix is {matrix!r}, must be one of {', '.join(MATRICES)}, or None")
    return matrix


UNTAGGED = 2
"""AVCOL_SPC_UNSPECIFIED."""


def host_array(array: Any, name: str) -> NDArray[Any]:
    """Anything with `__dlpack__`, `__array__` or the buffer protocol in host memory.

    Raises:
        InputValidationError: it is none, or in another memory.
    """
    try:
        if hasattr(array, "__dlpack__") and not isinstance(array, np.ndarray):
            if array.__dlpack_device__()[0] != 1:  # kDLCPU
                raise InputValidationError(f"{name} is on a GPU, but the pipeline runs on the CPU: copy it to the host")
            return np.from_dlpack(array)
        return np.asarray(array)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, InputValidationError):
            raise
        raise InputValidationError(f"{name} is a {type(array).__name__} that NumPy cannot take: {error}") from error


def rgb_frames(array: Any, matrix: str | None, full_range: bool) -> NDArray[np.uint8]:
    """Frames in host memory as RGB [N, H, W, 3] uint8, without a copy if they are RGB and contiguous.

    Raises:
        InputValidationError: see :func:`check_frames`.
    """
    from fastface import _core
    from fastface.executor import threads

    frames = host_array(array, "frames")
    if check_frames(frames.dtype == np.uint8, frames.dtype, frames.shape):
        return np.ascontiguousarray(frames)
    height, width = frames.shape[1] * 2 // 3, frames.shape[2]
    coefficients = [*yuv_coefficients(matrix_or_default(matrix, height), full_range).values()]
    out = np.empty((len(frames), height, width, 3), np.uint8)
    for source, picture in zip(np.ascontiguousarray(frames), out, strict=True):
        uv = source[height:]
        u, v = np.ascontiguousarray(uv[:, 0::2]), np.ascontiguousarray(uv[:, 1::2])
        _core.yuv420_to_rgb(source[:height], u, v, width, height, coefficients, picture, threads())
    return out


def check_boxes(is_float: bool, dtype: Any, shape: tuple[int, ...], rows: tuple[int, ...] | None, n: int) -> None:
    """Boxes must be [N, K, 4] of N frames, or [M, 4] with rows [M].

    Raises:
        InputValidationError: they are not.
    """
    by_frame = len(shape) == 3 and shape[0] == n and rows is None
    listed = len(shape) == 2 and rows is not None and rows == shape[:1]
    if not is_float or not (by_frame or listed) or shape[-1] != 4:
        raise InputValidationError(
            f"boxes are {dtype} {list(shape)} and rows {None if rows is None else list(rows)} for {n} frames, must be "
            "floating point [N, K, 4], or [M, 4] with rows [M] that say which frame"
        )


def face_boxes(
    boxes: NDArray[Any], rows: NDArray[Any] | None, n: int
) -> tuple[tuple[int, ...], NDArray[np.float32], NDArray[np.int64]]:
    """Boxes in either form: the shape without the 4, boxes [M, 4] and rows [M].

    Raises:
        InputValidationError: see :func:`check_boxes`, or a row is no frame.
    """
    floating = np.issubdtype(boxes.dtype, np.floating)
    check_boxes(floating, boxes.dtype, boxes.shape, None if rows is None else rows.shape, n)
    shape = boxes.shape[:-1]
    row = np.repeat(np.arange(n), shape[1]) if rows is None else rows.astype(np.int64)
    if len(row) and (row.min() < 0 or row.max() >= n):
        raise InputValidationError(f"rows are from {row.min()} to {row.max()}, must be from 0 to {n - 1}")
    return shape, np.ascontiguousarray(boxes.reshape(-1, 4).astype(np.float32)), row


class GivenFrames:
    """Stands in for a decoder where the user decodes: what it was given."""

    name = "given"

    def __init__(self, name: str) -> None:
        self._name = name
        self.stats = DecodeStats()
        self._size: tuple[int, int] | None = None

    def add(self, time: NDArray[np.float64], width: int, height: int) -> None:
        """Frames of these times.

        Raises:
            InputValidationError: they do not ascend, or the size is another than before.
        """
        times = self.stats.times
        if self._size not in (None, (width, height)):
            raise InputValidationError(f"frames are {width} x {height}, must be {self._size} as those before")
        if not np.isfinite(time).all() or (np.diff([*times[-1:], *time]) <= 0).any():
            raise InputValidationError(f"times must be finite and ascend, but {[*times[-1:], *time][:9]} ... do not")
        self._size = (width, height)
        times += time.tolist()
        self.stats.frames += len(time)
        step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1 / 25
        self.stats.end = times[-1] + step if times else 0.0

    @property
    def info(self) -> VideoInfo:
        width, height = self._size or (0, 0)
        times = self.stats.times
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else None
        return VideoInfo(
            path=self._name, width=width, height=height, rotation=0, codec="given", duration=self.stats.end,
            frame_count=len(times), average_rate=rate, pixel_format="given", matrix="given", full_range=True,
        )  # fmt: skip
