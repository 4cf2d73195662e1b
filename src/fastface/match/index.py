"""Known identities to search in: on the CPU, on an NVIDIA GPU, or approximately where a gallery is too large for both.

`ExactIndex` and `DeviceIndex` return the same identities and the same bits: however a product of matrices is added up,
all vectors within its rounding error of the best are compared again in the one order of `fastface._core.dot`.
`ApproximateIndex` compares what it finds in that order too, but may miss somebody.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.errors import GalleryError, GPUError

if TYPE_CHECKING:
    import torch

Found = tuple[NDArray[np.int64], NDArray[np.float32]]
"""ids [m, k] and similarities [m, k], the best first; -1 and -inf where there are fewer than k identities."""


class Index(Protocol):
    """Unit vectors of identities, and who is most similar to a query.

    An identity may have several vectors, the best of which counts. Ties go to the lower id.
    """

    @property
    def dim(self) -> int:
        """Length of the vectors."""

    def __len__(self) -> int:
        """How many vectors there are."""

    def add(self, vectors: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
        """Add vectors [n, dim] float32 of identities ids [n] int64 >= 0.

        Raises:
            ValueError: shapes do not fit, an id is negative, or a vector is not finite; then none is added.
        """

    def remove(self, id: int) -> int:
        """Forget an identity; returns how many vectors it had, 0 if it is not known."""

    def search(self, queries: NDArray[np.float32], k: int = 1) -> Found:
        """The k most similar identities of each query [m, dim] float32; see :data:`Found`.

        Raises:
            ValueError: the shape does not fit, k < 1, or a query is not finite.
        """


class ExactIndex:
    """Exact, on the CPU: the C++ matcher.

    Args:
        dim: length of the vectors.
        threads: that a search may use.
    """

    def __init__(self, dim: int, *, threads: int = 1) -> None:
        from fastface import _core

        if threads < 1:
            raise ValueError(f"threads is {threads}, must be at least 1")
        self._matcher = _core.Matcher(dim)
        self._threads = threads

    @property
    def dim(self) -> int:
        return int(self._matcher.dim)

    def __len__(self) -> int:
        return len(self._matcher)

    def add(self, vectors: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
        self._matcher.add(np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(ids, np.int64))

    def remove(self, id: int) -> int:
        return int(self._matcher.remove(id))

    def search(self, queries: NDArray[np.float32], k: int = 1) -> Found:
        found: Found = self._matcher.search(np.ascontiguousarray(queries, np.float32), k, threads=self._threads)
        return found


def _checked(vectors: NDArray[np.float32], name: str, dim: int) -> NDArray[np.float32]:
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise ValueError(f"{name} has shape {list(vectors.shape)}, must be [any, {dim}]")
    with np.errstate(over="ignore", invalid="ignore"):
        norm = np.linalg.norm(vectors, axis=1)
    if bad := np.flatnonzero(~(norm <= 1e15)).tolist():
        raise ValueError(f"{name}[{bad[0]}] has norm {norm[bad[0]]}, must be finite (unit vectors have 1)")
    return vectors


def _checked_ids(ids: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    ids = np.ascontiguousarray(ids, np.int64)
    if ids.shape != (n,):
        raise ValueError(f"ids has shape {list(ids.shape)}, must be [{n}]")
    if bad := np.flatnonzero(ids < 0).tolist():
        raise ValueError(f"ids[{bad[0]}] is {ids[bad[0]]}, must be at least 0")
    return ids


def _checked_k(k: int) -> int:
    if k < 1:
        raise ValueError(f"k is {k}, must be at least 1")
    return k


_precision = threading.Lock()


@contextmanager
def _true_float32() -> Iterator[None]:
    """Products of matrices in float32, not TF32: the setting is the process's, so one search at a time changes it."""
    import torch

    with _precision:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)


