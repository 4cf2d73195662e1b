"""Timelines made by hand, for what is made of them: names that hurt, uneven times, boxes beyond the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastface.timeline import Identity, Span, Timeline, Track
from fastface.types import Faces

HOSTILE = (
    'Ann, "the\r\nfirst"\n\n--> 00:00:01.000',
    "<img src=x onerror=\"document.title='pwned'\"></script><script>document.title='pwned'</script>",
    "=1+1\r|C:ResolveColorRed |M:Žofie & 'co' {{data}} $people \u2028\u0007-->",
)
"""Commas, quotes, line ends of every kind, what ends a cue, a tag, a script, a marker's field, and templates' signs."""


def uneven(count: int) -> list[float]:
    """Times of frames and the end after the last, 29.97 a second in the mean, but not evenly."""
    steps = np.tile([0.01, 0.05, 0.04, 1001 / 30000 * 4 - 0.1], count)[:count]
    return [0.0, *np.cumsum(steps).tolist()]


def make_timeline(
    people: Sequence[tuple[str | None, Sequence[tuple[int, int]]]],
    *,
    times: Sequence[float] | None = None,
    frames: int = 60,
    rate: float | None = 29.97,
    size: tuple[int, int] = (640, 360),
    nobody: Sequence[tuple[int, int]] = (),
    **video: Any,
) -> Timeline:
    """A timeline in which each stretch of frames is a track with a face in every frame.

    Args:
        people: name and half-open stretches of frames of each.
        times: seconds of each frame, and of the end; None: evenly at `rate`.
        nobody: stretches of a face that belongs to nobody.
        video: further facts of the video, or others than usual.
    """
    times = [i / (rate or 25) for i in range(frames + 1)] if times is None else times
    tracks, rows = [], []
    stretches = [(a, b, who) for who, (_, spans) in enumerate(people) for a, b in spans]
    stretches += [(a, b, None) for a, b in nobody]
    for number, (a, b, who) in enumerate(sorted(stretches, key=lambda s: s[:2])):
        tracks.append(Track(number, who, a, b))
        rows += [(f, number, -1 if who is None else who) for f in range(a, b)]
    rows.sort()
    frame, track, identity = (np.array([r[i] for r in rows], np.int64) for i in range(3))
    corner = np.stack([20.256 + 100 * track + frame / 3, -8.5 + 40.0 * track], 1)
    box = np.concatenate([corner, corner + np.array([60.4, 80.75])], 1).astype(np.float32)
    grid = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    faces = Faces(
        frame=frame,
        time=np.array([times[f] for f in frame.tolist()], np.float64),
        box=box,
        score=np.linspace(0.9, 0.99999, len(rows)).astype(np.float32),
        landmarks=(box[:, None, :2] + grid * (box[:, None, 2:] - box[:, None, :2])).astype(np.float32),
        track=track,
        identity=identity,
    )
    identities = []
    for who, (name, spans) in enumerate(people):
        instances = tuple(Span(times[a], times[b], a, b) for a, b in spans)
        known = (0.5 + who / 100, 0.25) if name else (None, None)
        screen_time = float(sum(s.end - s.start for s in instances))
        identities.append(Identity(who, name, *known, screen_time, instances, name))
    about = {"path": "video.mp4", "width": size[0], "height": size[1], "rotation": 0, "codec": "h264",
             "duration": times[-1], "frame_count": len(times) - 1, "average_rate": rate, **video}  # fmt: skip
    run = {"version": "1", "device": "cpu", "decoder": {"name": "libav", "every": 1},
           "detector": {"name": "mtcnn", "thresholds": [0.6, 0.7, 0.7]}, "embedder": {"name": "facenet", "far": 0.001},
           "frames_decoded": len(times) - 1, "frames_skipped": 0, "warnings": [], "seconds": 1.5}  # fmt: skip
    return Timeline(about, run, tuple(identities), tuple(tracks), faces)


def hostile_timeline(**video: Any) -> Timeline:
    """Three people of hostile names and one without, a face of nobody, uneven times; the second person is there only
    together with the first."""
    spans = [[(0, 20), (30, 50)], [(10, 15), (40, 50)], [(25, 28)], [(52, 60)]]
    people = list(zip([*HOSTILE, None], spans, strict=True))
    return make_timeline(people, times=uneven(60), nobody=[(22, 24)], **video)
