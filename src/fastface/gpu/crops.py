"""Face crops in device memory, each in a place of one large tensor, so that keeping a few of many costs only those."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastface.embed.crops import CROP_SIZE

_FIRST = 512


class Crop:
    """One crop's place; it is free again when this object is gone."""

    __slots__ = ("_free", "place")

    def __init__(self, place: int, free: list[int]) -> None:
        self.place, self._free = place, free

    def __del__(self) -> None:
        self._free.append(self.place)


class CropStore:
    """Room for crops, used on one stream only: what is queued there reads a place before it is written anew.

    Attributes:
        pixels: [places, 3, 160, 160] uint8.
    """

    def __init__(self, device: torch.device) -> None:
        self.pixels = torch.empty((0, 3, CROP_SIZE, CROP_SIZE), dtype=torch.uint8, device=device)
        self._free: list[int] = []

    def take(self, count: int) -> list[Crop]:
        """Places for new crops, with torch's current stream the one that uses the store."""
        if count > len(self._free):
            old = self.pixels
            places = max(_FIRST, 2 * len(old), len(old) + count)
            self.pixels = torch.empty((places, *old.shape[1:]), dtype=torch.uint8, device=old.device)
            self.pixels[: len(old)] = old
            self._free += range(len(old), places)
        return [Crop(self._free.pop(), self._free) for _ in range(count)]

    def places(self, crops: Sequence[Crop]) -> Tensor:
        """[m] int64, on the device."""
        host = torch.tensor([c.place for c in crops], dtype=torch.int64).pin_memory()
        return host.to(self.pixels.device, non_blocking=True)
