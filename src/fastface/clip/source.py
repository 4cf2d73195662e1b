"""The video that clips are cut from: the time stamp of every picture, where it can be cut, and its pictures in order.

Its packets are read once, and nothing is decoded for it but the first picture. Eight bytes a picture are kept.
"""

from __future__ import annotations

import bisect
import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from fastface.clip.spans import Interval
from fastface.decode.device import Unsupported
from fastface.decode.probe import DecodeStats, VideoFile, decode_packet, describe, open_container, video_stream
from fastface.decode.segments import SegmentReader
from fastface.decode.surfaces import BACK
from fastface.encode.h264 import Coding
from fastface.encode.planes import Converter
from fastface.errors import InputValidationError, VideoProcessingError
from fastface.types import VideoInfo

_ROUNDING = Fraction(2, 1_000_000)
"""Seconds: times in a document are rounded to a microsecond, and no two pictures are as near."""

_NO_STAMPS = "no time stamps, by which it could be cut: put it into a container that has, such as .mkv"


class Cut(NamedTuple):
    """Pictures that are kept, numbers `first` <= i < `last`; of all that there are, in the order shown."""

    first: int
    last: int


@dataclass(frozen=True)
class Source:
    """A video to cut from.

    Attributes:
        path: of the file.
        info: what it is.
        coding: how its pictures are coded again.
        base: seconds of one unit of time stamps.
        stamps: [n] int64, time stamp of each picture, ascending.
        end: time stamp at which the last picture ends.
        safe: numbers of the pictures, ascending from 0, at which a decoder can begin and at which all that was before
            can be left out, and the packets from each of them to the next.
        reorder: pictures by which decoding runs ahead of showing.
        plain: whether pictures are 8-bit 4:2:0, progressive, and shown as they are coded, not turned.
        extradata: parameter sets that the container holds.
        sounds: indexes of the sound streams that can be decoded.
        damaged: packets of the picture that are damaged and left out.
    """

    path: str
    info: VideoInfo
    coding: Coding
    base: Fraction
    stamps: NDArray[np.int64]
    end: int
    safe: tuple[int, ...]
    reorder: int
    plain: bool
    extradata: bytes
    sounds: tuple[int, ...]
    damaged: int

    def seconds(self, stamp: int) -> float:
        """A time stamp as seconds from the first picture."""
        return float((stamp - int(self.stamps[0])) * self.base)

    @property
    def times(self) -> NDArray[np.float64]:
        """[n] seconds of each picture from the first."""
        times: NDArray[np.float64] = (self.stamps - self.stamps[0]) * float(self.base)
        return times

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.seconds(self.end)

    def stamp(self, i: int) -> int:
        """Time stamp at which picture i begins; of the one after the last: at which the video ends."""
        return int(self.stamps[i]) if i < len(self.stamps) else self.end

    def cut(self, span: Interval) -> Cut:
        """The pictures that begin within a span."""
        first, last = (self._at(seconds) for seconds in span)
        return Cut(first, last)

    def _at(self, seconds: float) -> int:
        """Number of the first picture at or after a time."""
        stamp = int(self.stamps[0]) + math.ceil((Fraction(seconds) - _ROUNDING) / self.base)
        return int(np.searchsorted(self.stamps, stamp))

    def is_safe(self, i: int) -> bool:
        """Whether there can be a cut before picture i."""
        k = bisect.bisect_left(self.safe, i)
        return i == len(self.stamps) or (k < len(self.safe) and self.safe[k] == i)


def open_source(path: str | os.PathLike[str]) -> Source:
    """Look at a video.

    Raises:
        InputValidationError: it cannot be read, has no picture, or its packets have no time stamps.
        VideoProcessingError: not a single frame can be decoded.
    """
    stats = DecodeStats()
    with contextlib.closing(VideoFile(path, stats)) as file:
        first = file.first_frame()
        info = describe(file, first)
        if first.pts is None:
            raise InputValidationError(f"{info.path!r} has {_NO_STAMPS}")
        stream, base = file.stream, Fraction(file.stream.time_base)
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        coding = Coding.of(Converter(first, stream.codec_context, info.rotation), stream.codec_context, rate, base)
        plain = first.format.name in ("yuv420p", "yuvj420p") and not first.interlaced_frame and not info.rotation
        sounds = tuple(
            s.index for s in file.container.streams.audio if s.codec_context is not None and s.codec_context.sample_rate
        )
        extradata = file.extradata
        try:
            stamps, safe, reorder, last = _stamps(SegmentReader(file, min_frames=1, origin=first.pts))
        except Unsupported as error:
            raise InputValidationError(f"{info.path!r} cannot be cut: {error}") from error
    end = max(int(stamps[-1]) + 1, last or int(stamps[-1]) + max(round(1 / rate / base), 1))
    return Source(info.path, info, coding, base, stamps, end, safe, reorder, plain, extradata, sounds, stats.skipped)


