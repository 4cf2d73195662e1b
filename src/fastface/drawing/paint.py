"""Boxes and names drawn into the YUV planes of a frame: what is not drawn on is never converted to RGB and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fastface.drawing.boxes import Shown
from fastface.drawing.colors import UNKNOWN, Colour, identity_color, text_color
from fastface.drawing.fonts import fitted, font_for, printable
from fastface.encode.planes import LUMA, Planes
from fastface.timeline import Timeline


class Ink:
    """Colours as the stream codes them."""

    def __init__(self, matrix: int, full_range: bool) -> None:
        self.kr, self.kb = LUMA[matrix]
        self.full = full_range

    def yuv(self, rgb: NDArray[np.float64]) -> NDArray[np.float64]:
        """[..., 3] RGB in [0, 255] to [..., 3] YUV levels."""
        r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
        y = self.kr * r + (1 - self.kr - self.kb) * g + self.kb * b
        u, v = (b - y) / (2 * (1 - self.kb)), (r - y) / (2 * (1 - self.kr))
        if not self.full:
            y, u, v = 16 + y * 219 / 255, u * 224 / 255, v * 224 / 255
        return np.stack([y, u + 128, v + 128], -1)

    def levels(self, colour: Colour) -> tuple[int, int, int]:
        y, u, v = np.clip(np.rint(self.yuv(np.array(colour, float))), 0, 255).astype(int).tolist()
        return y, u, v


@dataclass(frozen=True)
class _Label:
    """A name tag, ready to be laid over a frame: for each plane colour times opacity and 255 - opacity,
    uint16."""

    width: int
    height: int
    planes: tuple[tuple[NDArray[np.uint16], NDArray[np.uint16]], ...]


def _label(text: str, colour: Colour, size: int, ink: Ink, max_width: int) -> _Label:
    pad_x, pad_y = round(size * 0.45), round(size * 0.28)
    text = fitted(printable(text), size, max_width - 2 * pad_x)
    font = font_for(text, size)
    ascent, descent = font.getmetrics()
    width = math.ceil(font.getlength(text)) + 2 * pad_x
    height = ascent + descent + 2 * pad_y
    width, height = width + width % 2, height + height % 2
    # Opacity at four times the size, so that corners are round rather than stepped.
    big = Image.new("L", (4 * width, 4 * height))
    ImageDraw.Draw(big).rounded_rectangle((0, 0, 4 * width - 1, 4 * height - 1), radius=round(size * 1.2), fill=255)
    alpha = np.asarray(big.resize((width, height), Image.Resampling.BOX), np.float64)
    picture = Image.new("RGB", (width, height), colour)
    ImageDraw.Draw(picture).text((pad_x, pad_y), text, font=font, fill=text_color(colour))
    levels = ink.yuv(np.asarray(picture, np.float64))

    def halved(values: NDArray[np.float64]) -> NDArray[np.float64]:
        out: NDArray[np.float64] = values.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
        return out

    planes = []
    for i in range(3):
        premultiplied, opacity = levels[..., i] * alpha, alpha
        if i:
            premultiplied, opacity = halved(premultiplied), halved(opacity)
        planes.append((np.rint(premultiplied).astype(np.uint16), np.rint(255 - opacity).astype(np.uint16)))
    return _Label(width, height, tuple(planes))


class Canvas:
    """The planes of a 4:2:0 frame in display orientation, of even size. Coordinates are snapped to even
    pixels."""

    def __init__(self, planes: Planes) -> None:
        self.planes = planes
        self.height, self.width = planes[0].shape

    def fill(self, x1: int, y1: int, x2: int, y2: int, levels: tuple[int, int, int]) -> None:
        x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, self.width), min(y2, self.height)
        if x1 < x2 and y1 < y2:
            self.planes[0][y1:y2, x1:x2] = levels[0]
            self.planes[1][y1 // 2 : y2 // 2, x1 // 2 : x2 // 2] = levels[1]
            self.planes[2][y1 // 2 : y2 // 2, x1 // 2 : x2 // 2] = levels[2]

    def frame(self, x1: int, y1: int, x2: int, y2: int, line: int, levels: tuple[int, int, int]) -> None:
        """The four edges of a rectangle, lines lying inside it."""
        self.fill(x1, y1, x2, y1 + line, levels)
        self.fill(x1, y2 - line, x2, y2, levels)
        self.fill(x1, y1 + line, x1 + line, y2 - line, levels)
        self.fill(x2 - line, y1 + line, x2, y2 - line, levels)

    def lay(self, label: _Label, x: int, y: int) -> None:
        """A label with its top left corner at even x, y; what lies outside is cut off."""
        left, top = max(-x, 0), max(-y, 0)
        right, bottom = min(label.width, self.width - x), min(label.height, self.height - y)
        if left >= right or top >= bottom:
            return
        for i, (premultiplied, rest) in enumerate(label.planes):
            s = 2 if i else 1
            part = (slice(top // s, bottom // s), slice(left // s, right // s))
            target = self.planes[i][(y + top) // s : (y + bottom) // s, (x + left) // s : (x + right) // s]
            target[...] = (premultiplied[part] + target * rest[part] + 127) // 255


@dataclass(frozen=True)
class Marks:
    """What is drawn on a face.

    Attributes:
        boxes: a box.
        names: the person's name above it.
        similarity: the person's similarity beside the name.
        landmarks: a dot on eyes, nose and corners of the mouth.
    """

    boxes: bool = True
    names: bool = True
    similarity: bool = False
    landmarks: bool = False


class Painter:
    """Draws the faces of a timeline on canvases of one size."""

    def __init__(self, timeline: Timeline, width: int, height: int, ink: Ink, marks: Marks) -> None:
        self.people = {person.id: person for person in timeline.identities}
        self.ink, self.marks = ink, marks
        short = min(width, height)
        self.line = 2 * max(round(short / 400), 1)
        self.text_size = max(round(short / 36), 11)
        self.max_label = max(width // 2, 60)
        self.labels: dict[int, _Label] = {}
        self.levels: dict[int, tuple[int, int, int]] = {}
        self.shadow = ink.levels((0, 0, 0))

    def _label_of(self, identity: int) -> _Label:
        if identity not in self.labels:
            person = self.people[identity]
            text = person.label
            if self.marks.similarity and person.similarity is not None:
                text += f"  {person.similarity:.2f}"
            self.labels[identity] = _label(text, identity_color(identity), self.text_size, self.ink, self.max_label)
        return self.labels[identity]

    def _levels_of(self, identity: int) -> tuple[int, int, int]:
        if identity not in self.levels:
            self.levels[identity] = self.ink.levels(identity_color(identity) if identity >= 0 else UNKNOWN)
        return self.levels[identity]

    def paint(self, canvas: Canvas, faces: list[Shown]) -> None:
        tags = []
        # The nearest, hence largest, face is drawn last, over the others.
        for box, landmarks, identity in sorted(faces, key=lambda f: _area(f.box)):
            x1, y1, x2, y2 = (2 * round(float(v) / 2) for v in box)
            levels = self._levels_of(identity)
            if self.marks.boxes:
                self._box(canvas, x1, y1, x2, y2, identity)
            if self.marks.landmarks:
                for x, y in landmarks:
                    left, top = (2 * round((float(v) - self.line / 2) / 2) for v in (x, y))
                    canvas.fill(left, top, left + self.line, top + self.line, levels)
            if not self.marks.names or identity < 0:
                continue
            label = self._label_of(identity)
            above = y1 - label.height - 2
            top = above if above >= 0 else min(max(y2 + 2, 0), canvas.height - label.height)
            if above < 0 and y2 + 2 + label.height > canvas.height:
                top = max(y1 + self.line, 0)  # neither above nor below is room: inside
            left = min(max(x1 - 2, 0), max(canvas.width - label.width, 0))
            tags.append((label, left, top - top % 2))
        for label, left, top in tags:
            canvas.lay(label, left, top)

    def _box(self, canvas: Canvas, x1: int, y1: int, x2: int, y2: int, identity: int) -> None:
        levels = self._levels_of(identity)
        if identity < 0:
            canvas.frame(x1, y1, x2, y2, 2, levels)
            return
        canvas.frame(x1 - 2, y1 - 2, x2 + 2, y2 + 2, 2, self.shadow)
        canvas.frame(x1, y1, x2, y2, min(self.line, max((x2 - x1) // 4 * 2, 2), max((y2 - y1) // 4 * 2, 2)), levels)


def _area(box: NDArray[np.float32]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
