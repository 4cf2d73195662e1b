"""The timeline as a picture: people as rows, time to the right, their faces beside their names."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fastface.decode.probe import open_container, video_stream
from fastface.drawing.colors import Colour, identity_color, text_color
from fastface.drawing.fonts import fitted, font_for, printable
from fastface.encode.planes import display_rotation, matrix_of
from fastface.errors import InputValidationError, VideoProcessingError
from fastface.files import replacing
from fastface.timeline import Identity, Span, Timeline

MOST_PEOPLE = 20
"""Rows of a picture at most; the others are counted below them."""

_SCALE = 2  # drawn twice as large and brought down, which smooths every edge
_INK, _SOFT, _FAINT = (24, 28, 36), (104, 112, 124), (214, 218, 224)
_PAPER, _LANE = (255, 255, 255), (243, 245, 248)
_MARGIN, _NAMES = 48, 268  # pixels of the finished picture; _NAMES: avatar, name and time
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_MOST_FACES_ON_BARS = 30
_SEEK_BEYOND = 1.5  # seconds ahead up to which decoding on is quicker than seeking


# --- frames by time ---


@dataclass
class _Wish:
    """A frame that is wanted: its time in seconds, by how much it may be missed, and what to do with it."""

    time: float
    tolerance: float
    use: Callable[[Any, int], None]


def _visit(path: str | os.PathLike[str], wishes: list[_Wish]) -> None:
    """Call each wish with its frame (av.VideoFrame) and rotation, in order of time; seeks rather than
    decoding all."""
    import av

    with open_container(path) as container:
        video = video_stream(container, path)
        video.thread_type = "AUTO"
        try:
            frames = container.decode(video)
            current = next(frames, None)
            if current is None:
                raise VideoProcessingError(f"no frame of {str(path)!r} can be decoded")
            base, first = float(video.time_base), current.pts or 0
            rotation = display_rotation(current)

            def time_of(frame: Any) -> float:
                return ((frame.pts or 0) - first) * base

            for wish in sorted(wishes, key=lambda w: w.time):
                if wish.time - time_of(current) > _SEEK_BEYOND:
                    container.seek(first + round(wish.time / base), stream=video, backward=True)
                    frames = container.decode(video)
                    current = next(frames, current)
                # Half a millisecond: times in a document are rounded to a microsecond.
                tolerance = max(wish.tolerance, 5e-4)
                while time_of(current) < wish.time - max(tolerance / 2, 5e-4):
                    following = next(frames, None)
                    if following is None:
                        break
                    current = following
                if abs(time_of(current) - wish.time) <= tolerance + 1e-6:
                    wish.use(current, rotation)
        except av.error.FFmpegError as error:
            raise VideoProcessingError(f"cannot read frames of {str(path)!r}: {error}") from error


def _to_image(frame: Any, rotation: int, size: tuple[int, int] | None = None) -> Image.Image:
    """A frame in display orientation; size: (width, height) to bring it to, in display orientation."""
    matrix = matrix_of(frame)
    if size is not None and rotation in (90, 270):
        size = (size[1], size[0])
    rgb = frame.reformat(
        width=size[0] if size else None,
        height=size[1] if size else None,
        format="rgb24",
        src_colorspace=matrix,
        dst_colorspace=matrix,
        interpolation="AREA" if size else None,
    )
    return Image.fromarray(np.ascontiguousarray(np.rot90(rgb.to_ndarray(), -rotation // 90)))


# --- words and numbers ---


def _length(seconds: float) -> str:
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _clock(seconds: float, step: float) -> str:
    if step < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}"


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


# --- drawing ---


class _Sheet:
    """A picture drawn in the coordinates of the finished one."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * _SCALE, height * _SCALE), _PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        colour: Colour = _INK,
        *,
        anchor: str = "ls",
        bold: bool = False,
        room: float | None = None,
    ) -> None:
        """anchor: Pillow's, "ls" is the left end of the baseline. room: pixels; what is longer is cut."""
        text = printable(text)
        if room is not None:
            text = fitted(text, size * _SCALE, room * _SCALE)
        font = font_for(text, size * _SCALE)
        # The built-in font has one weight; half a pixel around makes it a bold one.
        self.pen.text(
            (x * _SCALE, y * _SCALE),
            text,
            fill=colour,
            font=font,
            anchor=anchor,
            stroke_width=1 if bold else 0,
            stroke_fill=colour,
        )

    def bar(self, x1: float, y1: float, x2: float, y2: float, radius: float, colour: Colour) -> None:
        radius = min(radius, (x2 - x1) / 2, (y2 - y1) / 2)
        box = (x1 * _SCALE, y1 * _SCALE, x2 * _SCALE - 1, y2 * _SCALE - 1)
        self.pen.rounded_rectangle(box, radius * _SCALE, fill=colour)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: Colour, width: float = 1) -> None:
        points = (x1 * _SCALE, y1 * _SCALE, x2 * _SCALE, y2 * _SCALE)
        self.pen.line(points, fill=colour, width=max(round(width * _SCALE), 1))

    def paste(self, picture: Image.Image, x: float, y: float, width: float, height: float, radius: float) -> None:
        size = (round(width * _SCALE), round(height * _SCALE))
        mask = Image.new("L", (size[0] * 2, size[1] * 2))
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] * 2 - 1, size[1] * 2 - 1), radius * _SCALE * 2, fill=255)
        mask = mask.resize(size, Image.Resampling.BOX)
        self.image.paste(picture.resize(size, Image.Resampling.LANCZOS), (round(x * _SCALE), round(y * _SCALE)), mask)

    def finished(self) -> Image.Image:
        return self.image.reduce(_SCALE)


