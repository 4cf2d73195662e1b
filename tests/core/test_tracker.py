"""Following faces: what must keep an id, and what must not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fastface import _core

FPS = 25
SETTINGS = {"min_iou": 0.3, "max_shift": 0.6, "min_appearance": 0.6, "max_gap": 0.6}


def looks(n: int) -> np.ndarray:
    """[n, 64] looks of n people: orthogonal, of zero mean and unit norm."""
    basis = np.linalg.qr(np.concatenate([np.ones((64, 1)), np.random.default_rng(3).normal(size=(64, n))], 1))[0]
    return basis[:, 1 : n + 1].T.astype(np.float32)


LOOKS = looks(8)

Face = tuple[int, float, float, float]
"""Person, centre x, centre y, side."""


class Film:
    """Frames of faces, given to a tracker."""

    def __init__(self, frames: Sequence[Sequence[Face]], cuts: Sequence[int] = (), fps: float = FPS) -> None:
        self.frames, self.n = frames, len(frames)
        self.time = np.arange(self.n) / fps
        self.cut = np.zeros(self.n, np.uint8)
        self.cut[[0, *cuts]] = 1
        self.row = np.array([i for i, faces in enumerate(frames) for _ in faces], np.int64)
        flat = [face for faces in frames for face in faces]
        self.person = np.array([f[0] for f in flat], np.int64)
        self.box = np.array([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for _, x, y, s in flat], np.float32)
        self.box = self.box.reshape(-1, 4)
        self.look = LOOKS[self.person].reshape(-1, 64)

    def run(self, tracker: Any = None, batches: Sequence[int] = ()) -> np.ndarray:
        """Track ids; batches: frames at which a new call begins."""
        tracker = tracker or _core.Tracker(**SETTINGS)
        out = []
        for a, b in zip([0, *batches], [*batches, self.n], strict=True):
            mine = (self.row >= a) & (self.row < b)
            out.append(
                tracker.update(self.time[a:b], self.cut[a:b], self.row[mine] - a, self.box[mine], self.look[mine])
            )
        return np.concatenate(out)


def one_track_each(film: Film, track: np.ndarray) -> bool:
    pairs = set(zip(film.person.tolist(), track.tolist(), strict=True))
    return len(pairs) == len({p for p, _ in pairs}) == len({t for _, t in pairs})


def test_moving_faces_keep_their_ids() -> None:
    frames = [[(0, 50 + 6 * i, 80, 40), (1, 400 - 9 * i, 200 + 3 * i, 60 + i / 2)] for i in range(40)]
    film = Film(frames)
    track = film.run()
    assert track.tolist() == [0, 1] * 40


def test_ids_follow_people_when_the_order_of_faces_changes() -> None:
    frames: list[list[Face]] = []
    for i in range(30):
        faces: list[Face] = [(0, 50 + i, 80, 40), (1, 200, 80, 40), (2, 350 - i, 90, 50)]
        frames.append(faces[i % 3 :] + faces[: i % 3])
    film = Film(frames)
    assert one_track_each(film, film.run())


def test_faces_that_cross_keep_their_ids() -> None:
    """They move through each other at the same height; in the middle their boxes are nearly the same."""
    frames = [[(0, 100 + 5 * i, 100, 50), (1, 301 - 5 * i, 104, 50)] for i in range(41)]
    film = Film(frames)
    assert one_track_each(film, film.run())


def test_a_small_face_faster_than_its_box_is_followed() -> None:
    """Half a box size a frame: from the second step on the predicted place is the right one."""
    frames = [[(0, 50 + 12 * i, 80, 24)] for i in range(20)]
    assert set(Film(frames).run().tolist()) == {0}


def test_a_face_that_jumps_is_another_track() -> None:
    frames = [[(0, 50.0 if i < 10 else 250.0, 80, 40)] for i in range(20)]
    assert Film(frames).run().tolist() == [0] * 10 + [1] * 10


@pytest.mark.parametrize(("missing", "same"), [(1, True), (14, True), (15, False), (40, False)])
def test_a_gap_is_bridged_up_to_max_gap(missing: int, same: bool) -> None:
    """At 25 fps with max_gap 0.6: 14 missing frames make 0.6 s from face to face, 15 make 0.64 s."""
    frames: list[list[Face]] = [[(0, 100, 100, 50)]] * 5 + [[]] * missing + [[(0, 100, 100, 50)]] * 5
    film = Film(frames)
    film.time = np.arange(film.n) * 0.04  # 15 * 0.04 is 0.6 but for rounding, so leave it some room
    tracker = _core.Tracker(**{**SETTINGS, "max_gap": 0.6 + 1e-9})
    assert len(set(film.run(tracker).tolist())) == (1 if same else 2)


def test_the_gap_counts_in_seconds_not_in_frames() -> None:
    frames: list[list[Face]] = [[(0, 100, 100, 50)]] * 5 + [[]] * 10 + [[(0, 100, 100, 50)]] * 5
    assert len(set(Film(frames, fps=50).run().tolist())) == 1
    assert len(set(Film(frames, fps=10).run().tolist())) == 2


def test_a_cut_ends_every_track() -> None:
    frames: list[list[Face]] = [[(0, 100, 100, 50), (1, 300, 100, 50)]] * 20
    film, tracker = Film(frames, cuts=[8]), _core.Tracker(**SETTINGS)
    assert film.run(tracker).tolist() == [0, 1] * 8 + [2, 3] * 12
    assert sorted(tracker.take_finished().tolist()) == [0, 1]
    assert tracker.take_finished().tolist() == []
    assert sorted(tracker.take_finished(True).tolist()) == [2, 3]
    assert tracker.take_finished(True).tolist() == []


def test_somebody_else_at_the_same_place_is_another_track() -> None:
    """Even where the cut was missed: the look decides."""
    frames: list[list[Face]] = [[(0 if i < 10 else 1, 100, 100, 50)] for i in range(20)]
    assert Film(frames).run().tolist() == [0] * 10 + [1] * 10


@pytest.mark.parametrize(("alike", "same"), [(0.65, True), (0.55, False)])
def test_the_look_is_a_gate_at_its_threshold(alike: float, same: bool) -> None:
    film = Film([[(0, 100, 100, 50)]] * 2)
    film.look = np.stack([LOOKS[0], alike * LOOKS[0] + (1 - alike**2) ** 0.5 * LOOKS[1]]).astype(np.float32)
    assert (len(set(film.run().tolist())) == 1) is same


def test_a_flat_look_says_nothing() -> None:
    film = Film([[(0, 100, 100, 50)]] * 3)
    film.look[1] = 0
    assert film.run().tolist() == [0, 0, 0]


def test_where_one_batch_ends_does_not_matter(rng: np.random.Generator) -> None:
    """People come, go, cross and are cut away; any division into batches gives the same ids and conflicts."""
    frames: list[list[Face]] = []
    start = rng.uniform(50, 500, (8, 2))
    speed = rng.uniform(-6, 6, (8, 2))
    for i in range(120):
        here = [p for p in range(8) if (i // (7 + p)) % 3]
        frames.append([(p, *(start[p] + speed[p] * i).tolist(), 40 + 3 * p) for p in here])
    film = Film(frames, cuts=[33, 34, 80])
    whole = _core.Tracker(**SETTINGS)
    want, ended = film.run(whole), set(whole.take_finished(True).tolist())
    assert len(ended) == len(set(want.tolist())) > 8
    for batches in (range(1, 120), range(8, 120, 8), (33,), (34, 80, 81), sorted(rng.choice(119, 9, False) + 1)):
        tracker = _core.Tracker(**SETTINGS)
        np.testing.assert_array_equal(film.run(tracker, [int(b) for b in batches]), want)
        np.testing.assert_array_equal(tracker.conflicts(), whole.conflicts())
        assert set(tracker.take_finished(True).tolist()) == ended


def test_every_track_is_finished_once(rng: np.random.Generator) -> None:
    tracker, seen, finished = _core.Tracker(**SETTINGS), set(), []
    for i in range(200):
        person = i // 20 % 4
        faces: list[Face] = [(person, 100 + 200 * person, 100, 50)] if i % 40 < 30 else []
        film = Film([faces])
        track = tracker.update(np.array([i / FPS]), np.zeros(1, np.uint8), film.row, film.box, film.look)
        assert not set(finished) & set(track.tolist()), "a finished track got a face"
        seen |= set(track.tolist())
        finished += tracker.take_finished().tolist()
    finished += tracker.take_finished(True).tolist()
    assert sorted(finished) == sorted(seen)


def test_conflicts_are_pairs_seen_apart_and_how_often() -> None:
    frames: list[list[Face]] = [[(0, 100, 100, 50), (1, 300, 100, 50)]] * 7
    frames += [[(0, 100, 100, 50), (1, 300, 100, 50), (2, 500, 100, 50)]] * 3 + [[(2, 500, 100, 50)]] * 4
    tracker = _core.Tracker(**SETTINGS)
    Film(frames).run(tracker)
    assert tracker.conflicts().tolist() == [[0, 1, 10], [0, 2, 3], [1, 2, 3]]


def test_two_boxes_on_one_face_are_no_conflict() -> None:
    """A box within a box: one person found twice."""
    tracker = _core.Tracker(**SETTINGS)
    Film([[(0, 100, 100, 80), (0, 104, 104, 40)]] * 5).run(tracker)
    assert tracker.conflicts().shape == (0, 3)


def test_frames_without_faces() -> None:
    tracker = _core.Tracker(**SETTINGS)
    assert Film([[], [], []]).run(tracker).shape == (0,)
    assert tracker.take_finished(True).shape == (0,)
    assert tracker.conflicts().shape == (0, 3)


def test_bad_arguments_raise() -> None:
    tracker, film = _core.Tracker(**SETTINGS), Film([[(0, 100, 100, 50)], [(0, 100, 100, 50)]])
    with pytest.raises(ValueError, match=r"row must ascend within \[0, 2\)"):
        tracker.update(film.time, film.cut, film.row[::-1].copy(), film.box, film.look)
    with pytest.raises(ValueError, match=r"row must ascend within \[0, 1\)"):
        tracker.update(film.time[:1], film.cut[:1], film.row, film.box, film.look)
    with pytest.raises(ValueError, match=r"appearance has shape \[2, 63\], must be \[2, 64\]"):
        tracker.update(film.time, film.cut, film.row, film.box, film.look[:, :63].copy())
    with pytest.raises(ValueError, match=r"cut has shape \[1\], must be \[2\]"):
        tracker.update(film.time, film.cut[:1], film.row, film.box, film.look)


def test_boxes_on_one_face_overlap_and_do_not_conflict() -> None:
    """A second box on a face is neither another person nor another face; a neighbour is both."""
    tracker = _core.Tracker(min_iou=0.3, max_shift=0.6, min_appearance=0.0, max_gap=0.5)
    box = np.array([[100, 100, 200, 220], [135, 95, 245, 225], [400, 100, 500, 220]], np.float32)
    for i in range(4):
        track = tracker.update(np.array([i / 25]), np.zeros(1, np.uint8), np.zeros(3, np.int64), box,
                               np.zeros((3, 64), np.float32))  # fmt: skip
        assert track.tolist() == [0, 1, 2]
    assert tracker.overlaps().tolist() == [[0, 1, 4]]
    assert tracker.conflicts().tolist() == [[0, 2, 4], [1, 2, 4]]
