"""The YUV planes of pictures: read from decoded frames, turned for display, written for the encoder."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import VideoProcessingError

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
"""Y [H, W], U and V [ceil(H / 2), ceil(W / 2)] of an 8-bit 4:2:0 picture in display orientation."""

# Kr, Kb by libav's number of the matrix.
LUMA = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}


def _turned(plane: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    """A plane turned clockwise by 0, 90, 180 or 270 degrees."""
    return np.rot90(plane, -rotation // 90) if rotation else plane


def _view(plane: Any) -> NDArray[np.uint8]:
    """[height, width] view of a plane's pixels."""
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def _put(target: NDArray[np.uint8], source: NDArray[np.uint8]) -> None:
    """Copy, repeating the last row and column where the target is larger by one."""
    h, w = source.shape
    target[:h, :w] = source
    target[:h, w:] = source[:, -1:]
    target[h:] = target[h - 1]


def new_frame(width: int, height: int) -> tuple[Any, Planes]:
    """A frame (av.VideoFrame, yuv420p, even size) for the encoder, and its planes to write to."""
    import av

    out = av.VideoFrame(width, height, "yuv420p")
    y, u, v = (_view(plane) for plane in out.planes)
    return out, (y, u, v)


class Converter:
    """Makes 8-bit 4:2:0 in display orientation of decoded frames, in the matrix and range that they have.

    Args:
        frame: the first (av.VideoFrame); the others must have its size.
        context: of its decoder, which says what the stream is tagged with.
        rotation: degrees clockwise by which frames are turned.

    Attributes:
        size: (width, height) of the frames as they are decoded.
        display: of the pictures as they are shown.
        out: of what the encoder gets, which is even.
        matrix: libav's number of the matrix; tag is None where the stream has none.
        full: whether Y covers [0, 255].
        rgb: whether the frames are RGB.
    """

    def __init__(self, frame: Any, context: Any, rotation: int) -> None:
        self.size = (frame.width, frame.height)
        self.rotation = rotation
        name = frame.format.name
        # RGB has no matrix of its own; it gets the one that untagged video of its size is read with.
        rgb = name.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "pal", "0rgb", "0bgr", "x2rgb", "x2bgr"))
        self.full = not rgb and (int(context.color_range) == 2 or name.startswith("yuvj"))
        matrix = 0 if rgb else int(context.colorspace)
        self.tag = matrix if matrix in LUMA else None
        self.matrix = matrix if matrix in LUMA else _untagged(frame.height)
        if rgb:
            self.tag = self.matrix
        self.as_is = name in ("yuv420p", "yuvj420p")
        self.rgb = rgb
        width, height = self.size if rotation in (0, 180) else self.size[::-1]
        self.display = (width, height)
        self.out = (width + width % 2, height + height % 2)

    def planes(self, frame: Any) -> Planes:
        """The planes of a frame. They may be the decoder's own: not to be written to, or kept."""
        if not self.as_is:
            colour_range = "JPEG" if self.full else "MPEG"
            matrix = _sws_name(self.matrix)
            frame = frame.reformat(
                format="yuv420p",
                src_colorspace=None if self.rgb else matrix,
                dst_colorspace=matrix,
                src_color_range="JPEG" if self.rgb else colour_range,
                dst_color_range=colour_range,
            )
        y, u, v = (_turned(_view(plane), self.rotation) for plane in frame.planes)
        return y, u, v

    def copy(self, frame: Any) -> tuple[Any, Planes]:
        """A frame for the encoder, and its planes to draw on: the decoded one may be what others are predicted from."""
        out, planes = new_frame(*self.out)
        for target, plane in zip(planes, self.planes(frame), strict=True):
            _put(target, plane)
        return out, planes


def display_rotation(frame: Any) -> int:
    """Degrees clockwise, 0, 90, 180 or 270, by which a decoded frame (av.VideoFrame) is turned for display.

    Raises:
        VideoProcessingError: the container asks for another angle.
    """
    degrees = -int(frame.rotation) % 360
    if degrees % 90:
        raise VideoProcessingError(
            f"the video is to be turned by {degrees} degrees; only multiples of 90 can be rendered"
        )
    return degrees


def matrix_of(frame: Any) -> str:
    """libswscale's name of the matrix that a decoded frame (av.VideoFrame) was made with."""
    number = int(frame.colorspace)
    return _sws_name(number if number in LUMA else _untagged(frame.height))


def _sws_name(matrix: int) -> str:
    return {1: "ITU709", 9: "BT2020", 10: "BT2020"}.get(matrix, "ITU601")


def _untagged(height: int) -> int:
    """The matrix that a video without a tag is read with, by its coded lines."""
    return 6 if height < 720 else 1