def _crop(picture: Image.Image, box: NDArray[np.float32]) -> Image.Image:
    """A square around a face with a margin, moved into the picture where it reaches beyond."""
    x1, y1, x2, y2 = (float(v) for v in box)
    side = min(max(x2 - x1, y2 - y1) * 1.5, picture.width, picture.height)
    left = min(max((x1 + x2 - side) / 2, 0.0), picture.width - side)
    top = min(max((y1 + y2 - side) / 2 - 0.03 * side, 0.0), picture.height - side)
    side = max(side, 1.0)
    return picture.crop((round(left), round(top), round(left + side), round(top + side)))


def _best_face(timeline: Timeline, rows: NDArray[np.int64]) -> int:
    """Which of these rows of faces shows the person best: large, certain, and wholly inside the picture."""
    faces = timeline.faces
    box = faces.box[rows].astype(np.float64)
    limit = np.array([timeline.video.get("width") or math.inf, timeline.video.get("height") or math.inf] * 2)
    inside = np.clip(box, 0, limit)
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    seen = (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1]) / np.maximum(area, 1e-6)
    return int(rows[np.argmax(area * faces.score[rows] * seen**2)])


# --- the picture ---


@dataclass
class _Row:
    """A person's row: top and height in pixels, and the face to show."""

    person: Identity
    top: float
    height: float
    avatar: Image.Image | None = None


