"""Decoding by libav (through PyAV) on the CPU: the reference, and the way without a GPU."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

from fastface.decode.color import is_full_range, yuv_coefficients
from fastface.decode.headers import headers_of
from fastface.decode.probe import (
    BUILT_ON_NOTHING,
    Clock,
    DecodeStats,
    VideoFile,
    decode_packet,
    describe,
    nothing_decoded,
)
from fastface.errors import InputValidationError, VideoProcessingError
from fastface.types import FrameBatch
from fastface.watch import check

_COLORSPACES = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709, "bt2020": Colorspace.BT2020}

_PLANAR_420 = {"yuv420p": 8, "yuvj420p": 8, "yuv420p10le": 10, "yuv420p12le": 12}

BATCH_BYTES = 48 << 20
"""RGB bytes that a batch may hold: 8 frames of 1080p, so that memory stays bounded for 8K as well."""

MAX_BATCH = 32

_HIDING = frozenset({"vp8", "libvpx", "vp9", "libvpx-vp9"})
"""Some of their packets give no frame, which their first bytes say."""

_ONE_EACH = _HIDING | {"h264", "hevc", "av1", "libdav1d", "libaom-av1", "mpeg1video", "mpeg2video", "mjpeg"}
"""One packet of these gives one frame."""


class LibavDecoder:
    """Decodes the first video stream of a file into RGB batches, in display orientation.

    Args:
        path: a file.
        every: give every n-th frame only (the others are decoded, because later ones build on them).
        batch_size: frames a batch; None chooses by size (at most 32 and about 48 MB).
        start: frames before this number are decoded and counted, but not given.

    Attributes:
        info: what the container and the first frame say.
        stats: counts, warnings and times, growing while frames are taken.

    Raises:
        InputValidationError: no such file, not media, no video stream.
        VideoProcessingError: not a single frame can be decoded.
    """

    name = "libav"
    threaded = False

    def __init__(
        self, path: str | os.PathLike[str], *, every: int = 1, batch_size: int | None = None, start: int = 0
    ) -> None:
        if every < 1:
            raise InputValidationError(f"every is {every}, must be at least 1")
        self.stats = DecodeStats()
        self._every, self._start = every, start
        self._file = VideoFile(path, self.stats)
        self._frames = self._decode()
        self._first: Any = None
        try:
            self._file.stream.thread_type = "AUTO"
            first = next(self._frames, None)
            if first is None:
                raise nothing_decoded(self._file.path, self.stats.skipped)
            self.info = describe(self._file, first)
        except BaseException:
            self.close()
            raise
        self._first = first
        self._clock = Clock(self.stats, self.info.average_rate, self._file.stream.time_base)
        self._reformatter = VideoReformatter()
        frame_bytes = 3 * self.info.width * self.info.height
        self.batch_size = batch_size or max(1, min(MAX_BATCH, BATCH_BYTES // frame_bytes))

    def _decode(self) -> Generator[Any, None, None]:
        """Frames in the order shown; what is damaged is left out and counted."""
        codec = self._file.stream.codec_context.name
        headers = headers_of(codec, b"") if codec in _HIDING else None
        one_each = codec in _ONE_EACH
        announced = given = failed = 0
        for packet in self._file.packets():
            if packet.size and not packet.is_discard and (headers is None or headers.look(bytes(packet)).shown):
                announced += 1
            try:
                frames = decode_packet(packet)
            except av.error.FFmpegError as error:
                self._file.damaged(error)
                failed += 1
                continue
            for frame in frames:
                given += 1
                one_each = one_each and not frame.interlaced_frame  # fields may come as packets of their own
                yield frame
        # libav says nothing of pictures that it leaves out because what they build on is missing.
        if one_each and announced - given > failed:
            self.stats.skipped += announced - given - failed
            self.stats.warn(BUILT_ON_NOTHING)

    def _time(self, frame: Any) -> float:
        """Seconds from the first frame shown; keeps the times ascending where the stream does not."""
        time = self._clock(frame.pts, frame.duration)
        self.stats.times.append(time)
        self.stats.end = self._clock.end
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
            frame = self._reformatter.reformat(frame, width=width, height=height)
        bits = _PLANAR_420.get(frame.format.name)
        pixels = self._convert(frame, bits) if bits is not None else self._reformat(frame, width, height)
        return np.rot90(pixels, -rotation // 90) if rotation else pixels

    def _convert(self, frame: Any, bits: int) -> NDArray[np.uint8]:
        """A 4:2:0 frame to RGB, in the arithmetic of the GPU's kernels, so that both see the same pixels."""
        from fastface import _core

        dtype = np.uint8 if bits == 8 else np.uint16
        planes: list[NDArray[Any]] = [np.frombuffer(p, dtype).reshape(p.height, -1) for p in frame.planes]
        if bits > 8:
            planes = [plane << (16 - bits) for plane in planes]  # to where P016 has them
        y, u, v = planes
        full_range = is_full_range(int(frame.color_range), frame.format.name)
        coefficients = yuv_coefficients(self.info.matrix, full_range, 8 if bits == 8 else 16)
        out = np.empty((frame.height, frame.width, 3), np.uint8)
        _core.yuv420_to_rgb(y, u, v, frame.width, frame.height, [*coefficients.values()], out, 2)
        return out

    def _reformat(self, frame: Any, width: int, height: int) -> NDArray[np.uint8]:
        """A frame of any other format to RGB, by libswscale."""
        out = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", src_colorspace=_COLORSPACES[self.info.matrix]
        )
        pixels: Any = out.to_ndarray()
        return np.asarray(pixels, np.uint8)

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
            check()  # a batch of every 100th frame takes many of these
            number = self.stats.frames
            seconds = self._time(frame)
            self.stats.frames += 1
            if number % self._every == 0 and number >= self._start:
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
        """Release the file and the codec, and the frames on the way, at once and not when garbage is collected."""
        self._frames.close()
        self._first = None
        self._file.close()

    def __enter__(self) -> LibavDecoder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
