"""What a run's time goes into, and so what bounds it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Literal, TypeVar

T = TypeVar("T")

Stage = Literal["decoding", "detection", "embedding"]


class Spent:
    """Seconds of a run's thread, by what it waited for or, where nobody else does it, did.

    Attributes:
        seconds: by stage.
    """

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {"decoding": 0.0, "detection": 0.0, "embedding": 0.0}

    @contextlib.contextmanager
    def on(self, stage: Stage) -> Iterator[None]:
        """The block is of this stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - begin

    def each(self, stage: Stage, source: Iterable[T]) -> Iterator[T]:
        """The items of `source`, of which coming by them is of this stage."""
        items = iter(source)
        while True:
            with self.on(stage):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
