"""What a composed video shows: photographs that drift, turn and zoom over blurred backgrounds, and where faces are.

Coordinates are continuous display pixels: x right, y down, the picture covering [0, width] x [0, height];
the centre of the first pixel is (0.5, 0.5). Frames are drawn one at a time, so memory does not grow with
the length.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fastface.errors import InputValidationError

Point = tuple[float, float]
Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]


def load_rgb(image: str | os.PathLike[str] | NDArray[np.uint8]) -> Image.Image:
    """A photograph as an RGB picture; what is transparent becomes white.

    Args:
        image: path, or [H, W, 3] uint8 RGB.

    Raises:
        InputValidationError: no such file, not a picture, or an array of another shape or type.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise InputValidationError(f"a photograph must be [H, W, 3] uint8, is {list(image.shape)} {image.dtype}")
        return Image.fromarray(image)
    try:
        with Image.open(image) as opened:
            if opened.mode in ("RGBA", "LA", "PA") or "transparency" in opened.info:
                rgba = opened.convert("RGBA")
                white = Image.new("RGBA", rgba.size, "white")
                return Image.alpha_composite(white, rgba).convert("RGB")
            return opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputValidationError(f"cannot read the photograph {str(image)!r}: {error}") from error


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph of one person.

    Attributes:
        image: path, or [H, W, 3] uint8 RGB.
        box: the face, xyxy in the photograph's pixels.
    """

    image: str | os.PathLike[str] | NDArray[np.uint8]
    box: Box

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = self.box
        if not all(math.isfinite(v) for v in self.box) or x1 >= x2 or y1 >= y2:
            raise InputValidationError(f"Photo.box must be (x1, y1, x2, y2) with x1 < x2, y1 < y2, is {self.box}")

    def pixels(self) -> Image.Image:
        """The photograph as an RGB picture; see :func:`load_rgb`."""
        return load_rgb(self.image)


@dataclass(frozen=True, eq=False)
class Actor:
    """A photograph that moves evenly through one shot.

    Attributes:
        photo: what is shown.
        name: whose face it is.
        start, end: (x, y) of the photograph's centre at the start and the end of the shot; end None: stays.
        height: pixels of the photograph's height on screen, > 0, at the start.
        end_height: the same at the end; None: as at the start.
        rotation: degrees clockwise.
    """

    photo: Photo
    name: str
    start: Point
    end: Point | None = None
    height: float = 300.0
    end_height: float | None = None
    rotation: float = 0.0

    def __post_init__(self) -> None:
        for name in ("height", "end_height"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 16384:
                raise InputValidationError(f"Actor.{name} must be in [1, 16384] pixels, is {value}")

    def pose(self, u: float) -> tuple[float, float, float]:
        """Centre x, centre y and height, a share u in [0, 1] into the shot."""
        end = self.start if self.end is None else self.end
        end_height = self.height if self.end_height is None else self.end_height
        return (
            self.start[0] + (end[0] - self.start[0]) * u,
            self.start[1] + (end[1] - self.start[1]) * u,
            self.height + (end_height - self.height) * u,
        )


@dataclass(frozen=True, eq=False)
class Shot:
    """What is seen between two cuts.

    Attributes:
        seconds: length, > 0.
        actors: drawn in this order, later ones over earlier ones. An occluded face stays in the truth.
        background: a colour (R, G, B), or a photograph, which is strongly blurred and panned.
        pan: (x, y), pixels by which a blurred background moves during the shot.
    """

    seconds: float
    actors: Sequence[Actor] = ()
    background: Photo | Colour = (40, 40, 40)
    pan: Point = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise InputValidationError(f"Shot.seconds must be > 0, is {self.seconds}")


class Sprite:
    """An actor made ready for a shot: its photograph, turned, at the largest size it will have."""

    _PAD = 4  # clear pixels all around: the soft edge, and what whole target pixels cut off

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        photo = actor.photo.pixels()
        self.photo_size = photo.size
        self.angle = math.radians(actor.rotation)
        self.largest = max(actor.height, actor.end_height or 0.0)
        # The resampling that matters is done here, once and well; each frame is left a scale close to 1.
        width = max(round(photo.width * self.largest / photo.height), 1)
        height = max(round(self.largest), 1)
        sized = np.asarray(photo.resize((width, height), Image.Resampling.LANCZOS))
        # Colour goes on beyond the photograph and the mask does not: edges blend without a dark seam.
        pad = self._PAD
        colour = Image.fromarray(np.pad(sized, ((pad, pad), (pad, pad), (0, 0)), mode="edge"))
        mask = Image.new("L", colour.size)
        mask.paste(255, (pad, pad, pad + width, pad + height))
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        self.size = (
            math.ceil(width * abs(cos) + height * abs(sin)) + 2 * pad,
            math.ceil(width * abs(sin) + height * abs(cos)) + 2 * pad,
        )
        # Pillow asks where each pixel comes from: the turn undone, about the centre.
        half_w, half_h = self.size[0] / 2, self.size[1] / 2
        affine = (
            cos,
            sin,
            colour.width / 2 - cos * half_w - sin * half_h,
            -sin,
            cos,
            colour.height / 2 + sin * half_w - cos * half_h,
        )
        self.colour, self.mask = (
            p.transform(self.size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC) for p in (colour, mask)
        )

    def face(self, u: float) -> NDArray[np.float64]:
        """[4] xyxy: the face on screen, an upright box of the face's own size about its turned centre.

        Not the box around the turned box: that is larger than what a detector gives of a face held askew.
        """
        cx, cy, height = self.actor.pose(u)
        scale = height / self.photo_size[1]
        x1, y1, x2, y2 = self.actor.photo.box
        dx, dy = (x1 + x2 - self.photo_size[0]) / 2, (y1 + y2 - self.photo_size[1]) / 2
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        centre = np.array([cx + scale * (cos * dx - sin * dy), cy + scale * (sin * dx + cos * dy)])
        half = np.array([x2 - x1, y2 - y1]) * scale / 2
        return np.concatenate([centre - half, centre + half])

    def draw(self, canvas: Image.Image, u: float) -> None:
        cx, cy, height = self.actor.pose(u)
        scale = height / self.largest
        left, top = cx - self.size[0] * scale / 2, cy - self.size[1] * scale / 2
        x1, y1 = max(math.ceil(left), 0), max(math.ceil(top), 0)
        x2 = min(math.floor(left + self.size[0] * scale), canvas.width)
        y2 = min(math.floor(top + self.size[1] * scale), canvas.height)
        if x1 >= x2 or y1 >= y2:
            return
        # Whole pixels of the canvas, from where they exactly come: motion is smooth below a pixel.
        part = (
            (x1 - left) / scale,
            (y1 - top) / scale,
            min((x2 - left) / scale, self.size[0]),
            min((y2 - top) / scale, self.size[1]),
        )
        colour, mask = (p.resize((x2 - x1, y2 - y1), Image.Resampling.BILINEAR, part) for p in (self.colour, self.mask))
        canvas.paste(colour, (x1, y1), mask)


class _Scene:
    """A shot made ready for drawing."""

    def __init__(self, shot: Shot, size: tuple[int, int]) -> None:
        self.shot, self.size = shot, size
        self.sprites = [Sprite(actor) for actor in shot.actors]
        self.margin = (0, 0)
        if isinstance(shot.background, Photo):
            self.margin = (math.ceil(abs(shot.pan[0])), math.ceil(abs(shot.pan[1])))
            self.background = _blurred(shot.background, (size[0] + self.margin[0], size[1] + self.margin[1]))
        else:
            self.background = Image.new("RGB", size, tuple(shot.background))

    def draw(self, u: float) -> tuple[Image.Image, list[dict[str, Any]]]:
        # So strong a blur changes by less than one level a pixel: whole steps cannot be seen.
        x, y = (round(m * (u if p > 0 else 1 - u)) for m, p in zip(self.margin, self.shot.pan, strict=True))
        canvas = self.background.crop((x, y, x + self.size[0], y + self.size[1]))
        truth = []
        for sprite in self.sprites:
            sprite.draw(canvas, u)
            box = sprite.face(u)
            inside = np.clip(box, 0, [*self.size, *self.size])
            if np.prod(inside[2:] - inside[:2]) >= 0.5 * np.prod(box[2:] - box[:2]):
                truth.append({"name": sprite.actor.name, "box": [round(v, 1) for v in box.tolist()]})
        return canvas, truth


def _blurred(photo: Photo, size: tuple[int, int]) -> Image.Image:
    """The photograph, covering size, blurred beyond recognition and darkened."""
    picture = photo.pixels()
    # Blurring small is the same as blurring large, and a hundred times faster.
    small = (64, max(round(64 * size[1] / size[0]), 1))
    cover = max(small[0] / picture.width, small[1] / picture.height)
    w, h = min(small[0] / cover, picture.width), min(small[1] / cover, picture.height)
    left, top = (picture.width - w) / 2, (picture.height - h) / 2
    picture = picture.resize(small, Image.Resampling.BOX, (left, top, left + w, top + h))
    picture = picture.filter(ImageFilter.GaussianBlur(5)).point([round(v * 0.6) for v in range(256)] * 3)
    return picture.resize(size, Image.Resampling.BICUBIC)


def draw_shots(
    shots: Sequence[Shot], times: Sequence[float], *, size: tuple[int, int]
) -> Iterator[tuple[NDArray[np.uint8], list[dict[str, Any]]]]:
    """Draw the frames of shots that follow each other.

    Args:
        shots: at least one.
        times: seconds from the start of the first shot, ascending; beyond the last shot's end its end pose
            stays.
        size: (width, height) in display pixels.

    Yields:
        [height, width, 3] uint8 RGB, and the frame's truth [{"name", "box"}, ...]. A face is in the truth
        if at least half of its box is inside the picture.

    Raises:
        InputValidationError: no shots, or a photograph cannot be read.
    """
    if not shots:
        raise InputValidationError("shots is empty, must hold at least one Shot")
    ends = np.cumsum([shot.seconds for shot in shots])
    scene, current = _Scene(shots[0], size), 0
    for time in times:
        # A frame stamped with the cut's own time is the next shot's first; stamps come rounded to ticks.
        index = min(int(np.searchsorted(ends, time + 1e-6, side="right")), len(shots) - 1)
        if index != current:
            scene, current = _Scene(shots[index], size), index
        start = ends[index] - shots[index].seconds
        canvas, truth = scene.draw(min(max((time - start) / shots[index].seconds, 0.0), 1.0))
        yield np.asarray(canvas), truth
