"""Packets on their way from the demuxing thread to the sessions, by segment, bounded by bytes and by number."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from fastface.decode.segments import Coded
from fastface.decode.threads import Threads

QUEUE_BYTES = 256 << 20
QUEUE_PACKETS = 32768
"""What the demuxing thread may be ahead."""


@dataclass(eq=False)
class Work:
    """A segment on its way to a session.

    Attributes:
        number: of the segment.
        base: shown frames in all segments before.
        chunks: packets that came and were not taken yet.
        complete: whether all have come.
        shown: frames that those that came must give.
    """

    number: int
    base: int
    chunks: deque[list[Coded]] = field(default_factory=deque)
    complete: bool = False
    shown: int = 0


class PacketQueue:
    """Segments and their packets. One thread fills it; any number of sessions take segments, each segment once.

    It never locks up: only the segment begun last is not complete, so a session waits for packets only if it has that
    one, when none is left for others to take; and the demuxing thread waits for room only while packets are queued,
    which then the sessions have to take.

    Args:
        threads: whose lock guards it.
        sessions: how many take segments.

    Attributes:
        ended: whether all of the file is demuxed.
        segments: how many there were, once it has ended.
    """

    def __init__(self, threads: Threads, sessions: int) -> None:
        self._threads = threads
        self._sessions = sessions  # that still ask for work
        self._begun = threads.condition()  # sessions wait for a segment
        self._added = threads.condition()  # the session with the segment begun last waits for packets
        self._space = threads.condition()  # the demuxing thread waits for room
        self._todo: deque[Work] = deque()
        self._claims = 0  # sessions that will take one of them
        self._bytes = self._packets = 0
        self.ended = False
        self.segments = 0

    def begin(self, number: int, base: int) -> Work:
        """A new segment, which a session may take at once, before its packets are there."""
        work = Work(number, base)
        with self._threads.lock:
            self._todo.append(work)
            self._begun.notify()
        return work

    def put(self, work: Work, chunk: list[Coded], *, complete: bool) -> None:
        """Add packets to the segment begun last; waits for room."""
        size = sum(c.size for c in chunk)
        with self._threads.lock:
            while self._packets and (self._bytes + size > QUEUE_BYTES or self._packets + len(chunk) > QUEUE_PACKETS):
                self._threads.check()
                self._space.wait()
            self._threads.check()
            if chunk:
                work.chunks.append(chunk)
                work.shown += sum(c.shown for c in chunk)
                self._bytes += size
                self._packets += len(chunk)
            work.complete = complete
            self._added.notify()

    def end(self, segments: int) -> None:
        """Nothing comes after these segments."""
        with self._threads.lock:
            self.ended = True
            self.segments = segments
            self._threads.wake()

    def claim(self) -> bool:
        """Whether there is a segment for one more session; waits until that is known. Then :meth:`take` or
        :meth:`give_up` follows."""
        with self._threads.lock:
            while True:
                self._threads.check()
                if len(self._todo) > self._claims:
                    self._claims += 1
                    return True
                if self.ended and not self._todo:
                    self._sessions -= 1
                    return False
                self._begun.wait()

    def take(self) -> Work:
        """The first segment that nobody has taken yet, after a claim: whoever is ready first gets what is due first."""
        with self._threads.lock:
            self._claims -= 1
            work = self._todo.popleft()
            if self.ended and not self._todo:
                self._begun.notify_all()  # nothing is left for those that waited
            return work

    def give_up(self) -> bool:
        """After a claim: this session can do nothing, and leaves; False if there is no other that could."""
        with self._threads.lock:
            self._claims -= 1
            if self._sessions == 1:
                return False
            self._sessions -= 1
            self._begun.notify()
            return True

    def chunks(self, work: Work) -> Iterator[list[Coded]]:
        """A segment's packets, as they come."""
        while True:
            with self._threads.lock:
                while not work.chunks:
                    self._threads.check()
                    if work.complete:
                        return
                    self._added.wait()
                self._threads.check()
                chunk = work.chunks.popleft()
                self._bytes -= sum(c.size for c in chunk)
                self._packets -= len(chunk)
                self._space.notify()
            yield chunk

    def clear(self) -> None:
        """Let go of what nobody takes any more."""
        self._todo.clear()
