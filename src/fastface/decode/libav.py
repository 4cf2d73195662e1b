"""Decoding by libav (through PyAV) on the CPU: the reference, and the way without a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

from fastface.decode.color import is_full_range, matrix_of
from fastface.errors import InputValidationError, VideoProcessingError
from fastface.types import FrameBatch, VideoInfo

_COLORSPACES = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709, "bt2020": Colorspace.BT2020}

BATCH_BYTES = 48 << 20
"""RGB bytes that a batch may hold: 8 frames of 1080p, so that memory stays bounded for 8K as well."""

MAX_BATCH = 32


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
        return av.open("file:" + os.path.abspath(name))
    except av.error.FFmpegError as error:
        raise InputValidationError(f"{name!r} is not a video that libav can open: {error.strerror}") from error
    except OSError as error:
        raise InputValidationError(f"the video {name!r} cannot be read: {error.strerror}") from error


class LibavDecoder:
    """Decodes the first video stream of a file into RGB batches, in display orientation.

    Args:
        path: a file.
        every: give every n-th frame only (the others are decoded, because later ones build on them).
        batch_size: frames a batch; None chooses by size (at most 32 and about 48 MB).

    Attributes:
        info: what the container and the first frame say.
        stats: counts, warnings and times, growing while frames are taken.

    Raises:
        InputValidationError: no such file, not media, no video stream.
        VideoProcessingError: not a single frame can be decoded.
    """

    name = "libav"

    def __init__(self, path: str | os.PathLike[str], *, every: int = 1, batch_size: int | None = None) -> None:
        if every < 1:
            raise InputValidationError(f"every is {every}, must be at least 1")
        self.stats = DecodeStats()
        self._every = every
        self._container = open_container(path)
        try:
            video = [s for s in self._container.streams if s.type == "video"]
            if not video:
                kinds = ", ".join(sorted({s.type for s in self._container.streams})) or "nothing"
                raise InputValidationError(f"{os.fspath(path)!r} has no video stream (it has: {kinds})")
            self._stream = video[0]
            self._stream.thread_type = "AUTO"
            self._frames = self._decode()
            try:
                first = next(self._frames)
            except StopIteration:
                raise VideoProcessingError(
                    f"not a single frame of {os.fspath(path)!r} can be decoded "
                    f"({self.stats.skipped} packets were damaged)"
                ) from None
            self.info = self._describe(os.fspath(path), first)
        except BaseException:
            self._container.close()
            raise
        self._first: Any = first
        self._reformatter = VideoReformatter()
        frame_bytes = 3 * self.info.width * self.info.height
        self.batch_size = batch_size or max(1, min(MAX_BATCH, BATCH_BYTES // frame_bytes))

    def _describe(self, path: str, first: Any) -> VideoInfo:
        stream = self._stream
        matrix, warning = matrix_of(int(first.colorspace), first.height)
        if warning:
            self.stats.warn(warning)
        rotation = -round(first.rotation / 90) * 90 % 360  # PyAV counts counterclockwise
        width, height = (first.height, first.width) if rotation in (90, 270) else (first.width, first.height)
        rate = stream.average_rate or stream.guessed_rate
        duration = None
        if stream.duration:
            duration = float(stream.duration * stream.time_base)
        elif self._container.duration:
            duration = self._container.duration / av.time_base
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            rotation=rotation,
            codec=stream.codec_context.name,
            duration=duration,
            frame_count=stream.frames or None,
            average_rate=float(rate) if rate else None,
            pixel_format=first.format.name,
            matrix=matrix,
            full_range=is_full_range(int(first.color_range), first.format.name),
            warnings=tuple(self.stats.warnings),
        )

    def _decode(self) -> Iterator[Any]:
        """Frames in the order shown; damaged packets are counted and left out."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self.stats.warn(f"the file breaks off: {error.strerror}")
                self.stats.skipped += 1
                return
            try:
                yield from packet.decode()
            except av.error.FFmpegError as error:
                self.stats.skipped += 1
                self.stats.warn(f"damaged packets were left out, the first because: {error.strerror}")

    def _time(self, frame: Any) -> float:
        """Seconds from the first frame shown; keeps the times ascending where the stream does not."""
        times, step = self.stats.times, 1.0 / (self.info.average_rate or 25.0)
        if not times:
            # The origin stays None if the stream has no time stamps at all.
            self._origin = None if frame.pts is None else frame.pts * frame.time_base
            time = 0.0
        elif frame.pts is None or self._origin is None:
            self.stats.warn("frames without a time stamp were put at the average rate")
            time = times[-1] + step
        else:
            time = float(frame.pts * frame.time_base - self._origin)
            if time <= times[-1]:
                self.stats.warn("time stamps that repeat or go back were moved to the average rate")
                time = times[-1] + step
        times.append(time)
        length = float(frame.duration * frame.time_base) if frame.duration else step
        self.stats.end = time + length
        return time

    def _rgb(self, frame: Any) -> NDArray[np.uint8]:
        rotation = self.info.rotation
        width, height = self.info.width, self.info.height
        if rotation in (90, 270):
            width, height = height, width
        if (frame.width, frame.height) != (width, height):
            self.stats.warn(
                f"the picture changes size in mid-stream (to {frame.width}x{frame.height}); it was scaled back"
            )
        out = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", src_colorspace=_COLORSPACES[self.info.matrix]
        )
        pixels: NDArray[np.uint8] = out.to_ndarray()
        return np.rot90(pixels, -rotation // 90) if rotation else pixels

    def __iter__(self) -> Iterator[FrameBatch]:
        """The batches; can be iterated over once.

        Raises:
            VideoProcessingError: a decoded frame cannot be turned into RGB.
        """
        shape = (self.info.height, self.info.width, 3)
        index: list[int] = []
        time: list[float] = []
        pixels = np.empty((self.batch_size, *shape), np.uint8)
        frame, self._first = self._first, None
        while frame is not None:
            number = self.stats.frames
            seconds = self._time(frame)
            self.stats.frames += 1
            if number % self._every == 0:
                try:
                    pixels[len(index)] = self._rgb(frame)
                except (av.error.FFmpegError, ValueError) as error:
                    raise VideoProcessingError(
                        f"frame {number} ({frame.format.name}) cannot be turned into RGB: {error}",
                        frame=number,
                        time=seconds,
                    ) from error
                index.append(number)
                time.append(seconds)
                if len(index) == self.batch_size:
                    yield FrameBatch(np.array(index, np.int64), np.array(time), pixels)
                    index, time = [], []
                    pixels = np.empty((self.batch_size, *shape), np.uint8)
            frame = next(self._frames, None)
        if index:
            yield FrameBatch(np.array(index, np.int64), np.array(time), pixels[: len(index)])

    def close(self) -> None:
        """Release the file and the codec."""
        self._container.close()

    def __enter__(self) -> LibavDecoder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
