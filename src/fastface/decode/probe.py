"""What the decoders share: opening a file, saying what is in it, and turning time stamps into seconds."""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from fastface.decode.color import is_full_range, matrix_of
from fastface.errors import InputValidationError, VideoProcessingError
from fastface.types import VideoInfo

KEPT_PACKETS = 1024
KEPT_BYTES = 32 << 20
"""What is kept of the packets before the first frame; a file that needs more of them is opened again."""

# Titles and the like need not be UTF-8, and do not matter here. PyAV has the option until 18; 19 replaces by itself.
_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


@dataclass
class DecodeStats:
    """What a decoder did so far.

    Attributes:
        frames: decoded, whether or not they were asked for.
        skipped: packets or frames that could not be decoded.
        warnings: what was assumed or lost, one sentence each.
        times: seconds of each decoded frame from the first one shown.
        end: seconds at which the last decoded frame ends.
    """

    frames: int = 0
    skipped: int = 0
    warnings: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    end: float = 0.0

    def warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)


def open_container(path: str | os.PathLike[str]) -> Any:
    """Open a file with libav.

    Raises:
        InputValidationError: there is no such file, it cannot be read, or it is no media file.
    """
    name = os.fspath(path)
    if not Path(name).is_file():
        what = "is a folder" if Path(name).is_dir() else "does not exist"
        raise InputValidationError(f"the video {name!r} {what}")
    try:
        # file: keeps libav from taking a name with a colon in it for a protocol.
        container = av.open("file:" + os.path.abspath(name), **_METADATA)
    except av.error.FFmpegError as error:
        raise InputValidationError(f"{name!r} is not a video that libav can open: {error.strerror}") from error
    except OSError as error:
        raise InputValidationError(f"the video {name!r} cannot be read: {error.strerror}") from error
    if container.format.name == "tty":  # libav paints any text as a picture
        container.close()
        raise InputValidationError(f"{name!r} is not a video that libav can open: it is text")
    return container


def decode_packet(packet: Any) -> list[Any]:
    """The frames that a packet (av.Packet) brings, and libav's errors only: a codec that could not be opened PyAV 19
    calls unknown from then on, by a ValueError.

    Raises:
        av.error.FFmpegError: the packet is damaged, or what the codec needs to know before.
    """
    try:
        frames: list[Any] = packet.decode()
    except av.error.FFmpegError:
        raise
    except ValueError as error:
        raise av.error.InvalidDataError(av.error.tag_to_code(b"INDA"), str(error)) from error
    return frames


def video_stream(container: Any, path: str | os.PathLike[str]) -> Any:
    """The first video stream of an open container.

    Raises:
        InputValidationError: there is none, or it is of a codec that libav does not know.
    """
    video = [s for s in container.streams if s.type == "video"]
    if not video:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise InputValidationError(f"{os.fspath(path)!r} has no video stream (it has: {kinds})")
    if video[0].codec_context is None:
        raise InputValidationError(f"the video stream of {os.fspath(path)!r} is of a codec that libav does not know")
    return video[0]


class VideoFile:
    """The first video stream of a file, and its packets, which can be taken once; used by one thread at a time.

    A file is opened once, because that takes tens of milliseconds (libav decodes some frames to learn what is in it):
    the packets that it takes to see the first frame are kept for whoever reads the packets afterwards. So this works
    for what cannot be rewound as well. The decoder of the first frame stays in memory until the file is closed (10 MB
    for 1080p).

    Args:
        path: a file.
        stats: where warnings and damaged packets go.

    Attributes:
        path: as given.
        stats: as given.
        container, stream: libav's.
        extradata: the parameter sets that the container holds.

    Raises:
        InputValidationError: no such file, not media, no video stream.
    """

    def __init__(self, path: str | os.PathLike[str], stats: DecodeStats) -> None:
        self.path, self.stats = os.fspath(path), stats
        self._open()
        self.extradata = bytes(self.stream.codec_context.extradata or b"")

    def _open(self) -> None:
        self.container = open_container(self.path)
        try:
            self.stream = video_stream(self.container, self.path)
        except BaseException:
            self.container.close()
            raise
        self._coming: Iterator[Any] = self.container.demux(self.stream)
        self._kept: deque[Any] = deque()
        self._lost = False  # whether packets were taken that are not among the kept ones

    def first_frame(self) -> Any:
        """The first frame (av.VideoFrame) that can be decoded; to be called before the packets are taken.

        What is damaged is not counted here, but when the packets come again.

        Raises:
            VideoProcessingError: not a single frame can be decoded.
        """
        damaged = size = 0
        while True:
            try:
                packet = next(self._coming)
                size += packet.size
                self._lost = self._lost or len(self._kept) >= KEPT_PACKETS or size > KEPT_BYTES
                if not self._lost:
                    self._kept.append(packet)
                frames = decode_packet(packet)
            except StopIteration:
                break
            except av.error.FFmpegError:
                damaged += 1
                continue
            if frames:
                return frames[0]
        raise nothing_decoded(self.path, damaged)

    def first_packet(self) -> Any:
        """A copy of the first packet with something in it; after `first_frame` and before the packets are taken."""
        first = next((p for p in self._kept if p.size), None)
        if first is None:
            return None
        packet = av.Packet(bytes(first))
        for data in first.iter_sidedata():
            packet.set_sidedata(data)
        return packet

    def packets(self) -> Iterator[Any]:
        """The packets in decode order, the last ones empty; where the file breaks off is noted and they end."""
        if self._lost:
            self.container.close()
            self._open()
        seen, broken = 0, False
        while True:
            try:
                packet = self._kept.popleft() if self._kept else next(self._coming)
            except StopIteration:
                if broken:  # of some containers it is known how many packets there were
                    self.stats.skipped += max(0, self.stream.frames - seen)
                return
            except av.error.FFmpegError as error:
                self.stats.warn(f"the file breaks off: {error.strerror}")
                self.stats.skipped += max(1, self.stream.frames - seen)
                return
            if packet.is_corrupt:
                self.stats.warn("the file breaks off, or parts of it are missing: a packet is incomplete")
                broken = True
            seen += packet.size > 0
            yield packet

    def seek(self, stamp: int) -> None:
        """Let the packets begin at the last key packet at or before a time stamp, as far as the container knows."""
        with contextlib.suppress(av.error.FFmpegError):  # some containers refuse a stamp before the first one
            self.container.seek(stamp, stream=self.stream, backward=True)
        self._coming, self._lost = self.container.demux(self.stream), False
        self._kept.clear()

    def damaged(self, error: av.error.FFmpegError) -> None:
        """Note that a packet was left out, because of this."""
        self.stats.skipped += 1
        self.stats.warn(f"damaged packets were left out, the first because: {error.strerror}")

    def close(self) -> None:
        self._kept.clear()
        self._coming = iter(())
        self.container.close()


