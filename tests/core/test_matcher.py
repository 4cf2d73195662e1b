"""Exact search against NumPy, and its order."""

from __future__ import annotations

import numpy as np
import pytest

from fastface import _core


def unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    x = rng.normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def axes(n: int, dim: int = 8) -> np.ndarray:
    return np.eye(dim, dtype=np.float32)[:n].copy()


@pytest.mark.parametrize("dim", [1, 2, 15, 16, 17, 31, 100, 128, 512, 513])
def test_the_best_is_numpys(rng: np.random.Generator, dim: int) -> None:
    """Also where the dimension is no multiple of the sixteen lanes."""
    people, queries = unit(rng, 60, dim), unit(rng, 40, dim)
    matcher = _core.Matcher(dim, threshold=-1.0, sure=2.0)
    for i, vector in enumerate(people):
        matcher.add(vector, i)
    assert len(matcher) == 60
    similarity = queries.astype(np.float64) @ people.astype(np.float64).T
    for query, row in zip(queries, similarity, strict=True):
        who, got, compared = matcher.match(query, touch=False)
        assert got == pytest.approx(row.max(), abs=2e-6)
        assert row[who] == pytest.approx(row.max(), abs=2e-6)
        if dim > 2:  # in one dimension half of them are the same vector
            assert who == row.argmax()
        assert compared == 60


def test_of_several_vectors_of_a_person_the_best_counts(rng: np.random.Generator) -> None:
    vectors, ids = unit(rng, 90, 64), rng.integers(0, 7, 90)
    matcher = _core.Matcher(64, threshold=-1.0, sure=2.0)
    for vector, i in zip(vectors, ids, strict=True):
        matcher.add(vector, int(i))
    for query in unit(rng, 30, 64):
        assert matcher.match(query)[0] == ids[(vectors @ query).argmax()]


def test_of_equals_the_newest_seen_wins() -> None:
    same = axes(1)[0]
    matcher = _core.Matcher(8, threshold=0.5, sure=2.0)
    for i in range(4):
        matcher.add(same, i)
    assert matcher.match(same)[0] == 3
    matcher.add(axes(2)[1], 1)  # person 1 is seen again
    assert matcher.match(same)[0] == 1


def test_who_matched_becomes_the_newest_if_touched() -> None:
    a, b = axes(2)
    matcher = _core.Matcher(8, threshold=0.5, sure=0.9)
    matcher.add(a, 0)
    matcher.add(b, 1)
    assert matcher.match(a, touch=False) == (0, 1.0, 2)
    assert matcher.match(a, touch=True) == (0, 1.0, 2)
    assert matcher.match(a, touch=True) == (0, 1.0, 1)
    assert matcher.match(b) == (1, 1.0, 2)


def test_a_sure_match_ends_the_search() -> None:
    vectors = axes(8)
    matcher = _core.Matcher(8, threshold=0.5, sure=0.95)
    for i, vector in enumerate(vectors):
        matcher.add(vector, i)
    assert [matcher.match(v, touch=False)[2] for v in vectors] == [8, 7, 6, 5, 4, 3, 2, 1]
    exact = _core.Matcher(8, threshold=0.5, sure=2.0)
    for i, vector in enumerate(vectors):
        exact.add(vector, i)
    assert [exact.match(v, touch=False)[2] for v in vectors] == [8] * 8


def test_a_sure_match_comes_before_a_better_older_one() -> None:
    a, b = axes(2)
    query = (0.96 * a + 0.28 * b).astype(np.float32)
    matcher = _core.Matcher(8, threshold=0.2, sure=0.9)
    matcher.add(query, 0)
    matcher.add(a, 1)
    assert matcher.match(query)[0] == 1


def test_under_the_threshold_it_is_nobody() -> None:
    a, b = axes(2)
    matcher = _core.Matcher(8, threshold=0.6, sure=2.0)
    matcher.add(a, 0)
    for similarity, who in ((0.59, -1), (0.61, 0)):
        query = (similarity * a + (1 - similarity**2) ** 0.5 * b).astype(np.float32)
        got, value, _ = matcher.match(query)
        assert got == who
        assert value == pytest.approx(similarity, abs=1e-6), "the similarity is told even where nobody matches"


def test_nobody_known() -> None:
    assert _core.Matcher(8, threshold=-1.0, sure=2.0).match(axes(1)[0]) == (-1, -1.0, 0)


def test_bad_arguments_raise() -> None:
    matcher = _core.Matcher(8, threshold=0.5, sure=2.0)
    with pytest.raises(ValueError, match=r"vector has shape \[7\], must be \[8\]"):
        matcher.add(np.zeros(7, np.float32), 0)
    with pytest.raises(ValueError, match=r"query has shape \[1, 8\], must be \[8\]"):
        matcher.match(np.zeros((1, 8), np.float32))
    with pytest.raises(ValueError, match="id is -1, must be at least 0"):
        matcher.add(axes(1)[0], -1)
    with pytest.raises(ValueError, match="dim is 0, must be at least 1"):
        _core.Matcher(0, threshold=0.5, sure=2.0)
    with pytest.raises(TypeError):
        matcher.match(np.zeros(8))
