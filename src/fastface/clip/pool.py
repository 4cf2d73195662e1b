"""Parts encoded on all cores, and given in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from fastface.clip.copy import copy_part
from fastface.clip.cut import Encoded, Part, Pictures, encode_part
from fastface.clip.source import Source
from fastface.encode.h264 import Coding

Progress = Callable[[int, int], None]
"""Called with pictures done, and pictures in all."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Encodes the parts of all files, some ahead of the one that is written; gives them in order.

    No more than two parts for each worker are on their way, so that memory does not grow with the video's length.
    """

    def __init__(
        self, source: Source, parts: Sequence[Part], coding: Coding, pictures: Pictures, workers: int,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self.source, self.parts, self.coding, self.pictures = source, parts, coding, pictures
        self.ahead, self.threads = 2 * workers, -(-workers // len(parts))
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="fastface-clip")
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.done, self.total = 0, sum(p.cut.last - p.cut.first for p in parts)
        self.progress = progress

    def _count(self, pictures: int) -> None:
        with self.lock:
            self.done += pictures

    def _submit(self, part: Part) -> Future[Encoded]:
        if part.copied:
            return self.pool.submit(copy_part, self.source, part, self._count)
        return self.pool.submit(
            encode_part, self.source, part, self.coding, self.pictures, self.threads, self.stop, self._count
        )

    def __iter__(self) -> Iterator[Encoded]:
        waiting: deque[Future[Encoded]] = deque()
        coming = iter(self.parts)
        for _ in self.parts:
            while len(waiting) < self.ahead and (part := next(coming, None)) is not None:
                waiting.append(self._submit(part))
            future = waiting.popleft()
            while not future.done():
                wait([future], timeout=0.1)
                self._tell()
            encoded = future.result()
            self._tell()  # before it is given away: nobody asks for more after the last
            yield encoded

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(self.done, self.total)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        self.pool.shutdown(wait=True, cancel_futures=True)
