"""Which faces of a track are embedded: the best few, spread over time, or every one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.types import Embeddings

SPACING = 0.4
"""Seconds between two samples of a track: neighbouring frames say the same thing twice."""

_ON_THE_WAY = 3
"""Batches of crops that may be with the network at once."""


@dataclass
class _Sample:
    quality: float
    legibility: float
    time: float
    crop: Any


class BestFaces:
    """Keeps the k best faces of each living track, and gives them out when the track ends.

    Args:
        k: faces per track.
    """

    def __init__(self, k: int) -> None:
        self._k = k
        self._kept: dict[int, list[_Sample]] = {}

    def _rival(self, track: int, time: float) -> int | None:
        """Which kept sample a new one at this time would replace: its neighbour in time, or the worst if all places
        are taken; None if a place is free."""
        kept = self._kept.get(track, [])
        near = [i for i, s in enumerate(kept) if abs(s.time - time) < SPACING]
        if near:
            return min(near, key=lambda i: kept[i].quality)
        if len(kept) < self._k:
            return None
        return min(range(len(kept)), key=lambda i: kept[i].quality)

    def offer(
        self,
        track: NDArray[np.int64],
        time: NDArray[np.float64],
        quality: NDArray[np.float32],
        legibility: NDArray[np.float32],
        crop: Callable[[NDArray[np.int64]], Sequence[Any]],
    ) -> None:
        """Faces of one batch, ordered by frame.

        Args:
            track, time, quality, legibility: [M], of each face.
            crop: gives the crops of the faces with the indices [m] that are worth having, each with its own memory.
        """
        # Decide on placeholders first, so that only what is kept at the end of the batch is cropped.
        pending: list[tuple[int, _Sample]] = []
        nothing = np.zeros(0, np.uint8)
        for i in range(len(track)):
            who = int(track[i])
            sample = _Sample(float(quality[i]), float(legibility[i]), float(time[i]), nothing)
            rival = self._rival(who, sample.time)
            kept = self._kept.setdefault(who, [])
            if rival is None:
                kept.append(sample)
            elif sample.quality > kept[rival].quality:
                kept[rival] = sample
            else:
                continue
            pending.append((i, sample))
        alive = {id(s) for samples in self._kept.values() for s in samples}
        wanted = [(i, s) for i, s in pending if id(s) in alive]
        if wanted:
            crops = crop(np.array([i for i, _ in wanted], np.int64))
            for (_, sample), pixels in zip(wanted, crops, strict=True):
                sample.crop = pixels

    def take(self, tracks: Iterable[int]) -> list[tuple[int, _Sample]]:
        """The samples of tracks that ended, in the order of time; they are forgotten here."""
        out = []
        for track in tracks:
            out += [(track, s) for s in sorted(self._kept.pop(track, []), key=lambda s: s.time)]
        return out

    def state(self, stored: Callable[[Sequence[Any]], NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
        """What is kept, in order; `stored` gives crops as [n, 3, 160, 160] uint8."""
        kept = [(track, s) for track, samples in self._kept.items() for s in samples]
        return {
            "track": np.array([t for t, _ in kept], np.int64),
            **_columns([(s.quality, s.legibility, s.time) for _, s in kept], ("quality", "legibility", "time")),
            "crop": stored([s.crop for _, s in kept]),
        }

    def restore(self, state: Mapping[str, NDArray[Any]], crops: Callable[[NDArray[np.uint8]], Sequence[Any]]) -> None:
        """Go on where :meth:`state` was taken; `crops` undoes `stored`."""
        self._kept = {}
        columns = (state[n].tolist() for n in ("track", "quality", "legibility", "time"))
        for (track, quality, legibility, time), crop in zip(
            zip(*columns, strict=True), crops(state["crop"]), strict=True
        ):
            self._kept.setdefault(track, []).append(_Sample(quality, legibility, time, crop))


def _columns(rows: Sequence[tuple[float, ...]], names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    table = np.array(rows, np.float64).reshape(len(rows), len(names))
    return {name: np.ascontiguousarray(table[:, i]) for i, name in enumerate(names)}


class TrackEmbedder:
    """Gathers crops, embeds them in batches and adds the vectors up per track; memory grows with tracks, not faces.

    Args:
        embed: begins to embed m crops; `result()` of what it gives waits for [m, dim] float32 unit vectors.
        dim: their length.
        at_once: crops that are gathered before the network runs.
    """

    def __init__(self, embed: Callable[[Sequence[Any]], Any], dim: int, at_once: int) -> None:
        self._embed, self._dim, self._at_once = embed, dim, at_once
        self._waiting: list[tuple[int, float, float, Any]] = []
        self._running: deque[tuple[list[tuple[int, float, float, Any]], Any]] = deque()
        self._sums: dict[int, NDArray[np.float64]] = {}
        self._weights: dict[int, float] = {}
        self._legible: dict[int, float] = {}
        self._counts: dict[int, int] = {}

    def add(self, track: int, quality: float, legibility: float, crop: Any) -> None:
        """One face: its track, its quality and legibility, both > 0, and its crop."""
        self._waiting.append((track, quality, legibility, crop))
        if len(self._waiting) >= self._at_once:
            self._start()

    def _start(self) -> None:
        if self._waiting:
            self._running.append((self._waiting, self._embed([crop for *_, crop in self._waiting])))
            self._waiting = []
        while len(self._running) > _ON_THE_WAY:
            self._take()

    def _take(self) -> None:
        """Add up the vectors of the batch that was begun first."""
        faces, vectors = self._running.popleft()
        for (track, quality, legibility, _), vector in zip(faces, vectors.result().astype(np.float64), strict=True):
            self._sums[track] = self._sums.get(track, 0.0) + quality * vector
            self._weights[track] = self._weights.get(track, 0.0) + quality
            self._legible[track] = self._legible.get(track, 0.0) + quality * legibility
            self._counts[track] = self._counts.get(track, 0) + 1

    def state(self, stored: Callable[[Sequence[Any]], NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
        """What was added so far; waits for what is with the network. `stored` as for :meth:`BestFaces.state`."""
        while self._running:
            self._take()
        tracks = list(self._sums)  # in this order they are
        return {
            "waiting.track": np.array([t for t, *_ in self._waiting], np.int64),
            **_columns([(q, d) for _, q, d, _ in self._waiting], ("waiting.quality", "waiting.legibility")),
            "waiting.crop": stored([crop for *_, crop in self._waiting]),
            "track": np.array(tracks, np.int64),
            "sum": np.array([self._sums[t] for t in tracks], np.float64).reshape(len(tracks), self._dim),
            **_columns([(self._weights[t], self._legible[t]) for t in tracks], ("weight", "legible")),
            "count": np.array([self._counts[t] for t in tracks], np.int64),
        }

    def restore(self, state: Mapping[str, NDArray[Any]], crops: Callable[[NDArray[np.uint8]], Sequence[Any]]) -> None:
        """Go on where :meth:`state` was taken."""
        waiting = (state[f"waiting.{n}"].tolist() for n in ("track", "quality", "legibility"))
        self._waiting = [
            (*row, crop) for row, crop in zip(zip(*waiting, strict=True), crops(state["waiting.crop"]), strict=True)
        ]
        tracks = state["track"].tolist()
        self._sums = dict(zip(tracks, state["sum"], strict=True))
        self._weights = dict(zip(tracks, state["weight"].tolist(), strict=True))
        self._legible = dict(zip(tracks, state["legible"].tolist(), strict=True))
        self._counts = dict(zip(tracks, state["count"].tolist(), strict=True))

    def finish(self) -> Embeddings:
        """One row for each track that a face was added of."""
        self._start()
        while self._running:
            self._take()
        if not self._sums:
            return Embeddings.empty(self._dim)
        tracks = sorted(self._sums)
        return Embeddings(
            track=np.array(tracks, np.int64),
            mean=np.array([self._sums[t] / self._weights[t] for t in tracks], np.float32),
            weight=np.array([self._weights[t] for t in tracks], np.float32),
            legibility=np.array([self._legible[t] / self._weights[t] for t in tracks], np.float32),
            count=np.array([self._counts[t] for t in tracks], np.int64),
        )
