"""Average linkage against SciPy, and what SciPy has not: groups that must stay apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from fastface import _core

NONE = np.zeros((0, 2), np.int64)


def crowd(rng: np.random.Generator, n: int, dim: int, people: int, spread: float) -> np.ndarray:
    """Unit vectors about a few centres, near enough that clusters are a matter of the threshold."""
    centres = rng.normal(size=(people, dim))
    x = centres[rng.integers(0, people, n)] + spread * rng.normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def partition(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == k).tolist()) for k in np.unique(labels)}


def scipys(x: np.ndarray, threshold: float) -> tuple[set[frozenset[int]], float]:
    """The partition, and how far from the threshold the nearest join was: at a hair's breadth rounding decides."""
    tree = linkage(pdist(x.astype(np.float64), "cosine"), "average")
    return partition(fcluster(tree, 1 - threshold, "distance")), float(np.abs(tree[:, 2] - (1 - threshold)).min())


@pytest.mark.parametrize("threshold", [-0.2, 0.0, 0.15, 0.3, 0.6, 0.9])
@pytest.mark.parametrize(("n", "dim", "people", "spread"), [(60, 128, 6, 1.2), (150, 16, 10, 0.6), (40, 4, 40, 1.0)])
def test_the_partition_is_scipys(
    rng: np.random.Generator, n: int, dim: int, people: int, spread: float, threshold: float
) -> None:
    compared = 0
    for _ in range(5):
        x = crowd(rng, n, dim, people, spread)
        want, margin = scipys(x, threshold)
        if margin < 1e-5:
            continue
        compared += 1
        label, weakest = _core.average_linkage(x, np.ones(n, np.float32), NONE, threshold)
        assert partition(label) == want
        assert len(weakest) == len(want)
    assert compared >= 4


def test_the_cases_above_are_no_trivial_ones(rng: np.random.Generator) -> None:
    sizes = [len(scipys(crowd(rng, 150, 16, 10, 0.6), t)[0]) for t in (0.0, 0.3, 0.6, 0.9)]
    assert 1 < sizes[0] < sizes[1] < sizes[2] < sizes[3] <= 150


def test_weakest_is_the_lowest_similarity_of_the_tree(rng: np.random.Generator) -> None:
    """SciPy's tree, cut: the height of each cluster's last join."""
    x = crowd(rng, 80, 32, 5, 0.8)
    threshold = 0.3
    label, weakest = _core.average_linkage(x, np.ones(80, np.float32), NONE, threshold)
    for k in range(len(weakest)):
        mine = np.flatnonzero(label == k)
        if len(mine) == 1:
            assert weakest[k] == 2.0
        else:
            height = linkage(pdist(x[mine].astype(np.float64), "cosine"), "average")[-1, 2]
            assert weakest[k] == pytest.approx(1 - height, abs=1e-5)
            assert weakest[k] >= threshold


def test_groups_count_by_their_weight(rng: np.random.Generator) -> None:
    """A group of k equal members is k members, however they are handed in."""
    x = crowd(rng, 30, 16, 4, 0.7)
    times = rng.integers(1, 6, 30)
    for threshold in (0.1, 0.3, 0.5):
        weighted, _ = _core.average_linkage(
            (x * times[:, None]).astype(np.float32), times.astype(np.float32), NONE, threshold
        )
        repeated, _ = _core.average_linkage(
            np.repeat(x, times, 0), np.ones(times.sum(), np.float32), NONE, threshold
        )
        first = np.cumsum(times) - times
        assert partition(weighted) == partition(repeated[first])


def test_weights_decide() -> None:
    """c is as near to b as it has to be, but a outweighs b."""
    a, b, c = (np.array([np.cos(t), np.sin(t)]) for t in (0.0, 0.3, 1.0))
    for weight, joined in ((0.05, True), (20.0, False)):
        weights = np.array([weight, 1.0, 1.0], np.float32)
        sums = (np.stack([a, b, c]) * weights[:, None]).astype(np.float32)
        label, _ = _core.average_linkage(sums, weights, NONE, 0.7)
        assert label[0] == label[1]
        assert bool(label[2] == label[1]) is joined


