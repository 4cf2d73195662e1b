"""Who is on screen together, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastface.timeline.together import Stretch, seconds_together, stretches
from timelines import make_timeline

SECONDS = [float(i) for i in range(41)]


def test_stretches_begin_where_somebody_comes_and_end_where_somebody_goes() -> None:
    timeline = make_timeline([("Ann", [(0, 10), (20, 30)]), ("Bob", [(5, 12)]), (None, [(8, 9), (25, 40)])],
                             times=SECONDS)  # fmt: skip
    assert stretches(timeline) == [
        Stretch(0, 5, (0,)), Stretch(5, 8, (0, 1)), Stretch(8, 9, (0, 1, 2)), Stretch(9, 10, (0, 1)),
        Stretch(10, 12, (1,)), Stretch(20, 25, (0,)), Stretch(25, 30, (0, 2)), Stretch(30, 40, (2,))]  # fmt: skip


def test_touching_stretches_of_the_same_people_are_one() -> None:
    """Bob's moments touch: nothing changes between them; with a gap they stay two."""
    assert stretches(make_timeline([("Bob", [(2, 5), (5, 9)])], times=SECONDS)) == [Stretch(2, 9, (0,))]
    assert stretches(make_timeline([("Bob", [(2, 5), (6, 9)])], times=SECONDS)) == [
        Stretch(2, 5, (0,)), Stretch(6, 9, (0,))]  # fmt: skip


def test_one_comes_when_another_goes() -> None:
    timeline = make_timeline([("Ann", [(0, 4)]), ("Bob", [(4, 8)])], times=SECONDS)
    assert stretches(timeline) == [Stretch(0, 4, (0,)), Stretch(4, 8, (1,))]


def test_people_are_in_the_timelines_order_whoever_came_first() -> None:
    timeline = make_timeline([("Ann", [(3, 6)]), ("Bob", [(0, 6)])], times=SECONDS)
    assert stretches(timeline)[-1].people == (0, 1)
    turned = replace(timeline, identities=timeline.identities[::-1])
    assert stretches(turned)[-1].people == (1, 0)


def test_nobody() -> None:
    nobody = make_timeline([], nobody=[(0, 5)])
    assert stretches(nobody) == []
    assert seconds_together(nobody).shape == (0, 0)


def test_seconds() -> None:
    timeline = make_timeline([("Ann", [(0, 10), (20, 30)]), ("Bob", [(5, 12)]), (None, [(8, 9), (25, 40)])],
                             times=SECONDS)  # fmt: skip
    seconds = seconds_together(timeline)
    assert seconds.dtype == np.float64
    assert seconds.tolist() == [[20, 5, 6], [5, 7, 1], [6, 1, 16]]


def test_seconds_after_a_merge_stand_in_the_places_of_those_who_are_left() -> None:
    people = [("Ann", [(0, 4)]), ("Bob", [(2, 6)]), ("Cem", [(5, 9)])]
    timeline = make_timeline(people, times=SECONDS).merge("Ann", "Bob")
    assert [p.id for p in timeline.identities] == [0, 2]
    assert seconds_together(timeline).tolist() == [[6, 1], [1, 4]]
