"""Cutting a video at key pictures into segments that can be decoded apart, in one pass and in bounded memory.

A cut is made before a packet only if decoding from there, with the parameter sets put in front, gives what decoding the
whole gives from there on, and if all earlier packets give all earlier pictures:

* it is flagged as a key packet, and is of a kind after which nothing refers further back (H.264: IDR, not a recovery
  point; HEVC: any IRAP; VP9 and AV1: a key frame that is shown at once);
* no packet before it has a pts as high, and none after it in decode order has a lower pts. The latter refuses HEVC's
  CRA pictures with leading (RASL) pictures and MPEG-2's open groups. It is known once a packet with dts >= the key's
  pts has come, as pts >= dts: so a pass with a few packets of lookahead decides, and a file need not be read twice;
* every parameter set seen so far is among those that are put in front.

Where time stamps are missing or contradict each other nothing is cut from there on. A file without a safe cut is one
segment.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from fastface.decode.probe import DecodeStats, open_container, video_stream

MIN_FRAMES = 64
"""Packets that a segment has at least (the last one may have fewer)."""

LOOKAHEAD = 1024
"""Packets that are held back at most until a cut is decided; then it is refused."""

_BREAKS_OFF = "the file breaks off, or parts of it are missing: a packet is incomplete"


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
        path: a file.
        min_frames: packets that a segment has at least; the cut is made at the next safe key packet.
        cut: False gives one segment.
        origin: pts of the first frame shown; packets of earlier ones are not counted as shown.
        stats: where warnings and damaged packets go.

    Attributes:
        codec: libav's name of the codec.
        time_base: seconds of one unit of pts.
        segments: started so far.
        new_sequence: None, or the number of the frame (about) at which the stream's sequence parameters changed.

    Raises:
        InputValidationError: no such file, not media, no video stream.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        min_frames: int = MIN_FRAMES,
        cut: bool = True,
        origin: int | None = None,
        stats: DecodeStats | None = None,
    ) -> None:
        self.stats = stats or DecodeStats()
        self.segments = 0
        self.new_sequence: int | None = None
        self._container = open_container(path)
        try:
            self._stream = video_stream(self._container, path)
            self.codec: str = self._stream.codec_context.name
            self.time_base = self._stream.time_base
            self._codec = _codec(self.codec, bytes(self._stream.codec_context.extradata or b""))
            self._filter = BitStreamFilterContext(self._codec.filter, self._stream) if self._codec.filter else None
        except BaseException:
            self._container.close()
            raise
        self._min_frames = max(1, min_frames)
        self._origin = origin
        self._cut = cut and self._codec.can_cut
        self._highest: int | None = None
        self._seen = 0

    def _demux(self) -> Iterator[Any]:
        """Packets in decode order, through the bitstream filter; damaged ones are counted and left out."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self.stats.warn(f"the file breaks off: {error.strerror}")
                self.stats.skipped += 1
                break
            if packet.is_corrupt:
                self.stats.warn(_BREAKS_OFF)
            if self._filter is None:
                if packet.size:
                    yield packet
                continue
            try:
                out = self._filter.filter(packet if packet.size else None)
            except av.error.FFmpegError as error:
                self.stats.skipped += 1
                self.stats.warn(f"damaged packets were left out, the first because: {error.strerror}")
                continue
            yield from (p for p in out if p.size)

    def _inspect(self, packet: Any) -> tuple[Any, _Look]:
        """What is in a packet; from here on `_cut` is False if nothing later may be cut off."""
        look = self._codec.look(bytes(packet))
        if look.new_sets:
            if self._seen == 0:
                self._codec.learn(look)
            else:
                # What stands in front of a segment would no longer be what holds there.
                self._cut = False
                if look.new_sequence and self.new_sequence is None:
                    self.new_sequence = self._seen
        pts, dts = packet.pts, packet.dts
        if pts is None or (dts is not None and pts < dts):
            self._cut = False
        self._seen += 1
        return packet, look

    def _may_cut(self, packet: Any, look: _Look) -> bool:
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
        pending: list[tuple[Any, _Look]] = []
        number, base, shown, count = 0, 0, 0, 0
        self.segments = 1

        def emit(item: tuple[Any, _Look], start: bool) -> Coded:
            nonlocal number, base, shown, count
            packet, look = item
            if start and count:
                number, base, shown, count = number + 1, base + shown, 0, 0
                self.segments = number + 1
            visible = look.shown and not packet.is_discard
            if packet.pts is not None:
                if self._highest is None or packet.pts > self._highest:
                    self._highest = packet.pts
                if self._origin is not None and packet.pts < self._origin:
                    visible = False
            count += 1
            shown += visible
            data, address, size = packet, packet.buffer_ptr, packet.buffer_size
            if start or count == 1:
                prefix, skip = self._codec.prefix(look)
                if prefix:
                    head = bytes(packet)
                    data = np.frombuffer(head[:skip] + prefix + head[skip:], np.uint8)
                    address, size = data.ctypes.data, data.size
            duration = packet.duration or None
            return Coded(
                number, base, data, address, size, packet.pts, packet.dts, duration, packet.is_keyframe, visible
            )

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
        self._container.close()


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


