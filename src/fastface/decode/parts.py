"""What sessions hand over: the decoded frames of a segment, in parts of at most one batch."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from fastface.decode.device import Unsupported
from fastface.decode.probe import DecodeStats
from fastface.decode.ring import Block
from fastface.decode.threads import Threads


@dataclass(eq=False)
class Part:
    """Frames of a segment that are decoded.

    Attributes:
        segment, number, final: which part of which segment, and whether it is the segment's last.
        block: where the frames are; None if none of them was asked for.
        index, time, pts: of the frames in the block.
        times: of every frame, asked for or not, since the part before.
        end: seconds at which the last of them ends.
        lost: frames that the segment should have given and did not; known with its last part.
    """

    segment: int
    number: int
    final: bool = False
    block: Block | None = None
    index: list[int] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    pts: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    end: float = 0.0
    lost: int = 0


class Parts:
    """Parts on their way to the consumer, segment by segment in the order shown, or as they come.

    Attributes:
        finished: segments whose last part was taken.
    """

    def __init__(self, threads: Threads, *, ordered: bool) -> None:
        self._threads, self._ordered = threads, ordered
        self._added = threads.condition()  # the consumer waits for a part
        self._queues: dict[int, deque[Part]] = {}  # by segment; as they come, all in one
        self.finished = 0

    def put(self, part: Part) -> None:
        with self._threads.lock:
            self._queues.setdefault(part.segment if self._ordered else 0, deque()).append(part)
            self._added.notify_all()

    def pop(self, due: int) -> Part | None:
        """With the lock held: the next part, of segment `due` if in order; None if it is not there yet."""
        queue = self._queues.get(due if self._ordered else 0)
        if not queue:
            return None
        part = queue.popleft()
        if part.final:
            self.finished += 1
            if self._ordered:
                del self._queues[due]
        return part

    def has(self, due: int) -> bool:
        """With the lock held: whether `pop` would give a part."""
        return bool(self._queues.get(due if self._ordered else 0))

    def wait(self) -> None:
        """With the lock held: wait until something has changed."""
        self._added.wait()

    def clear(self) -> None:
        """Let go of what nobody takes any more."""
        self._queues = {}


class Account:
    """Puts the parts' counts and times into the statistics; times of later segments wait for the earlier ones.

    A damaged stream may give other frames than its packets announce. Where a segment then reaches into the next one
    the video is not for decoding in segments.
    """

    def __init__(self, stats: DecodeStats) -> None:
        self._stats = stats
        self._late: dict[int, tuple[list[float], float, bool, bool]] = {}  # of segments that are not due yet
        self._merged = 0
        self._more = False  # whether a segment gave more frames than were announced

    def add(self, part: Part) -> None:
        """Count a part.

        Raises:
            Unsupported: segments overlap, in time or in the numbers of their frames.
        """
        stats = self._stats
        stats.frames += len(part.times)
        if part.lost > 0:
            stats.skipped += part.lost
            stats.warn("damaged packets were left out by the GPU decoder")
        times = self._late[part.segment][0] if part.segment in self._late else []
        times += part.times
        self._late[part.segment] = (times, part.end, part.final, part.lost < 0)
        while self._merged in self._late:
            times, end, final, more = self._late[self._merged]
            if times:
                if self._more:
                    raise Unsupported("the stream gives more frames than its packets announce")
                if stats.times and times[0] <= stats.times[-1]:
                    raise Unsupported("the stream's time stamps contradict its order")
                stats.times += times
                stats.end = end
                times.clear()
            if not final:
                break
            self._more = self._more or more
            del self._late[self._merged]
            self._merged += 1
