"""Which faces of a track are embedded: the best few, spread over time, or every one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
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
