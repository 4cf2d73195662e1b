"""The sound of cuts: the samples between the very same two moments as the pictures, as AAC, one stream over all cuts.

A position in the clip is a whole number of samples, rounded once from the exact time, so that nothing adds up however
many cuts there are. Where the source has no sound for a moment there is silence.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from fastface.clip.source import Cut, Source
from fastface.decode.probe import decode_packet, open_container
from fastface.encode.sound import aac_stream

_EARLIER = Fraction(1, 2)
"""Seconds before a cut from which sound is decoded: the first samples after a seek are not yet right."""

_AHEAD = 16
"""Parts of a clip whose sound is encoded before their pictures are asked for: a minute of AAC is a megabyte."""

_STRAY = Fraction(5, 1000)
"""Seconds by which a time stamp may depart from the count of samples. Matroska's are rounded to a millisecond, so
smaller differences say nothing; larger ones are gaps, or a clock that runs apart, and are followed."""


class Sound:
    """One sound track of a clip.

    Args:
        source: the video.
        index: of the sound stream.
        cuts: of the clip, one after the other.
        container: to which the stream is added; its packets are muxed by whoever asks for them.
    """

    def __init__(self, source: Source, index: int, cuts: Sequence[Cut], container: Any) -> None:
        self.source, self.cuts = source, cuts
        self.file = open_container(source.path)
        self.track = self.file.streams[index]
        self.stream, self._resampler = aac_stream(container, self.track.codec_context)
        self.rate: int = self.stream.codec_context.sample_rate
        self._form = (self._resampler.format, self._resampler.layout)
        self._blocks = self._framed()
        self._next: Any = None
        self._over = False

    def until(self, seconds: Fraction | None) -> list[Any]:
        """Packets of what is heard before a time of the clip, from where the last call ended; None: of all that is
        left."""
        packets: list[Any] = []
        while not self._over:
            if self._next is None:
                self._next = next(self._blocks, None)
            if self._next is None:
                self._over = True
                packets += self.stream.encode(None)
                break
            if seconds is not None and self._next.pts >= seconds * self.rate:
                break
            packets += self.stream.encode(self._next)
            self._next = None
        return packets

    def close(self) -> None:
        """Release the file."""
        self._blocks.close()
        self.file.close()

    def _framed(self) -> Any:
        """Blocks of as many samples as AAC takes at once (av.AudioFrame), from the beginning of the clip on."""
        size = 1024
        kept: list[NDArray[np.float32]] = []
        have = at = 0
        for piece in self._samples():
            kept.append(piece)
            have += piece.shape[1]
            if have < size:
                continue
            joined = np.concatenate(kept, 1)
            for start in range(0, have - size + 1, size):
                yield self._block(joined[:, start : start + size], at)
                at += size
            kept = [joined[:, have // size * size :]]
            have %= size
        if have:
            yield self._block(np.concatenate(kept, 1), at)

    def _block(self, samples: NDArray[np.float32], at: int) -> Any:
        frame: Any = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._form[1].name)
        frame.sample_rate, frame.pts, frame.time_base = self.rate, at, Fraction(1, self.rate)
        return frame

    def _samples(self) -> Iterator[NDArray[np.float32]]:
        """[channels, k] float32: all samples of all cuts, with silence where there are none."""
        channels = self._form[1].nb_channels
        passed, written = Fraction(0), 0
        for cut in self.cuts:
            start, end = (self.source.stamp(i) * self.source.base for i in cut)
            passed += end - start
            first = round(start * self.rate)
            last = first + round(passed * self.rate) - written
            written += last - first
            at = first
            for position, samples in self._heard(start):
                if position >= last:
                    break
                samples = samples[:, max(at - position, 0) : last - position]
                position = max(position, at)
                if not samples.shape[1]:
                    continue
                yield from _silence(channels, position - at)
                yield samples
                at = position + samples.shape[1]
            yield from _silence(channels, last - at)

    def _heard(self, start: Fraction) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Samples as they come, each piece with the number of its first, counted from time stamp 0."""
        resampler = av.AudioResampler(format="fltp", layout=self._form[1], rate=self.rate)
        at: int | None = None
        for frame in self._decoded(start):
            stamp = None if frame.pts is None else frame.pts * Fraction(frame.time_base) * self.rate
            if at is None and stamp is None:
                continue
            if at is None or (stamp is not None and abs(stamp - at) > _STRAY * self.rate):
                at = round(stamp)  # type: ignore[arg-type]
            frame.pts = None  # the resampler would fill gaps in its own way
            for piece in resampler.resample(frame):
                samples: Any = piece.to_ndarray()
                yield at, samples
                at += samples.shape[1]
        for piece in resampler.resample(None) if at is not None else ():
            rest: Any = piece.to_ndarray()
            yield at or 0, rest

    def _decoded(self, start: Fraction) -> Iterator[Any]:
        """Sound (av.AudioFrame) from before a time on; what is damaged is left out."""
        base = Fraction(self.track.time_base)
        with contextlib.suppress(av.error.FFmpegError):  # before the beginning, in some containers
            self.file.seek(int((start - _EARLIER) / base), stream=self.track, backward=True)
        for packet in self.file.demux(self.track):
            try:
                yield from decode_packet(packet)
            except av.error.InvalidDataError:
                continue


class Sounds:
    """All sound tracks of a clip, encoded by a thread of their own some way ahead of the pictures.

    Args:
        source: the video.
        cuts: of the clip, one after the other.
        container: to which the streams are added.
    """

    def __init__(self, source: Source, cuts: Sequence[Cut], container: Any) -> None:
        self._tracks: list[Sound] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="fastface-sound")
        self._coming: deque[Future[list[Any]]] = deque()
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            for index in source.sounds:
                self._tracks.append(Sound(source, index, cuts, container))
            undo.pop_all()

    def packets(self, ends: Iterable[Fraction | None]) -> Iterator[list[Any]]:
        """For each time of the clip, in ascending order, the packets of what is heard before it; None: of all that is
        left. The work on the first of them begins with this call; the container's header must be written by then."""
        left = iter(ends)
        self._submit(itertools.islice(left, _AHEAD))
        return self._given(left)

    def _submit(self, ends: Iterable[Fraction | None]) -> None:
        self._coming.extend(self._pool.submit(self._until, end) for end in ends if self._tracks)

    def _given(self, left: Iterator[Fraction | None]) -> Iterator[list[Any]]:
        while self._coming:
            packets = self._coming.popleft().result()
            self._submit(itertools.islice(left, 1))
            yield packets

    def _until(self, seconds: Fraction | None) -> list[Any]:
        return [packet for track in self._tracks for packet in track.until(seconds)]

    def close(self) -> None:
        """End the thread and release the files."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for track in self._tracks:
            track.close()


def _silence(channels: int, count: int) -> Iterator[NDArray[np.float32]]:
    """As many samples of silence, in pieces of a second or so: a gap may be hours long."""
    while count > 0:
        yield np.zeros((channels, min(count, 48000)), np.float32)
        count -= 48000
