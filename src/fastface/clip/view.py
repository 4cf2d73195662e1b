"""What is shown of a picture: all of it, a window that follows somebody, or two such windows side by side.

A view is asked for pictures in ascending order and is used by one thread; the first it is asked for may be any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastface.clip.source import Reader, Source
from fastface.clip.window import Path
from fastface.encode.planes import Converter, Planes, new_frame

_MARGIN = 4  # pixels around a window that its resampling looks at


class View(Protocol):
    """Makes pictures for the encoder."""

    def __call__(self, number: int, frame: Any) -> Any:
        """A picture (av.VideoFrame) of picture `number` (a decoded av.VideoFrame)."""


ViewOf = Callable[[Converter, Reader], View]
"""Makes the view of a part, given what converts its pictures, and what reads others where one is held."""


class Whole:
    """The picture as it is."""

    def __init__(self, convert: Converter) -> None:
        self.convert = convert

    def __call__(self, number: int, frame: Any) -> Any:
        return self.convert.copy(frame)[0]


@dataclass(frozen=True)
class Camera:
    """A person's window for every picture of a video.

    Attributes:
        window: [n, 4] float64, xyxy in display pixels.
        present: [n] whether the person is seen.
    """

    window: NDArray[np.float64]
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, path: Path, source: Source) -> Camera:
        times = source.times
        return cls(path.at(times), path.present(times))

    def stand_in(self, number: int) -> int:
        """Number of the picture to show while the person is away: the last before with the person, else the first."""
        here = np.flatnonzero(self.present)
        return int(here[max(int(np.searchsorted(here, number)) - 1, 0)]) if len(here) else number


Fill = Callable[[Camera, Planes], None]
"""Brings a camera's window of the picture that is in hand to planes."""


class Layout(Protocol):
    """Windows of cameras, put together. It is asked for pictures in ascending order and used by one thread.

    Attributes:
        cameras: whose windows.
        window: (width, height) in pixels to which each is brought.
    """

    cameras: tuple[Camera, ...]
    window: tuple[int, int]

    def shows(self, camera: Camera, number: int) -> bool:
        """Whether picture `number` is looked at through that camera."""

    def picture(self, number: int, fill: Fill) -> Any:
        """What is shown (av.VideoFrame) of picture `number`."""


LayoutOf = Callable[[Reader], Layout]
"""Makes the layout of a part, given what reads pictures that are held."""


class Follow:
    """The window of one camera."""

    def __init__(self, camera: Camera, size: tuple[int, int]) -> None:
        self.cameras: tuple[Camera, ...] = (camera,)
        self.window = size

    def shows(self, camera: Camera, number: int) -> bool:
        return True

    def picture(self, number: int, fill: Fill) -> Any:
        out, planes = new_frame(*self.window)
        fill(self.cameras[0], planes)
        return out


class Split:
    """The windows of two cameras side by side. Who is away is held: the last picture of them stands still."""

    def __init__(self, reader: Reader, cameras: tuple[Camera, Camera], size: tuple[int, int]) -> None:
        self.cameras: tuple[Camera, ...] = cameras
        self.size, self.window = size, (size[0] // 2, size[1])
        self._reader = reader
        self._held: list[Planes | None] = [None, None]

    def shows(self, camera: Camera, number: int) -> bool:
        return bool(camera.present[number])

    def picture(self, number: int, fill: Fill) -> Any:
        out, planes = new_frame(*self.size)
        for side, camera in enumerate(self.cameras):
            half = _half(planes, side)
            held = self._held[side]
            if self.shows(camera, number):
                fill(camera, half)
                self._held[side] = half  # a view of the picture that was made last: no more than one is kept
            else:
                if held is None:
                    held = self._held[side] = self._still(camera, number, half)
                for target, still in zip(half, held, strict=True):
                    target[...] = still
        return out

    def _still(self, camera: Camera, number: int, like: Planes) -> Planes:
        """The picture that is held where a part begins while somebody is away."""
        y, u, v = (np.zeros_like(plane) for plane in like)
        at = camera.stand_in(number)
        for _, frame in self._reader.pictures(at, at + 1):
            convert = Converter(frame, self._reader.stream.codec_context, self._reader.source.info.rotation)
            sampled(convert.planes(frame), camera.window[at], (y, u, v))
        return y, u, v


class Sampled:
    """A layout of windows that are cut out here, on the CPU."""

    def __init__(self, convert: Converter, layout: Layout) -> None:
        self._convert, self._layout = convert, layout

    def __call__(self, number: int, frame: Any) -> Any:
        planes = self._convert.planes(frame)
        return self._layout.picture(number, lambda camera, out: sampled(planes, camera.window[number], out))


def _half(planes: Planes, side: int) -> Planes:
    y, u, v = (p[:, side * p.shape[1] // 2 : (side + 1) * p.shape[1] // 2] for p in planes)
    return y, u, v


def sampled(planes: Planes, window: NDArray[np.float64], out: Planes) -> None:
    """Bring a window of a picture to the size of `out`, between the pixels as well, so that it glides.

    Args:
        planes: of the picture.
        window: [4] xyxy in pixels of Y, inside the picture.
        out: written to.
    """
    for i, (plane, target) in enumerate(zip(planes, out, strict=True)):
        x1, y1, x2, y2 = (window / 2 if i else window).tolist()
        height, width = plane.shape
        left, top = max(int(x1) - _MARGIN, 0), max(int(y1) - _MARGIN, 0)
        right, bottom = min(int(x2) + _MARGIN, width), min(int(y2) + _MARGIN, height)
        part = Image.fromarray(np.ascontiguousarray(plane[top:bottom, left:right]))
        # Rows first, whatever the sizes, which Pillow by itself does in some versions only.
        rows, columns = target.shape
        across = (x1 - left, 0, min(x2 - left, part.width), part.height)
        part = part.resize((columns, part.height), Image.Resampling.BICUBIC, box=across)
        down = (0, y1 - top, columns, min(y2 - top, part.height))
        target[...] = np.asarray(part.resize((columns, rows), Image.Resampling.BICUBIC, box=down))
