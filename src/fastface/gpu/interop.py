"""Arrays of other GPU libraries as torch tensors, without a copy, and streams of theirs as torch's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from fastface.decode.device import stream_address
from fastface.embed.crops import MARGIN
from fastface.errors import InputValidationError
from fastface.given import check_boxes, check_frames, matrix_or_default
from fastface.gpu.frames import DeviceFrames


def as_tensor(array: Any, device: torch.device, name: str) -> Tensor:
    """Anything with `__dlpack__` or `__cuda_array_interface__`; torch's current stream waits for its producer's.

    Raises:
        InputValidationError: it is neither, or not on this device.
    """
    if isinstance(array, Tensor):
        tensor = array
    elif hasattr(array, "__dlpack__"):
        try:
            tensor = from_dlpack(array)
        except (RuntimeError, BufferError, TypeError, ValueError) as error:
            raise InputValidationError(f"{name} cannot be exchanged by DLPack: {error}") from error
    elif hasattr(array, "__cuda_array_interface__"):
        import cupy

        tensor = from_dlpack(cupy.asarray(array))
    else:
        raise InputValidationError(
            f"{name} is a {type(array).__name__}, must have __dlpack__ or __cuda_array_interface__ (torch, CuPy, ...)"
        )
    if tensor.device != device:
        raise InputValidationError(f"{name} is on {tensor.device}, must be on {device}, where the pipeline runs")
    return tensor


def as_frames(array: Any, device: torch.device, *, matrix: str | None, full_range: bool) -> DeviceFrames:
    """RGB [N, H, W, 3] or NV12 [N, H * 3 / 2, W] uint8, contiguous, as our kernels read them, without a copy.

    Raises:
        InputValidationError: another shape, dtype or device, or not contiguous.
    """
    tensor = as_tensor(array, device, "frames")
    rgb = check_frames(tensor.dtype == torch.uint8, tensor.dtype, tuple(tensor.shape))
    if not tensor.is_contiguous():
        raise InputValidationError("frames are not contiguous: copy them (.contiguous()) first")
    if rgb:
        return DeviceFrames.from_rgb(tensor)
    height = tensor.shape[1] * 2 // 3
    return DeviceFrames.from_nv12(
        tensor, tensor.shape[2], height, matrix=matrix_or_default(matrix, height), full_range=full_range
    )


def face_boxes(boxes: Tensor, rows: Tensor | None, n: int) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Boxes [M, 4] with rows [M], or [N, K, 4] of N frames: float32 [M, 4], rows [M] int64, the shape without the 4.

    Raises:
        InputValidationError: another shape or dtype.
    """
    row_shape = None if rows is None else tuple(rows.shape)
    check_boxes(boxes.is_floating_point(), boxes.dtype, tuple(boxes.shape), row_shape, n)
    shape = tuple(boxes.shape[:-1])
    if rows is None:
        rows = torch.arange(n, device=boxes.device).repeat_interleave(boxes.shape[1])
    # Which frame cannot be checked without waiting for the device; a wrong number reads within the frames.
    return boxes.reshape(-1, 4).float(), rows.to(torch.int64).clamp(0, max(n - 1, 0)), shape


def crop_rects_on_device(boxes: Tensor, width: int, height: int) -> Tensor:
    """:func:`fastface.embed.crops.crop_rects`, in device memory: [M, 4] int32."""
    wide = boxes.double()
    grow = (wide[:, 2:] - wide[:, :2]) * (MARGIN / 2)
    limit = torch.tensor([width, height], dtype=torch.float64).to(boxes.device, non_blocking=True)
    zero = torch.zeros_like(limit)
    low = torch.clamp(torch.trunc(wide[:, :2] - grow), zero, limit - 1)
    high = torch.maximum(torch.minimum(torch.trunc(wide[:, 2:] + grow), limit), low + 1)
    return torch.cat([low, high], 1).to(torch.int32)


@contextlib.contextmanager
def ordered_on(own: torch.cuda.Stream, stream: Any, device: torch.device) -> Iterator[None]:
    """Work within the block is queued on `stream` if there is one, and the caller synchronises; else on our own
    stream, after what torch's current stream holds, and the host waits for it at the end.

    Raises:
        InputValidationError: stream is no CUDA stream.
    """
    if stream is not None:
        try:
            address = stream_address(stream)
        except TypeError as error:
            raise InputValidationError(str(error)) from error
        with torch.cuda.device(device), torch.cuda.stream(torch.cuda.ExternalStream(address, device=device)):
            yield
        return
    own.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.device(device), torch.cuda.stream(own):
        yield
    own.synchronize()


@dataclass(frozen=True)
class GivenBatch:
    """N frames that the user decoded.

    Attributes:
        index: [N] int64, number of the frame, from 0.
        time: [N] float64, seconds.
        frames: in device memory.
    """

    index: NDArray[np.int64]
    time: NDArray[np.float64]
    frames: DeviceFrames

    def __len__(self) -> int:
        return len(self.index)
