"""Face crops in numbered places of one array, so that keeping a few of many costs only those."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.embed.crops import CROP_SIZE

SHAPE = (3, CROP_SIZE, CROP_SIZE)


class Places:
    """Which places of an array are free; the array grows when there are too few. The one that is free for longest is
    taken first.

    Attributes:
        size: places that there are.
        used: places that are taken.
    """

    def __init__(self, first: int) -> None:
        self._first = first
        self._ring = np.zeros(0, np.int64)  # those that are free, from number `_begin` on and round
        self._begin = 0
        self.size = self.used = 0

    def lacks(self, count: int) -> int:
        """The size that the array must have before `count` can be taken; 0 if it is large enough."""
        if count <= self.size - self.used:
            return 0
        return max(self._first, self.size * 3 // 2, self.used + count)

    def grow(self, size: int) -> None:
        """The array has this many places now."""
        fresh, used = np.arange(self.size, size, dtype=np.int64), self.used
        free = self.take(self.size - used)
        self._ring = np.concatenate([fresh, free, np.zeros(used, np.int64)])
        self._begin, self.size, self.used = 0, size, used

    def take(self, count: int) -> NDArray[np.int64]:
        begin, end = self._begin, self._begin + count
        taken = np.concatenate([self._ring[begin:end], self._ring[: max(0, end - self.size)]])
        self._begin = end if end < self.size else end - self.size
        self.used += count
        return taken

    def free(self, places: NDArray[np.int64]) -> None:
        begin = self._begin - self.used  # of those that are taken
        if begin < 0:
            begin += self.size
        before = min(len(places), self.size - begin)
        self._ring[begin : begin + before] = places[:before]
        self._ring[: len(places) - before] = places[before:]
        self.used -= len(places)


class CropStore(Protocol):
    """Crops of 160 x 160, RGB, uint8, where the executor has its memory. Whoever takes a place frees it."""

    @property
    def used(self) -> int:
        """Places that are taken."""

    def free(self, places: NDArray[np.int64]) -> None:
        """These places may be written anew."""

    def read(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """[n, 3, 160, 160] in host memory."""

    def write(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Where [n, 3, 160, 160] from host memory are now."""


class HostCrops:
    """Crops in host memory."""

    def __init__(self, first: int = 64) -> None:
        self._places = Places(first)
        self.pixels: NDArray[np.uint8] = np.empty((0, *SHAPE), np.uint8)

    @property
    def used(self) -> int:
        return self._places.used

    def free(self, places: NDArray[np.int64]) -> None:
        self._places.free(places)

    def read(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.pixels[places]

    def write(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        if size := self._places.lacks(len(pixels)):
            larger = np.empty((size, *SHAPE), np.uint8)
            larger[: len(self.pixels)] = self.pixels
            self.pixels = larger
            self._places.grow(size)
        places = self._places.take(len(pixels))
        self.pixels[places] = pixels
        return places
