"""The camera's path: smooth, without lag, inside the picture, and a jump at a cut."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
from coded import Coded, timeline_of

from fastface.clip.window import ACCELERATION, acceleration, follow
from fastface.timeline import Identity, Span, Timeline, Track
from fastface.types import Faces

SIZE = (1920, 1080)
SHAPES = [(1080, 1080), (608, 1080), (1280, 720), (960, 1080)]


def path_of(box_of, times, *, breaks=(), shape=(1080, 1080), seen=None):
    """The path for one person whose box at picture i is box_of(i); tracks end at `breaks`."""
    frames = np.flatnonzero(np.ones(len(times), bool) if seen is None else seen)
    edges = [0, *breaks, len(times)]
    track = np.searchsorted(breaks, frames, side="right").astype(np.int64)
    m = len(frames)
    faces = Faces(
        frames.astype(np.int64), times[frames], np.array([box_of(i) for i in frames], np.float32).reshape(m, 4),
        np.ones(m, np.float32), np.zeros((m, 5, 2), np.float32), track, np.zeros(m, np.int64),
    )  # fmt: skip
    tracks = tuple(Track(i, 0, a, b) for i, (a, b) in enumerate(itertools.pairwise(edges)))
    person = Identity(0, "Ann", None, None, 1.0, (Span(float(times[0]), float(times[-1]) + 1 / 30, 0, len(times)),))
    return follow(Timeline({}, {}, (person,), tracks, faces), 0, times, shape, SIZE)


def box_at(x, y, half=60):
    return (x - half, y - half, x + half, y + half)


@pytest.fixture
def times():
    return np.arange(300) / 30


def centres(path, times):
    window = path.at(times)
    return (window[:, :2] + window[:, 2:]) / 2


def test_a_still_face_gives_a_still_window(times, rng):
    noise = rng.normal(0, 2, (len(times), 2))
    path = path_of(lambda i: box_at(900 + noise[i, 0], 500 + noise[i, 1]), times)
    moved = centres(path, times)
    # Two pixels of noise in each box; the window moves by less than a tenth of a pixel a frame.
    assert np.abs(np.diff(moved, axis=0)).max() < 0.25
    assert np.abs(moved[:, 0] - 900).max() < 3


def test_no_lag(times):
    """A face that goes evenly is in the middle all the time, at the ends as well."""
    path = path_of(lambda i: box_at(600 + 3 * i, 540), times)
    assert np.abs(centres(path, times)[:, 0] - (600 + 3 * np.arange(300))).max() < 0.5


def test_a_jump_at_a_cut_and_no_drift_after_it(times):
    path = path_of(lambda i: box_at(600, 500) if i < 150 else box_at(1300, 560), times, breaks=[150])
    x = centres(path, times)[:, 0]
    assert np.abs(x[:150] - 600).max() < 1e-3
    assert np.abs(x[150:] - 1300).max() < 1e-3


def test_a_face_that_jumps_within_a_shot_is_panned_to(times):
    """Where somebody's track goes through it is not a cut."""
    path = path_of(lambda i: box_at(800 if i < 150 else 1000, 540), times)
    assert len(path.runs) == 1
    x = centres(path, times)[:, 0]
    assert np.abs(np.diff(x)).max() < 20
    assert acceleration(times, path.runs[0].window).max() <= ACCELERATION * 1.05


def test_turned_away_for_a_while_without_a_cut(times):
    """The track ends and another begins where the face was: the window glides there."""
    seen = (np.arange(300) < 140) | (np.arange(300) >= 160)
    path = path_of(lambda i: box_at(800 if i < 150 else 830, 540), times, breaks=[150], seen=seen)
    assert len(path.runs) == 1
    assert np.abs(np.diff(centres(path, times)[:, 0])).max() < 3


def test_the_window_is_inside_the_picture_and_moves_evenly_along_its_edge(times):
    path = path_of(lambda i: box_at(960 + 1200 * np.sin(i / 40), 540 + 700 * np.cos(i / 55), 90), times)
    window = path.at(times)
    assert (window >= 0).all()
    assert (window <= [*SIZE, *SIZE]).all()
    # The face is fast, and it is kept; stopping at the edge at once would be 45.
    assert acceleration(times, path.runs[0].window).max() < 5


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shape_is_exact(times, shape):
    window = path_of(lambda i: box_at(960, 540, 40 + 20 * np.sin(i / 20)), times, shape=shape).at(times)
    width, height = (window[:, 2:] - window[:, :2]).T
    assert np.abs(width / height - shape[0] / shape[1]).max() < 1e-9


