"""What passes between the stages: frozen structs of arrays, validated once, never None.

Axes: N frames of a batch, M faces of a batch, T tracks, D dimensions of an embedding.
Boxes are xyxy: [x1, y1, x2, y2] in display pixels, x right, y down, the image covering [0, width] x [0, height].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNATURE_SIZE = 8 * 8
"""Numbers that describe a face's look (or a frame's) well enough to see a cut: an 8 x 8 grey thumbnail."""


def _check(name: str, array: NDArray[Any], dtype: type, shape: tuple[int | None, ...]) -> None:
    if array.dtype != dtype:
        raise TypeError(f"{name} has dtype {array.dtype}, must be {np.dtype(dtype)}")
    if array.shape == shape:
        return
    if array.ndim != len(shape) or any(w is not None and w != h for w, h in zip(shape, array.shape, strict=True)):
        want = ", ".join("any" if s is None else str(s) for s in shape)
        raise ValueError(f"{name} has shape {list(array.shape)}, must be [{want}]")


@dataclass(frozen=True)
class FrameBatch:
    """N consecutive frames, in the order shown and in display orientation.

    Attributes:
        index: [N] int64, number of the frame in the video, from 0, in the order shown.
        time: [N] float64, seconds from the first frame shown, from the stream's time stamps.
        pixels: [N, H, W, 3] uint8, RGB, full range.
    """

    index: NDArray[np.int64]
    time: NDArray[np.float64]
    pixels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        _check("FrameBatch.index", self.index, np.int64, (None,))
        n = len(self.index)
        _check("FrameBatch.time", self.time, np.float64, (n,))
        _check("FrameBatch.pixels", self.pixels, np.uint8, (n, None, None, 3))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def height(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[2])


@dataclass(frozen=True)
class Detections:
    """The M faces found in a batch of N frames, ordered by frame, then by score (highest first).

    Attributes:
        row: [M] int64, which frame of the batch, in [0, N), ascending.
        box: [M, 4] float32, xyxy in display pixels; may reach beyond the image, as MTCNN's boxes do.
        score: [M] float32, the detector's certainty in [0, 1].
        landmarks: [M, 5, 2] float32, display pixels: left eye, right eye, nose, left and right corner of the mouth
            (left and right as seen in the image).
        sharpness: [M] float32, >= 0, energy of the face's fine detail relative to its contrast.
        appearance: [M, 64] float32, 8 x 8 grey thumbnail of the box, zero mean, unit norm (all 0 if flat).
    """

    row: NDArray[np.int64]
    box: NDArray[np.float32]
    score: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    sharpness: NDArray[np.float32]
    appearance: NDArray[np.float32]

    def __post_init__(self) -> None:
        _check("Detections.row", self.row, np.int64, (None,))
        m = len(self.row)
        _check("Detections.box", self.box, np.float32, (m, 4))
        _check("Detections.score", self.score, np.float32, (m,))
        _check("Detections.landmarks", self.landmarks, np.float32, (m, 5, 2))
        _check("Detections.sharpness", self.sharpness, np.float32, (m,))
        _check("Detections.appearance", self.appearance, np.float32, (m, SIGNATURE_SIZE))

    def __len__(self) -> int:
        return len(self.row)

    @classmethod
    def of(cls, parts: Sequence[Detections], frames: Sequence[int]) -> Detections:
        """Of one batch after the other, as of one batch; `frames` says how many each has."""
        rows = [part.row + begin for part, begin in zip(parts, np.cumsum([0, *frames[:-1]]), strict=True)]
        columns = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)}
        return cls(**{**columns, "row": np.concatenate(rows)})

    @classmethod
    def empty(cls) -> Detections:
        f = np.float32
        return cls(
            np.zeros(0, np.int64),
            np.zeros((0, 4), f),
            np.zeros(0, f),
            np.zeros((0, 5, 2), f),
            np.zeros(0, f),
            np.zeros((0, SIGNATURE_SIZE), f),
        )


@dataclass(frozen=True)
class FrameFaces:
    """The faces of N frames, K places a frame, where the frames are: torch tensors on a GPU, NumPy arrays on the CPU.

    Both export DLPack. Places beyond a frame's count are zero.

    Attributes:
        count: [N] int32, faces of each frame.
        box: [N, K, 4] float32, xyxy in pixels; may reach beyond the image.
        score: [N, K] float32 in [0, 1], the highest of a frame first.
        landmarks: [N, K, 5, 2] float32, pixels: left eye, right eye, nose, left and right corner of the mouth.
        overflow: [1] int32; not 0: something did not fit (only with a stream, see :meth:`fastface.Pipeline.detect`), so
            that the other arrays are not the whole result.
    """

    count: Any
    box: Any
    score: Any
    landmarks: Any
    overflow: Any

    def __len__(self) -> int:
        return len(self.count)


@dataclass(frozen=True)
class Faces:
    """Every face of a video, one row each, ordered by frame; the columns of the result.

    Attributes:
        frame: [M] int64, number of the frame.
        time: [M] float64, seconds.
        box: [M, 4] float32, xyxy in display pixels.
        score: [M] float32 in [0, 1].
        landmarks: [M, 5, 2] float32, display pixels.
        track: [M] int64, id of the face's track.
        identity: [M] int64, id of the person, -1 where not told.
    """

    frame: NDArray[np.int64]
    time: NDArray[np.float64]
    box: NDArray[np.float32]
    score: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    track: NDArray[np.int64]
    identity: NDArray[np.int64]

    def __post_init__(self) -> None:
        _check("Faces.frame", self.frame, np.int64, (None,))
        m = len(self.frame)
        _check("Faces.time", self.time, np.float64, (m,))
        _check("Faces.box", self.box, np.float32, (m, 4))
        _check("Faces.score", self.score, np.float32, (m,))
        _check("Faces.landmarks", self.landmarks, np.float32, (m, 5, 2))
        _check("Faces.track", self.track, np.int64, (m,))
        _check("Faces.identity", self.identity, np.int64, (m,))

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, rows: NDArray[Any] | slice) -> Faces:
        return Faces(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def empty(cls) -> Faces:
        i, f = np.int64, np.float32
        return cls(
            np.zeros(0, i),
            np.zeros(0),
            np.zeros((0, 4), f),
            np.zeros(0, f),
            np.zeros((0, 5, 2), f),
            np.zeros(0, i),
            np.zeros(0, i),
        )


@dataclass(frozen=True)
class Embeddings:
    """What E tracks look like: the weighted mean of their faces' unit vectors.

    The inner product of two means is the average similarity of the faces of two tracks, which is what average linkage
    asks for, however many faces there were.

    Attributes:
        track: [E] int64, ids, ascending.
        mean: [E, D] float32, mean of unit vectors, of norm <= 1.
        weight: [E] float32, > 0, sum of the qualities of the faces.
        legibility: [E] float32, in (0, 1], weighted mean of how much of their detail can be read.
        count: [E] int64, how many faces.
    """

    track: NDArray[np.int64]
    mean: NDArray[np.float32]
    weight: NDArray[np.float32]
    legibility: NDArray[np.float32]
    count: NDArray[np.int64]

    def __post_init__(self) -> None:
        _check("Embeddings.track", self.track, np.int64, (None,))
        e = len(self.track)
        _check("Embeddings.mean", self.mean, np.float32, (e, None))
        _check("Embeddings.weight", self.weight, np.float32, (e,))
        _check("Embeddings.legibility", self.legibility, np.float32, (e,))
        _check("Embeddings.count", self.count, np.int64, (e,))

    def __len__(self) -> int:
        return len(self.track)

    def __getitem__(self, rows: NDArray[Any] | slice) -> Embeddings:
        return Embeddings(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def empty(cls, dim: int) -> Embeddings:
        none = np.zeros(0, np.float32)
        return cls(np.zeros(0, np.int64), np.zeros((0, dim), np.float32), none, none, np.zeros(0, np.int64))


@dataclass(frozen=True)
class VideoInfo:
    """What the container says of the video, before a frame is decoded.

    Attributes:
        path: as it was given.
        width, height: pixels as displayed, that is after rotation.
        rotation: degrees clockwise by which the coded picture is turned for display: 0, 90, 180 or 270.
        codec: libav's name of the codec, such as "h264".
        duration: seconds; None where the container does not say.
        frame_count: frames as the container claims; None where it does not say.
        average_rate: frames a second; None where unknown.
        pixel_format: libav's name, such as "yuv420p".
        matrix: "bt601", "bt709" or "bt2020": what turns YUV into RGB.
        full_range: True where Y covers [0, 255], False where [16, 235].
        warnings: what had to be assumed.
    """

    path: str
    width: int
    height: int
    rotation: int
    codec: str
    duration: float | None
    frame_count: int | None
    average_rate: float | None
    pixel_format: str
    matrix: str
    full_range: bool
    warnings: tuple[str, ...] = field(default=())
