"""A short film of known truth, and whom a timeline takes its people for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

import fastface
from fastface.demo.compose import compose_shots
from fastface.demo.scene import Actor, Photo, Shot
from fastface.timeline import Timeline

MODEL = "facenet-msceleb1m"
SIZE, FPS = (640, 360), 25
PEOPLE = ("Ben Affleck", "Jerry Seinfeld", "Madonna", "Mindy Kaling")
SHORT_FRAMES = 6

# Seconds, and who (number of the person, number of the photograph, centre x): the same x is the very same place.
LEFT, MIDDLE, RIGHT = 170, 320, 470
SCRIPT: tuple[tuple[float, tuple[tuple[int, int, int], ...]], ...] = (
    (1.2, ((0, 0, LEFT), (1, 0, RIGHT))),
    (0.8, ((2, 0, MIDDLE),)),
    (0.8, ((3, 0, MIDDLE),)),  # another person at the very same place
    (0.6, ()),
    (SHORT_FRAMES / FPS, ((1, 1, MIDDLE),)),  # a short appearance
    (1.2, ((2, 1, LEFT), (0, 1, RIGHT))),
    (0.8, ((3, 1, RIGHT),)),
    (0.8, ((0, 2, RIGHT),)),  # and again
)


def actor(photo: Photo, name: str, x: float) -> Actor:
    """The face's centre stands at (x, 170) at first, 90 pixels high, and drifts."""
    x1, y1, x2, y2 = photo.box
    width, height = photo.pixels().size
    scale = 90 / (y2 - y1)
    cx = x - scale * ((x1 + x2) / 2 - width / 2)
    cy = 170 - scale * ((y1 + y2) / 2 - height / 2)
    return Actor(photo, name, (cx, cy), (cx + 12, cy + 6), scale * height, 1.05 * scale * height)


@dataclass(frozen=True)
class Film:
    path: Path
    truth: list[list[dict[str, Any]]]
    shots: list[Shot]
    stock: dict[str, list[Photo]]


def stock_of(photos: dict[str, list[Photo]]) -> dict[str, list[Photo]]:
    """The photographs of each person, largest faces first."""
    return {name: sorted(photos[name], key=lambda p: p.box[1] - p.box[3]) for name in PEOPLE}


def make_film(path: Path, photos: dict[str, list[Photo]]) -> Film:
    """The script, on the largest faces."""
    stock = stock_of(photos)
    shots = [
        Shot(seconds, [actor(stock[PEOPLE[who]][number], PEOPLE[who], x) for who, number, x in cast], (60, 70, 80))
        for seconds, cast in SCRIPT
    ]
    truth = compose_shots(path, shots, size=SIZE, fps=FPS)
    return Film(path, truth["frames"], shots, stock)


def runner(film: Film) -> Callable[..., Timeline]:
    """run(**settings): the film's timeline; the same settings are run once."""
    known: dict[str, Timeline] = {}

    def process(**settings: Any) -> Timeline:
        key = repr(sorted(settings.items()))
        if key not in known:
            arguments = {"device": "cpu", "embedder": MODEL, "min_face_size": 40, **settings}
            known[key] = fastface.process(film.path, **arguments)
        return known[key]

    return process


def names_of(timeline: Timeline, film: Film) -> dict[int, str]:
    """Whom each identity shows, by its faces' truth; each must show one person."""
    shown: dict[int, set[str]] = {p.id: set() for p in timeline.identities}
    faces = timeline.faces
    for frame, box, who in zip(faces.frame.tolist(), faces.box, faces.identity.tolist(), strict=True):
        centre = (box[:2] + box[2:]) / 2
        for face in film.truth[frame]:
            if who >= 0 and (np.array(face["box"][:2]) < centre).all() and (centre < face["box"][2:]).all():
                shown[who].add(face["name"])
    assert all(len(names) == 1 for names in shown.values()), shown
    return {who: names.pop() for who, names in shown.items()}


def spans(timeline: Timeline, film: Film) -> dict[str, list[tuple[int, int]]]:
    names = names_of(timeline, film)
    assert len(set(names.values())) == len(names), f"one person is several identities: {names}"
    return {names[p.id]: [(s.start_frame, s.end_frame) for s in p.instances] for p in timeline.identities}


def true_spans(film: Film) -> dict[str, list[tuple[int, int]]]:
    """When each person is there, from the truth."""
    out: dict[str, list[tuple[int, int]]] = {}
    for number, faces in enumerate(film.truth):
        for face in faces:
            mine = out.setdefault(face["name"], [])
            if mine and mine[-1][1] == number:
                mine[-1] = (mine[-1][0], number + 1)
            else:
                mine.append((number, number + 1))
    return out


def shrunk(path: Path, out: Path, frames: int) -> None:
    """Write the first frames of a video at 320 x 180."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream("libx264", 25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number == frames:
                break
            small = frame.reformat(320, 180, "yuv420p")
            small.pts = None
            target.mux(stream.encode(small))
        target.mux(stream.encode(None))
