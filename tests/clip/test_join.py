"""Decode time stamps and durations over the seams of parts; names of files."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fastface.clip.join import decode_stamps, durations
from fastface.clip.names import safe_name


def test_stamps_ascend_and_nothing_is_shown_before_it_is_decoded(rng):
    for _ in range(100):
        reorder = int(rng.integers(0, 5))
        parts, at = [], 0
        for _ in range(int(rng.integers(1, 5))):
            shown = at + np.cumsum(rng.integers(1, 3000, int(rng.integers(0, 20))))
            at = int(shown[-1]) + 1 if len(shown) else at
            parts.append(_decoded(shown.tolist(), reorder, rng))
        out = [d for part in decode_stamps(parts, reorder) for d in part]
        stamps = [p for part in parts for p in part]
        assert len(out) == len(stamps)
        assert all(a < b for a, b in itertools.pairwise(out))
        assert all(d <= p for d, p in zip(out, stamps, strict=True))


def _decoded(shown, reorder, rng):
    """An order in which a decoder could get these, never more than `reorder` ahead."""
    out, left = [], list(shown)
    while left:
        early = sum(1 for p in out if p > left[0])
        take = int(rng.integers(0, reorder - early + 1)) if early < reorder else 0
        out.append(left.pop(min(take, len(left) - 1) if take and early == 0 else 0))
    return out


def test_each_picture_is_shown_until_the_next():
    assert durations([10, 40, 20, 25], 47) == [10, 7, 5, 15]
    assert durations([], 47) == []


@pytest.mark.parametrize(
    ("label", "want"),
    [
        ("Ann", "Ann"),
        ("Ann B. Smith-Jones", "Ann B. Smith-Jones"),
        ("王小明", "王小明"),
        ("Zoë", "Zoë"),
        ("../../etc/passwd", "etc_passwd-3"),
        ("a/b\\c:d*e", "a_b_c_d_e-3"),
        ("..", "person-3"),
        ("\n", "person-3"),
        ("CON", "_CON-3"),
        ("nul.txt", "_nul.txt-3"),
        ("trailing. ", "trailing-3"),
    ],
)
def test_safe_names(label, want):
    assert safe_name(label, 3) == want


def test_safe_names_are_short_and_of_different_people_different():
    assert len(safe_name("ü" * 500, 3).encode()) <= 110
    assert safe_name("a/b", 1) != safe_name("a:b", 2)