def _stamps(reader: SegmentReader) -> tuple[NDArray[np.int64], tuple[int, ...], int, int | None]:
    """Stamps ascending, safe pictures, reordering, and the end of the last picture where its packet says."""
    decoded: list[int] = []
    starts: list[int] = []
    last, end = -(1 << 63), None
    segment, begins = -1, False
    for coded in reader:
        begins = begins or coded.segment != segment
        segment = coded.segment
        if not coded.shown or coded.pts is None:
            continue
        if begins:
            starts.append(coded.pts)
            begins = False
        decoded.append(coded.pts)
        if coded.pts > last:
            last, end = coded.pts, coded.pts + coded.duration if coded.duration else None
    if not decoded:
        raise InputValidationError(f"the video has {_NO_STAMPS}")
    order = np.array(decoded, np.int64)
    stamps = np.unique(order)
    ahead = np.arange(len(order)) - np.searchsorted(stamps, order)
    safe = tuple(int(i) for i in np.searchsorted(stamps, np.array(starts, np.int64)))
    return stamps, safe, max(int(ahead.max()), 0), end


class Reader:
    """Pictures of a source by number, from a file that is opened when the first is asked for.

    Args:
        source: the video.
        threads: of the decoder.
    """

    def __init__(self, source: Source, threads: int = 1) -> None:
        self.source, self._threads = source, threads
        self.container: Any = None
        self.stream: Any = None

    def _open(self) -> None:
        self.close()
        self.container = open_container(self.source.path)
        self.stream = video_stream(self.container, self.source.path)
        self.stream.thread_type = "AUTO"
        self.stream.codec_context.thread_count = self._threads

    def pictures(self, first: int, last: int) -> Iterator[tuple[int, Any]]:
        """(number, av.VideoFrame) of first <= number < last, in order; what cannot be decoded is missing."""
        source = self.source
        if first >= last:
            return
        want, stop = source.stamp(first), source.stamp(last)
        frames = self._from(want)
        number, frame = first, next(frames, None)
        while frame is not None and frame.pts < stop:
            if (frame.width, frame.height) != self._size():
                raise VideoProcessingError(
                    f"picture {number} of {source.path!r} is {frame.width} x {frame.height} pixels, "
                    f"must be {self._size()[0]} x {self._size()[1]} as the first; a change of size cannot be cut",
                    frame=number,
                )
            number = int(np.searchsorted(source.stamps, frame.pts))
            if number >= first and number < len(source.stamps) and source.stamps[number] == frame.pts:
                yield number, frame
                first = number + 1
            frame = next(frames, None)

    def _size(self) -> tuple[int, int]:
        info = self.source.info
        return (info.height, info.width) if info.rotation in (90, 270) else (info.width, info.height)

    def _from(self, want: int) -> Iterator[Any]:
        """Frames from the one with this stamp on, or, where it cannot be decoded, from the one after it."""
        for back in BACK:
            frames = self._decode(want - math.ceil(Fraction(back) / self.source.base))
            frame = next((f for f in frames if f.pts >= want), None)
            # Seeking is only as good as the container's index, and a key picture may need what was before.
            if frame is not None and frame.pts == want and not frame.is_corrupt:
                yield frame
                yield from frames
                return
        yield from (f for f in self._decode(None) if f.pts >= want)

    def _decode(self, stamp: int | None) -> Iterator[Any]:
        """Frames from the last key picture at or before a stamp; None: from the beginning."""
        if stamp is None or self.container is None:
            self._open()
        if stamp is not None:
            with contextlib.suppress(av.error.FFmpegError):  # some containers refuse a stamp before the first one
                self.container.seek(stamp, stream=self.stream, backward=True)
        for packet in self.container.demux(self.stream):
            try:
                decoded = decode_packet(packet)
            except av.error.InvalidDataError:
                continue
            yield from (f for f in decoded if f.pts is not None)

    def close(self) -> None:
        """Release the file."""
        if self.container is not None:
            self.container.close()


def parts_of(source: Source, cut: Cut, most: int) -> list[Cut]:
    """A cut divided into at most `most` pictures each, where possible at places where a decoder can begin."""
    out, first = [], cut.first
    while cut.last - first > most:
        k = bisect.bisect_right(source.safe, first + most) - 1
        # A part much shorter than it may be costs more than what is decoded twice.
        middle = source.safe[k] if source.safe[k] > first + most // 2 else first + most
        out.append(Cut(first, middle))
        first = middle
    out.append(Cut(first, cut.last))
    return out