@dataclass(frozen=True)
class _Look:
    """What the start of a packet tells.

    Attributes:
        entry: whether nothing after it refers further back (as far as the kind of picture tells).
        shown: whether it gives a frame to show.
        sets: parameter sets it carries.
        new_sets: whether one of them was not known.
        new_sequence: whether one of the unknown ones is a sequence parameter set.
        insert: where parameter sets can be put in.
    """

    entry: bool
    shown: bool = True
    sets: tuple[bytes, ...] = ()
    new_sets: bool = False
    new_sequence: bool = False
    insert: int = 0


class _Plain:
    """Codecs whose key packets need at most the extradata in front: MPEG-1, MPEG-2, Motion JPEG; others are not cut."""

    filter: str | None = None
    can_cut = True

    def __init__(self, extradata: bytes, *, can_cut: bool = True) -> None:
        self._extradata = extradata
        self.can_cut = can_cut

    def look(self, data: bytes) -> _Look:
        return _Look(entry=True, sets=(self._extradata,) if data.startswith(self._extradata) else ())

    def learn(self, look: _Look) -> None:
        """Take the parameter sets of the first packet for known."""

    def prefix(self, look: _Look) -> tuple[bytes, int]:
        """What must be put in front of a segment's first packet, and after how many of its bytes."""
        return (b"" if look.sets else self._extradata), look.insert


class _Vp8(_Plain):
    def __init__(self) -> None:
        super().__init__(b"")

    def look(self, data: bytes) -> _Look:
        # RFC 6386, 9.1: bit 0 is 0 in key frames, bit 4 says whether the frame is shown.
        return _Look(entry=not data[0] & 1, shown=bool(data[0] & 0x10))


class _Vp9(_Plain):
    def __init__(self) -> None:
        super().__init__(b"")

    def look(self, data: bytes) -> _Look:
        # Uncompressed header: marker 10, profile (2 bits, a reserved one if it is 3), show_existing_frame, then
        # frame_type (0 is a key frame) and show_frame.
        bits = f"{data[0]:08b}{data[1] if len(data) > 1 else 0:08b}"
        at = 5 if bits[2:4] == "11" else 4
        superframe = data[-1] & 0xE0 == 0xC0
        if bits[at] == "1":
            return _Look(entry=False)
        return _Look(entry=bits[at + 1 : at + 3] == "01" and not superframe, shown=superframe or bits[at + 2] == "1")


class _Av1(_Plain):
    """AV1: a key frame that is shown, with a sequence header before it."""

    def __init__(self, extradata: bytes) -> None:
        # av1C is four bytes, then OBUs; elementary streams have bare OBUs.
        super().__init__(extradata[4:] if extradata[:1] == b"\x81" else extradata)
        self._sequence = next((body for kind, body, _ in _obus(self._extradata) if kind == 1), None)

    def look(self, data: bytes) -> _Look:
        sets: list[bytes] = []
        insert = 0
        entry = False
        for kind, body, end in _obus(data):
            if kind == 2:
                insert = end
            elif kind == 1:
                sets.append(body)
            elif kind in (3, 6):
                # show_existing_frame 0, frame_type 00 (key), show_frame 1
                entry = len(body) > 0 and body[0] >> 4 == 1
                break
        new = any(s != self._sequence for s in sets)
        return _Look(entry, True, tuple(sets), new, new, insert)

    def learn(self, look: _Look) -> None:
        self._sequence = look.sets[-1]
        self._extradata = bytes([0x0A]) + _leb128(len(self._sequence)) + self._sequence