def test_those_who_must_stay_apart_do(rng: np.random.Generator) -> None:
    for _ in range(20):
        x = crowd(rng, 60, 16, 3, 0.5)
        apart = np.array([rng.choice(60, 2, replace=False) for _ in range(40)], np.int64)
        label, _ = _core.average_linkage(x, np.ones(60, np.float32), apart, 0.2)
        assert (label[apart[:, 0]] != label[apart[:, 1]]).all()
        # What could be joined without breaking a rule and is similar enough, was.
        clusters = [np.flatnonzero(label == k) for k in range(label.max() + 1)]
        forbidden = {frozenset((label[a], label[b])) for a, b in apart.tolist()}
        for i in range(len(clusters)):
            for j in range(i):
                if frozenset((i, j)) not in forbidden:
                    assert (x[clusters[i]] @ x[clusters[j]].T).mean() < 0.2 + 1e-5


def test_being_apart_is_inherited_by_the_cluster() -> None:
    """1 and 2 are the same vector and join first; 0 may not be with 1, so it may not be with 2 either."""
    x = np.array([[0.95, 0.3122499], [1, 0], [1, 0]], np.float32)
    apart = np.array([[0, 1]], np.int64)
    label, weakest = _core.average_linkage(x, np.ones(3, np.float32), apart, 0.5)
    assert label.tolist() == [0, 1, 1]
    assert weakest.tolist() == [2.0, 1.0]


def test_order_does_not_matter(rng: np.random.Generator) -> None:
    x = crowd(rng, 70, 32, 8, 0.9)
    weights = rng.uniform(0.2, 5, 70).astype(np.float32)
    sums = x * weights[:, None]
    apart = np.array([rng.choice(70, 2, replace=False) for _ in range(25)], np.int64)
    label, weakest = _core.average_linkage(sums, weights, apart, 0.2)
    assert 1 < len(weakest) < 70
    for _ in range(10):
        order = rng.permutation(70)
        place = np.argsort(order)
        mixed, mixed_weakest = _core.average_linkage(
            np.ascontiguousarray(sums[order]), weights[order], place[apart][:, ::-1].astype(np.int64).copy(), 0.2
        )
        assert partition(mixed[place]) == partition(label)
        np.testing.assert_allclose(np.sort(mixed_weakest), np.sort(weakest), atol=1e-5)


def test_clusters_are_numbered_by_their_first_member(rng: np.random.Generator) -> None:
    label, _ = _core.average_linkage(crowd(rng, 50, 16, 6, 0.6), np.ones(50, np.float32), NONE, 0.3)
    _, first = np.unique(label, return_index=True)
    assert (np.diff(first) > 0).all()
    assert label[0] == 0


def test_the_threshold_itself_joins() -> None:
    x = np.array([[1, 0], [0.5, 0.5]], np.float32)  # not a unit vector: its inner product with the first is 0.5
    assert _core.average_linkage(x, np.ones(2, np.float32), NONE, 0.5)[0].tolist() == [0, 0]
    assert _core.average_linkage(x, np.ones(2, np.float32), NONE, 0.5001)[0].tolist() == [0, 1]


def test_few() -> None:
    label, weakest = _core.average_linkage(np.zeros((0, 8), np.float32), np.zeros(0, np.float32), NONE, 0.5)
    assert label.shape == weakest.shape == (0,)
    label, weakest = _core.average_linkage(np.ones((1, 8), np.float32), np.ones(1, np.float32), NONE, 0.5)
    assert label.tolist() == [0]
    assert weakest.tolist() == [2.0]


@pytest.mark.parametrize("pair", [(0, 3), (-1, 1), (2, 2)])
def test_bad_pairs_raise(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"apart\[0\] must be two different groups in \[0, 3\)"):
        _core.average_linkage(np.eye(3, dtype=np.float32), np.ones(3, np.float32), np.array([pair], np.int64), 0.5)


def test_bad_shapes_raise() -> None:
    with pytest.raises(ValueError, match=r"sums has shape \[2, 8\], must be \[3, any\]"):
        _core.average_linkage(np.zeros((2, 8), np.float32), np.ones(3, np.float32), NONE, 0.5)
    with pytest.raises(ValueError, match=r"apart has shape \[1, 3\], must be \[any, 2\]"):
        _core.average_linkage(
            np.eye(3, dtype=np.float32), np.ones(3, np.float32), np.zeros((1, 3), np.int64), 0.5
        )
