"""Which faces of a track are embedded, and how their vectors are added up."""

from __future__ import annotations

import numpy as np
import pytest

from fastface.embed.sampler import SPACING, BestFaces, Samples, TrackEmbedder
from fastface.embed.store import SHAPE, HostCrops
from fastface.spent import Spent


def picture(value: int) -> np.ndarray:
    """A crop that says which it is."""
    return np.full(SHAPE, value, np.uint8)


class Best:
    """BestFaces with a store whose crops say which face they are of."""

    def __init__(self, k: int) -> None:
        self.store = HostCrops()
        self.faces = BestFaces(k, self.store)

    def offer(self, track: list[int], time: list[float], quality: list[float], first: int = 0) -> int:
        """Faces numbered from `first`; how many crops were made."""
        made = 0

        def crop(which: np.ndarray) -> np.ndarray:
            nonlocal made
            assert which.dtype == np.int64
            made += len(which)
            return self.store.write(np.stack([picture(first + i) for i in which]))

        self.faces.offer(np.array(track), np.array(time, float), np.array(quality, np.float32),
                         np.full(len(track), 0.5, np.float32), crop)  # fmt: skip
        return made

    def kept(self, *tracks: int) -> list[tuple[int, int]]:
        """(track, number of the face) of tracks that ended."""
        samples = self.faces.take(np.array(tracks, np.int64))
        pixels = self.store.read(samples.place)
        self.store.free(samples.place)
        assert (pixels == pixels[:, :1, :1, :1]).all()
        return list(zip(samples.track.tolist(), pixels[:, 0, 0, 0].tolist(), strict=True))


def test_the_best_k_are_kept_in_the_order_of_time() -> None:
    best = Best(3)
    best.offer([7] * 6, [0, 1, 2, 3, 4, 5], [0.5, 0.9, 0.1, 0.8, 0.2, 0.7])
    assert best.kept(7) == [(7, 1), (7, 3), (7, 5)]


def test_of_neighbours_in_time_only_the_best() -> None:
    best = Best(5)
    times = [0.0, 0.1, 0.2, 1.0, 1.1]
    best.offer([0] * 5, times, [0.3, 0.6, 0.5, 0.4, 0.2])
    assert best.kept(0) == [(0, 1), (0, 3)]


def test_samples_are_spread_over_a_long_track(rng: np.random.Generator) -> None:
    """Not the five best neighbours of one good moment."""
    time = np.arange(250) / 25
    quality = 0.3 + 0.5 * np.exp(-((time - 3) ** 2)) + 0.1 * rng.random(250)
    best = Best(5)
    for i in range(0, 250, 8):
        part = slice(i, i + 8)
        best.offer([0] * len(time[part]), time[part].tolist(), quality[part].tolist(), i)
    rows = [row for _, row in best.kept(0)]
    assert len(rows) == 5
    assert (np.diff(time[rows]) >= 0.5 * SPACING).all()
    assert quality[rows].max() == pytest.approx(quality.max(), abs=1e-6)
    assert quality[rows].mean() > np.quantile(quality, 0.8)


def test_tracks_do_not_compete() -> None:
    best = Best(1)
    best.offer([0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1], [0.9, 0.1, 0.5, 0.8, 0.2, 0.6])
    assert best.kept(2, 0) == [(2, 5), (0, 0)]
    assert best.kept(2, 0) == [], "taken tracks are forgotten"
    assert best.kept(1) == [(1, 4)]
    assert best.kept(99) == []


def test_only_what_is_kept_is_cropped() -> None:
    best = Best(2)
    assert best.offer([0] * 6, [0, 1, 2, 3, 4, 5], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == 2
    assert best.offer([0] * 4, [6, 7, 8, 9], [0.1, 0.2, 0.3, 0.4], 6) == 0
    assert best.offer([0], [10], [0.9], 10) == 1
    assert best.kept(0) == [(0, 5), (0, 10)]


def test_better_faces_of_later_batches_replace() -> None:
    best = Best(2)
    best.offer([0, 0], [0, 1], [0.5, 0.4])
    best.offer([0], [1.1], [0.6], first=10)  # beside the second in time
    assert best.kept(0) == [(0, 0), (0, 10)]


def plain(k: int, faces: list[tuple[int, float, float]]) -> dict[int, list[int]]:
    """The rule in a few lines of Python: numbers of the faces that each track keeps, by time."""
    kept: dict[int, list[int]] = {}
    for i, (track, time, quality) in enumerate(faces):
        mine = kept.setdefault(track, [])
        near = [j for j in mine if abs(faces[j][1] - time) < SPACING]
        rivals = near or (mine if len(mine) >= k else [])
        if not rivals:
            mine.append(i)
            continue
        worst = min(rivals, key=lambda j: faces[j][2])
        if quality > faces[worst][2]:
            mine[mine.index(worst)] = i
    return {track: sorted(mine, key=lambda j: faces[j][1]) for track, mine in kept.items()}


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("batch", [1, 7, 40])
def test_as_the_plain_rule_says_whatever_the_batches(rng: np.random.Generator, k: int, batch: int) -> None:
    n = 240
    quality = np.float32(rng.integers(1, 12, n) / 12)  # with ties
    faces = [(int(t), i / 20, float(q)) for i, (t, q) in enumerate(zip(rng.integers(0, 5, n), quality, strict=True))]
    best = Best(k)
    for i in range(0, n, batch):
        track, time, good = zip(*faces[i : i + batch], strict=True)
        best.offer(list(track), list(time), list(good), i)
    want = plain(k, faces)
    assert best.store.used == sum(map(len, want.values())), "nothing else is held"
    assert best.kept(*sorted(want)) == [(t, j) for t in sorted(want) for j in want[t]]
    assert best.store.used == 0


def test_a_state_goes_on_where_it_was_taken(rng: np.random.Generator) -> None:
    track, quality = rng.integers(0, 4, 80).tolist(), rng.random(80).tolist()
    faces = [(t, i / 9, q) for i, (t, q) in enumerate(zip(track, quality, strict=True))]
    whole, first, second = Best(3), Best(3), Best(3)
    for i in range(0, 80, 8):
        track, time, quality = (list(c) for c in zip(*faces[i : i + 8], strict=True))
        whole.offer(track, time, quality, i)
        if i == 40:
            second.faces.restore(first.faces.state())
        (first if i < 40 else second).offer(track, time, quality, i)
    assert second.kept(*range(4)) == whole.kept(*range(4))


def test_places_must_follow_an_offer() -> None:
    from fastface import _core

    sampler = _core.Sampler(2, 0.4)
    one, t, q = np.zeros(1, np.int64), np.zeros(1), np.ones(1, np.float32)
    sampler.offer(one, t, q, q)
    with pytest.raises(ValueError, match="call place"):
        sampler.offer(one, t, q, q)
    with pytest.raises(ValueError, match=r"\[0\], must be \[1\]"):
        sampler.place(np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="k is 0"):
        _core.Sampler(0, 0.4)


class Done:
    """Vectors that are asked for later."""

    def __init__(self, store: HostCrops, places: np.ndarray) -> None:
        self.crops = store.read(places)

    def result(self) -> np.ndarray:
        return vectors(self.crops)


def vectors(crops: np.ndarray) -> np.ndarray:
    """Stands in for the network: two numbers out of each crop."""
    angle = np.array([float(crop[0, 0, 0]) for crop in crops]) / 20
    return np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)


