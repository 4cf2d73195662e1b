"""Cutting a video at key pictures into segments that can be decoded apart, in one pass and in bounded memory.

A cut is made before a packet only if decoding from there, with the parameter sets put in front, gives what decoding the
whole gives from there on, and if all earlier packets give all earlier pictures:

* it is flagged as a key packet, and is of a kind after which nothing refers further back (H.264: IDR, not a recovery
  point; HEVC: any IRAP; VP9 and AV1: a key frame that is shown at once);
* no packet before it has a pts as high, and none after it in decode order has a lower pts. The latter refuses HEVC's
  CRA pictures with leading (RASL) pictures and MPEG-2's open groups. It is known once a packet with dts >= the key's
  pts has come, as pts >= dts: so a pass with a few packets of lookahead decides, and a file need not be read twice;
* every parameter set seen so far is among those that are put in front.

Where time stamps are missing, repeat or contradict each other nothing is cut from there on. A file without a safe cut
is one segment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from fastface.decode.device import Unsupported
from fastface.decode.headers import Look, headers_of
from fastface.decode.probe import BUILT_ON_NOTHING, DecodeStats, VideoFile

MIN_FRAMES = 64
"""Packets that a segment has at least (the last one may have fewer)."""

LOOKAHEAD = 1024
"""Packets that are held back at most until a cut is decided; then it is refused."""


class Coded(NamedTuple):
    """One packet, ready for a decoder without a container (Annex B, parameter sets in front of each segment).

    Attributes:
        segment: which segment it belongs to, from 0.
        base: shown frames in all segments before.
        data: keeps the bytes alive.
        address, size: where they are.
        pts, dts, duration: in the stream's time base; None where the container does not say.
        key: whether the container calls it a key packet.
        shown: False if the picture is decoded but not shown (edit lists, hidden reference frames).
    """

    segment: int
    base: int
    data: Any
    address: int
    size: int
    pts: int | None
    dts: int | None
    duration: int | None
    key: bool
    shown: bool


@dataclass(frozen=True)
class Segment:
    """What is in one segment.

    Attributes:
        number: from 0.
        first_frame: shown frames in all segments before.
        packets, size: how many, and their bytes.
        frames: how many frames it must give.
        pts: time stamps of these frames, ascending; those without one are left out.
    """

    number: int
    first_frame: int
    packets: int
    size: int
    frames: int
    pts: tuple[int, ...]


class SegmentReader:
    """Reads the packets of a file's first video stream once, each with the number of its segment.

    Memory is bounded by the lookahead, whatever the length of the file. Can be iterated over once, in one thread.

    Args:
        source: a file's name, or a file that is open already, which is closed with the reader.
        min_frames: packets that a segment has at least; the cut is made at the next safe key packet.
        cut: False gives one segment.
        origin: pts of the first frame shown; packets of earlier ones are counted as skipped.
        stats: where warnings and damaged packets go; those of a file that is open already hold.

    Attributes:
        codec: libav's name of the codec.
        time_base: seconds of one unit of pts.
        segments: started so far.
        new_sequence: None, or the number of the frame (about) at which the stream's sequence parameters changed.

    Raises:
        InputValidationError: no such file, not media, no video stream.
        Unsupported: the parameter sets that the container holds are damaged.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | VideoFile,
        *,
        min_frames: int = MIN_FRAMES,
        cut: bool = True,
        origin: int | None = None,
        stats: DecodeStats | None = None,
    ) -> None:
        self.segments = 0
        self.new_sequence: int | None = None
        self._file = source if isinstance(source, VideoFile) else VideoFile(source, stats or DecodeStats())
        self.stats = self._file.stats
        try:
            stream = self._file.stream
            self.codec: str = stream.codec_context.name
            self.time_base = stream.time_base
            self._headers = headers_of(self.codec, self._file.extradata)
            self._filter = self._bitstream_filter()
        except BaseException:
            self._file.close()
            raise
        self._min_frames = max(1, min_frames)
        self._origin = origin
        self._cut = cut and self._headers.can_cut
        self._highest: int | None = None
        self._dts: int | None = None
        self._stamps: set[int] = set()  # of frames shown, as far as they may come again
        self._seen = 0

    def _bitstream_filter(self) -> Any:
        name = self._headers.filter
        try:
            return BitStreamFilterContext(name, self._file.stream) if name else None
        except av.error.FFmpegError as error:
            raise Unsupported(f"the container's parameter sets are damaged ({error.strerror})") from error

    def _demux(self) -> Iterator[Any]:
        """Packets in decode order, through the bitstream filter; damaged ones are counted and left out."""
        for packet in self._file.packets():
            if self._filter is None:
                if packet.size:
                    yield packet
                continue
            try:
                out = self._filter.filter(packet if packet.size else None)
            except av.error.FFmpegError as error:
                self._file.damaged(error)
                continue
            for filtered in out:
                if filtered.size:
                    yield filtered

    def _inspect(self, packet: Any) -> tuple[Any, Look]:
        """What is in a packet; from here on `_cut` is False if nothing later may be cut off."""
        look = self._headers.look(bytes(packet))
        if look.new_sets:
            if self._seen == 0:
                self._headers.learn(look)
            else:
                # What stands in front of a segment would no longer be what holds there.
                self._cut = False
                if look.new_sequence and self.new_sequence is None:
                    self.new_sequence = self._seen
        if self._cut and not self._consistent(packet, look):
            self._cut = False
        self._seen += 1
        return packet, look

    def _consistent(self, packet: Any, look: Look) -> bool:
        """Whether the time stamps so far give each frame a time of its own, in the order of the pts.

        A frame whose stamp repeats is moved on, maybe past the next ones: so they must be in one segment.
        """
        pts, dts = packet.pts, packet.dts
        if pts is None:
            return False
        if dts is not None:
            if pts < dts or (self._dts is not None and dts < self._dts):
                return False
            self._dts = dts
            if len(self._stamps) >= 64:  # as pts >= dts, the lower ones cannot come again
                self._stamps = {p for p in self._stamps if p >= dts}
        if not look.shown or packet.is_discard:
            return True
        if pts in self._stamps or len(self._stamps) >= LOOKAHEAD:
            return False
        self._stamps.add(pts)
        return True

    def _may_cut(self, packet: Any, look: Look) -> bool:
        """Whether this packet may begin a segment, as far as what came before tells."""
        return (
            self._cut
            and packet.is_keyframe
            and look.entry
            and packet.pts is not None
            and (self._highest is None or packet.pts > self._highest)
        )

    def __iter__(self) -> Iterator[Coded]:
        """The packets in decode order. Closing or exhausting the iterator closes the file."""
        pending: list[tuple[Any, Look]] = []
        number, base, shown, count = 0, 0, 0, 0
        self.segments = 1

        def emit(item: tuple[Any, Look], start: bool) -> Coded:
            nonlocal number, base, shown, count
            packet, look = item
            if start and count:
                number, base, shown, count = number + 1, base + shown, 0, 0
                self.segments = number + 1
            visible = look.shown and not packet.is_discard
            pts = packet.pts
            if pts is not None:
                if self._highest is None or pts > self._highest:
                    self._highest = pts
                if visible and self._origin is not None and pts < self._origin:
                    visible = False
                    self.stats.skipped += 1
                    self.stats.warn(BUILT_ON_NOTHING)
            count += 1
            shown += visible
            data, address, size = packet, packet.buffer_ptr, packet.buffer_size
            if start or count == 1:
                prefix, skip = self._headers.prefix(look)
                if prefix:
                    head = bytes(packet)
                    data = np.frombuffer(head[:skip] + prefix + head[skip:], np.uint8)
                    address, size = data.ctypes.data, data.size
            duration = packet.duration or None
            return Coded(number, base, data, address, size, pts, packet.dts, duration, packet.is_keyframe, visible)

        try:
            for packet in self._demux():
                item = self._inspect(packet)
                if pending:
                    key = pending[0][0].pts
                    if not self._cut or packet.pts < key or len(pending) >= LOOKAHEAD:
                        safe = False
                    elif packet.dts is not None and packet.dts >= key:
                        safe = True
                    else:
                        pending.append(item)
                        continue
                    for i, held in enumerate(pending):
                        yield emit(held, safe and i == 0)
                    pending = []
                if count >= self._min_frames and self._may_cut(*item):
                    pending = [item]
                else:
                    yield emit(item, False)
            for i, held in enumerate(pending):
                yield emit(held, i == 0)
        finally:
            self.close()

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def plan(path: str | os.PathLike[str], *, min_frames: int = MIN_FRAMES) -> list[Segment]:
    """The segments of a file, by reading all of it and decoding nothing.

    Raises:
        InputValidationError: no such file, not media, no video stream.
    """
    out: list[Segment] = []
    packets, size, frames, pts, base = 0, 0, 0, list[int](), 0
    for coded in SegmentReader(path, min_frames=min_frames):
        if coded.segment > len(out):
            out.append(Segment(len(out), base, packets, size, frames, tuple(sorted(pts))))
            packets, size, frames, pts = 0, 0, 0, []
        base = coded.base
        packets += 1
        size += coded.size
        if coded.shown:
            frames += 1
            if coded.pts is not None:
                pts.append(coded.pts)
    if packets:
        out.append(Segment(len(out), base, packets, size, frames, tuple(sorted(pts))))
    return out