def fixed_dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a, b [n, dim] float32 -> [n] float32, with the bits of `fastface._core.dot`, on any device.

    Products and sums are separate operations, which no device fuses.
    """
    import torch

    n, dim = a.shape
    lanes = torch.zeros(n, 16, dtype=torch.float32, device=a.device)
    for i in range(0, dim, 16):
        product = a[:, i : i + 16] * b[:, i : i + 16]
        lanes[:, : product.shape[1]] += product
    for width in (8, 4, 2, 1):
        lanes = lanes[:, :width] + lanes[:, width : 2 * width]
    return lanes[:, 0]


def _best_identities(ids: torch.Tensor, similarities: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates [m, c], -1 where there is none -> the k best different ones [m, k], ties by id."""
    import torch

    order = similarities.argsort(dim=1, descending=True, stable=True)
    ids, similarities = ids.gather(1, order), similarities.gather(1, order)
    order = ids.argsort(dim=1, stable=True)
    ids, similarities = ids.gather(1, order), similarities.gather(1, order)
    again = torch.zeros_like(ids, dtype=torch.bool)
    again[:, 1:] = ids[:, 1:] == ids[:, :-1]
    similarities = similarities.masked_fill(again | (ids < 0), -torch.inf)
    ids = ids.masked_fill(again, -1)
    order = similarities.argsort(dim=1, descending=True, stable=True)[:, :k]
    ids, similarities = ids.gather(1, order), similarities.gather(1, order)
    missing = k - ids.shape[1]
    if missing > 0:
        ids = torch.nn.functional.pad(ids, (0, missing), value=-1)
        similarities = torch.nn.functional.pad(similarities, (0, missing), value=-torch.inf)
    return ids, similarities


