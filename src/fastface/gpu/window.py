"""Windows of frames in device memory, brought to another size: what a clip's following window shows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastface.errors import InputValidationError
from fastface.gpu.kernels import kernel, launch

_THREADS, _ROWS = 128, 32  # as in csrc/cuda/window.cu


class WindowCutter:
    """Cuts windows out of NV12 frames by Pillow's BICUBIC: the same samples as :func:`fastface.clip.view.sampled`.

    Args:
        width, height: of the frames, in samples of Y.
        size: (width, height) of what is made, even.
        most: windows at once.
        device: where frames and results are.

    Raises:
        torch.cuda.OutOfMemoryError: there is no room.
    """

    def __init__(self, width: int, height: int, size: tuple[int, int], most: int, device: torch.device) -> None:
        if size[0] % 2 or size[1] % 2:
            raise InputValidationError(f"size is {size[0]} x {size[1]}, must be even")
        self._width, self._height, self._size, self._most, self._device = width, height, size, most, device
        self._temp = torch.empty((3 * most, height, size[0]), dtype=torch.uint8, device=device)
        self._out = torch.empty((most, size[1] * 3 // 2, size[0]), dtype=torch.uint8, device=device)
        self._table = torch.empty(0, dtype=torch.int32, device=device)

    def queue(self, frames: Tensor, frame_of: NDArray[np.int32], window: NDArray[np.float64], stream: int) -> Tensor:
        """Queue the cutting of V windows.

        Args:
            frames: [N, rows, pitch] uint8, NV12.
            frame_of: [V] int32, the frame of each.
            window: [V, 4] float64, xyxy in samples of Y, inside the frame.
            stream: address of a CUDA stream, which is torch's current one as well.

        Returns:
            [V, height * 3 / 2, width] uint8 on the device, planes of Y, U and V one after the other; it is written anew
            by the next call.
        """
        count, (width, height) = len(window), self._size
        if count > self._most:
            raise ValueError(f"{count} windows, must be at most {self._most}")
        sides = (window[:, 2:] - window[:, :2]) / (width, height)
        most = 2 * math.ceil(2 * max(float(sides.max()), 1.0)) + 2
        longest = max(width, height)
        if self._table.numel() < 4 * count * longest * (2 + most):
            self._table = torch.empty(4 * self._most * longest * (2 + most), dtype=torch.int32, device=self._device)
        windows, numbers = (torch.from_numpy(np.ascontiguousarray(a)).to(self._device) for a in (window, frame_of))
        rows, pitch = int(frames.shape[1]), int(frames.shape[2])
        table = (self._table, longest, most)

        def run(name: str, grid: tuple[int, ...], *args: Any) -> None:
            index = self._device.index or 0
            launch(stream, index, kernel("window", name, device=index), grid, _THREADS, *args)

        across = -(-width // _THREADS)
        run("window_taps", (-(-longest // _THREADS), 4 * count), windows, self._width, self._height, width, height,
            *table)  # fmt: skip
        run("window_rows", (across, -(-self._height // _ROWS), 3 * count), frames, rows * pitch, pitch, self._width,
            self._height, numbers, windows, width, *table, self._temp)  # fmt: skip
        run("window_columns", (across, -(-height // _ROWS), 3 * count), self._temp, self._height, width, height, *table,
            self._out)  # fmt: skip
        return self._out[:count]