def nothing_decoded(path: str, damaged: int) -> VideoProcessingError:
    return VideoProcessingError(f"not a single frame of {path!r} can be decoded ({damaged} packets were damaged)")


def describe(file: VideoFile, first: Any) -> VideoInfo:
    """What a file and its first frame (av.VideoFrame) say; what had to be assumed goes to the file's `stats`."""
    container, stream, stats = file.container, file.stream, file.stats
    matrix, warning = matrix_of(int(first.colorspace), first.height)
    if warning:
        stats.warn(warning)
    rotation = -round(first.rotation / 90) * 90 % 360  # PyAV counts counterclockwise
    width, height = (first.height, first.width) if rotation in (90, 270) else (first.width, first.height)
    rate = stream.average_rate or stream.guessed_rate
    duration = None
    if stream.duration:
        duration = float(stream.duration * stream.time_base)
    elif container.duration:
        duration = container.duration / av.time_base
    if duration is not None and duration <= 0:
        duration = None
    return VideoInfo(
        path=file.path,
        width=width,
        height=height,
        rotation=rotation,
        codec=stream.codec_context.name,
        duration=duration,
        frame_count=stream.frames if stream.frames > 0 else None,
        average_rate=float(rate) if rate and rate > 0 else None,
        pixel_format=first.format.name,
        matrix=matrix,
        full_range=is_full_range(int(first.color_range), first.format.name),
        warnings=tuple(stats.warnings),
    )


BUILT_ON_NOTHING = "frames were left out: they, or what they build on, are damaged or missing"
NO_STAMP = "frames without a time stamp were put at the average rate"
BACKWARDS = "time stamps that repeat or go back were moved to the average rate"


class Clock:
    """Turns the time stamps of frames, taken in the order shown, into ascending seconds from the first one shown.

    Args:
        stats: where warnings go.
        average_rate: frames a second, for frames without a time stamp; None where unknown.
        time_base: seconds of one unit of the stamps.
        origin: seconds of the stream at which time is 0; None takes it from the first frame.
        started: True if frames before these were shown (with another clock), so that `origin` holds.

    Attributes:
        last: seconds of the last frame; None before the first.
        end: seconds at which it ends.
    """

    def __init__(
        self,
        stats: DecodeStats,
        average_rate: float | None,
        time_base: Fraction,
        *,
        origin: Fraction | None = None,
        started: bool = False,
    ) -> None:
        self._stats = stats
        self._step = 1.0 / (average_rate or 25.0)
        self._unit, self._units = time_base.numerator, time_base.denominator
        self._started = started
        self._begin(origin)
        self.last: float | None = None
        self.end = 0.0

    def _begin(self, origin: Fraction | None) -> None:
        """Time is (pts * factor - offset) / divisor.

        Whole numbers, whose quotient is rounded once: exact, and twenty times as fast as fractions.
        """
        self._has_origin = origin is not None
        whole, part = (0, 1) if origin is None else (origin.numerator, origin.denominator)
        self._factor, self._offset, self._divisor = self._unit * part, whole * self._units, self._units * part

    def __call__(self, pts: int | None, duration: int | None) -> float:
        """Seconds of the next frame; ascending even where the stream is not."""
        last = self.last
        if last is None and not self._started:
            # There is no origin if the stream has no time stamps at all.
            self._begin(None if pts is None else Fraction(pts * self._unit, self._units))
            time = 0.0
        elif pts is None or not self._has_origin:
            self._stats.warn(NO_STAMP)
            time = self._after(last or 0.0, self._step)
        else:
            time = (pts * self._factor - self._offset) / self._divisor
            if last is not None and time <= last:
                self._stats.warn(BACKWARDS)
                time = self._after(last, self._step)
        self.last = time
        self.end = self._after(time, duration * self._unit / self._units if duration else self._step)
        return time

    @staticmethod
    def _after(time: float, step: float) -> float:
        """A later time, even where it is so large that a step is lost in rounding, or a duration makes no sense."""
        return max(time + step, math.nextafter(time, math.inf))
