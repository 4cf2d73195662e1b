"""Frames in device memory: what a GPU decoder lends to its consumer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.types import _check

NO_PTS = np.iinfo(np.int64).min
"""Stands in `DeviceFrameBatch.pts` where the stream has no time stamp."""


class Unsupported(Exception):
    """The GPU cannot decode this stream; the pipeline takes libav instead, and says why. Never reaches users.

    May be raised by the decoder's constructor and also while iterating (the stream turns into one that the GPU cannot
    decode): then the run starts again with libav.

    Attributes:
        reason: a sentence without a full stop.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DeviceEvent(Protocol):
    """What a CUDA event is here."""

    def record(self, stream: int) -> None:
        """Record it on the stream with this address."""

    def wait(self, stream: int) -> None:
        """Let the stream with this address wait for it; the host does not."""

    def synchronize(self) -> None:
        """Let the host wait for it."""


def stream_address(stream: Any) -> int:
    """The cudaStream_t of a stream of CuPy or torch, of anything with `__cuda_stream__`, or of an address as it is."""
    if isinstance(stream, int):
        return stream
    if hasattr(stream, "__cuda_stream__"):
        protocol = stream.__cuda_stream__
        return int((protocol() if callable(protocol) else protocol)[1])
    for name in ("ptr", "cuda_stream"):
        if hasattr(stream, name):
            return int(getattr(stream, name))
    raise TypeError(f"{stream!r} is no CUDA stream: give one of CuPy or torch, or its address")


@dataclass(frozen=True)
class DeviceFrameBatch:
    """N frames in device memory, in coded orientation, lent: give them back with :meth:`release`.

    Samples are NV12 (8 bit) or P016 (more; the value stands in the upper `bit_depth` of 16 bits). Rows [0, height) are
    Y; rows [height, height + ceil(height / 2)) are U and V by turns, both at half the size. Rows are `width` rounded up
    to even. The decoder's stream has written them when `ready` has happened: call `wait(stream)` before reading.

    Attributes:
        index: [N] int64, number of the frame in the video, from 0, in the order shown, ascending.
        time: [N] float64, seconds from the first frame shown, from the stream's time stamps.
        pts: [N] int64, time stamp in the stream's time base; NO_PTS where it has none.
        pixels: [N, height + ceil(height / 2), width rounded up to even] uint8 or uint16, on the device (CuPy), C order.
        bit_depth: 8, 10 or 12.
        matrix: "bt601", "bt709" or "bt2020".
        full_range: True where Y covers [0, 255], False where [16, 235].
        width, height: pixels of the coded picture (cropped), before rotation.
        rotation: degrees clockwise by which it is turned for display: 0, 90, 180 or 270.
        ready: event after which the samples are there.
        segment, part, final: place in the order shown: parts of a segment follow each other from 0, the last is final,
            then comes the next segment. Only of use with `ordered=False`, where a final part may have no frames.
    """

    index: NDArray[np.int64]
    time: NDArray[np.float64]
    pts: NDArray[np.int64]
    pixels: Any
    bit_depth: int
    matrix: str
    full_range: bool
    width: int
    height: int
    rotation: int
    ready: DeviceEvent
    segment: int = 0
    part: int = 0
    final: bool = False
    _give_back: Callable[[int | None], None] = field(default=lambda stream: None, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check("DeviceFrameBatch.index", self.index, np.int64, (None,))
        n = len(self.index)
        _check("DeviceFrameBatch.time", self.time, np.float64, (n,))
        _check("DeviceFrameBatch.pts", self.pts, np.int64, (n,))
        want = (n, self.height + (self.height + 1) // 2, (self.width + 1) // 2 * 2)
        dtype = np.uint8 if self.bit_depth == 8 else np.uint16
        if tuple(self.pixels.shape) != want or self.pixels.dtype != dtype:
            raise ValueError(
                f"DeviceFrameBatch.pixels is {self.pixels.dtype} {list(self.pixels.shape)}, must be "
                f"{np.dtype(dtype)} {list(want)}"
            )

    def __len__(self) -> int:
        return len(self.index)

    def wait(self, stream: Any) -> None:
        """Let a stream wait until the samples are there; the host does not wait."""
        self.ready.wait(stream_address(stream))

    def synchronize(self) -> None:
        """Let the host wait until the samples are there."""
        self.ready.synchronize()

    def release(self, stream: Any = None) -> None:
        """Give the memory back to the decoder: no later work may read `pixels`. A second call does nothing.

        Args:
            stream: the stream that was the last to read; the decoder writes after what it has queued by now. Without
                one, the host waits for the whole device first.
        """
        self._give_back(None if stream is None else stream_address(stream))

    def __enter__(self) -> DeviceFrameBatch:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


class InOrder:
    """Puts what was made of batches that came with `ordered=False` back into the order shown.

    Holds what was made, not the frames: `push(batch, value)` gives the values that are now due.
    """

    def __init__(self) -> None:
        self._due = (0, 0)
        self._held: dict[tuple[int, int], tuple[bool, Any]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def push(self, batch: DeviceFrameBatch, value: Any) -> list[Any]:
        """The values that are due once `value`, made of `batch`, is there; in order."""
        self._held[batch.segment, batch.part] = (batch.final, value)
        out: list[Any] = []
        while self._due in self._held:
            final, held = self._held.pop(self._due)
            out.append(held)
            segment, part = self._due
            self._due = (segment + 1, 0) if final else (segment, part + 1)
        return out
