"""The tracker's Python side: settings, what it tells, and going on from where it was ended."""

from __future__ import annotations

import numpy as np
import pytest

from fastface.track import FaceTracker, ShotDetector
from fastface.types import Detections

S = 18 * 32 * 3


def faces(*boxes: tuple[int, float]) -> Detections:
    """One face at each (row, x), all of one look."""
    n = len(boxes)
    x = np.array([b[1] for b in boxes], np.float32)
    appearance = np.zeros((n, 64), np.float32)
    appearance[:, :2] = 0.5**0.5, -(0.5**0.5)
    return Detections(
        row=np.array([b[0] for b in boxes], np.int64),
        box=np.stack([x, np.full(n, 10), x + 50, np.full(n, 60)], 1).astype(np.float32).reshape(n, 4),
        score=np.ones(n, np.float32),
        landmarks=np.zeros((n, 5, 2), np.float32),
        sharpness=np.ones(n, np.float32),
        appearance=appearance,
    )


def pictures(rng: np.random.Generator, frames: int) -> np.ndarray:
    """[frames, S] uint8: noise that grows, so that the detector's memory of changes matters."""
    base = rng.uniform(60, 180, S)
    return np.array([base + (1 + i % 4) * rng.normal(size=S) for i in range(frames)]).astype(np.uint8)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_the_state_of_the_shot_detector(rng: np.random.Generator) -> None:
    detector = ShotDetector()
    state = detector.state()
    assert list(state) == ["last", "was_cut", "changes"]
    assert (state["last"].shape, state["was_cut"].shape, len(state["changes"])) == ((0,), (1,), 0)
    film = pictures(rng, 12)
    detector.update(film)
    state = detector.state()
    np.testing.assert_array_equal(state["last"], film[-1])
    assert state["was_cut"].dtype == np.uint8
    assert len(state["changes"]) == 8


@pytest.mark.parametrize("end", [1, 2, 5, 13, 14, 20])
def test_a_shot_detector_goes_on_where_another_was_ended(rng: np.random.Generator, end: int) -> None:
    """With a cut at 13, next to which the memory of the last frames matters most."""
    film = np.concatenate([pictures(rng, 13), pictures(rng, 12)])
    whole = ShotDetector()
    wanted = whole.update(film)
    assert np.flatnonzero(wanted).tolist() == [0, 13]
    first, second = ShotDetector(), ShotDetector()
    first.update(film[:end])
    second.restore(first.state())
    same(second.state(), first.state())
    np.testing.assert_array_equal(second.update(film[end:]), wanted[end:])
    same(second.state(), whole.state())


@pytest.mark.parametrize("cut", [0, 1])
def test_whether_the_last_frame_was_a_cut_is_kept(rng: np.random.Generator, cut: int) -> None:
    film = np.concatenate([pictures(rng, 9), pictures(rng, 1 + (1 - cut) * 3)])
    first, second = ShotDetector(), ShotDetector()
    first.update(film)
    assert first.state()["was_cut"].tolist() == [cut]
    second.restore(first.state())
    assert second.state()["was_cut"].tolist() == [cut]


def run(tracker: FaceTracker, film: np.ndarray, first: int, last: int) -> list[int]:
    """Two faces that drift and overlap for a while, and one that comes later and is lost."""
    rows = [
        (f - first, x)
        for f in range(first, last)
        for x in ([100 + f, 300 - 2 * f] if f < 30 else [100 + f]) + ([500] if 10 <= f < 14 else [])
    ]
    time = np.arange(first, last) / 25
    return tracker.update(time, film[first:last], faces(*rows)).tolist()


@pytest.mark.parametrize("end", [1, 9, 12, 20, 33, 39])
def test_a_tracker_goes_on_where_another_was_ended(rng: np.random.Generator, end: int) -> None:
    film = pictures(rng, 40)
    whole = FaceTracker(0.04)
    wanted = run(whole, film, 0, end)
    finished = whole.take_finished().tolist()
    before = whole.state()
    other = FaceTracker(0.04)
    other.restore(before)
    same(other.state(), before)
    assert run(other, film, end, 40) == (more := run(whole, film, end, 40))
    assert max(wanted + more) == 2, "three tracks"
    same(other.state() if other.take_finished().tolist() == whole.take_finished().tolist() else {}, whole.state())
    np.testing.assert_array_equal(other.conflicts(), whole.conflicts())
    np.testing.assert_array_equal(other.overlaps(), whole.overlaps())
    assert not set(finished) & set(other.take_finished(last=True).tolist())


def test_what_the_state_holds(rng: np.random.Generator) -> None:
    tracker = FaceTracker(0.04)
    run(tracker, pictures(rng, 12), 0, 12)
    state = tracker.state()
    assert list(state) == ["next_id", "id", "time", "box", "velocity", "appearance", "conflicts", "overlaps",
                           "shots.last", "shots.was_cut", "shots.changes"]  # fmt: skip
    assert state["next_id"].tolist() == [3]
    assert state["next_id"].dtype == np.int64
    assert state["id"].tolist() == [0, 1, 2]
    assert state["time"].tolist() == [11 / 25] * 3
    assert state["conflicts"].tolist() == [[0, 1, 12], [0, 2, 2], [1, 2, 2]]


def test_a_state_that_is_none() -> None:
    state = FaceTracker(0.04).state()
    with pytest.raises(KeyError, match="velocity"):
        FaceTracker(0.04).restore({name: a for name, a in state.items() if name != "velocity"})
    with pytest.raises(ValueError, match=r"^time has shape \[0\], must be \[1\]$"):
        FaceTracker(0.04).restore({**state, "id": np.array([4]), "box": np.zeros((1, 4), np.float32)})


def test_tracks_that_are_over_are_told_once(rng: np.random.Generator) -> None:
    tracker = FaceTracker(0.04)
    film = pictures(rng, 60)
    run(tracker, film, 0, 12)
    assert tracker.take_finished().tolist() == []
    run(tracker, film, 12, 34)
    assert tracker.take_finished().tolist() == [2]
    assert tracker.take_finished().tolist() == []
    assert sorted(tracker.take_finished(last=True).tolist()) == [0, 1]


def test_boxes_on_one_face_are_told(rng: np.random.Generator) -> None:
    """Two detections of one face in each of four frames; a third face is far away."""
    tracker = FaceTracker(0.04)
    rows = [(f, x) for f in range(4) for x in (100, 104, 400)]
    tracker.update(np.arange(4) / 25, pictures(rng, 4), faces(*rows))
    assert tracker.overlaps().tolist() == [[0, 1, 4]]
    assert tracker.conflicts().tolist() == [[0, 2, 4], [1, 2, 4]]
