"""The ring: blocks of one batch each in device memory, allocated once, lent to sessions and then to the consumer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastface.decode.cuda import Backend
from fastface.decode.device import DeviceEvent
from fastface.decode.threads import Threads
from fastface.errors import GPUMemoryError

BATCH_BYTES = 50 << 20
"""Bytes of NV12 that a batch may hold: 16 frames of 1080p, 4 of 2160p."""

MAX_BATCH = 32

RING_FRACTION = 0.25
"""Part of the free device memory that the ring may take unless `memory` says otherwise."""

EXPECTED_SEGMENT = 256
"""Frames a segment that the ring is laid out for; longer ones are decoded as well."""


@dataclass(eq=False)
class Block:
    """One batch's place in the ring.

    Attributes:
        pixels: [batch_size, rows, row] samples.
        ready: recorded by the session that has filled it.
        freed: recorded by the consumer when it gives it back.
        wait: whether `freed` must be waited for before writing.
    """

    pixels: Any
    ready: DeviceEvent
    freed: DeviceEvent
    wait: bool = False


class Ring:
    """Blocks, and who may take one.

    In order, sessions that are ahead leave a reserve of blocks, one more than the consumer may hold: only the session
    with the segment that is due may take of it. So there is always a block for the frames that the consumer waits for,
    as long as it holds no more than it said. As they come, any session may take any block, unless the consumer holds
    the others back: then only the session with the first segment that is not finished gets on.

    Args:
        threads: whose lock guards the ring.
        backend: where the memory is.
        frame_bytes: of a frame in the ring.
        batch_size: frames a block; None chooses by size, and halves it where not even the smallest ring may be had.
        sessions: that take blocks.
        ordered: whether batches are given in the order shown.
        every: only every n-th frame needs a place.
        hold: blocks that the consumer may hold while it asks for the next one.
        frame_count: frames in the file, if known.
        memory: bytes that it may take; None chooses by segments in flight, at most a quarter of what is free.

    Attributes:
        batch_size: frames a block, as chosen.
        size: bytes of the ring.
        nothing: the pixels of a batch without frames.
        free: blocks that nobody has.
        due: number of the first segment that the consumer has not had all of.

    Raises:
        GPUMemoryError: not even the smallest ring fits.
    """

    def __init__(
        self,
        threads: Threads,
        backend: Backend,
        frame_bytes: int,
        *,
        batch_size: int | None,
        sessions: int,
        ordered: bool,
        every: int,
        hold: int,
        frame_count: int | None,
        memory: int | None,
    ) -> None:
        self._threads, self._backend = threads, backend
        self._returned = threads.condition()  # sessions wait for a block
        self._sessions, self._ordered, self._every, self._hold = sessions, ordered, every, hold
        self._reserve = hold + 1
        self._held = 0
        self._held_back = False
        self._over: set[int] = set()  # segments after the due one that the consumer has had all of
        self.due = 0
        self.batch_size = batch_size or max(1, min(MAX_BATCH, BATCH_BYTES // frame_bytes))
        while (pixels := self._allocate(frame_bytes, frame_count, memory, batch_size is None)) is None:
            self.batch_size //= 2
        self.size = len(pixels) * self.batch_size * frame_bytes
        self.free = [Block(p, backend.event(), backend.event()) for p in pixels]
        self.nothing = pixels[0][:0]

    def _allocate(self, frame_bytes: int, frame_count: int | None, memory: int | None, halve: bool) -> list[Any] | None:
        """As many blocks as are of use and fit; None, with `halve`, if there is no room for the fewest that must be."""
        block_bytes = self.batch_size * frame_bytes
        least = self._reserve + (1 if self._ordered else self._sessions)
        if self._ordered:
            ahead = -(-EXPECTED_SEGMENT // (self.batch_size * self._every))
            if frame_count:
                ahead = min(ahead, -(-frame_count // (self.batch_size * self._every)))
            wanted = self._reserve + self._sessions * max(1, ahead)
        else:
            wanted = least
        budget = int(self._backend.free_bytes * RING_FRACTION) if memory is None else memory
        if halve and self.batch_size > 1 and least * block_bytes > budget:
            return None
        blocks = max(least, min(wanted, budget // block_bytes))
        while True:
            try:
                return self._backend.allocate(blocks, self.batch_size)
            except MemoryError as error:
                if blocks > least:
                    blocks = max(least, blocks // 2)
                elif halve and self.batch_size > 1:
                    return None
                else:
                    raise GPUMemoryError(
                        f"{blocks * block_bytes / 1e6:.0f} MB of device memory for {blocks} batches of "
                        f"{self.batch_size} frames cannot be had; free some, or use a smaller batch_size "
                        "or fewer sessions"
                    ) from error

    def take(self, segment: int) -> Block:
        """A block for a session's segment; waits for one."""
        with self._threads.lock:
            while True:
                self._threads.check()
                if len(self.free) > self._kept_from(segment):
                    return self.free.pop()
                self._returned.wait()

    def _kept_from(self, segment: int) -> int:
        """How many free blocks a session with this segment may not take."""
        if segment == self.due:
            return 0
        if self._ordered:
            return self._reserve
        return len(self.free) if self._held_back else 0

    def hold_back(self, yes: bool) -> None:
        """Whether only the due segment's session may go on (not in order)."""
        if yes == self._held_back:
            return
        with self._threads.lock:
            self._held_back = yes
            self._returned.notify_all()

    def finish(self, segment: int) -> None:
        """With the lock held: the consumer has had all of a segment."""
        self._over.add(segment)
        while self.due in self._over:
            self._over.remove(self.due)
            self.due += 1
        self._returned.notify_all()

    def lend(self) -> None:
        """With the lock held: the consumer gets a block."""
        self._held += 1

    def check_held(self) -> None:
        """With the lock held: raise RuntimeError if the consumer holds so many blocks that it might wait for ever."""
        if self._held > self._hold:
            raise RuntimeError(
                f"{self._held} batches are held, more than hold={self._hold}: release them before asking for more"
            )

    def give_back(self, block: Block, stream: int | None) -> None:
        """The consumer has done with a block, as soon as the stream gets there; None waits for the whole device."""
        if stream is None:
            self._backend.synchronize()
            block.wait = False
        else:
            block.freed.record(stream)
            block.wait = True
        with self._threads.lock:
            self._held -= 1
            self.free.append(block)
            if self._ordered or self._held_back:
                self._returned.notify_all()  # it depends on the segment who may have it
            else:
                self._returned.notify()

    def close(self) -> None:
        """Let go of the blocks; those that are held stay readable."""
        self.free = []
        self.nothing = None
