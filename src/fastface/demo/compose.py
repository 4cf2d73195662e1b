"""Videos whose truth is known: photographs that drift, turn and zoom over blurred backgrounds, with hard
cuts.

Coordinates are continuous display pixels: x right, y down, the picture covering [0, width] x [0, height];
the centre of the first pixel is (0.5, 0.5). Frames are drawn one at a time, so memory does not grow with
the length.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fastface.errors import InputValidationError, VideoProcessingError
from fastface.files import replacing

Point = tuple[float, float]
Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]

_MATRICES = {"bt601": ("ITU601", 6), "bt709": ("ITU709", 1)}
_AUDIO_RATE = 44100


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

    def _pose(self, u: float) -> tuple[float, float, float]:
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


@dataclass(frozen=True)
class Encoding:
    """How the video is written.

    Attributes:
        codec: libav's name of the encoder, such as "libx264", "libx265", "mpeg4", "libvpx-vp9", "libsvtav1".
        pixel_format: libav's name, such as "yuv420p", "yuv444p", "yuv420p10le".
        matrix: "bt601" or "bt709": what turns RGB into YUV; None: as untagged video is read (BT.601 below 720
            coded lines, BT.709 from there), and no tag is written.
        full_range: Y covers [0, 255] instead of [16, 235].
        gop: frames from one key frame to the next at most, >= 1; None: the encoder's choice.
        b_frames: B-frames in a row, in [0, 16]; None: the encoder's choice.
        rotation: 0, 90, 180 or 270 degrees clockwise by which a player turns the coded picture. What is
            composed is the display orientation; the coded picture is turned the other way.
        options: further options of the encoder; they go before the defaults (for libx264 and libx265:
            preset superfast, crf 20).
    """

    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    matrix: str | None = "bt709"
    full_range: bool = False
    gop: int | None = None
    b_frames: int | None = None
    rotation: int = 0
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.matrix not in (None, *_MATRICES):
            raise InputValidationError(f"Encoding.matrix must be 'bt601', 'bt709' or None, is {self.matrix!r}")
        if self.rotation not in (0, 90, 180, 270):
            raise InputValidationError(f"Encoding.rotation must be 0, 90, 180 or 270, is {self.rotation}")
        if self.gop is not None and self.gop < 1:
            raise InputValidationError(f"Encoding.gop must be >= 1, is {self.gop}")
        if self.b_frames is not None and not 0 <= self.b_frames <= 16:
            raise InputValidationError(f"Encoding.b_frames must be in [0, 16], is {self.b_frames}")


# --- drawing ---


class _Sprite:
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
        cx, cy, height = self.actor._pose(u)
        scale = height / self.photo_size[1]
        x1, y1, x2, y2 = self.actor.photo.box
        dx, dy = (x1 + x2 - self.photo_size[0]) / 2, (y1 + y2 - self.photo_size[1]) / 2
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        centre = np.array([cx + scale * (cos * dx - sin * dy), cy + scale * (sin * dx + cos * dy)])
        half = np.array([x2 - x1, y2 - y1]) * scale / 2
        return np.concatenate([centre - half, centre + half])

    def draw(self, canvas: Image.Image, u: float) -> None:
        cx, cy, height = self.actor._pose(u)
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
        self.sprites = [_Sprite(actor) for actor in shot.actors]
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


# --- encoding ---


class _Tone:
    """A quiet tone, another for each shot, silence where nobody is; AAC, mono."""

    def __init__(self, stream: Any, shots: Sequence[Shot], seconds: float) -> None:
        self.stream, self.shots = stream, shots
        self.ends = np.cumsum([shot.seconds for shot in shots])
        self.total, self.position = round(seconds * _AUDIO_RATE), 0

    def until(self, seconds: float) -> Iterator[Any]:
        """Packets of the sound up to a time."""
        import av

        while self.position < min(seconds * _AUDIO_RATE, self.total):
            n = min(1024, self.total - self.position)
            t = (self.position + np.arange(n)) / _AUDIO_RATE
            shot = np.minimum(np.searchsorted(self.ends, t, side="right"), len(self.shots) - 1)
            loud = np.array([0.05 if s.actors else 0.0 for s in self.shots])[shot]
            pitch = 220.0 * 2.0 ** ((shot * 5 % 12) / 12)
            frame = av.AudioFrame.from_ndarray(
                (loud * np.sin(2 * np.pi * pitch * t)).astype(np.float32)[None], format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = (
                _AUDIO_RATE,
                self.position,
                Fraction(1, _AUDIO_RATE),
            )
            self.position += n
            yield from self.stream.encode(frame)

    def end(self) -> Iterator[Any]:
        yield from self.until(math.inf)
        yield from self.stream.encode(None)


def _add_video(container: Any, encoding: Encoding, coded: tuple[int, int], rate: Fraction, base: Fraction) -> Any:
    options = dict(encoding.options)
    if encoding.codec in ("libx264", "libx265"):
        options = {"preset": "superfast", "crf": "20", **options}
    if encoding.codec == "libx265":
        options.setdefault("x265-params", "log-level=error")
    try:
        stream = container.add_stream(encoding.codec, rate=rate, options=options)
    except ValueError as error:  # av.codec.UnknownCodecError is one, and so is a codec that the container refuses
        raise InputValidationError(f"cannot encode with {encoding.codec!r}: {error}") from error
    stream.width, stream.height, stream.pix_fmt = *coded, encoding.pixel_format
    context = stream.codec_context
    context.time_base = base
    if encoding.gop is not None:
        context.gop_size = encoding.gop
    if encoding.b_frames is not None:
        context.max_b_frames = encoding.b_frames
    context.color_range = 2 if encoding.full_range else 1
    if encoding.matrix is not None:
        tag = _MATRICES[encoding.matrix][1]
        context.colorspace = context.color_primaries = context.color_trc = tag
    if encoding.rotation:
        if not hasattr(stream, "set_display_rotation"):
            raise InputValidationError(
                f"Encoding.rotation is {encoding.rotation}: this PyAV cannot write a display matrix"
            )
        stream.set_display_rotation(-encoding.rotation)  # PyAV counts anticlockwise
    return stream


def compose_shots(
    path: str | os.PathLike[str],
    shots: Sequence[Shot],
    *,
    size: tuple[int, int] = (1920, 1080),
    fps: int | Fraction = 30,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    audio: bool = True,
    encoding: Encoding | None = None,
) -> dict[str, Any]:
    """Write a video of these shots and say what is to be seen in each frame.

    Args:
        path: the video; its suffix chooses the container (.mp4, .mkv, ...). Replaced only when all is
            written.
        shots: at least one.
        size: (width, height) in display pixels; even for pixel formats with halved chroma.
        fps: frames a second.
        pts: time stamps of the frames in ticks of time_base, strictly ascending: a variable frame rate.
            None: constant, from 0. A first time stamp other than 0 is where the video starts; shots count
                from there.
        time_base: seconds of a tick; None: 1 / fps, and with pts 1 / 90000.
        audio: add a sound track (AAC, a quiet tone).
        encoding: None: :class:`Encoding` as it comes.

    Returns:
        The truth: {"fps", "size": [width, height], "times": [seconds of each frame from the first], "frames":
        [[{"name", "box": [x1, y1, x2, y2]}, ...], ...]}. Boxes are in display pixels: upright, of the face's
        own size, about its turned centre.

    Raises:
        InputValidationError: an argument is not what it must be, or `path` cannot be written.
        VideoProcessingError: the encoder refuses.
    """
    import av

    encoding = Encoding() if encoding is None else encoding
    rate = Fraction(fps)
    if rate <= 0:
        raise InputValidationError(f"fps must be > 0, is {fps}")
    width, height = size
    if not (16 <= width <= 8192 and 16 <= height <= 8192):
        raise InputValidationError(f"size must be within [16, 8192] pixels each way, is {tuple(size)}")
    if not shots:
        raise InputValidationError("shots is empty, must hold at least one Shot")
    seconds = sum(shot.seconds for shot in shots)
    if pts is None:
        base = 1 / rate if time_base is None else Fraction(time_base)
        ticks = [round(i / rate / base) for i in range(max(round(seconds * rate), 1))]
    else:
        base = Fraction(1, 90000) if time_base is None else Fraction(time_base)
        ticks = [int(p) for p in pts]
    if base <= 0:
        raise InputValidationError(f"time_base must be > 0, is {base}")
    if not ticks or any(b <= a for a, b in itertools.pairwise(ticks)):
        raise InputValidationError(f"pts must be strictly ascending and not empty, is {ticks[:8]}...")
    times = [float((p - ticks[0]) * base) for p in ticks]

    turned = encoding.rotation in (90, 270)
    coded = (height, width) if turned else (width, height)
    matrix = encoding.matrix or ("bt601" if coded[1] < 720 else "bt709")
    frames: list[list[dict[str, Any]]] = []
    with replacing(path) as temporary:
        try:
            # MP4 writes a late start in milliseconds unless told to be finer.
            finer = ticks[0] != 0 and temporary.suffix in (".mp4", ".m4v", ".mov") and 1000 < base.denominator < 2**31
            options = {"movie_timescale": str(base.denominator)} if finer else {}
            with av.open(str(temporary), "w", options=options) as container:
                stream = _add_video(container, encoding, coded, rate, base)
                sound = None
                if audio:
                    track = container.add_stream("aac", rate=_AUDIO_RATE, layout="mono", bit_rate=64000)
                    sound = _Tone(track, shots, float(ticks[0] * base) + seconds)
                for tick, time, (pixels, truth) in zip(ticks, times, draw_shots(shots, times, size=size), strict=True):
                    if encoding.rotation:
                        pixels = np.ascontiguousarray(np.rot90(pixels, encoding.rotation // 90))
                    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                        format=encoding.pixel_format,
                        dst_colorspace=_MATRICES[matrix][0],
                        src_color_range="JPEG",
                        dst_color_range="JPEG" if encoding.full_range else "MPEG",
                    )
                    frame.pts, frame.time_base = tick, base
                    container.mux(stream.encode(frame))
                    frames.append(truth)
                    if sound is not None:
                        for packet in sound.until(float(ticks[0] * base) + time):
                            container.mux(packet)
                container.mux(stream.encode(None))
                if sound is not None:
                    for packet in sound.end():
                        container.mux(packet)
        except av.error.FFmpegError as error:
            raise VideoProcessingError(
                f"cannot encode {str(path)!r} as {encoding.codec} {encoding.pixel_format}, {width} x {height}: {error}"
            ) from error
    fps_told = int(rate) if rate.denominator == 1 else float(rate)
    return {"fps": fps_told, "size": [width, height], "times": times, "frames": frames}


# --- random scripts ---


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
    sprite, new = _Sprite(before), _photo_size(photo)
    x1, y1, x2, y2 = sprite.face(1.0).tolist()
    old_height = before._pose(1.0)[2]
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
