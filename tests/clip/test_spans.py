"""Arithmetic on spans."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fastface.clip.spans import condensed, divided, merged, padded


@pytest.mark.parametrize(
    ("spans", "gap", "want"),
    [
        ([], 0, []),
        ([(3, 4), (1, 2)], 0, [(1, 2), (3, 4)]),
        ([(1, 2), (2, 3)], 0, [(1, 3)]),
        ([(1, 4), (2, 3)], 0, [(1, 4)]),
        ([(1, 1), (2, 3)], 0, [(2, 3)]),
        ([(1, 2), (3, 4)], 1, [(1, 2), (3, 4)]),  # less than a second, not a second
        ([(1, 2), (3, 4)], 1.1, [(1, 4)]),
    ],
)
def test_merged(spans, gap, want):
    assert merged(spans, gap) == want


def test_padded_stays_within_the_video_and_joins_what_touches():
    assert padded([(0.2, 1), (2, 3), (8, 9.9)], 0.5, 10) == [(0, 3.5), (7.5, 10)]
    assert padded([(1, 2)], 0, 10) == [(1, 2)]


@pytest.mark.parametrize(
    ("spans", "longest", "want"),
    [
        ([], 5, []),
        ([(2, 3), (5, 6)], 2, [(0, 6)]),  # two seconds are not longer than two
        ([(2, 3), (5, 6)], 1.9, [(2, 3), (5, 6)]),
        ([(2, 3), (5, 6)], 4, [(0, 10)]),
        ([(0, 10)], 0, [(0, 10)]),
    ],
)
def test_condensed(spans, longest, want):
    assert condensed(spans, longest, 10) == want


def test_divided():
    assert divided([(1, 4.5), (6, 7)], 1.5) == [(1, 2.5), (2.5, 4.0), (4.0, 4.5), (6, 7)]
    assert divided([(0, 3)], 1) == [(0, 1), (1, 2), (2, 3)]
    pieces = divided([(0.1, 3600.1)], 0.1)
    assert len(pieces) == 36000, "a rest that is but rounding is no piece"
    assert all(a[1] == b[0] for a, b in itertools.pairwise(pieces))


def test_nothing_is_lost_or_twice(rng):
    """Against a plain count on a grid of milliseconds."""
    for _ in range(50):
        edges = rng.integers(0, 10_000, (rng.integers(1, 8), 2))
        spans = [(min(a, b) / 1000, max(a, b) / 1000) for a, b in edges.tolist()]
        grid = np.zeros(10_000, bool)
        for a, b in spans:
            grid[round(a * 1000) : round(b * 1000)] = True
        out = divided(merged(spans), float(rng.uniform(0.2, 3)))
        again = np.zeros(10_000, int)
        for a, b in out:
            again[round(a * 1000) : round(b * 1000)] += 1
        assert again.max(initial=0) <= 1
        assert np.abs(again - grid).sum() <= 2 * len(out)