class _Picture:
    def __init__(self, timeline: Timeline, width: int) -> None:
        self.timeline, self.width = timeline, width
        self.people = sorted(timeline.identities, key=lambda p: (-p.screen_time, p.id))
        self.shown = self.people[:MOST_PEOPLE]
        ends = [span.end for p in timeline.identities for span in p.instances]
        last = float(timeline.faces.time.max()) if len(timeline.faces) else 0.0
        self.duration = max([float(timeline.video.get("duration") or 0.0), last, *ends, 1e-3])
        self.left, self.right = _MARGIN + _NAMES, width - _MARGIN
        self.row_height = 84 if len(self.shown) <= 8 else 60
        self.avatar = self.row_height - (20 if len(self.shown) <= 8 else 12)
        self.bar_height = self.row_height * 0.5
        # The strip of frames: as many as fit side by side at a width at which something can be seen.
        aspect = (timeline.video.get("width") or 16) / (timeline.video.get("height") or 9)
        aspect = min(max(aspect, 0.4), 3.0)
        gap = 4.0
        frames = max(round((self.right - self.left) / (74 * aspect + gap)), 1)
        self.cell = (self.right - self.left + gap) / frames
        self.cells, self.frame_width = frames, self.cell - gap
        self.frame_height = min(self.frame_width / aspect, 110.0)
        self.strip_top = 150.0
        self.axis = self.strip_top + self.frame_height + 40
        self.rows = [_Row(p, self.axis + 18 + i * self.row_height, self.row_height) for i, p in enumerate(self.shown)]
        self.rows_end = self.axis + 18 + max(len(self.rows), 1) * self.row_height
        self.height = math.ceil(self.rows_end + 64)
        self.sheet = _Sheet(width, self.height)
        self.bar_faces: list[tuple[float, float, Image.Image]] = []

    def x(self, seconds: float) -> float:
        return self.left + (self.right - self.left) * min(max(seconds / self.duration, 0.0), 1.0)

    # -- frames

    def wishes(self) -> list[_Wish]:
        faces = self.timeline.faces
        found: list[_Wish] = []

        def want_face(row: int, keep: Callable[[Image.Image], None]) -> None:
            box = faces.box[row]
            found.append(
                _Wish(float(faces.time[row]), 0.0, lambda frame, turn: keep(_crop(_to_image(frame, turn), box)))
            )

        spans: list[tuple[float, _Row, Span, NDArray[np.int64]]] = []
        for row in self.rows:
            mine = np.flatnonzero(faces.identity == row.person.id)
            if not len(mine):
                continue

            def set_avatar(picture: Image.Image, row: _Row = row) -> None:
                row.avatar = picture

            want_face(_best_face(self.timeline, mine), set_avatar)
            for span in row.person.instances:
                length = self.x(span.end) - self.x(span.start)
                frame = faces.frame[mine]
                rows = mine[(frame >= span.start_frame) & (frame < span.end_frame)]
                if length >= self.bar_height * 1.25 and len(rows):
                    spans.append((length, row, span, rows))
        spans.sort(key=lambda s: -s[0])
        for _, row, span, rows in spans[:_MOST_FACES_ON_BARS]:
            position = (self.x(span.start), row.top + (row.height - self.bar_height) / 2)

            def add_face(picture: Image.Image, position: tuple[float, float] = position) -> None:
                self.bar_faces.append((*position, picture))

            want_face(_best_face(self.timeline, rows), add_face)

        size = (round(self.frame_width * _SCALE), round(self.frame_height * _SCALE))
        for i in range(self.cells):
            middle = (i + 0.5) / self.cells * self.duration

            def show(frame: Any, turn: int, i: int = i) -> None:
                picture = _to_image(frame, turn, size)
                place = (self.left + i * self.cell, self.strip_top, self.frame_width, self.frame_height)
                self.sheet.paste(picture, *place, 5)

            found.append(_Wish(middle, 0.45 * self.duration / self.cells, show))
        return found

    # -- parts

    def header(self) -> None:
        video, run = self.timeline.video, self.timeline.run
        name = Path(str(video.get("path", "video"))).name
        self.sheet.text(_MARGIN, 76, name, 34, bold=True, room=self.width - 2 * _MARGIN)
        parts = [_length(self.duration)]
        if video.get("width") and video.get("height"):
            parts.append(f"{video['width']} x {video['height']}")
        if video.get("average_rate"):
            parts.append(f"{float(video['average_rate']):.4g} frames/s")
        parts.append(_count(len(self.people), "person", "people"))
        parts.append(_count(len(self.timeline.faces), "face", "faces"))
        if run.get("device"):
            parts.append(f"on {run['device']}")
        if run.get("seconds"):
            parts.append(f"processed in {_length(float(run['seconds']))}")
        self.sheet.text(_MARGIN, 112, "   ·   ".join(parts), 17, _SOFT, room=self.width - 2 * _MARGIN)

    def scale(self) -> None:
        most = max(int((self.right - self.left) / 90), 1)
        step = next(
            (s for s in _STEPS if self.duration / s <= most),
            _STEPS[-1] * math.ceil(self.duration / _STEPS[-1] / most),
        )
        for i in range(int(self.duration / step + 1e-9) + 1):
            x = self.x(i * step)
            self.sheet.text(x, self.axis, _clock(i * step, step), 15, _SOFT, anchor="ms")
            self.sheet.line(x, self.axis + 9, x, self.rows_end, _FAINT)

    def lanes(self) -> None:
        """The rows' grounds; drawn before the scale, whose lines go over them."""
        for row in self.rows:
            middle = row.top + row.height / 2
            self.sheet.bar(self.left, middle - self.bar_height / 2, self.right, middle + self.bar_height / 2, 9, _LANE)

    def names(self) -> None:
        for row in self.rows:
            colour = identity_color(row.person.id)
            size, middle = self.avatar, row.top + row.height / 2
            top = middle - size / 2
            self.sheet.bar(_MARGIN, top, _MARGIN + size, top + size, size / 2, colour)
            inner = size - 7
            if row.avatar is not None:
                self.sheet.paste(row.avatar, _MARGIN + 3.5, top + 3.5, inner, inner, inner / 2)
            else:
                initial = row.person.label[:1].upper()
                self.sheet.text(_MARGIN + size / 2, middle, initial, size * 0.45, text_color(colour), anchor="mm")
            x = _MARGIN + size + 16
            room = self.left - x - 16
            self.sheet.text(x, middle - 4, row.person.label, 19, bold=True, room=room)
            share = f"{_length(row.person.screen_time)}  ·  {100 * row.person.screen_time / self.duration:.0f}%"
            self.sheet.text(x, middle + 19, share, 15, _SOFT, room=room)

    def bars(self) -> None:
        for row in self.rows:
            colour = identity_color(row.person.id)
            top = row.top + (row.height - self.bar_height) / 2
            for span in row.person.instances:
                x1, x2 = self.x(span.start), self.x(span.end)
                if x2 - x1 < 2.5:  # however short, it was there
                    x1 = min(max((x1 + x2) / 2 - 1.25, self.left), self.right - 2.5)
                    x2 = x1 + 2.5
                radius = min(9, (x2 - x1) / 4)  # short ones stay bars, not pills
                self.sheet.bar(x1, top, x2, top + self.bar_height, radius, colour)
        inner = self.bar_height - 6
        for x, y, picture in self.bar_faces:
            self.sheet.paste(picture, x + 3, y + 3, inner, inner, 7)

    def footer(self) -> None:
        y = self.rows_end + 34
        rest = self.people[len(self.shown) :]
        if rest:
            together = _length(sum(p.screen_time for p in rest))
            more = _count(len(rest), "more person", "more people")
            self.sheet.text(_MARGIN, y, f"and {more}, {together} of screen time together", 16, _SOFT)
        elif not self.people:
            middle = (self.axis + 9 + self.rows_end) / 2
            self.sheet.text(_MARGIN, middle + 6, "Nobody was found.", 19, _SOFT)
        version = self.timeline.run.get("version")
        self.sheet.text(self.right, y, f"fastface {version}" if version else "fastface", 14, _SOFT, anchor="rs")


