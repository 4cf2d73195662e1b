"""Which faces of a track are embedded, and how their vectors are added up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fastface.embed.sampler import SPACING, BestFaces, TrackEmbedder


class Crops:
    """Gives crops that say which face they are of, and counts."""

    def __init__(self, first: int = 0) -> None:
        self.first, self.made = first, 0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        assert rows.dtype == np.int64
        self.made += len(rows)
        return np.stack([np.full((3, 2, 2), self.first + r, np.int64) for r in rows])


def offer(best: BestFaces, track: list[int], time: list[float], quality: list[float], first: int = 0) -> int:
    """Faces numbered from `first`; how many crops were made."""
    crops = Crops(first)
    best.offer(np.array(track), np.array(time, float), np.array(quality, np.float32),
               np.full(len(track), 0.5, np.float32), crops)  # type: ignore[arg-type]  # fmt: skip
    return crops.made


def kept(best: BestFaces, *tracks: int) -> list[tuple[int, int]]:
    """(track, number of the face) of tracks that ended."""
    out = []
    for track, sample in best.take(tracks):
        assert len(set(sample.crop.ravel().tolist())) == 1
        out.append((track, int(sample.crop[0, 0, 0])))
    return out


def test_the_best_k_are_kept_in_the_order_of_time() -> None:
    best = BestFaces(3)
    offer(best, [7] * 6, [0, 1, 2, 3, 4, 5], [0.5, 0.9, 0.1, 0.8, 0.2, 0.7])
    assert kept(best, 7) == [(7, 1), (7, 3), (7, 5)]


def test_of_neighbours_in_time_only_the_best() -> None:
    best = BestFaces(5)
    times = [0.0, 0.1, 0.2, 1.0, 1.1]
    offer(best, [0] * 5, times, [0.3, 0.6, 0.5, 0.4, 0.2])
    assert kept(best, 0) == [(0, 1), (0, 3)]


def test_samples_are_spread_over_a_long_track(rng: np.random.Generator) -> None:
    """Not the five best neighbours of one good moment."""
    time = np.arange(250) / 25
    quality = 0.3 + 0.5 * np.exp(-((time - 3) ** 2)) + 0.1 * rng.random(250)
    best = BestFaces(5)
    for i in range(0, 250, 8):
        part = slice(i, i + 8)
        offer(best, [0] * len(time[part]), time[part].tolist(), quality[part].tolist(), i)
    rows = [row for _, row in kept(best, 0)]
    assert len(rows) == 5
    assert (np.diff(time[rows]) >= 0.5 * SPACING).all()
    assert quality[rows].max() == pytest.approx(quality.max(), abs=1e-6)
    assert quality[rows].mean() > np.quantile(quality, 0.8)


def test_tracks_do_not_compete() -> None:
    best = BestFaces(1)
    offer(best, [0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1], [0.9, 0.1, 0.5, 0.8, 0.2, 0.6])
    assert kept(best, 2, 0) == [(2, 5), (0, 0)]
    assert kept(best, 2, 0) == [], "taken tracks are forgotten"
    assert kept(best, 1) == [(1, 4)]
    assert kept(best, 99) == []


def test_only_what_is_kept_is_cropped() -> None:
    best = BestFaces(2)
    assert offer(best, [0] * 6, [0, 1, 2, 3, 4, 5], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == 2
    assert offer(best, [0] * 4, [6, 7, 8, 9], [0.1, 0.2, 0.3, 0.4], 6) == 0
    assert offer(best, [0], [10], [0.9], 10) == 1
    assert kept(best, 0) == [(0, 5), (0, 10)]


def test_better_faces_of_later_batches_replace() -> None:
    best = BestFaces(2)
    offer(best, [0, 0], [0, 1], [0.5, 0.4])
    offer(best, [0], [1.1], [0.6], first=10)  # beside the second in time
    assert kept(best, 0) == [(0, 0), (0, 10)]


class Done:
    """Vectors that are asked for later."""

    def __init__(self, crops: Sequence[np.ndarray]) -> None:
        self.crops = [c.copy() for c in crops]

    def result(self) -> np.ndarray:
        return vectors(self.crops)


def vectors(crops: Sequence[np.ndarray]) -> np.ndarray:
    """Stands in for the network: two numbers out of each crop."""
    angle = np.array([float(crop[0, 0, 0]) for crop in crops]) / 20
    return np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)


def crop(value: int) -> np.ndarray:
    return np.full((3, 4, 4), value, np.uint8)


def test_vectors_are_averaged_by_quality() -> None:
    adder = TrackEmbedder(Done, 2, 32)
    adder.add(5, 0.2, 0.9, crop(0))
    adder.add(3, 1.0, 0.5, crop(7))
    adder.add(5, 0.6, 0.1, crop(10))
    out = adder.finish()
    assert out.track.tolist() == [3, 5]
    assert out.count.tolist() == [1, 2]
    np.testing.assert_allclose(out.weight, [1.0, 0.8], rtol=1e-6)
    np.testing.assert_allclose(out.legibility, [0.5, (0.2 * 0.9 + 0.6 * 0.1) / 0.8], rtol=1e-6)
    a, b = vectors([crop(0), crop(10)])
    np.testing.assert_allclose(out.mean[1], (0.2 * a + 0.6 * b) / 0.8, rtol=1e-6)
    assert np.linalg.norm(out.mean[1]) < 1, "a mean of unit vectors, not a unit vector"


def test_they_are_embedded_in_batches_and_none_is_lost(rng: np.random.Generator) -> None:
    sizes: list[int] = []

    def embed(crops: Sequence[np.ndarray]) -> Done:
        sizes.append(len(crops))
        return Done(crops)

    adder = TrackEmbedder(embed, 2, 32)
    given = [(int(t), float(q), int(c)) for t, q, c in zip(rng.integers(0, 9, 200), rng.uniform(0.1, 1, 200),
                                                           rng.integers(0, 60, 200), strict=True)]  # fmt: skip
    for track, quality, value in given:
        adder.add(track, quality, 0.5, crop(value))
    out = adder.finish()
    assert sum(sizes) == 200
    assert max(sizes) <= 32
    assert len(sizes) <= 7
    for i, track in enumerate(out.track.tolist()):
        mine = [(q, vectors([crop(c)])[0]) for t, q, c in given if t == track]
        assert out.count[i] == len(mine)
        np.testing.assert_allclose(out.mean[i], sum(q * v for q, v in mine) / sum(q for q, _ in mine), atol=1e-6)


def test_nobody() -> None:
    out = TrackEmbedder(Done, 2, 32).finish()
    assert len(out) == 0
    assert out.mean.shape == (0, 2)