def test_variable_frame_rate(rng):
    times = np.cumsum(rng.uniform(0.01, 0.1, 300))
    path = path_of(lambda i: box_at(700 + 40 * times[i], 540), times)
    assert np.abs(centres(path, times)[:, 0] - (700 + 40 * times)).max() < 1


def test_one_detection_and_every_tenth(times):
    assert np.ptp(path_of(lambda i: box_at(500, 500), times, seen=np.arange(300) == 7).at(times), axis=0).max() == 0
    path = path_of(lambda i: box_at(600 + 3 * i, 540), times, seen=np.arange(300) % 10 == 0)
    assert np.abs(centres(path, times)[:290, 0] - (600 + 3 * np.arange(290))).max() < 1


def test_when_the_person_is_seen():
    coded = Coded(None, [i / 30 for i in range(300)], 10.0, 0)
    timeline = timeline_of(coded, {"Ann": [(1, 2), (5, 6)]})
    times = np.array(coded.times)
    path = follow(timeline, 0, times, (96, 96), (320, 180))
    assert np.flatnonzero(path.present(times)).tolist() == [*range(30, 60), *range(150, 180)]


@pytest.mark.media
@pytest.mark.parametrize("shape", SHAPES)
def test_on_people(media, shape):
    """Found faces of the truth, with a detector's noise; the true face is inside the window."""
    truth = json.loads((media / "people.json").read_text())
    rng = np.random.default_rng(1)
    n = len(truth["frames"])
    times = np.arange(n) / truth["fps"]
    for name in sorted({f["name"] for frame in truth["frames"] for f in frame}):
        true = {i: np.array(f["box"]) for i, frame in enumerate(truth["frames"]) for f in frame if f["name"] == name}
        cuts = cuts_of(truth)
        timeline = as_found(name, true, cuts, times, rng)
        path = follow(timeline, 0, times, shape, tuple(truth["size"]))
        window = path.at(times)
        inside = [(true[i][:2] >= window[i, :2]).all() and (true[i][2:] <= window[i, 2:]).all() for i in true]
        assert np.mean(inside) >= 0.99
        for run in path.runs:
            assert len(run.times) < 3 or acceleration(run.times, run.window).max() <= 1.05 * ACCELERATION
        # After a cut the window is where the face is, at once: as near as half a second later.
        for cut in set(cuts) & set(true):
            for i in range(cut, cut + 5):
                if i in true:
                    middle = (window[i, 0] + window[i, 2]) / 2
                    at_edge = window[i, 0] < 1 or window[i, 2] > truth["size"][0] - 1
                    assert at_edge or abs(middle - true[i][[0, 2]].mean()) < 0.05 * (window[i, 3] - window[i, 1])


def cuts_of(truth):
    """Pictures at which a shot begins: where a true box jumps, or somebody comes or goes."""
    frames, out = truth["frames"], [0]
    for i in range(1, len(frames)):
        before, after = ({f["name"]: np.array(f["box"]) for f in frames[k]} for k in (i - 1, i))
        if before.keys() != after.keys() or any(np.abs(after[k] - before[k]).max() > 40 for k in after):
            out.append(i)
    return out


def as_found(name, true, cuts, times, rng):
    """A timeline of one person with boxes that are off by two pixels, and one in twenty missing."""
    frames = [i for i in sorted(true) if rng.random() > 0.05]
    shot = np.searchsorted(cuts, frames, side="right")
    _, track = np.unique(shot, return_inverse=True)
    boxes = np.array([true[i] for i in frames]) + rng.normal(0, 2, (len(frames), 4))
    m = len(frames)
    faces = Faces(
        np.array(frames, np.int64), times[frames], boxes.astype(np.float32), np.ones(m, np.float32),
        np.zeros((m, 5, 2), np.float32), track.astype(np.int64), np.zeros(m, np.int64),
    )  # fmt: skip
    tracks = tuple(
        Track(k, 0, min(own), max(own) + 1)
        for k in range(track.max() + 1)
        for own in [faces.frame[track == k].tolist()]
    )
    person = Identity(0, name, None, None, 1.0, (Span(0.0, 1.0, 0, 30),))
    return dataclasses.replace(Timeline({}, {}, (person,), tracks, faces))
