"""Scripts by chance: who is in which shot, and where."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastface.demo.compose import Encoding, compose_shots
from fastface.demo.scene import Actor, Photo, Shot, Sprite
from fastface.errors import InputValidationError


def lay_out(photo: Photo, name: str, column: tuple[float, float], height: int, rng: np.random.Generator) -> Actor:
    """An actor that stays within a column (left, right) of the picture."""
    photo_width, photo_height = _photo_size(photo)
    left, right = column
    margin = 0.03 * height
    # Turned by 8 degrees a photograph needs up to a seventh more room.
    room = min((right - left - 2 * margin) / photo_width, (height - 2 * margin) / photo_height) / 1.14
    face = rng.uniform(0.12, 0.26) * height
    scale = float(min(face / (photo.box[3] - photo.box[1]), room, 3.5))
    zoom = float(rng.uniform(0.85, 1.0))
    first, last = (scale, scale * zoom) if rng.random() < 0.5 else (scale * zoom, scale)
    free = np.maximum(
        np.array([right - left, height]) / 2 - margin - 0.57 * scale * np.array([photo_width, photo_height]), 0
    )
    centre = np.array([(left + right) / 2, height / 2])
    start = centre + rng.uniform(-1, 1, 2) * free
    # Slow: at most a tenth of the picture's height in each direction.
    end = start + np.clip(centre + rng.uniform(-1, 1, 2) * free - start, -0.1 * height, 0.1 * height)
    return Actor(
        photo,
        name,
        (float(start[0]), float(start[1])),
        (float(end[0]), float(end[1])),
        first * photo_height,
        last * photo_height,
        float(rng.uniform(-8, 8)),
    )


def _photo_size(photo: Photo) -> tuple[int, int]:
    if isinstance(photo.image, np.ndarray):
        return int(photo.image.shape[1]), int(photo.image.shape[0])
    return _file_size(Path(photo.image))


@lru_cache(maxsize=1024)
def _file_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as opened:
            return opened.size
    except (OSError, ValueError) as error:
        raise InputValidationError(f"cannot read the photograph {str(path)!r}: {error}") from error


def in_place_of(before: Actor, photo: Photo, name: str, rng: np.random.Generator) -> Actor:
    """An actor whose face starts where, and as large as, another's face ended."""
    sprite, new = Sprite(before), _photo_size(photo)
    x1, y1, x2, y2 = sprite.face(1.0).tolist()
    old_height = before.pose(1.0)[2]
    old_face = (before.photo.box[3] - before.photo.box[1]) * old_height / sprite.photo_size[1]
    height = old_face / (photo.box[3] - photo.box[1]) * new[1]
    scale = height / new[1]
    rotation = float(rng.uniform(-4, 4))
    # Face centre relative to the photograph's, turned and scaled, taken off the place where it has to be.
    ox = ((photo.box[0] + photo.box[2]) / 2 - new[0] / 2) * scale
    oy = ((photo.box[1] + photo.box[3]) / 2 - new[1] / 2) * scale
    cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    start = ((x1 + x2) / 2 - (cos * ox - sin * oy), (y1 + y2) / 2 - (sin * ox + cos * oy))
    drift = rng.uniform(-0.03, 0.03, 2) * old_height
    end = (start[0] + float(drift[0]), start[1] + float(drift[1]))
    return Actor(photo, name, start, end, height, height * float(rng.uniform(0.95, 1.05)), rotation)


def random_shots(
    people: Mapping[str, Sequence[Photo]],
    *,
    seed: int,
    seconds: float,
    size: tuple[int, int] = (1920, 1080),
    shots: int | None = None,
) -> list[Shot]:
    """Shots with none to three people each, the next person at times in the very place of the one before.

    Everybody's turn comes round: with enough shots all people are seen, and then all again, on other
    photographs while there are any.

    Args:
        people: photographs by name; at least one person, at least one photograph each.
        seed: the same arguments and seed give the same shots.
        seconds: length of all shots together, > 0.
        size: (width, height) in pixels.
        shots: how many; None: one for about every 2.5 seconds.

    Raises:
        InputValidationError: an argument is not what it must be.
    """
    empty = [name for name, photos in people.items() if not photos]
    if not people or empty:
        raise InputValidationError(
            f"people must have one photograph each at least; without: {empty or 'nobody is given'}"
        )
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputValidationError(f"seconds must be > 0, is {seconds}")
    if shots is not None and shots < 1:
        raise InputValidationError(f"shots must be >= 1, is {shots}")
    rng = np.random.default_rng(seed)
    count = max(round(seconds / 2.5), 1) if shots is None else shots
    lengths = rng.uniform(0.6, 1.4, count)
    lengths *= seconds / lengths.sum()

    names = sorted(people)
    left: dict[str, list[Photo]] = {}
    turn: list[str] = []

    def next_photo(name: str) -> Photo:
        if not left.get(name):
            photos = list(people[name])
            left[name] = [photos[i] for i in rng.permutation(len(photos))]
        return left[name].pop()

    def next_people(n: int, but: set[str]) -> list[str]:
        chosen: list[str] = []
        while len(chosen) < n:
            able = [name for name in turn if name not in chosen and name not in but]
            if able:
                chosen.append(able[0])
                turn.remove(able[0])
            else:
                turn.extend(names[i] for i in rng.permutation(len(names)))
        return chosen

    script: list[Shot] = []
    emptied = 0
    for length in lengths:
        before = script[-1].actors if script else ()
        kind = rng.random()
        actors: list[Actor] = []
        if len(before) == 1 and len(names) > 1 and kind < 0.5:
            (name,) = next_people(1, {before[0].name})
            actors = [in_place_of(before[0], next_photo(name), name, rng)]
        elif before and kind > 0.88 and emptied < count // 4:
            emptied += 1
        else:
            n = min(int(rng.choice([1, 2, 3], p=[0.35, 0.45, 0.2])), len(names))
            edges = np.linspace(0, size[0], n + 1)
            for i, name in enumerate(next_people(n, set())):
                column = (float(edges[i]), float(edges[i + 1]))
                actors.append(lay_out(next_photo(name), name, column, size[1], rng))
        somebody = names[int(rng.integers(len(names)))]
        photos = people[somebody]
        pan = (float(rng.uniform(-1, 1) * 0.06 * size[0]), float(rng.uniform(-1, 1) * 0.06 * size[1]))
        script.append(Shot(float(length), actors, photos[int(rng.integers(len(photos)))], pan))
    return script


def compose(
    path: str | os.PathLike[str],
    people: Mapping[str, Sequence[Photo]],
    *,
    seed: int,
    seconds: float,
    size: tuple[int, int] = (1920, 1080),
    fps: int | Fraction = 30,
    shots: int | None = None,
    audio: bool = True,
    encoding: Encoding | None = None,
) -> dict[str, Any]:
    """Write a video of :func:`random_shots` and give its truth; the arguments are theirs and
    :func:`compose_shots`'s.

    Raises:
        InputValidationError: an argument is not what it must be, or `path` cannot be written.
        VideoProcessingError: the encoder refuses.
    """
    script = random_shots(people, seed=seed, seconds=seconds, size=size, shots=shots)
    return compose_shots(path, script, size=size, fps=fps, audio=audio, encoding=encoding)
