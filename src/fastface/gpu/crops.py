"""Face crops in device memory."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator

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

    Written on one stream and read on another. What is written after :meth:`take` waits for who read these places
    before, as :meth:`reading` has noted it: places that are free for longest are taken first, so that this is over by
    then. What reads within :meth:`reading` waits for all that was written.

    Args:
        device: where.
        writing, reading: on which streams.
        first: places at first; None: enough for what waits in a video.

    Attributes:
        pixels: [places, 3, 160, 160] uint8.
        writing: the stream on which crops are written.
    """

    def __init__(
        self, device: torch.device, writing: torch.cuda.Stream, reading: torch.cuda.Stream, first: int | None = None
    ) -> None:
        self.writing, self._reading = writing, reading
        self._places = Places(first or _FIRST)
        self.pixels = torch.empty((0, *SHAPE), dtype=torch.uint8, device=device)
        self._readings = 0
        self._ends: deque[tuple[int, torch.cuda.Event]] = deque()  # of readings that nobody has waited for
        self._freed_after = np.zeros(0, np.int64)  # by place: readings so far

    @property
    def used(self) -> int:
        return self._places.used

    def take(self, count: int) -> NDArray[np.int64]:
        """Places for new crops, [count]."""
        if size := self._places.lacks(count):
            self._grow(size, at_least=self._places.used + count)
        places = self._places.take(count)
        last, end = self._freed_after[places].max(initial=0), None
        while self._ends and self._ends[0][0] <= last:
            _, end = self._ends.popleft()
        if end is not None:
            self.writing.wait_event(end)
        return places

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """What torch queues in the block, on the stream that reads, comes after all that was written."""
        self._reading.wait_stream(self.writing)
        try:
            with torch.cuda.stream(self._reading):
                yield
        finally:
            self._readings += 1
            self._ends.append((self._readings, self._reading.record_event()))

    def _grow(self, size: int, at_least: int) -> None:
        old = self.pixels
        with torch.cuda.stream(self.writing):
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
            self.pixels.record_stream(self._reading)
            self.pixels[: len(old)] = old
        if len(old):
            del old
            torch.cuda.empty_cache()  # torch would keep the smaller one, which nobody asks for again
        self._places.grow(size)
        self._freed_after = np.concatenate([self._freed_after, np.zeros(size - len(self._freed_after), np.int64)])

    def free(self, places: NDArray[np.int64]) -> None:
        self._freed_after[places] = self._readings
        self._places.free(places)

    def read(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        out = np.empty((len(places), *SHAPE), np.uint8)
        with self.reading():
            for i in range(0, len(places), _READ):  # also when there is hardly any memory left
                out[i : i + _READ] = self.pixels[self.on_device(places[i : i + _READ])].cpu().numpy()
        return out

    def write(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        places = self.take(len(pixels))
        with torch.cuda.stream(self.writing):
            self.pixels[self.on_device(places)] = torch.from_numpy(pixels).to(self.pixels.device)
        return places

    def on_device(self, places: NDArray[np.int64]) -> Tensor:
        """[m] int64, queued on torch's current stream."""
        return torch.from_numpy(places).pin_memory().to(self.pixels.device, non_blocking=True)
