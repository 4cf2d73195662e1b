"""A small drawn film, and its timeline: two coloured boxes for faces on a grey ground, no photograph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fastface.demo.compose import compose_shots
from fastface.demo.scene import Actor, Photo, Shot
from fastface.timeline import Timeline
from timelines import HOSTILE, make_timeline

RED, GREEN = (200, 40, 40), (40, 160, 60)
FPS = 20


def _photo(colour: tuple[int, int, int]) -> Photo:
    pixels = np.full((100, 80, 3), 128, np.uint8)
    pixels[20:80, 15:60] = colour
    return Photo(pixels, (20, 30, 50, 70))


def make_film(path: Path) -> Timeline:
    """Two seconds of the red one, two of both on a darker ground, one of nobody; names that hurt."""
    red, green = _photo(RED), _photo(GREEN)
    truth = compose_shots(
        path,
        [
            Shot(2.0, [Actor(red, "red", (100, 140), (120, 140), 150)], (120, 120, 120)),
            Shot(2.0, [Actor(red, "red", (90, 90), (90, 90), 150), Actor(green, "green", (230, 130), (220, 130), 150)],
                 (30, 30, 30)),
            Shot(1.0, [], (240, 240, 240)),
        ],
        size=(320, 240),
        fps=FPS,
    )  # fmt: skip
    times = [*truth["times"], truth["times"][-1] + 1 / FPS]
    people = [(HOSTILE[0], [(0, 80)]), (HOSTILE[1], [(40, 80)]), (HOSTILE[2], [])]
    name = f"/films/{HOSTILE[1]}/<b>film<b>.mp4"
    timeline = make_timeline(people, times=times, size=(320, 240), rate=FPS, path=name)
    box = timeline.faces.box.copy()
    for row, (frame, who) in enumerate(zip(timeline.faces.frame, timeline.faces.identity, strict=True)):
        (box[row],) = (f["box"] for f in truth["frames"][frame] if f["name"] == ("red", "green")[who])
    run = {"device": "<i>cpu</i>", "warnings": ["<script>document.title='pwned'</script> & \"more\""]}
    return replace(timeline, faces=replace(timeline.faces, box=box)).with_run(**run)
