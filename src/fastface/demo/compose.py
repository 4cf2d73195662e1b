"""Videos whose truth is known: shots drawn one after the other, with hard cuts, and written with sound."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from fastface.demo.scene import Shot, draw_shots
from fastface.errors import InputValidationError, VideoProcessingError
from fastface.files import replacing

_MATRICES = {"bt601": ("ITU601", 6), "bt709": ("ITU709", 1)}
_AUDIO_RATE = 44100


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
