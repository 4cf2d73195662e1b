"""Threads that share one lock and end together."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Stopped(Exception):
    """The threads are to end: they are being stopped, or another one failed."""


class Threads:
    """One lock for all that the threads share; a failure in one, or `stop()`, ends the others wherever they wait.

    Whoever waits for a condition of this lock must call `check()` each time it wakes.

    Attributes:
        lock: guards everything the threads share.
        error: what the first thread that failed raised.
        stopped: whether `stop()` was called.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.error: BaseException | None = None
        self.stopped = False
        self._conditions: list[threading.Condition] = []
        self._threads: list[threading.Thread] = []

    def condition(self) -> threading.Condition:
        """A condition of the lock, which is woken when it is over."""
        condition = threading.Condition(self.lock)
        self._conditions.append(condition)
        return condition

    def start(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=self._guard, args=(target,), name=f"fastface-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guard(self, target: Callable[[], None]) -> None:
        try:
            target()
        except Stopped:
            pass
        except BaseException as error:
            with self.lock:
                self.error = self.error or error
                self.wake()

    def check(self) -> None:
        """With the lock held: raise Stopped if it is over."""
        if self.stopped or self.error is not None:
            raise Stopped

    def wake(self) -> None:
        """With the lock held: wake all that wait for anything."""
        for condition in self._conditions:
            condition.notify_all()

    def stop(self) -> None:
        """End the threads and wait for them."""
        with self.lock:
            self.stopped = True
            self.wake()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._threads = []
