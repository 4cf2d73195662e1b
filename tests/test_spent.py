"""Time is counted where it goes: in the block, in the source of items, and also where either fails."""

from __future__ import annotations

import contextlib

import pytest

from fastface import spent


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(spent.time, "perf_counter", lambda: now[0])
    return now


def test_time_in_blocks_adds_up(clock: list[float]) -> None:
    counted = spent.Spent()
    for seconds in (2, 3):
        with counted.on("detection"):
            clock[0] += seconds
        clock[0] += 10
    with contextlib.suppress(ZeroDivisionError), counted.on("embedding"):
        clock[0] += 7
        raise ZeroDivisionError
    assert counted.seconds == {"decoding": 0, "detection": 5, "embedding": 7}


def test_of_items_it_is_the_source_that_counts(clock: list[float]) -> None:
    def source():
        for i in range(3):
            clock[0] += 1
            yield i
        clock[0] += 4

    counted = spent.Spent()
    for item in counted.each("decoding", source()):
        clock[0] += 50
        assert item in range(3)
    assert counted.seconds == {"decoding": 7, "detection": 0, "embedding": 0}
