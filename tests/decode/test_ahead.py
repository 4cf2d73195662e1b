"""Running a producer ahead of its consumer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from fastface.decode import Ahead


def decoders() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "fastface-decode"]


def wait_until(condition: object, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def test_everything_comes_in_order_from_another_thread() -> None:
    threads = set()

    def source() -> Iterator[int]:
        for i in range(500):
            threads.add(threading.current_thread().name)
            yield i

    with Ahead(source()) as items:
        assert list(items) == list(range(500))
    assert threads == {"fastface-decode"}
    assert not decoders()


def test_none_and_falsy_items_pass() -> None:
    with Ahead([None, 0, (), ""]) as items:
        assert list(items) == [None, 0, (), ""]


def test_an_empty_source() -> None:
    with Ahead([]) as items:
        assert list(items) == []


def test_an_exception_comes_at_its_place() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("broken")

    got = []
    with pytest.raises(KeyError, match="broken"), Ahead(source()) as items:
        got.extend(items)  # keeps what came before the exception
    assert got == [1, 2]
    assert not decoders()


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_it_runs_ahead_and_no_further_than_it_may(depth: int) -> None:
    made = []

    def source() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    with Ahead(source(), depth=depth) as items:
        # depth items wait in the queue and one more is in the producer's hand.
        wait_until(lambda: len(made) == depth + 1)
        time.sleep(0.15)
        assert len(made) == depth + 1
        for taken, _ in enumerate(items, start=1):
            assert len(made) <= taken + depth + 1
    assert len(made) == 100


def test_closing_stops_the_thread_and_leaves_the_source_alone() -> None:
    made = []

    def source() -> Iterator[int]:
        for i in range(10**9):
            made.append(i)
            yield i

    with Ahead(source()) as items:
        assert next(iter(items)) == 0
    assert not decoders()
    count = len(made)
    time.sleep(0.1)
    assert len(made) == count


def test_closing_waits_for_an_item_that_is_being_made() -> None:
    """Else the source's file would be closed under it."""
    working, done = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        yield 0
        working.set()
        time.sleep(0.2)
        done.set()
        yield 1

    with Ahead(source()) as items:
        next(iter(items))
        assert working.wait(5)
    assert done.is_set()


def test_an_error_of_the_consumer_stops_the_thread() -> None:
    with pytest.raises(ZeroDivisionError), Ahead(iter(range(10**9))) as items:
        [1 // item for item in items]
    assert not decoders()


def test_depth_must_be_positive() -> None:
    with pytest.raises(ValueError, match="depth is 0, must be at least 1"):
        Ahead([], depth=0)
