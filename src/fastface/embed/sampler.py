"""Which faces of a track are embedded: the best few, spread over time, or every one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.embed.store import CropStore
from fastface.spent import Spent
from fastface.types import Embeddings

SPACING = 0.4
"""Seconds between two samples of a track: neighbouring frames say the same thing twice."""

_ON_THE_WAY = 3
"""Batches of crops that may be with the network at once."""


@dataclass(frozen=True)
class Samples:
    """Faces to embed.

    Attributes:
        track: [n] int64.
        quality, legibility: [n] float64, > 0.
        place: [n] int64, of their crops in the store.
    """

    track: NDArray[np.int64]
    quality: NDArray[np.float64]
    legibility: NDArray[np.float64]
    place: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.track)

    def part(self, which: slice) -> Samples:
        return Samples(self.track[which], self.quality[which], self.legibility[which], self.place[which])

    @classmethod
    def empty(cls) -> Samples:
        return cls(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, np.int64))

    @classmethod
    def of(cls, parts: Sequence[Samples]) -> Samples:
        """One after the other."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in _SAMPLE))


_SAMPLE = ("track", "quality", "legibility", "place")


class BestFaces:
    """Keeps the k best faces of each living track, and gives them out when the track ends.

    Args:
        k: faces per track.
        store: where their crops are; places of crops that are not kept any more are freed there.
    """

    def __init__(self, k: int, store: CropStore) -> None:
        from fastface import _core

        self._sampler = _core.Sampler(k, SPACING)
        self._store = store

    def offer(
        self,
        track: NDArray[np.int64],
        time: NDArray[np.float64],
        quality: NDArray[np.float32],
        legibility: NDArray[np.float32],
        crop: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    ) -> None:
        """Faces of one batch, ordered by frame.

        Args:
            track, time, quality, legibility: [M], of each face.
            crop: gives the places of the crops of the faces with the numbers [m] that are worth having.
        """
        wanted, freed = self._sampler.offer(track, time, quality, legibility)
        self._store.free(freed)
        self._sampler.place(crop(wanted) if len(wanted) else wanted)

    def take(self, tracks: NDArray[np.int64]) -> Samples:
        """The samples of tracks that ended, by track as given, then by time; they are forgotten here."""
        track, _, quality, legibility, place = self._sampler.take(tracks)
        return Samples(track, quality, legibility, place)

    def state(self) -> dict[str, NDArray[Any]]:
        """What is kept, in order, with the crops as [n, 3, 160, 160] uint8."""
        *columns, place = self._sampler.state()
        return {**dict(zip(_KEPT, columns, strict=True)), "crop": self._store.read(place)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on where :meth:`state` was taken."""
        self._sampler.restore(*(state[name] for name in _KEPT), self._store.write(state["crop"]))


_KEPT = ("track", "time", "quality", "legibility")


class TrackEmbedder:
    """Gathers crops, embeds them in batches and adds the vectors up per track; memory grows with tracks, not faces.

    Args:
        embed: begins to embed the m crops of these places [m]; `result()` of what it gives waits for [m, dim] float32
            unit vectors.
        dim: their length.
        at_once: crops that are gathered before the network runs.
        store: where the crops are; their places are freed there.
        spent: to which embedding is added.
    """

    def __init__(
        self, embed: Callable[[NDArray[np.int64]], Any], dim: int, at_once: int, store: CropStore, spent: Spent
    ) -> None:
        self._embed, self._dim, self._at_once, self._store, self._spent = embed, dim, at_once, store, spent
        self._waiting = Samples.empty()
        self._running: deque[tuple[Samples, Any]] = deque()
        self._row_of: dict[int, int] = {}
        # One row a track, with room for more: sum of the vectors, and (weight, legibility * weight, count).
        self._sums = np.zeros((0, dim))
        self._totals = np.zeros((0, 3))

    def add(self, samples: Samples) -> None:
        """Faces to embed; their crops belong to the embedder from here on."""
        self._waiting = Samples.of([self._waiting, samples])

    def work(self) -> None:
        """Begin to embed what was gathered, as far as it fills a batch. Where that fails, nothing is lost."""
        while len(self._waiting) >= self._at_once:
            self._start()

    def _start(self) -> None:
        now, rest = self._waiting.part(slice(self._at_once)), self._waiting.part(slice(self._at_once, None))
        if len(now):
            with self._spent.on("embedding"):
                self._running.append((now, self._embed(now.place)))
            self._waiting = rest
            self._store.free(now.place)  # what is queued from here on comes after the network's reading
        while len(self._running) > _ON_THE_WAY:
            self._take()

    def _take(self) -> None:
        """Add up the vectors of the batch that was begun first."""
        from fastface import _core

        faces, vectors = self._running.popleft()
        rows = self._rows(faces.track)
        weight = np.ascontiguousarray(faces.quality)
        with self._spent.on("embedding"):
            here = vectors.result()
        _core.add_rows(self._sums, rows, weight, here)
        np.add.at(self._totals, rows, np.stack([weight, weight * faces.legibility, np.ones(len(faces))], 1))

    def _rows(self, track: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of each face's track, new ones at the end."""
        tracks, which = np.unique(track, return_inverse=True)
        rows = np.array([self._row_of.setdefault(t, len(self._row_of)) for t in tracks.tolist()], np.int64)[which]
        if (lacking := len(self._row_of) - len(self._sums)) > 0:
            more = max(64, len(self._sums), lacking)
            self._sums = np.concatenate([self._sums, np.zeros((more, self._dim))])
            self._totals = np.concatenate([self._totals, np.zeros((more, 3))])
        return rows

    def state(self) -> dict[str, NDArray[Any]]:
        """What was added so far, with the crops that wait as [n, 3, 160, 160] uint8; waits for the network."""
        while self._running:
            self._take()
        n = len(self._row_of)
        return {
            "waiting.track": self._waiting.track,
            "waiting.quality": self._waiting.quality,
            "waiting.legibility": self._waiting.legibility,
            "waiting.crop": self._store.read(self._waiting.place),
            "track": np.array(list(self._row_of), np.int64),
            "sum": self._sums[:n],
            "totals": self._totals[:n],
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on where :meth:`state` was taken."""
        track, quality, legibility = (state[f"waiting.{name}"] for name in _SAMPLE[:3])
        self._waiting = Samples(track, quality, legibility, self._store.write(state["waiting.crop"]))
        self._row_of = {track: row for row, track in enumerate(state["track"].tolist())}
        self._sums, self._totals = state["sum"].copy(), state["totals"].copy()

    def finish(self) -> Embeddings:
        """One row for each track that a face was added of."""
        self.work()
        self._start()
        while self._running:
            self._take()
        if not self._row_of:
            return Embeddings.empty(self._dim)
        tracks = sorted(self._row_of)
        rows = np.array([self._row_of[t] for t in tracks], np.int64)
        weight, legible, count = self._totals[rows].T
        return Embeddings(
            track=np.array(tracks, np.int64),
            mean=np.ascontiguousarray((self._sums[rows] / weight[:, None]).astype(np.float32)),
            weight=np.ascontiguousarray(weight.astype(np.float32)),
            legibility=np.ascontiguousarray((legible / weight).astype(np.float32)),
            count=np.ascontiguousarray(count.astype(np.int64)),
        )
