"""One interface, three ways: the exact ones agree to the bit, the approximate one finds nearly everybody."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from fastface import _core
from fastface.errors import GalleryError, GPUError
from fastface.match.index import ApproximateIndex, DeviceIndex, ExactIndex, Index, fixed_dot, make_index

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)


def unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    x = rng.normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def near_ties(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Copies of a few vectors, some of them off by the last bit: rounding alone decides between them."""
    vectors = unit(rng, 3, dim)[rng.integers(0, 3, n)]
    return np.where(rng.random(vectors.shape) < 0.2, np.nextafter(vectors, np.float32(2)), vectors)


def check(got: tuple[np.ndarray, np.ndarray], want: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1].view(np.uint32), want[1].view(np.uint32))


def _approximate(dim: int) -> Index:
    pytest.importorskip("usearch", reason="the extra 'index' is not installed")
    return ApproximateIndex(dim)


MAKE: dict[str, Callable[[int], Index]] = {
    "exact": lambda dim: ExactIndex(dim, threads=2),
    "cpu": lambda dim: DeviceIndex(dim, device="cpu", max_scores=5000),
    "cuda": lambda dim: DeviceIndex(dim, device="cuda", max_scores=5000),
    "approximate": _approximate,
}
ALL = ["exact", "cpu", CUDA, "approximate"]


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("dim", [1, 15, 16, 17, 100, 128, 512])
def test_dot_has_the_bits_of_the_core(rng: np.random.Generator, device: str, dim: int) -> None:
    a, b = (rng.normal(size=(200, dim)).astype(np.float32) for _ in range(2))
    got = fixed_dot(torch.from_numpy(a).to(device), torch.from_numpy(b).to(device)).cpu().numpy()
    np.testing.assert_array_equal(got.view(np.uint32), _core.dot(a, b).view(np.uint32))


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("ties", [False, True])
def test_the_device_changes_no_identity(rng: np.random.Generator, device: str, ties: bool) -> None:
    """Nor do the order of the gallery, the batch, or how much is done at once."""
    for _ in range(8):
        n, dim, k = int(rng.integers(1, 900)), int(rng.integers(2, 200)), int(rng.integers(1, 6))
        vectors = near_ties(rng, n, dim) if ties else unit(rng, n, dim)
        ids = rng.integers(0, max(n // 3, 1), n)
        queries = np.concatenate([unit(rng, 20, dim), vectors[:5]])
        exact = ExactIndex(dim)
        exact.add(vectors, ids)
        want = exact.search(queries, k)
        for max_scores in (1, 700, 1 << 20):
            index = DeviceIndex(dim, device=device, max_scores=max_scores)
            order = rng.permutation(n)
            for part in np.array_split(order, 3):
                index.add(vectors[part], ids[part])
            if max_scores > 1:
                check(index.search(queries, k), want)
            check(index.search(queries[3:4], k), (want[0][3:4], want[1][3:4]))


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_more_queries_than_one_batch(rng: np.random.Generator, device: str) -> None:
    vectors, queries = unit(rng, 50, 16), unit(rng, 2500, 16)
    indexes = [ExactIndex(16), DeviceIndex(16, device=device)]
    for index in indexes:
        index.add(vectors, np.arange(50))
    check(indexes[1].search(queries, 2), indexes[0].search(queries, 2))


@pytest.mark.gpu
def test_half_the_bits_of_a_mantissa_change_nothing(rng: np.random.Generator) -> None:
    """A process that allows TF32 gets the same results, and keeps its setting."""
    vectors = near_ties(rng, 4000, 512)
    exact, index = ExactIndex(512), DeviceIndex(512)
    for each in (exact, index):
        each.add(vectors, np.arange(4000))
    queries = unit(rng, 64, 512)
    torch.set_float32_matmul_precision("high")
    try:
        check(index.search(queries, 3), exact.search(queries, 3))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_products_are_in_true_float32(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the process has set, and it is put back."""
    seen = []
    original = DeviceIndex._search

    def spy(self: DeviceIndex, queries: torch.Tensor, k: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(torch.get_float32_matmul_precision())
        return original(self, queries, k, rows)

    monkeypatch.setattr(DeviceIndex, "_search", spy)
    index = DeviceIndex(8, device="cpu")
    index.add(unit(rng, 3, 8), np.arange(3))
    torch.set_float32_matmul_precision("high")
    try:
        index.search(unit(rng, 2, 8))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == ["highest"]


@pytest.mark.parametrize("kind", ALL)
def test_the_interface(rng: np.random.Generator, kind: str) -> None:
    """Adding, removing and searching, in a gallery so small that the approximate index finds everybody too."""
    dim, vectors = 48, unit(rng, 240, 48)
    ids = np.arange(240) // 4 * 10
    index, exact = MAKE[kind](dim), ExactIndex(dim)
    assert (index.dim, len(index)) == (dim, 0)
    who, similarity = index.search(vectors[:3], 2)
    assert (who == -1).all()
    assert np.isneginf(similarity).all()
    assert who.dtype == np.int64
    assert similarity.dtype == np.float32
    for each in (index, exact):
        each.add(vectors, ids)
        each.add(vectors[:0], ids[:0])
    assert len(index) == 240
    for k in (1, 3, 70):
        check(index.search(vectors[::9], k), exact.search(vectors[::9], k))
    check(index.search(vectors[:1]), exact.search(vectors[:1]))
    assert index.search(vectors[:0], 2)[0].shape == (0, 2)
    assert index.remove(7) == 0
    for i in range(0, 400, 20):
        assert index.remove(i) == exact.remove(i) == 4
    assert len(index) == len(exact) == 160
    check(index.search(vectors, 2), exact.search(vectors, 2))
    for each in (index, exact):
        each.add(vectors[:8], np.full(8, 3))
    check(index.search(vectors, 2), exact.search(vectors, 2))
    for i in [3, *range(0, 600, 10)]:
        index.remove(i)
    assert len(index) == 0
    assert (index.search(vectors[:2])[0] == -1).all()


@pytest.mark.parametrize("kind", ALL)
def test_ties_go_to_the_lowest_id(rng: np.random.Generator, kind: str) -> None:
    index, same = MAKE[kind](24), np.repeat(unit(rng, 1, 24), 30, 0)
    index.add(same, np.arange(130, 100, -1))
    who, _ = index.search(same[:2], 30)
    assert (who == np.arange(101, 131)).all()


@pytest.mark.parametrize("kind", ALL)
def test_bad_arguments_raise(rng: np.random.Generator, kind: str) -> None:
    index, vectors = MAKE[kind](8), unit(rng, 4, 8)
    index.add(vectors, np.arange(4))
    with pytest.raises(ValueError, match=r"vectors has shape \[4, 7\], must be \[any, 8\]"):
        index.add(vectors[:, :7], np.arange(4))
    with pytest.raises(ValueError, match=r"ids has shape \[3\], must be \[4\]"):
        index.add(vectors, np.arange(3))
    with pytest.raises(ValueError, match=r"ids\[2\] is -1, must be at least 0"):
        index.add(vectors, np.array([0, 1, -1, 2]))
    with pytest.raises(ValueError, match="id is -1, must be at least 0"):
        index.remove(-1)
    with pytest.raises(ValueError, match=r"queries has shape \[8\], must be \[any, 8\]"):
        index.search(vectors[0])
    with pytest.raises(ValueError, match="k is 0, must be at least 1"):
        index.search(vectors, 0)
    for value in (np.nan, np.inf, 1e30):
        bad = vectors.copy()
        bad[1, 3] = value
        with pytest.raises(ValueError, match=r"vectors\[1\] has norm .*, must be finite"):
            index.add(bad, np.arange(4))
        with pytest.raises(ValueError, match=r"queries\[1\] has norm .*, must be finite"):
            index.search(bad)
    assert len(index) == 4


def test_the_approximate_index_finds_nearly_everybody(rng: np.random.Generator) -> None:
    """10,000 identities, photographs at a cosine of about 0.8; what it finds has the exact index's similarity."""
    pytest.importorskip("usearch", reason="the extra 'index' is not installed")
    dim = 64
    centre = unit(rng, 10_000, dim)
    near = centre + 0.75 * unit(rng, 10_000, dim)
    near = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    index, exact = ApproximateIndex(dim, expansion=64, connectivity=16, threads=2), ExactIndex(dim)
    for each in (index, exact):
        each.add(near, np.arange(10_000))
    queries = centre[:500]
    (who, similarity), (want, right) = index.search(queries), exact.search(queries)
    found = who == want
    assert found.mean() >= 0.95
    np.testing.assert_array_equal(similarity[found], right[found])
    assert (similarity <= right).all()


def test_make_index(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_index("exact", 8, threads=2), ExactIndex)
    assert isinstance(make_index("device", 8, device="cpu"), DeviceIndex)
    with pytest.raises(ValueError, match="kind is 'annoy', must be one of 'exact', 'device', 'approximate'"):
        make_index("annoy", 8)  # type: ignore[arg-type]
    for kind, settings in (("exact", {}), ("device", {"device": "cpu"}), ("approximate", {})):
        with pytest.raises(ValueError, match="dim is 0, must be at least 1"):
            make_index(kind, 0, **settings)
    with pytest.raises(ValueError, match="threads is 0, must be at least 1"):
        make_index("exact", 8, threads=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(GPUError, match="needs an NVIDIA GPU"):
        make_index("device", 8)
    for name in ("usearch", "usearch.index"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(GalleryError, match=r"pip install 'fastface-gpu\[index\]'"):
        make_index("approximate", 8)


@pytest.mark.parametrize(("kind", "settings"), [("exact", {}), ("device", {"device": "cpu"}), ("approximate", {})])
def test_numbers_of_other_kinds_are_taken(kind: str, settings: dict[str, object]) -> None:
    """float64 and lists: what NumPy gives unless told otherwise."""
    index = make_index(kind, 3, **settings)
    index.add(np.eye(3), np.array([4, 5, 6], np.int32))
    ids, similarities = index.search(np.array([[0.0, 0.6, 0.8]]), 2)
    assert (ids.tolist(), similarities.dtype) == ([[6, 5]], np.float32)
    assert similarities[0].tolist() == pytest.approx([0.8, 0.6])
