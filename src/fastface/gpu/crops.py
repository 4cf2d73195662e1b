"""Face crops in device memory."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastface.cuda_driver import free_memory
from fastface.embed.crops import CROP_SIZE
from fastface.embed.store import SHAPE, Places
from fastface.errors import GPUMemoryError

_FIRST = 3584
"""Places at first, 275 MB: enough for what waits, so that larger and smaller are not there together while one is
copied."""

_READ = 16


class DeviceCrops:
    """Crops in device memory; see :class:`fastface.embed.store.CropStore`.

    Used on one stream only: what is queued there reads a place before it is written anew.

    Args:
        device, stream: where, and on which.
        first: places at first; None: enough for what waits in a video.

    Attributes:
        pixels: [places, 3, 160, 160] uint8.
    """

    def __init__(self, device: torch.device, stream: torch.cuda.Stream, first: int | None = None) -> None:
        self._stream = stream
        self._places = Places(first or _FIRST)
        self.pixels = torch.empty((0, *SHAPE), dtype=torch.uint8, device=device)

    @property
    def used(self) -> int:
        return self._places.used

    def take(self, count: int) -> NDArray[np.int64]:
        """Places for new crops, [count]."""
        if size := self._places.lacks(count):
            self._grow(size, at_least=self._places.used + count)
        return self._places.take(count)

    def _grow(self, size: int, at_least: int) -> None:
        old = self.pixels
        with torch.cuda.stream(self._stream):
            try:
                self.pixels = torch.empty((size, *SHAPE), dtype=torch.uint8, device=old.device)
            except torch.cuda.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                size = at_least
                try:
                    self.pixels = torch.empty((size, *SHAPE), dtype=torch.uint8, device=old.device)
                except torch.cuda.OutOfMemoryError:
                    raise GPUMemoryError(
                        f"there is no room for {size} crops of faces ({size * 3 * CROP_SIZE**2 >> 20} MiB): "
                        f"{free_memory(old.device)}"
                    ) from error
            self.pixels[: len(old)] = old
        if len(old):
            del old
            torch.cuda.empty_cache()  # torch would keep the smaller one, which nobody asks for again
        self._places.grow(size)

    def free(self, places: NDArray[np.int64]) -> None:
        self._places.free(places)

    def read(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        out = np.empty((len(places), *SHAPE), np.uint8)
        with torch.cuda.stream(self._stream):
            for i in range(0, len(places), _READ):  # also when there is hardly any memory left
                out[i : i + _READ] = self.pixels[self.on_device(places[i : i + _READ])].cpu().numpy()
        return out

    def write(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        places = self.take(len(pixels))
        with torch.cuda.stream(self._stream):
            self.pixels[self.on_device(places)] = torch.from_numpy(pixels).to(self.pixels.device)
        return places

    def on_device(self, places: NDArray[np.int64]) -> Tensor:
        """[m] int64, queued on torch's current stream."""
        return torch.from_numpy(places).pin_memory().to(self.pixels.device, non_blocking=True)