def timeline_picture(
    timeline: Timeline,
    video_path: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    *,
    width: int = 1600,
) -> Path:
    """Draw who is on screen when: a PNG with a strip of frames, and a row with face, name and spans for
    each person.

    People are ordered by screen time; the first 20 get a row, the others are counted below. Colours are
    those of :func:`fastface.drawing.colors.identity_color`. Of the video only the frames that are shown are
    decoded, and those from the key frame before each.

    Args:
        timeline: as :func:`fastface.process` gives it.
        video_path: the video that it is of.
        out_path: name of the picture, ending in .png; replaced only when all is drawn.
        width: pixels, in [800, 8000]; the height follows from the number of people.

    Returns:
        out_path.

    Raises:
        InputValidationError: an argument is not what it must be, the video cannot be read, or `out_path`
            not written.
        VideoProcessingError: no frame of the video can be decoded.
    """
    target = Path(out_path)
    if target.suffix.lower() != ".png":
        raise InputValidationError(f"cannot write {str(target)!r}: the name must end in .png")
    if not 800 <= width <= 8000:
        raise InputValidationError(f"width must be in [800, 8000] pixels, is {width}")
    picture = _Picture(timeline, width)
    with replacing(target) as temporary:
        _visit(video_path, picture.wishes())
        picture.header()
        picture.lanes()
        picture.scale()
        picture.names()
        picture.bars()
        picture.footer()
        picture.sheet.finished().save(temporary, "PNG", optimize=False)
    return target
