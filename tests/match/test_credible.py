"""Which tracks are taken for the detector's errors, and which may be persons."""

from __future__ import annotations

import numpy as np
import pytest

from fastface.match.credible import credible_faces
from fastface.match.identify import CERTAIN_SCORE
from fastface.types import Faces

NONE = np.zeros((0, 3), np.int64)


def faces_of(*tracks: tuple[int, int, float]) -> Faces:
    """Faces of (track, how many, score), a frame after the other for each track, ordered by frame."""
    rows = sorted((f, t, score) for t, count, score in tracks for f in range(count))
    n = len(rows)
    frame = np.array([r[0] for r in rows], np.int64)
    return Faces(
        frame,
        frame / 25,
        np.zeros((n, 4), np.float32),
        np.array([r[2] for r in rows], np.float32),
        np.zeros((n, 5, 2), np.float32),
        np.array([r[1] for r in rows], np.int64),
        np.full(n, -1, np.int64),
    )


def test_tracks_of_low_score_are_dismissed() -> None:
    faces, certain = credible_faces(faces_of((0, 4, 0.99), (3, 6, 0.9), (7, 4, 0.95)), NONE, 0.95 - 1e-6, 0.04)
    assert certain == {0: True, 7: False}, "7 scores less than is certain"
    assert set(faces.track.tolist()) == {0, 7}
    assert len(faces) == 8


@pytest.mark.parametrize(("count", "interval", "sure"), [(3, 0.04, True), (2, 0.04, False), (2, 0.4, True),
                                                         (1, 0.4, False), (1, 1.0, True)])  # fmt: skip
def test_a_track_must_be_long_enough_to_found_a_person(count: int, interval: float, sure: bool) -> None:
    faces, certain = credible_faces(faces_of((2, count, 0.999)), NONE, 0.95, interval)
    assert certain == {2: sure}
    assert len(faces) == count


def test_with_0_all_are_kept_and_taken_for_sure() -> None:
    faces, certain = credible_faces(faces_of((0, 5, 0.6), (1, 5, 0.7)), np.array([[0, 1, 5]]), 0.0, 0.04)
    assert certain == {0: True, 1: True}
    assert len(faces) == 10


def test_what_is_certain_begins_at_its_score() -> None:
    _, certain = credible_faces(faces_of((0, 5, CERTAIN_SCORE + 1e-4), (1, 5, CERTAIN_SCORE - 1e-4)), NONE, 0.95, 0.04)
    assert certain == {0: True, 1: False}


@pytest.mark.parametrize(("frames", "kept"), [(3, [4, 9]), (4, [9]), (7, [9])])
def test_a_track_on_another_ones_face_for_half_its_time_is_dismissed(frames: int, kept: list[int]) -> None:
    """Track 4 has 8 faces (then 7: half of them is 3.5), and scores less than 9."""
    count = 8 if frames != 7 else 7
    faces, certain = credible_faces(faces_of((4, count, 0.985), (9, 20, 0.99)), np.array([[4, 9, frames]]), 0.95, 0.04)
    assert list(certain) == kept
    assert set(faces.track.tolist()) == set(kept)


def test_of_two_of_one_score_the_longer_stays_then_the_earlier() -> None:
    on = np.array([[2, 5, 6]])
    assert list(credible_faces(faces_of((2, 6, 0.99), (5, 9, 0.99)), on, 0.95, 0.04)[1]) == [5]
    assert list(credible_faces(faces_of((2, 6, 0.99), (5, 6, 0.99)), on, 0.95, 0.04)[1]) == [2]


def test_who_is_dismissed_dismisses_nobody() -> None:
    """1 lies on 0 and goes; 2 lay on 1 only, and stays. 3 was never credible."""
    tracks = faces_of((0, 10, 0.999), (1, 10, 0.99), (2, 10, 0.985), (3, 10, 0.5))
    _, certain = credible_faces(tracks, np.array([[0, 1, 9], [1, 2, 9], [2, 3, 9], [0, 3, 9]]), 0.95, 0.04)
    assert list(certain) == [0, 2]


def test_nobody() -> None:
    faces, certain = credible_faces(Faces.empty(), NONE, 0.95, 0.04)
    assert (len(faces), certain) == (0, {})
