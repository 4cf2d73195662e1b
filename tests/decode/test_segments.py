"""Segments decoded apart give what the whole gives, bit for bit, every frame once; unsafe cuts are refused."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from decode_clips import CLIPS, loop, two_sequences

from fastface.decode import LibavDecoder, headers
from fastface.decode.probe import DecodeStats
from fastface.decode.segments import Coded, SegmentReader, plan
from fastface.errors import InputValidationError

MIN_FRAMES = 25
UNSAFE = ("h264_open", "h264_open_ts", "hevc_cra", "mpeg2_open")


def planes(frame: Any) -> bytes:
    """The visible samples of a frame."""
    deep = frame.format.components[0].bits > 8
    out = []
    for plane in frame.planes:
        rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, abs(plane.line_size))
        out.append(rows[: plane.height, : plane.width * (2 if deep else 1)].tobytes())
    return b"".join(out)


def whole(path: Path) -> list[tuple[int | None, bytes]]:
    """pts and samples of each frame, as libav decodes the file."""
    with av.open(str(path)) as container:
        return [(f.pts, planes(f)) for f in container.decode(video=0)]


def apart(codec: str, packets: list[Coded]) -> list[tuple[int | None, bytes]]:
    """pts and samples of each frame, from a new decoder that sees these packets only."""
    context = av.CodecContext.create(codec, "r")
    frames: list[Any] = []
    for coded in packets:
        packet = av.Packet(bytes(coded.data))
        packet.pts, packet.dts = coded.pts, coded.dts
        frames += context.decode(packet)
    return [(f.pts, planes(f)) for f in frames + context.decode(None)]


def read(path: Path, **options: Any) -> tuple[SegmentReader, list[list[Coded]]]:
    reader = SegmentReader(path, min_frames=MIN_FRAMES, **options)
    return reader, [list(g) for _, g in groupby(reader, key=lambda c: c.segment)]


def by_pts(frames: list[tuple[int | None, bytes]]) -> list[tuple[int, bytes]]:
    return sorted((-1 if pts is None else pts, samples) for pts, samples in frames)


@pytest.mark.parametrize("name", CLIPS)
def test_apart_gives_what_the_whole_gives(clip: Any, name: str) -> None:
    path = clip(name)
    reader, parts = read(path)
    want = whole(path)
    assert len(want) == 120
    assert len(parts) == reader.segments == CLIPS[name].segments
    assert [p[0].segment for p in parts] == list(range(len(parts)))
    got: list[tuple[int | None, bytes]] = []
    for part in parts:
        assert {c.base for c in part} == {len(got)}, "base counts the frames of the segments before"
        frames = apart(reader.codec, part)
        assert len(frames) == sum(c.shown for c in part)
        got += frames
    # In order of display, without sorting: segments follow each other.
    assert [s for _, s in got] == [s for _, s in want]
    if name != "h264_raw":
        assert [p for p, _ in got] == [p for p, _ in want]
    assert reader.stats.warnings == []
    assert reader.new_sequence is None


@pytest.mark.parametrize("name", CLIPS)
def test_plan_says_what_comes(clip: Any, name: str) -> None:
    segments = plan(clip(name), min_frames=MIN_FRAMES)
    assert len(segments) == CLIPS[name].segments
    assert sum(s.frames for s in segments) == 120
    assert [s.first_frame for s in segments] == [sum(t.frames for t in segments[:i]) for i in range(len(segments))]
    assert all(s.packets >= MIN_FRAMES for s in segments[:-1])
    stamps = [p for s in segments for p in s.pts]
    if name != "h264_raw":
        assert len(set(stamps)) == 120
        assert stamps == sorted(stamps)
        assert stamps == [p for p, _ in whole(clip(name))]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_cut_at_any_key_would_be_wrong(clip: Any, name: str) -> None:
    """Why the rule is needed: cut at the key packets as the container flags them, and frames are lost or wrong."""
    path = clip(name)
    reader, (packets,) = read(path)
    keys = [i for i, c in enumerate(packets) if c.key]
    assert len(keys) >= 3
    prefix = headers.headers_of(reader.codec, b"")  # what learns the parameter sets from the first packet
    prefix.learn(prefix.look(bytes(packets[0].data)))
    got: list[tuple[int | None, bytes]] = []
    for begin, end in zip(keys, [*keys[1:], len(packets)], strict=True):
        part = packets[begin:end]
        head, at = prefix.prefix(prefix.look(bytes(part[0].data)))
        data = bytes(part[0].data)
        part = [part[0]._replace(data=data[:at] + head + data[at:]), *part[1:]]
        got += apart(reader.codec, part)
    want = whole(path)
    assert by_pts(got) != by_pts(want)
    with pytest.raises(AssertionError):
        assert len(set(by_pts(got)) & set(by_pts(want))) == len(want)


def test_parameter_sets_stand_before_every_segment(clip: Any) -> None:
    for name, kinds in (("h264_mkv", {7, 8}), ("h264_ts", {7, 8}), ("hevc_mkv", {32, 33, 34})):
        reader, parts = read(clip(name))
        assert len(parts) == 4
        for part in parts:
            _, sets = headers.headers_of(reader.codec, b"")._walk(bytes(part[0].data))  # type: ignore[attr-defined]
            assert kinds == {kind for kind, _ in sets}


def test_addresses_hold_the_bytes(clip: Any) -> None:
    import ctypes

    _, parts = read(clip("h264_closed"))
    for coded in parts[0] + parts[1]:
        assert ctypes.string_at(coded.address, coded.size) == bytes(coded.data)


def test_without_cutting_there_is_one_segment(clip: Any) -> None:
    _, parts = read(clip("h264_closed"), cut=False)
    assert [len(p) for p in parts] == [120]


def test_frames_before_the_origin_are_not_counted(clip: Any) -> None:
    stamps = plan(clip("h264_vfr"), min_frames=MIN_FRAMES)[0].pts
    _, parts = read(clip("h264_vfr"), origin=stamps[3])
    assert [p[0].base for p in parts] == [0, 27, 57, 87]


def test_memory_is_bounded_by_the_lookahead(clip: Any, tmp_path: Path) -> None:
    """A cut is decided a few packets after the key, not at the end of the file."""
    assert loop(clip("h264_pyramid"), tmp_path / "long.mp4", 1000) == 1080
    read_ahead = 0
    reader = SegmentReader(tmp_path / "long.mp4", min_frames=MIN_FRAMES)
    demux = reader._demux

    def counting() -> Any:
        nonlocal read_ahead
        for packet in demux():
            read_ahead += 1
            yield packet

    reader._demux = counting  # type: ignore[method-assign]
    worst = 0
    for n, _ in enumerate(reader, 1):
        worst = max(worst, read_ahead - n)
    assert worst <= 12
    assert reader.segments == 36


def test_looped_files_are_cut_at_every_seam(clip: Any, tmp_path: Path) -> None:
    loop(clip("hevc_cra"), tmp_path / "long.mp4", 480)
    segments = plan(tmp_path / "long.mp4", min_frames=MIN_FRAMES)
    # Each repetition begins with a picture that nothing leads; those inside are CRA with leading pictures.
    assert [s.packets for s in segments] == [120, 120, 120, 120]


def test_a_change_of_sequence_ends_the_cutting(tmp_path: Path) -> None:
    """Two streams after each other with different parameter sets: what stands in front would not hold."""
    reader, parts = read(two_sequences(tmp_path))
    assert reader.new_sequence == 120
    assert len(parts[-1]) >= 120


def test_a_file_that_breaks_off(clip: Any, tmp_path: Path) -> None:
    data = clip("h264_ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[: len(data) * 2 // 3])
    stats = DecodeStats()
    reader, parts = read(tmp_path / "cut.ts", stats=stats)
    assert 60 <= sum(len(p) for p in parts) < 120
    assert reader.stats is stats
    with LibavDecoder(tmp_path / "cut.ts") as reference:
        for _ in reference:
            pass
    assert stats.warnings == reference.stats.warnings


def test_no_file_and_no_video(tmp_path: Path) -> None:
    with pytest.raises(InputValidationError, match=r"none\.mp4"):
        SegmentReader(tmp_path / "none.mp4")
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(InputValidationError, match=r"a\.mp4"):
        plan(tmp_path / "a.mp4")


class TestHeaders:
    """What is read from the first bytes of a packet."""

    def test_avcc(self) -> None:
        box = bytes([1, 100, 0, 31, 0xFF, 0xE1, 0, 3, 0x67, 1, 2, 2, 0, 2, 0x68, 3, 0, 1, 0x68])
        assert headers._avcc(box) == [b"\x67\x01\x02", b"\x68\x03", b"\x68"]

    def test_hvcc(self) -> None:
        box = bytes(22) + bytes([2, 0xA0, 0, 1, 0, 2, 0x40, 1, 0x21, 0, 1, 0, 3, 0x42, 1, 9])
        assert headers._hvcc(box) == [b"\x40\x01", b"\x42\x01\x09"]
        assert headers._hvcc(b"\x01") == []

    def test_obus(self) -> None:
        data = bytes([0x12, 0, 0x0A, 2, 7, 8, 0x32, 0x81, 0x01]) + bytes(129)
        assert [(k, len(b), e) for k, b, e in headers._obus(data)] == [(2, 0, 2), (1, 2, 6), (6, 129, 138)]
        assert list(headers._obus(b"")) == []

    def test_av1_sequence_is_put_after_the_delimiter(self) -> None:
        codec = headers.headers_of("libdav1d", bytes([0x81, 4, 12, 0, 0x0A, 2, 7, 8]))
        look = codec.look(bytes([0x12, 0, 0x32, 1, 0x10]))
        assert look.entry
        assert codec.prefix(look) == (bytes([0x0A, 2, 7, 8]), 2)
        assert codec.prefix(codec.look(bytes([0x12, 0, 0x0A, 2, 7, 8, 0x32, 1, 0x10]))) == (b"", 2)
        assert not codec.look(bytes([0x12, 0, 0x32, 1, 0x00])).entry, "a key frame that is not shown"
        assert codec.look(bytes([0x0A, 2, 9, 9, 0x32, 1, 0x10])).new_sequence

    @pytest.mark.parametrize(
        ("first", "entry", "shown"),
        [(0b10000010, True, True), (0b10000000, False, False), (0b10000110, False, True), (0b10001000, False, True)],
    )
    def test_vp9(self, first: int, entry: bool, shown: bool) -> None:
        look = headers.headers_of("vp9", b"").look(bytes([first, 0x49, 0x83, 0x42]))
        assert (look.entry, look.shown) == (entry, shown)

    def test_vp8_hidden_frames(self) -> None:
        look = headers.headers_of("vp8", b"").look(bytes([0x01]))
        assert (look.entry, look.shown) == (False, False)
        assert headers.headers_of("vp8", b"").look(bytes([0x10])).shown

    @pytest.mark.parametrize(("kind", "entry"), [(1, False), (5, True)])
    def test_h264_only_idr_is_an_entry(self, kind: int, entry: bool) -> None:
        data = b"\0\0\0\1\x09\x10\0\0\1\x06\x05\0\0\1" + bytes([0x60 | kind, 9, 9])
        look = headers.headers_of("h264", b"").look(data)
        assert look.entry is entry

    @pytest.mark.parametrize("name", ["rawvideo", "mpeg4"])
    def test_other_codecs_are_never_cut(self, name: str) -> None:
        assert not headers.headers_of(name, b"").can_cut
