"""What somebody outside may do with the run that goes on in a thread: see at which stage it is, and end it.

A run has no handle that could be passed through all stages. It is known by its thread: whoever starts it says
:func:`watching`, and the places where time passes (a decoded frame, a level of the pyramid, a batch of crops) call
:func:`check`. Where nobody watches that costs one look at a thread's own variable.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass


class Cancelled(BaseException):
    """The run was ended from outside. Like KeyboardInterrupt it is nobody's error, and no `except Exception` takes it.

    It never leaves fastface's public calls.
    """


@dataclass(frozen=True)
class Watch:
    """Attributes:
    cancelled: whether the run shall end; called often, from the run's threads.
    stage: called with the name of the stage that begins: "frames", then "people".
    """

    cancelled: Callable[[], bool]
    stage: Callable[[str], None] = lambda name: None


_here = threading.local()


@contextlib.contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Within the block, what this thread does is watched."""
    before = current()
    _here.watch = watch
    try:
        yield
    finally:
        _here.watch = before


def current() -> Watch | None:
    """Who watches this thread."""
    watch: Watch | None = getattr(_here, "watch", None)
    return watch


def check() -> None:
    """Raise if the run shall end.

    Raises:
        Cancelled: it shall.
    """
    watch = current()
    if watch is not None and watch.cancelled():
        raise Cancelled


def stage(name: str) -> None:
    """Say that a stage begins."""
    watch = current()
    if watch is not None:
        watch.stage(name)
