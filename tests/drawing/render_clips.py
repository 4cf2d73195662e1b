"""Small videos, and timelines that say what was composed."""

from __future__ import annotations

import itertools

import numpy as np

from fastface.demo.scene import Actor, Photo, Shot
from fastface.timeline import Identity, Span, Timeline, Track
from fastface.types import Faces


def make_photo(colour):
    pixels = np.full((100, 80, 3), 128, np.uint8)
    pixels[30:70, 20:50] = colour
    return Photo(pixels, (20, 30, 50, 70))


def timeline_of(truth, path, *, every=1, known=True):
    """The timeline that a perfect run gives of a composed video; each person one track, frames looked at:
    every Nth."""
    times = [*truth["times"], truth["times"][-1] + 1 / truth["fps"]]
    names = list(dict.fromkeys(face["name"] for frame in truth["frames"] for face in frame))
    rows, people, tracks = [], [], []
    for i, name in enumerate(names):
        frames = [k for k, faces in enumerate(truth["frames"]) if any(f["name"] == name for f in faces)]
        cuts = [0, *(j + 1 for j in range(len(frames) - 1) if frames[j + 1] != frames[j] + 1), len(frames)]
        runs = [(frames[a], frames[b - 1] + 1) for a, b in itertools.pairwise(cuts)]
        spans = tuple(Span(times[a], times[b], a, b) for a, b in runs)
        people.append(Identity(i, name, 0.62, 0.4, sum(s.end - s.start for s in spans), spans))
        for a, b in runs:
            for k in range(a, b):
                if k % every == 0:
                    (box,) = (f["box"] for f in truth["frames"][k] if f["name"] == name)
                    rows.append((k, times[k], box, len(tracks), i))
            tracks.append(Track(len(tracks), i if known else None, a, b))
    rows.sort(key=lambda r: r[0])
    m = len(rows)
    faces = Faces(
        np.array([r[0] for r in rows], np.int64),
        np.array([r[1] for r in rows], np.float64),
        np.array([r[2] for r in rows], np.float32).reshape(m, 4),
        np.full(m, 0.99, np.float32),
        np.zeros((m, 5, 2), np.float32),
        np.array([r[3] for r in rows], np.int64),
        np.array([r[4] if known else -1 for r in rows], np.int64),
    )
    width, height = truth["size"]
    video = {"path": str(path), "width": width, "height": height, "codec": "h264", "duration": times[-1],
             "frame_count": len(truth["frames"]), "average_rate": truth["fps"]}  # fmt: skip
    run = {"version": "0", "device": "cpu", "seconds": 1.0}
    return Timeline(video, run, tuple(people) if known else (), tuple(tracks), faces)


def two_people(seconds=1.0):
    """One person on the left; then another on the right, with a moving face."""
    return [
        Shot(seconds, [Actor(make_photo((150, 150, 150)), "ann", (100, 140), (120, 140), 150)], (60, 60, 60)),
        Shot(seconds, [Actor(make_photo((90, 90, 90)), "bob", (230, 130), (200, 130), 150)], (60, 60, 60)),
    ]
