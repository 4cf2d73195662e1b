"""Single frames of a video by their time, and faces cut out of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastface.decode.probe import Clock, DecodeStats, decode_packet, open_container, video_stream
from fastface.encode.planes import display_rotation, matrix_of
from fastface.errors import VideoProcessingError
from fastface.timeline import Timeline

_SEEK_BEYOND = 1.5  # seconds ahead up to which decoding on is quicker than seeking


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    Attributes:
        decoded: av.VideoFrame.
        rotation: degrees clockwise by which it is turned for display.
        time: seconds from the first frame shown.
    """

    decoded: Any
    rotation: int
    time: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in display orientation."""
        width, height = int(self.decoded.width), int(self.decoded.height)
        return (height, width) if self.rotation in (90, 270) else (width, height)

    def image(self, size: tuple[int, int] | None = None) -> Image.Image:
        """In display orientation; size: (width, height) to bring it to, in display orientation."""
        matrix = matrix_of(self.decoded)
        if size is not None and self.rotation in (90, 270):
            size = (size[1], size[0])
        rgb = self.decoded.reformat(
            width=size[0] if size else None,
            height=size[1] if size else None,
            format="rgb24",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            interpolation="AREA" if size else None,
        )
        return Image.fromarray(np.ascontiguousarray(np.rot90(rgb.to_ndarray(), -self.rotation // 90)))


@dataclass(frozen=True)
class Wish:
    """A frame that is wanted: its time in seconds, by how much it may be missed, and what to do with it."""

    time: float
    tolerance: float
    use: Callable[[Frame], object]


def visit(path: str | os.PathLike[str], wishes: Iterable[Wish]) -> None:
    """Call each wish with its frame, in order of time; seeks rather than decoding all. Wishes whose frame is not there,
    or cannot be decoded, stay unfulfilled.

    Raises:
        InputValidationError: the video cannot be read.
        VideoProcessingError: no frame of it can be decoded.
    """
    import av

    with open_container(path) as container:
        video = video_stream(container, path)
        video.thread_type = "AUTO"
        try:
            frames = _Frames(container, video)
            current = next(frames, None)
            if current is None:
                raise VideoProcessingError(f"no frame of {str(path)!r} can be decoded")
            for wish in sorted(wishes, key=lambda w: w.time):
                if wish.time - current.time > _SEEK_BEYOND and not frames.seek(wish.time):
                    break
                # Half a millisecond: times in a document are rounded to a microsecond.
                tolerance = max(wish.tolerance, 5e-4)
                while current.time < wish.time - max(tolerance / 2, 5e-4) or frames.sought:
                    following = next(frames, None)
                    if following is None:
                        break
                    current = following
                if abs(current.time - wish.time) <= tolerance + 1e-6:
                    wish.use(current)
        except av.error.FFmpegError as error:
            raise VideoProcessingError(f"cannot read frames of {str(path)!r}: {error}") from error


class _Frames:
    """The frames of an open video with their times; damaged packets are left out.

    Attributes:
        sought: True from a seek to the next frame.
    """

    def __init__(self, container: Any, video: Any) -> None:
        self._container, self._video = container, video
        self._decoded = self._decode()
        rate = video.average_rate or video.guessed_rate
        self._clock = Clock(DecodeStats(), float(rate) if rate else None, video.time_base)
        self._first: int | None = None
        self._rotation: int | None = None
        self.sought = False

    def _decode(self) -> Iterator[Any]:
        import av

        for packet in self._container.demux(self._video):
            try:
                yield from decode_packet(packet)
            except av.error.InvalidDataError:
                continue

    def __next__(self) -> Frame:
        frame = next(self._decoded)
        self.sought = False
        if self._rotation is None:
            self._first, self._rotation = frame.pts, display_rotation(frame)
        if self._first is None:  # such a stream has no time stamps at all
            time = self._clock(None, frame.duration)
        else:
            time = float(((frame.pts or 0) - self._first) * self._video.time_base)
        return Frame(frame, self._rotation, time)

    def seek(self, time: float) -> bool:
        """Go on from the key frame before a time; without time stamps, from here. False: no video is as long."""
        if self._first is None:
            return True
        place = self._first + round(time / self._video.time_base)
        if place >= 2**63:
            return False
        self._container.seek(place, stream=self._video, backward=True)
        self._decoded = self._decode()
        self.sought = True
        return True


def cropped(picture: Image.Image, box: NDArray[np.float32]) -> Image.Image:
    """A square around a face with a margin, moved into the picture where it reaches beyond."""
    x1, y1, x2, y2 = (float(v) for v in box)
    side = min(max(x2 - x1, y2 - y1) * 1.5, picture.width, picture.height)
    left = min(max((x1 + x2 - side) / 2, 0.0), picture.width - side)
    top = min(max((y1 + y2 - side) / 2 - 0.03 * side, 0.0), picture.height - side)
    side = max(side, 1.0)
    return picture.crop((round(left), round(top), round(left + side), round(top + side)))


def best_face(timeline: Timeline, rows: NDArray[np.int64]) -> int:
    """Which of these rows of faces shows the person best: large, certain, and wholly inside the picture."""
    faces = timeline.faces
    box = faces.box[rows].astype(np.float64)
    limit = np.array([timeline.video.get("width") or math.inf, timeline.video.get("height") or math.inf] * 2)
    inside = np.clip(box, 0, limit)
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    seen = (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1]) / np.maximum(area, 1e-6)
    return int(rows[np.argmax(area * faces.score[rows] * seen**2)])
