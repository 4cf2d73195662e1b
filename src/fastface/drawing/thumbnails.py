"""Small pictures of a timeline: the best face of each person, and frames at even distances."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fastface.drawing.frames import Frame, Wish, best_face, cropped, visit
from fastface.encode.container import check_size
from fastface.errors import InputValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastface.timeline import Timeline

_QUALITY = 62


@dataclass(frozen=True)
class Strip:
    """Small frames of a video.

    Attributes:
        width, height: pixels of each.
        times: seconds of each from the first frame shown, ascending.
        pictures: each as JPEG.
    """

    width: int
    height: int
    times: list[float] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)

    def within(self, limit: int) -> Strip:
        """As many of these as have at most `limit` bytes together: all, every second, every fourth, ..."""
        step = 1
        while sum(map(len, self.pictures[::step])) > limit and step < len(self.pictures):
            step *= 2
        return Strip(self.width, self.height, self.times[::step], self.pictures[::step])


def jpeg(picture: Image.Image) -> bytes:
    """The picture as a small JPEG."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()


def face_thumbnails(timeline: Timeline, video: str | os.PathLike[str], size: int) -> dict[int, Image.Image]:
    """See :meth:`Timeline.thumbnails`; as pictures."""
    return face_and_frame_thumbnails(timeline, video, size)[0]


def face_and_frame_thumbnails(
    timeline: Timeline,
    video: str | os.PathLike[str],
    size: int,
    *,
    people: Iterable[int] | None = None,
    frames: int = 0,
    frame_width: int = 160,
) -> tuple[dict[int, Image.Image], Strip]:
    """Both in one go through the video.

    Args:
        timeline: of the video.
        video: the file.
        size: pixels of a face's side, in [16, 1024].
        people: ids of those whose faces are wanted; None: all.
        frames: how many small frames are wanted, at even distances.
        frame_width: their width in pixels; portrait videos get that height instead.

    Returns:
        Faces by id of the person (those that can be had), and the frames.

    Raises:
        InputValidationError: size is out of its range, the video cannot be read, or the timeline is of another.
        VideoProcessingError: no frame of the video can be decoded.
    """
    if not 16 <= size <= 1024:
        raise InputValidationError(f"size is {size}, must be in [16, 1024] pixels")
    faces, shown = timeline.faces, {}
    # The first frame is looked at in any case: it says whether this is the timeline's video.
    wishes = [Wish(0.0, 0.0, lambda frame: check_size(timeline.video, *frame.size, os.fspath(video)))]
    for who in [person.id for person in timeline.identities] if people is None else people:
        rows = np.flatnonzero(faces.identity == who)
        if not len(rows):
            continue
        best = best_face(timeline, rows)

        def keep_face(frame: Frame, who: int = who, best: int = best) -> None:
            face = cropped(_whole(frame, timeline), faces.box[best])
            shown[who] = face.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)

        wishes.append(Wish(float(faces.time[best]), 0.0, keep_face))

    width, height = _scaled(timeline, frame_width)
    strip = Strip(width, height)
    step = float(timeline.video.get("duration") or 0.0) / max(frames, 1)

    def keep_frame(frame: Frame) -> None:
        strip.times.append(frame.time)
        strip.pictures.append(jpeg(frame.image((width, height))))

    wishes += [Wish((i + 0.5) * step, 0.45 * step, keep_frame) for i in range(frames)]
    visit(video, wishes)
    return shown, strip


def _whole(frame: Frame, timeline: Timeline) -> Image.Image:
    """The frame in the video's size, in which boxes are; a picture that changes size in mid-stream is scaled back."""
    size = (int(timeline.video.get("width") or frame.size[0]), int(timeline.video.get("height") or frame.size[1]))
    return frame.image(None if size == frame.size else size)


def _scaled(timeline: Timeline, longest: int) -> tuple[int, int]:
    """Size of a small frame: its longer side, the other one after the video's."""
    width, height = timeline.video.get("width") or 16, timeline.video.get("height") or 9
    scale = longest / max(width, height)
    return max(round(width * scale), 1), max(round(height * scale), 1)
