"""Run a producer in a thread of its own, a bounded number of items ahead of its consumer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from fastface.watch import Watch, current, watching

T = TypeVar("T")

_END = object()


class Ahead(Generic[T]):
    """Iterates over `source` in a thread of its own, at most `depth` items ahead.

    An exception in the source is raised in the consumer, at its place. Closing (or leaving the `with` block) stops the
    thread and waits for it, so that nothing of the source is in use afterwards. Whoever watches the consumer's thread
    (see :mod:`fastface.watch`) watches this one, too.
    """

    def __init__(self, source: Iterable[T], depth: int = 2) -> None:
        if depth < 1:
            raise ValueError(f"depth is {depth}, must be at least 1")
        self._source = source
        self._queue: queue.Queue[object] = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._outer = current()
        self._thread = threading.Thread(target=self._produce, name="fastface-decode", daemon=True)

    def _put(self, item: object) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False

    def _produce(self) -> None:
        try:
            with watching(Watch(self._ends)):
                for item in self._source:
                    if not self._put(item):
                        return
            self._put(_END)
        except BaseException as error:
            self._put(error)

    def _ends(self) -> bool:
        return self._stop.is_set() or (self._outer is not None and self._outer.cancelled())

    def __enter__(self) -> Ahead[T]:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if item is _END:
                return
            if isinstance(item, BaseException):
                raise item
            yield item  # type: ignore[misc]

    def close(self) -> None:
        """Stop the thread and wait until it has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