class Adder:
    """A TrackEmbedder with its store, and what the network was asked."""

    def __init__(self, at_once: int = 32) -> None:
        self.store, self.sizes = HostCrops(), list[int]()
        self.embedder = TrackEmbedder(self.embed, 2, at_once, self.store, Spent())

    def embed(self, places: np.ndarray) -> Done:
        self.sizes.append(len(places))
        return Done(self.store, places)

    def add(self, *faces: tuple[int, float, float, int]) -> None:
        track, quality, legibility, value = zip(*faces, strict=True)
        place = self.store.write(np.stack([picture(v) for v in value]))
        self.embedder.add(Samples(np.array(track, np.int64), np.array(quality), np.array(legibility), place))


def test_vectors_are_averaged_by_quality() -> None:
    adder = Adder()
    adder.add((5, 0.2, 0.9, 0), (3, 1.0, 0.5, 7))
    adder.add((5, 0.6, 0.1, 10))
    out = adder.embedder.finish()
    assert out.track.tolist() == [3, 5]
    assert out.count.tolist() == [1, 2]
    np.testing.assert_allclose(out.weight, [1.0, 0.8], rtol=1e-6)
    np.testing.assert_allclose(out.legibility, [0.5, (0.2 * 0.9 + 0.6 * 0.1) / 0.8], rtol=1e-6)
    a, b = vectors(np.stack([picture(0), picture(10)]))
    np.testing.assert_allclose(out.mean[1], (0.2 * a + 0.6 * b) / 0.8, rtol=1e-6)
    assert np.linalg.norm(out.mean[1]) < 1, "a mean of unit vectors, not a unit vector"
    assert adder.store.used == 0


@pytest.mark.parametrize("at_a_time", [1, 11, 100])
def test_they_are_embedded_in_batches_and_none_is_lost(rng: np.random.Generator, at_a_time: int) -> None:
    adder = Adder()
    given = [(int(t), float(q), 0.5, int(c)) for t, q, c in zip(rng.integers(0, 90, 200), rng.uniform(0.1, 1, 200),
                                                                rng.integers(0, 60, 200), strict=True)]  # fmt: skip
    for i in range(0, 200, at_a_time):
        adder.add(*given[i : i + at_a_time])
    out = adder.embedder.finish()
    assert adder.sizes == [32] * 6 + [8]
    assert adder.store.used == 0
    assert out.track.tolist() == sorted({t for t, *_ in given})
    for i, track in enumerate(out.track.tolist()):
        mine = [(q, vectors(picture(c)[None])[0]) for t, q, _, c in given if t == track]
        assert out.count[i] == len(mine)
        np.testing.assert_allclose(out.mean[i], sum(q * v for q, v in mine) / sum(q for q, _ in mine), atol=1e-6)


def test_the_embedder_goes_on_where_it_was(rng: np.random.Generator) -> None:
    track, quality = rng.integers(0, 9, 100).tolist(), (rng.random(100) + 0.1).tolist()
    given = [(t, q, 0.5, i) for i, (t, q) in enumerate(zip(track, quality, strict=True))]
    whole, first, second = Adder(), Adder(), Adder()
    whole.add(*given)
    first.add(*given[:45])
    second.embedder.restore(first.embedder.state())
    second.add(*given[45:])
    a, b = whole.embedder.finish(), second.embedder.finish()
    for column in ("track", "mean", "weight", "legibility", "count"):
        np.testing.assert_array_equal(getattr(a, column), getattr(b, column))


def test_nobody() -> None:
    out = Adder().embedder.finish()
    assert len(out) == 0
    assert out.mean.shape == (0, 2)