class DeviceIndex:
    """Exact, by torch on a device: for batches of queries against galleries of a size that keeps a GPU busy.

    Searches of several threads follow one another; `add` and `remove` must not run beside them.

    Args:
        dim: length of the vectors.
        device: of torch, such as "cuda", "cuda:1" or "cpu".
        max_scores: how many similarities may be in memory at once (4 bytes each, and about three times that).

    Raises:
        GPUError: the device is not there.
    """

    def __init__(self, dim: int, *, device: str = "cuda", max_scores: int = 1 << 26) -> None:
        import torch

        if dim < 1:
            raise ValueError(f"dim is {dim}, must be at least 1")
        if max_scores < 1:
            raise ValueError(f"max_scores is {max_scores}, must be at least 1")
        self._device = torch.device(device)
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise GPUError(f"an index on {device!r} needs an NVIDIA GPU, and torch sees none; use kind='exact'")
        self._dim = dim
        self._max_scores = max_scores
        self._vectors = torch.zeros(0, dim, dtype=torch.float32, device=self._device)  # [room, dim]
        self._ids = torch.zeros(0, dtype=torch.int64, device=self._device)  # [room]
        self._size = 0
        self._largest = 0.0

    @property
    def dim(self) -> int:
        return self._dim

    def __len__(self) -> int:
        return self._size

    def add(self, vectors: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
        import torch

        vectors = _checked(vectors, "vectors", self._dim)
        ids = _checked_ids(ids, len(vectors))
        if not len(vectors):
            return
        end = self._size + len(vectors)
        if end > len(self._vectors):
            room = end if not self._size else max(end, self._size + self._size // 2)
            grown = torch.zeros(room, self._dim, dtype=torch.float32, device=self._device)
            grown[: self._size] = self._vectors[: self._size]
            self._vectors = grown
            grown_ids = torch.zeros(room, dtype=torch.int64, device=self._device)
            grown_ids[: self._size] = self._ids[: self._size]
            self._ids = grown_ids
        self._vectors[self._size : end] = torch.from_numpy(vectors)
        self._ids[self._size : end] = torch.from_numpy(ids)
        self._size = end
        self._largest = max(self._largest, float(np.linalg.norm(vectors, axis=1).max()))

    def remove(self, id: int) -> int:
        import torch

        if id < 0:
            raise ValueError(f"id is {id}, must be at least 0")
        gone = (self._ids[: self._size] == id).nonzero()[:, 0]
        count = len(gone)
        left = self._size - count
        # Vectors from the end move into the gaps: the order means nothing.
        tail = torch.arange(left, self._size, device=self._device)
        tail = tail[self._ids[left : self._size] != id]
        gaps = gone[gone < left]
        self._vectors[gaps] = self._vectors[tail]
        self._ids[gaps] = self._ids[tail]
        self._size = left
        return count

    def search(self, queries: NDArray[np.float32], k: int = 1) -> Found:
        import torch

        queries = _checked(queries, "queries", self._dim)
        m, k = len(queries), _checked_k(k)
        out_ids, out = np.full((m, k), -1, np.int64), np.full((m, k), -np.inf, np.float32)
        if not m or not self._size:
            return out_ids, out
        step = min(m, 1024)
        rows = max(min(self._max_scores // step, self._size), 1)
        with torch.inference_mode(), _true_float32():
            for at in range(0, m, step):
                batch = torch.from_numpy(queries[at : at + step]).to(self._device)
                ids, similarities = self._search(batch, k, rows)
                out_ids[at : at + step] = ids.cpu().numpy()
                out[at : at + step] = similarities.cpu().numpy()
        return out_ids, out

    def _search(self, queries: torch.Tensor, k: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        from fastface import _core

        m = len(queries)
        # Norms are rounded up; a bound too large costs time, never a result.
        norms = torch.linalg.vector_norm(queries, dim=1).cpu().numpy().astype(np.float64)
        bounds = [_core.rounding_bound(self._dim, float(n) * self._largest * 1.001) for n in norms]
        slack = torch.tensor(bounds, dtype=torch.float32, device=self._device)[:, None]
        best_ids = torch.full((m, k), -1, dtype=torch.int64, device=self._device)
        best = torch.full((m, k), -torch.inf, dtype=torch.float32, device=self._device)
        for begin in range(0, self._size, rows):
            end = min(begin + rows, self._size)
            scores = queries @ self._vectors[begin:end].T
            count = min(k + 7, end - begin)
            while True:
                top, row = scores.topk(count, dim=1)
                ids = self._ids[begin + row]
                # Whoever may be among the k best: not surely under the k-th best identity found so far. With that many
                # taken, those left out are no better than the last.
                least = _best_identities(torch.cat([best_ids, ids], 1), torch.cat([best, top - slack], 1), k)[1][:, -1:]
                limit = least - slack
                if count == end - begin or bool((top[:, -1:] < limit).all()):
                    break
                count = min(4 * count, end - begin)
            near = top >= limit
            exact = torch.full_like(top, -torch.inf)
            which, place = near.nonzero(as_tuple=True)
            piece = max(self._max_scores // self._dim, 1)
            for i in range(0, len(which), piece):
                q, c = which[i : i + piece], place[i : i + piece]
                exact[q, c] = fixed_dot(queries[q], self._vectors[begin + row[q, c]])
            ids = ids.masked_fill(~near, -1)
            best_ids, best = _best_identities(torch.cat([best_ids, ids], 1), torch.cat([best, exact], 1), k)
        return best_ids, best


class ApproximateIndex:
    """Approximate, on the CPU, by the graph of usearch (HNSW): for galleries that exact search is too slow for.

    It looks at a few thousand vectors instead of all, and so may miss the best one; the similarities that it tells are
    those of the exact indexes. Needs the extra ``fastface-gpu[index]``.

    Args:
        dim: length of the vectors.
        connectivity: neighbours of each vector in the graph.
        expansion: how many candidates an `add` and a search keep; more finds more, and is slower.
        threads: that an `add` and a search may use; with more than one the graph, and so what is missed, may differ
            from run to run.

    Raises:
        GalleryError: usearch is not installed.
    """

    def __init__(self, dim: int, *, connectivity: int = 32, expansion: int = 256, threads: int = 1) -> None:
        for name, value in (
            ("dim", dim),
            ("connectivity", connectivity),
            ("expansion", expansion),
            ("threads", threads),
        ):
            if value < 1:
                raise ValueError(f"{name} is {value}, must be at least 1")
        try:
            from usearch.index import Index as Graph
        except ImportError as error:
            raise GalleryError(
                "an approximate index needs usearch, which is not installed: pip install 'fastface-gpu[index]'"
            ) from error
        self._dim = dim
        self._threads = threads
        self._graph: Any = Graph(
            ndim=dim,
            metric="ip",
            dtype="f32",
            connectivity=connectivity,
            expansion_add=expansion,
            expansion_search=expansion,
        )
        self._ids: dict[int, int] = {}  # id of each vector's key
        self._keys: dict[int, list[int]] = {}  # of each id
        self._next = 0

    @property
    def dim(self) -> int:
        return self._dim

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, vectors: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
        vectors = _checked(vectors, "vectors", self._dim)
        ids = _checked_ids(ids, len(vectors))
        keys = np.arange(self._next, self._next + len(vectors), dtype=np.uint64)
        self._next += len(vectors)
        if len(vectors):
            self._graph.add(keys, vectors, threads=self._threads)
        for key, i in zip(keys.tolist(), ids.tolist(), strict=True):
            self._ids[key] = i
            self._keys.setdefault(i, []).append(key)

    def remove(self, id: int) -> int:
        if id < 0:
            raise ValueError(f"id is {id}, must be at least 0")
        keys = self._keys.pop(id, [])
        for key in keys:
            self._graph.remove(key)
            del self._ids[key]
        return len(keys)

    def search(self, queries: NDArray[np.float32], k: int = 1) -> Found:
        queries = _checked(queries, "queries", self._dim)
        m, k = len(queries), _checked_k(k)
        out_ids, out = np.full((m, k), -1, np.int64), np.full((m, k), -np.inf, np.float32)
        left = np.arange(m)
        count = min(k + 7, len(self))
        while len(left) and count:
            again = []
            for query, keys in zip(left.tolist(), self._nearest(queries[left], count), strict=True):
                found = self._ranked(queries[query], keys)
                # Several vectors of one identity may have filled the list.
                if len(found) < min(k, len(self._keys)) and count < len(self):
                    again.append(query)
                for j, (i, similarity) in enumerate(found[:k]):
                    out_ids[query, j], out[query, j] = i, similarity
            left = np.array(again, np.int64)
            count = min(4 * count, len(self))
        return out_ids, out

    def _nearest(self, queries: NDArray[np.float32], count: int) -> list[list[int]]:
        found = self._graph.search(queries, count, threads=self._threads)
        # Of one query it returns one list, of several an array and how much of each row counts.
        keys, counts = np.atleast_2d(found.keys), np.atleast_1d(getattr(found, "counts", found.keys.shape[-1]))
        return [row[:n].tolist() for row, n in zip(keys, counts.tolist(), strict=True)]

    def _ranked(self, query: NDArray[np.float32], keys: list[int]) -> list[tuple[int, float]]:
        """Identities of these vectors, the best first."""
        from fastface import _core

        if not keys:
            return []
        vectors = np.ascontiguousarray(self._graph.get(np.array(keys, np.uint64)), np.float32)
        similarity = _core.dot(np.ascontiguousarray(np.broadcast_to(query, vectors.shape)), vectors)
        best: dict[int, float] = {}
        for key, s in zip(keys, similarity.tolist(), strict=True):
            i = self._ids[key]
            best[i] = max(s, best.get(i, s))
        return sorted(best.items(), key=lambda item: (-item[1], item[0]))


def make_index(kind: Literal["exact", "device", "approximate"], dim: int, **settings: Any) -> Index:
    """An empty index.

    Args:
        kind: "exact" (:class:`ExactIndex`), "device" (:class:`DeviceIndex`) or "approximate"
            (:class:`ApproximateIndex`).
        dim: length of the vectors.
        settings: of that class.

    Raises:
        ValueError: no such kind.
        GPUError, GalleryError: what it needs is not there.
    """
    kinds: dict[str, Any] = {"exact": ExactIndex, "device": DeviceIndex, "approximate": ApproximateIndex}
    if kind not in kinds:
        raise ValueError(f"kind is {kind!r}, must be one of {', '.join(map(repr, kinds))}")
    index: Index = kinds[kind](dim, **settings)
    return index