class _Nal(_Plain):
    """H.264 and HEVC in Annex B."""

    def __init__(self, extradata: bytes, *, hevc: bool) -> None:
        self._hevc = hevc
        length_prefixed = extradata[:1] == b"\x01"
        if length_prefixed:
            self.filter = "hevc_mp4toannexb" if hevc else "h264_mp4toannexb"
        known = (_hvcc(extradata) if hevc else _avcc(extradata)) if length_prefixed else self._sets(extradata)
        self._known: dict[bytes, None] = dict.fromkeys(known)

    def _kind(self, first: int) -> int:
        return (first >> 1) & 0x3F if self._hevc else first & 0x1F

    def _is_set(self, kind: int) -> bool:
        return kind in (32, 33, 34) if self._hevc else kind in (7, 8, 13, 15)

    def _is_picture(self, kind: int) -> bool:
        return kind < 32 if self._hevc else 1 <= kind <= 5

    def _sets(self, data: bytes) -> list[bytes]:
        return [unit for kind, unit in self._units(data) if self._is_set(kind)]

    def _units(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """NAL units up to the first of a picture, which comes without its bytes."""
        at = data.find(b"\0\0\1")
        while 0 <= at < len(data) - 3:
            begin = at + 3
            kind = self._kind(data[begin])
            if self._is_picture(kind):
                yield kind, b""
                return
            at = data.find(b"\0\0\1", begin)
            # A unit never ends in a zero byte: those belong to the next start code.
            yield kind, data[begin : at if at >= 0 else len(data)].rstrip(b"\0")

    def look(self, data: bytes) -> _Look:
        sets: list[bytes] = []
        picture = -1
        sequence = False
        for kind, unit in self._units(data):
            if self._is_picture(kind):
                picture = kind
            elif self._is_set(kind):
                sets.append(unit)
                sequence = sequence or (kind == (33 if self._hevc else 7) and unit not in self._known)
        entry = 16 <= picture <= 21 if self._hevc else picture == 5
        new = bool(sets) and any(s not in self._known for s in sets)
        return _Look(entry, True, tuple(sets), new, sequence)

    def learn(self, look: _Look) -> None:
        self._known.update(dict.fromkeys(look.sets))

    def prefix(self, look: _Look) -> tuple[bytes, int]:
        if self._known.keys() <= set(look.sets):
            return b"", 0
        return b"".join(b"\0\0\0\1" + unit for unit in self._known), 0


def _codec(name: str, extradata: bytes) -> _Plain:
    if name in ("h264", "hevc"):
        return _Nal(extradata, hevc=name == "hevc")
    if name in ("vp9", "libvpx-vp9"):
        return _Vp9()
    if name in ("vp8", "libvpx"):
        return _Vp8()
    if name in ("av1", "libdav1d", "libaom-av1"):
        return _Av1(extradata)
    return _Plain(extradata, can_cut=name in ("mpeg1video", "mpeg2video", "mjpeg"))


def _avcc(data: bytes) -> list[bytes]:
    """SPS and PPS of an avcC box (ISO/IEC 14496-15, 5.3.3.1)."""
    out: list[bytes] = []
    at = 5
    for mask in (0x1F, 0xFF):
        if at >= len(data):
            break
        count, at = data[at] & mask, at + 1
        for _ in range(count):
            (length,) = struct.unpack_from(">H", data, at)
            out.append(data[at + 2 : at + 2 + length])
            at += 2 + length
    return out


def _hvcc(data: bytes) -> list[bytes]:
    """VPS, SPS and PPS of an hvcC box (ISO/IEC 14496-15, 8.3.3.1)."""
    out: list[bytes] = []
    if len(data) < 23:
        return out
    at = 23
    for _ in range(data[22]):
        kind = data[at] & 0x3F
        (count,) = struct.unpack_from(">H", data, at + 1)
        at += 3
        for _ in range(count):
            (length,) = struct.unpack_from(">H", data, at)
            if kind in (32, 33, 34):
                out.append(data[at + 2 : at + 2 + length])
            at += 2 + length
    return out


def _leb128(value: int) -> bytes:
    out = bytearray()
    while True:
        out.append((value & 0x7F) | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def _obus(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Kind, payload and end of each OBU (AV1 specification, 5.3)."""
    at = 0
    while at < len(data):
        kind, extended, sized = (data[at] >> 3) & 15, data[at] & 4, data[at] & 2
        at += 2 if extended else 1
        length = len(data) - at
        if sized:
            length = shift = 0
            while at < len(data):
                length |= (data[at] & 0x7F) << shift
                shift += 7
                at += 1
                if not data[at - 1] & 0x80:
                    break
        yield kind, data[at : at + length], min(len(data), at + length)
        at += length
