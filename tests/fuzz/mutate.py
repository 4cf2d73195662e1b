"""Damage done to videos, timeline documents and galleries; the same random generator does the same damage."""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import io
import json
import math
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av

# Bytes


def _place(rng: random.Random, data: bytearray) -> int:
    """A place: anywhere, or near the beginning or the end, where the headers are."""
    size = len(data)
    near = min(size, 1500)
    return rng.choice((rng.randrange(size), rng.randrange(near), size - 1 - rng.randrange(near)))


def flip_few(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.randint(1, 8)):
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def flip_many(rng: random.Random, data: bytearray) -> None:
    for _ in range(max(1, int(len(data) * rng.choice((0.0005, 0.003, 0.02))))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_header(rng: random.Random, data: bytearray) -> None:
    near = min(len(data), 600)
    for _ in range(rng.randint(1, 12)):
        data[rng.randrange(near)] ^= 1 << rng.randrange(8)


def write_bytes(rng: random.Random, data: bytearray) -> None:
    """Values that are edges of something, over what is there."""
    at = _place(rng, data)
    value = rng.choice(
        (b"\0", b"\xff", b"\0\0\0\1", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0" * 8)
    )
    data[at : at + len(value)] = value[: len(data) - at]


def zero_range(rng: random.Random, data: bytearray) -> None:
    at = _place(rng, data)
    size = min(rng.choice((4, 64, 1000, 8000)), len(data) - at)
    data[at : at + size] = rng.choice((b"\0", b"\xff")) * size


def noise_range(rng: random.Random, data: bytearray) -> None:
    at = _place(rng, data)
    size = min(rng.choice((4, 64, 1000, 8000)), len(data) - at)
    data[at : at + size] = rng.randbytes(size)


def cut_end(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def cut_front(rng: random.Random, data: bytearray) -> None:
    del data[: rng.randrange(len(data))]


def remove_piece(rng: random.Random, data: bytearray) -> None:
    at = _place(rng, data)
    del data[at : at + rng.choice((1, 7, 188, 2000))]


def repeat_piece(rng: random.Random, data: bytearray) -> None:
    at, to = _place(rng, data), _place(rng, data)
    data[to:to] = data[at : at + rng.choice((1, 7, 188, 2000))]


def swap_pieces(rng: random.Random, data: bytearray) -> None:
    size = rng.choice((16, 188, 2000))
    a, b = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    size = min(size, b - a, len(data) - b)
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


BYTES = (
    flip_few,
    flip_few,
    flip_many,
    flip_header,
    write_bytes,
    zero_range,
    noise_range,
    cut_end,
    cut_front,
    remove_piece,
    repeat_piece,
    swap_pieces,
)


def splice(rng: random.Random, data: bytearray, other: bytes) -> None:
    """The beginning of one file, then the end of another."""
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


def damage_bytes(rng: random.Random, data: bytearray, most: int = 3) -> list[str]:
    """Some of these, and their names."""
    done = []
    for _ in range(rng.randint(1, most)):
        if len(data) < 2:
            break
        act = rng.choice(BYTES)
        act(rng, data)
        done.append(act.__name__)
    return done


# Boxes of MP4 and MOV

_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"dinf", b"mvex", b"moof", b"traf"}


def boxes(data: bytes, begin: int = 0, end: int | None = None) -> list[tuple[int, int, bytes]]:
    """Begin, size and type of all boxes, the outer ones before those inside."""
    end = len(data) if end is None else end
    out = []
    while begin + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, begin)
        if size < 8 or begin + size > end:
            break
        out.append((begin, size, kind))
        if kind in _PARENTS:
            out += boxes(data, begin + 8, begin + size)
        begin += size
    return out


def damage_boxes(rng: random.Random, data: bytearray) -> list[str]:
    """Swap, remove, repeat, resize or rename a box, or change the numbers in it."""
    found = boxes(bytes(data))
    if not found:
        return damage_bytes(rng, data)
    at, size, kind = rng.choice(found)
    what = rng.choice(("swap", "remove", "repeat", "resize", "rename", "numbers", "numbers"))
    if what == "swap":
        other, length, _ = rng.choice(found)
        (a, n), (b, m) = sorted(((at, size), (other, length)))
        if a + n <= b:
            data[a : b + m] = data[b : b + m] + data[a + n : b] + data[a : a + n]
    elif what == "remove":
        del data[at : at + size]
    elif what == "repeat":
        data[at:at] = data[at : at + size]
    elif what == "resize":
        wrong = rng.choice((0, 1, 7, 8, size - 1, size + 1, size // 2, 2 * size, 2**31, 2**32 - 1))
        struct.pack_into(">I", data, at, wrong % 2**32)
    elif what == "rename":
        data[at + 4 : at + 8] = rng.choice((rng.randbytes(4), b"free", rng.choice(found)[2]))
    elif kind != b"mdat" and size >= 12:
        for _ in range(rng.randint(1, 3)):
            place = at + 8 + rng.randrange((size - 8) // 4) * 4
            number = rng.choice((0, 1, 2, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, rng.getrandbits(32)))
            struct.pack_into(">I", data, place, number)
    return [f"box {kind.decode('latin-1')} {what}"]


# Packets

PACKETS = (
    *("drop", "drop_key", "few", "repeat", "swap", "flip", "shorten", "stretch", "mix"),
    *("shift", "same", "jump", "back", "unordered", "no_stamps", "ends"),
)
_FORMATS = {"h264": "h264", "y4m": "yuv4mpegpipe", "ts": "mpegts", "mkv": "matroska"}


def damage_packets(rng: random.Random, path: Path, others: list[Path], out: Path) -> list[str]:
    """Write a video anew with packets or time stamps that are not as they were."""
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        packets = [p for p in source.demux(stream) if p.size]
        what = rng.choice(PACKETS)
        pieces: list[Any] = []
        for packet in packets:
            new = av.Packet(bytes(packet))
            new.pts, new.dts, new.duration = packet.pts, packet.dts, packet.duration
            new.is_keyframe, new.time_base = packet.is_keyframe, stream.time_base
            pieces.append(new)
        n = len(pieces)
        chosen = sorted(rng.sample(range(n), rng.randint(1, max(1, n // 3))))
        if what == "drop":
            pieces = [p for i, p in enumerate(pieces) if i not in chosen]
        elif what == "drop_key":
            keys = [i for i, p in enumerate(pieces) if p.is_keyframe]
            gone = set(rng.sample(keys, rng.randint(1, len(keys))))
            pieces = [p for i, p in enumerate(pieces) if i not in gone]
        elif what == "few":
            pieces = [pieces[i] for i in chosen[: rng.randint(0, 2)]]
        elif what == "repeat":
            pieces = [p for i, p in enumerate(pieces) for _ in range(3 if i in chosen else 1)]
        elif what == "swap":
            for i in chosen:
                j = rng.randrange(n)
                pieces[i], pieces[j] = pieces[j], pieces[i]
        elif what in ("flip", "shorten", "stretch"):
            for i in chosen:
                data = bytearray(bytes(pieces[i]))
                if what == "flip":
                    damage_bytes(rng, data)
                elif what == "shorten":
                    del data[rng.randrange(len(data)) :]
                else:
                    data += rng.randbytes(rng.randint(1, 300))
                pieces[i] = _like(pieces[i], bytes(data))
        elif what == "mix":
            for other in others:
                with contextlib.suppress(av.error.FFmpegError), av.open(str(other)) as second:
                    strange = [p for p in second.demux(video=0) if p.size]
                    for i in chosen:
                        pieces[i] = _like(pieces[i], bytes(rng.choice(strange)))
        elif what == "no_stamps":
            for i in chosen:
                pieces[i].pts = None
                if rng.random() < 0.5:
                    pieces[i].dts = None
        elif what == "unordered":
            stamps = [p.pts for p in pieces]
            rng.shuffle(stamps)
            for p, pts in zip(pieces, stamps, strict=True):
                p.pts = pts
        elif what == "ends":
            for p in pieces:
                p.duration = rng.choice((0, 1, -1, 2**31, p.duration))
        else:
            far = rng.choice((1, 100, 10**5, 10**9, 2**40, 2**62))
            for i, p in enumerate(pieces):
                if p.pts is None or p.dts is None:
                    continue
                if what == "shift":
                    p.pts, p.dts = p.pts - min(far, 2**40), p.dts - min(far, 2**40)
                elif what == "jump" and i >= chosen[0]:
                    p.pts, p.dts = p.pts + far, p.dts + far
                elif what == "same" and i in chosen:
                    p.pts, p.dts = pieces[i - 1].pts, pieces[i - 1].dts
                elif what == "back" and i in chosen:
                    p.pts -= min(far, 2**40)
        _write(pieces, stream, path, out)
    return [f"packets {what}"]


def _like(packet: Any, data: bytes) -> Any:
    out = av.Packet(data or b"\0")
    out.pts, out.dts, out.duration = packet.pts, packet.dts, packet.duration
    out.is_keyframe, out.time_base = packet.is_keyframe, packet.time_base
    return out


def _write(packets: list[Any], template: Any, path: Path, out: Path) -> None:
    suffix = path.suffix[1:]
    # What a muxer refuses is left out; what it wrote until then is the case.
    with contextlib.suppress(av.error.FFmpegError, ValueError):
        name = _FORMATS.get(suffix, suffix)
        with av.open(str(out), "w", format=name, container_options={"fflags": "+bitexact"}) as container:
            stream = container.add_stream_from_template(template)
            for packet in packets:
                packet.stream = stream
                with contextlib.suppress(av.error.FFmpegError, ValueError, OverflowError):
                    container.mux_one(packet)


def damage_video(rng: random.Random, clips: list[Path], out: Path) -> list[str]:
    """A damaged video, and what was done to it."""
    path = rng.choice(clips)
    done = [path.name]
    way = rng.random()
    if way < 0.35:
        alike = [c for c in clips if c.stem.split("_")[0] == path.stem.split("_")[0] and c != path]
        done += damage_packets(rng, path, rng.sample(alike, min(1, len(alike))), out)
        if not out.exists() or out.stat().st_size < 2:
            out.write_bytes(path.read_bytes())
        if rng.random() < 0.6:
            return done
        path = out
    data = bytearray(path.read_bytes())
    if 0.35 <= way < 0.45:
        other = rng.choice(clips)
        splice(rng, data, other.read_bytes())
        done.append(f"splice {other.name}")
    elif 0.45 <= way < 0.65 and path.suffix in (".mp4", ".mov"):
        for _ in range(rng.randint(1, 3)):
            done += damage_boxes(rng, data)
    elif way < 0.98:
        done += damage_bytes(rng, data)
    else:
        data = bytearray(rng.choice((b"", b"\0", rng.randbytes(rng.randint(1, 5000)))))
        done.append("something else")
    out.write_bytes(data)
    return done


# JSON

_DEEP = "<deep>"
_VALUES: tuple[Callable[[random.Random], Any], ...] = (
    lambda r: None,
    lambda r: r.choice((True, False)),
    lambda r: r.choice((0, 1, -1, 2, 7, 255)),
    lambda r: r.choice((2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**30, 10**400, -(10**400))),
    lambda r: r.choice((0.5, -0.0, 1e-320, 1e308, -1e308, 1e39, math.nan, math.inf, -math.inf)),
    lambda r: r.choice(("", "x", " ", "\0", "\ud800", "unknown-0", "unknown-1", "é" * 50, "NaN", "{", "../../x", "1")),
    lambda r: r.choice(([], [[]], [None], [1, "x"], [[1, 2], [3]], [0] * 300)),
    lambda r: r.choice(({}, {"a": 1}, {"": None}, {"id": 0})),
    lambda r: _DEEP,
)


_KINDS = ((1, bool), (2, int), (4, float), (5, str))  # which of _VALUES is of this type
_FACTS = ("video", "run", "identities", "tracks")


def _places(value: Any, out: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        out.append((value, key))
        if isinstance(value[key], (dict, list)):
            _places(value[key], out)
    return out


def damage_json(rng: random.Random, document: Any) -> list[str]:
    """Change values of a document in place."""
    done = []
    # Lists of numbers are most of a document, and almost any change of them is refused: so often only the rest.
    part = {k: v for k, v in document.items() if k in _FACTS} if isinstance(document, dict) else {}
    narrow = bool(part) and rng.random() < 0.5
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = [p for key in part for p in _places(part[key], [])] if narrow else _places(document, [])
        if not places:
            break
        if rng.random() < 0.5:
            places = [(h, k) for h, k in places if isinstance(h, dict)] or places
        holder, key = rng.choice(places)
        value = holder[key]
        what = rng.choice(("value", "value", "value", "remove", "number", "list", "add"))
        if what == "remove":
            del holder[key]
        elif what == "number" and isinstance(value, (int, float)) and not isinstance(value, bool):
            small = abs(value) < 2**60
            holder[key] = rng.choice((value + 1, value - 1, -value, value * 1000, value + (0.5 if small else 1)))
        elif what == "list" and isinstance(value, list) and value:
            act = rng.randrange(4)
            if act == 0:
                del value[rng.randrange(len(value)) :]
            elif act == 1:
                value.append(copy.deepcopy(rng.choice(value)))
            elif act == 2:
                rng.shuffle(value)
            else:
                holder[key] = [value]
        elif what == "add" and isinstance(value, dict):
            value[rng.choice(("x", "\ud800", "id", "name", ""))] = rng.choice(_VALUES)(rng)
        else:
            kind = next((k for k, t in _KINDS if isinstance(value, t)), None)
            # Often of the same type, which goes further in.
            act = rng.choice(_VALUES) if kind is None or rng.random() < 0.4 else _VALUES[kind]
            what, holder[key] = "value", act(rng)
        done.append(f"{key!r:.20} {what}")
    return done


def json_text(rng: random.Random, document: Any) -> str:
    """As text, with what was to be nested deeply."""
    text = json.dumps(document, ensure_ascii=rng.random() < 0.7)
    depth = rng.choice((50, 900, 970, 985, 995, 5000, 100_000))
    begin, end = rng.choice((("[", "]"), ('{"a":', "}")))
    return text.replace(json.dumps(_DEEP), begin * depth + "0" + end * depth)


def _damage_npz(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """Damaged embeddings: the bytes of the archive, or of one of the arrays in it."""
    if rng.random() < 0.4:
        data = bytearray(content)
        damage_bytes(rng, data)
        return bytes(data), "archive"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    name = rng.choice(sorted(entries))
    act = rng.randrange(5)
    if act == 0:
        del entries[name]
    elif act == 1:
        damage_bytes(rng, entries[name])
    elif act == 2:
        flip_header(rng, entries[name])
    else:
        header = bytes(entries[name][:128])
        old, new = rng.choice(
            (
                (b"(", b"(99999999999,"),
                (b"(", b"(-1,"),
                (b"(", b"(" * 60),
                (b"'<f4'", b"'|O'"),
                (b"'<f4'", b"'<f8'"),
                (b"'<i8'", b"'<M8[s]'"),
                (b"False", b"True"),
                (b"'descr'", b"[[[[[["),
            )
        )
        entries[name][:128] = header.replace(old, new)[:128].ljust(128)
    out = io.BytesIO()
    compression = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(out, "w", compression) as archive:
        for key, data in entries.items():
            archive.writestr(zipfile.ZipInfo(key), bytes(data), compression)
    return out.getvalue(), name


def damage_timeline(rng: random.Random, document: dict[str, Any], out: Path) -> list[str]:
    """Write a damaged document to a file, with the embeddings beside it if it says so; and what was done to it."""
    document = copy.deepcopy(document)
    content = base64.b64decode(document["embeddings"].pop("npz")) if "embeddings" in document else b""
    done = []
    way = rng.random()
    if content:
        if way < 0.3:
            content, what = _damage_npz(rng, content)
            done.append(f"npz {what}")
            if rng.random() < 0.8:
                document["embeddings"]["sha256"] = hashlib.sha256(content).hexdigest()
        if rng.random() < 0.5:
            out.with_suffix(".npz").write_bytes(content)
            document["embeddings"]["stored"] = "beside"
        else:
            text = base64.b64encode(content).decode()
            if rng.random() < 0.1:
                text = text[: rng.randrange(len(text))] + rng.choice(("", "=", "é", "\n"))
                done.append("base64")
            document["embeddings"]["npz"] = text
    if way >= 0.2:
        done += damage_json(rng, document)
    text = json_text(rng, document)
    data = bytearray(text.encode(rng.choice(("utf-8",) * 8 + ("utf-16", "utf-8-sig")), "surrogatepass"))
    if way >= 0.85:
        done += damage_bytes(rng, data)
    out.write_bytes(data)
    return done


# Galleries


def damage_gallery(rng: random.Random, content: bytes, out: Path) -> list[str]:
    """Write a damaged gallery; and what was done to it."""
    data = bytearray(content)
    way = rng.random()
    if way < 0.3:
        done = damage_bytes(rng, data)
    elif way < 0.5:
        (size,) = struct.unpack_from("<Q", data)
        done = ["vectors"]
        values = bytearray(data[8 + size :])
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(values) // 4) * 4
            number = rng.choice((0.0, math.nan, math.inf, 1e38, 1e-38, -1.0, rng.uniform(-1, 1)))
            struct.pack_into("<f", values, place, number)
        if rng.random() < 0.2:
            del values[rng.randrange(len(values)) :]
        data[8 + size :] = values
    else:
        (size,) = struct.unpack_from("<Q", data)
        header = json.loads(bytes(data[8 : 8 + size]))
        values = bytes(data[8 + size :])
        facts = header["__metadata__"]
        if way < 0.65:
            people = json.loads(facts["people"])
            done = ["names"]
            for _ in range(rng.randint(1, 3)):
                name = rng.choice(("", "\ud800", "unknown-0", "unknown-7", "unknown-" + "9" * 25, "\0", "é" * 500))
                rng.choice(people)[0] = name if rng.random() < 0.9 else rng.choice((None, 3))
            facts["people"] = json.dumps(people)
        elif way < 0.8:
            people = {"people": json.loads(facts["people"])}
            done = ["people", *damage_json(rng, people)]
            facts["people"] = json_text(rng, people.get("people"))
        else:
            done = ["header", *damage_json(rng, header)]
            if rng.random() < 0.3 and isinstance(header.get("vectors"), dict):
                header["vectors"]["dtype"] = rng.choice(("F16", "BF16", "F64", "I32", "BOOL", "F8_E4M3", "U8"))
        if rng.random() < 0.3 and isinstance(header.get("__metadata__"), dict):
            facts["next_unknown"] = rng.choice(("", "-1", "0", "1e9", "9" * 30, "9" * 5000, "x", "1_0", "٣", "7"))
        text = json_text(rng, header).encode("utf-8", "surrogatepass")
        length = len(text) if rng.random() < 0.95 else rng.choice((0, 1, len(text) - 1, 2**40, 2**63))
        data = bytearray(struct.pack("<Q", length) + text + values)
    out.write_bytes(data)
    return done
