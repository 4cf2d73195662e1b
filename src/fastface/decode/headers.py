"""What the first bytes of a packet tell: kind of picture, parameter sets, where these can be put in.

By codec: H.264 and HEVC (NAL units in Annex B), VP8, VP9, AV1 (OBUs), and those whose key packets say all there is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple


class Look(NamedTuple):
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


_PLAIN, _ENTRY = Look(entry=False), Look(entry=True)


class Headers:
    """Codecs whose key packets need at most the extradata in front: MPEG-1, MPEG-2, Motion JPEG; others are not cut."""

    filter: str | None = None
    can_cut = True

    def __init__(self, extradata: bytes, *, can_cut: bool = True) -> None:
        self._extradata = extradata
        self.can_cut = can_cut

    def look(self, data: bytes) -> Look:
        return Look(entry=True, sets=(self._extradata,) if data.startswith(self._extradata) else ())

    def learn(self, look: Look) -> None:
        """Take the parameter sets of the first packet for known."""

    def prefix(self, look: Look) -> tuple[bytes, int]:
        """What must be put in front of a segment's first packet, and after how many of its bytes."""
        return (b"" if look.sets else self._extradata), look.insert


class _Vp8(Headers):
    def __init__(self) -> None:
        super().__init__(b"")

    def look(self, data: bytes) -> Look:
        # RFC 6386, 9.1: bit 0 is 0 in key frames, bit 4 says whether the frame is shown.
        return Look(entry=not data[0] & 1, shown=bool(data[0] & 0x10))


class _Vp9(Headers):
    def __init__(self) -> None:
        super().__init__(b"")

    def look(self, data: bytes) -> Look:
        # Uncompressed header: marker 10, profile (2 bits, a reserved one if it is 3), show_existing_frame, then
        # frame_type (0 is a key frame) and show_frame.
        bits = f"{data[0]:08b}{data[1] if len(data) > 1 else 0:08b}"
        at = 5 if bits[2:4] == "11" else 4
        superframe = data[-1] & 0xE0 == 0xC0
        if bits[at] == "1":
            return Look(entry=False)
        return Look(entry=bits[at + 1 : at + 3] == "01" and not superframe, shown=superframe or bits[at + 2] == "1")


class _Av1(Headers):
    """AV1: a key frame that is shown, with a sequence header before it."""

    def __init__(self, extradata: bytes) -> None:
        # av1C is four bytes, then OBUs; elementary streams have bare OBUs.
        super().__init__(extradata[4:] if extradata[:1] == b"\x81" else extradata)
        self._sequence = next((body for kind, body, _ in _obus(self._extradata) if kind == 1), None)

    def look(self, data: bytes) -> Look:
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
        return Look(entry, True, tuple(sets), new, new, insert)

    def learn(self, look: Look) -> None:
        self._sequence = look.sets[-1]
        self._extradata = bytes([0x0A]) + _leb128(len(self._sequence)) + self._sequence


class _Nal(Headers):
    """H.264 and HEVC in Annex B."""

    def __init__(self, extradata: bytes, *, hevc: bool) -> None:
        self._hevc = hevc
        self._pictures = frozenset(range(32) if hevc else range(1, 6))
        self._set_kinds = frozenset((32, 33, 34) if hevc else (7, 8, 13, 15))
        length_prefixed = extradata[:1] == b"\x01"
        if length_prefixed:
            self.filter = "hevc_mp4toannexb" if hevc else "h264_mp4toannexb"
        try:
            known = (_hvcc(extradata) if hevc else _avcc(extradata)) if length_prefixed else self._bare(extradata)
        except (struct.error, IndexError):  # it breaks off: nothing can be put in front of a segment
            known, self.can_cut = [], False
        self._known: dict[bytes, None] = dict.fromkeys(known)

    def _bare(self, data: bytes) -> list[bytes]:
        return [unit for _, unit in self._walk(data)[1]]

    def _walk(self, data: bytes) -> tuple[int, list[tuple[int, bytes]]]:
        """Kind of the first picture's unit (-1: there is none), and kind and bytes of the parameter sets before it."""
        hevc, pictures, kinds = self._hevc, self._pictures, self._set_kinds
        sets: list[tuple[int, bytes]] = []
        at, last = data.find(b"\0\0\1") + 3, len(data) - 1
        while 3 <= at <= last:
            kind = (data[at] >> 1) & 0x3F if hevc else data[at] & 0x1F
            if kind in pictures:
                return kind, sets
            begin, at = at, data.find(b"\0\0\1", at) + 3
            if kind in kinds:
                # A unit never ends in a zero byte: those belong to the next start code.
                sets.append((kind, data[begin : at - 3 if at >= 3 else None].rstrip(b"\0")))
        return -1, sets

    def look(self, data: bytes) -> Look:
        picture, found = self._walk(data)
        entry = 16 <= picture <= 21 if self._hevc else picture == 5
        if not found:
            return _ENTRY if entry else _PLAIN
        new = [kind for kind, unit in found if unit not in self._known]
        return Look(entry, True, tuple(unit for _, unit in found), bool(new), (33 if self._hevc else 7) in new)

    def learn(self, look: Look) -> None:
        self._known.update(dict.fromkeys(look.sets))

    def prefix(self, look: Look) -> tuple[bytes, int]:
        if self._known.keys() <= set(look.sets):
            return b"", 0
        return b"".join(b"\0\0\0\1" + unit for unit in self._known), 0


def headers_of(name: str, extradata: bytes) -> Headers:
    if name in ("h264", "hevc"):
        return _Nal(extradata, hevc=name == "hevc")
    if name in ("vp9", "libvpx-vp9"):
        return _Vp9()
    if name in ("vp8", "libvpx"):
        return _Vp8()
    if name in ("av1", "libdav1d", "libaom-av1"):
        return _Av1(extradata)
    return Headers(extradata, can_cut=name in ("mpeg1video", "mpeg2video", "mjpeg"))


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
