"""The demo: compose a clip of known people, find out who is on screen, and show it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastface.demo.compose import compose_shots
from fastface.demo.photos import load_photos
from fastface.demo.scene import Actor, Photo, Shot
from fastface.demo.script import in_place_of, lay_out
from fastface.drawing.picture import timeline_picture
from fastface.drawing.video import render
from fastface.errors import InputValidationError
from fastface.files import replacing
from fastface.timeline import Timeline

SIZE = (1280, 720)
FPS = 30
EMBEDDER = "facenet-msceleb1m"
"""The face model of the demo: its package is the one that holds the photographs, so one download does for
both."""

MIN_FACE_SIZE = 40
"""Pixels: smaller than any face of the clip, and four times fewer pixels to look at than the default."""

# Seconds, who (by number), and whether the person takes the very place of the one before.
_PLAN: tuple[tuple[float, tuple[int, ...], bool], ...] = (
    (2.2, (0, 1), False),
    (1.6, (2,), False),
    (1.6, (3,), True),
    (2.2, (4, 0), False),
    (0.8, (), False),
    (2.6, (1, 3, 2), False),
    (1.5, (4,), False),
    (1.5, (0,), True),
)
_PHOTOS_EACH = 4
_SEED = 11


@dataclass(frozen=True)
class DemoResult:
    """What :func:`run` made.

    Attributes:
        timeline: who is on screen, when and where.
        video, truth, document, annotated, picture: the files; truth is what was composed, in the form
            {"fps", "size", "times", "frames": [[{"name", "box"}, ...], ...]}.
        notes: what the rendering has to say, in sentences.
        seconds: how long each step took: "photographs", "compose", "process", "render", "picture".
    """

    timeline: Timeline
    video: Path
    truth: Path
    document: Path
    annotated: Path
    picture: Path
    notes: tuple[str, ...]
    seconds: Mapping[str, float]


def demo_shots(people: Mapping[str, Sequence[Photo]], *, seed: int = _SEED) -> list[Shot]:
    """The demo's eight shots, 14 seconds: two at once, a cut to another person in the same place, nobody,
    three at once.

    Args:
        people: photographs by name; five people at least, of whom the first five by name are taken.
        seed: chooses photographs and places.

    Raises:
        InputValidationError: fewer than five people, or one without a photograph.
    """
    names = sorted(name for name in people if people[name])[:5]
    if len(names) < 5:
        raise InputValidationError(
            f"the demo needs photographs of 5 people, there are {len(names)}: {', '.join(names)}"
        )
    rng = np.random.default_rng(seed)
    stock: dict[str, list[Photo]] = {}
    for name in names:
        # The largest faces: what is small in the photograph would be a blur on the screen.
        photos = sorted(people[name], key=lambda p: p.box[1] - p.box[3])[: 2 * _PHOTOS_EACH]
        stock[name] = [photos[i] for i in rng.permutation(len(photos))[:_PHOTOS_EACH]]
    turn = dict.fromkeys(names, 0)

    def next_photo(name: str) -> Photo:
        turn[name] += 1
        return stock[name][turn[name] % len(stock[name])]

    shots: list[Shot] = []
    for seconds, who, same_place in _PLAN:
        actors: list[Actor] = []
        edges = np.linspace(0, SIZE[0], len(who) + 1)
        for i, number in enumerate(who):
            name = names[number]
            if same_place:
                actors.append(in_place_of(shots[-1].actors[i], next_photo(name), name, rng))
            else:
                column = (float(edges[i]), float(edges[i + 1]))
                actors.append(lay_out(next_photo(name), name, column, SIZE[1], rng))
        behind = stock[names[int(rng.integers(5))]][0]
        pan = (float(rng.uniform(-60, 60)), float(rng.uniform(-30, 30)))
        shots.append(Shot(seconds, actors, behind, pan))
    return shots


def run(
    out_dir: str | os.PathLike[str],
    *,
    process: Callable[..., Timeline] | None = None,
    report: Callable[[Timeline], None] | None = None,
    say: Callable[[str], None] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    photos: Callable[[], Mapping[str, Sequence[Photo]]] | None = None,
) -> DemoResult:
    """Compose the clip, process it, and write into a folder: video.mp4, truth.json, timeline.json,
    annotated.mp4, timeline.png. Each file appears when it is complete.

    Args:
        out_dir: the folder; made if it is not there.
        process: called as process(path, embedder="facenet-msceleb1m", min_face_size=40); None:
            :func:`fastface.process`.
        report: called with the timeline once it is there.
        say: called with a line before each step.
        progress: called with (done, total) while photographs are fetched and looked at.
        photos: gives the photographs by name; None: :func:`fastface.demo.photos.load_photos`.

    Raises:
        InputValidationError: the folder cannot be made or written to.
        ModelError: photographs or model are not there and cannot be fetched.
    """
    folder = Path(out_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputValidationError(f"cannot make the folder {str(folder)!r}: {error.strerror}") from error
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def step(name: str, line: str) -> None:
        nonlocal started
        now = time.perf_counter()
        if current:
            seconds[current[0]] = now - started
        started, current[:] = now, [name]
        if say is not None and line:
            say(line)

    current: list[str] = []
    video, truth_path, document = folder / "video.mp4", folder / "truth.json", folder / "timeline.json"
    annotated, picture = folder / "annotated.mp4", folder / "timeline.png"

    step("photographs", "photographs of five people")
    people = load_photos(progress) if photos is None else photos()
    step("compose", f"composing {video}")
    truth: dict[str, Any] = compose_shots(video, demo_shots(people), size=SIZE, fps=FPS)
    with replacing(truth_path) as temporary:
        temporary.write_text(json.dumps(truth), encoding="utf-8")
    step("process", f"finding out who is on screen in {video}")
    if process is None:
        import fastface

        process = fastface.process
    timeline = process(str(video), embedder=EMBEDDER, min_face_size=MIN_FACE_SIZE)
    timeline.to_json(document, indent=1)
    if report is not None:
        report(timeline)
    step("render", f"drawing boxes and names: {annotated}")
    notes = render(video, timeline, annotated).notes
    step("picture", f"drawing who is on screen when: {picture}")
    timeline_picture(timeline, video, picture)
    step("", "")
    return DemoResult(timeline, video, truth_path, document, annotated, picture, notes, seconds)
