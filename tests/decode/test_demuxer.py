"""Packets from another process: the same as from this one, whatever the file, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from decode_clips import CLIPS, FOR_NVDEC, loop, two_sequences
from decoded import check_equals_libav, take
from fake_gpu import FakeGpu

from fastface.decode.demuxer import ApartReader, Demuxers
from fastface.decode.nvdec import NvdecDecoder
from fastface.decode.probe import DecodeStats
from fastface.decode.segments import Coded, SegmentReader
from fastface.decode.threads import Stopped
from fastface.errors import InputValidationError, VideoProcessingError

HOW: dict[str, Any] = {"min_frames": 25, "cut": True, "origin": None}


@pytest.fixture(scope="module")
def demuxers() -> Iterator[Demuxers]:
    made = Demuxers()
    yield made
    made.close()


def number(demuxers: Demuxers) -> int:
    """The id of the process that waits."""
    (idle,) = demuxers._idle
    return idle._process.pid


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def rows(packets: list[Coded]) -> list[tuple[Any, ...]]:
    return [(*coded[:2], bytes(coded.data), *coded[4:]) for coded in packets]


def apart(demuxers: Demuxers, path: Path, **how: Any) -> tuple[list[tuple[Any, ...]], DecodeStats, int | None]:
    stats, reader = DecodeStats(), demuxers.open(str(path))
    reader.read(stats, **{**HOW, **how})
    try:
        return rows(list(reader)), stats, reader.new_sequence
    finally:
        reader.close()


def here(path: Path, **how: Any) -> tuple[list[tuple[Any, ...]], DecodeStats, int | None]:
    stats = DecodeStats()
    reader = SegmentReader(path, stats=stats, **{**HOW, **how})
    return rows(list(reader)), stats, reader.new_sequence


@pytest.mark.parametrize("name", CLIPS)
def test_packets_are_those_that_this_process_reads(demuxers: Demuxers, clip: Any, name: str) -> None:
    assert apart(demuxers, clip(name)) == here(clip(name))


def test_cut_and_origin_are_heeded(demuxers: Demuxers, clip: Any) -> None:
    path = clip("h264_closed")
    for how in ({"cut": False}, {"min_frames": 60}, {"origin": here(path)[0][40][4]}):
        assert apart(demuxers, path, **how) == here(path, **how)
    assert here(path, origin=here(path)[0][40][4])[1].skipped > 0


def test_what_was_lost_is_told(demuxers: Demuxers, clip: Any, tmp_path: Path) -> None:
    with av.open(str(clip("h264_closed"))) as source, av.open(
        str(tmp_path / "cut.mp4"), "w", options={"movflags": "faststart"}
    ) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    os.truncate(tmp_path / "cut.mp4", (tmp_path / "cut.mp4").stat().st_size * 2 // 3)
    broken = bytearray(clip("h264_mkv").read_bytes())
    for at in range(len(broken) // 3, len(broken), 997):
        broken[at] ^= 0xFF
    (tmp_path / "broken.mkv").write_bytes(broken)
    for path in (tmp_path / "cut.mp4", tmp_path / "broken.mkv"):
        assert apart(demuxers, path) == here(path)
    lost = here(tmp_path / "cut.mp4")[1]
    assert lost.skipped > 20
    assert lost.warnings


def test_a_change_of_sequence_is_told(demuxers: Demuxers, tmp_path: Path) -> None:
    path = two_sequences(tmp_path)
    assert here(path)[2] == 120
    assert apart(demuxers, path) == here(path)


def test_addresses_hold_the_bytes(demuxers: Demuxers, clip: Any) -> None:
    import ctypes

    reader = demuxers.open(str(clip("h264_closed")))
    reader.read(DecodeStats(), **HOW)
    for coded in reader:
        assert ctypes.string_at(coded.address, coded.size) == bytes(coded.data)
    reader.close()


def test_an_error_is_told_and_the_process_goes_on(demuxers: Demuxers, clip: Any, tmp_path: Path) -> None:
    apart(demuxers, clip("h264_closed"))
    before = number(demuxers)
    (tmp_path / "text.mp4").write_text("no video at all")
    for path in (tmp_path / "none.mp4", tmp_path / "text.mp4"):
        with pytest.raises(InputValidationError) as want:
            here(path)
        with pytest.raises(InputValidationError) as got:
            apart(demuxers, path)
        assert str(got.value) == str(want.value)
    demuxers.open(str(clip("h264_closed"))).close()  # nobody said how
    demuxers.open(str(tmp_path / "none.mp4")).close()
    assert apart(demuxers, clip("hevc_idr")) == here(clip("hevc_idr"))
    assert number(demuxers) == before


def test_names_of_any_letters(demuxers: Demuxers, clip: Any, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"Kl\xc3\xa4nge \xff\n:.mp4")
    path.write_bytes(clip("h264_closed").read_bytes())
    assert apart(demuxers, path) == here(path)


def begun(demuxers: Demuxers, path: Path) -> tuple[int, ApartReader, Iterator[Coded]]:
    """The id of the process that reads a file, the reader, and the packets after the first."""
    if not demuxers._idle:
        demuxers.start()
    process, reader = number(demuxers), demuxers.open(str(path))
    reader.read(DecodeStats(), **HOW)
    packets = iter(reader)
    next(packets)
    return process, reader, packets


@pytest.fixture
def long(clip: Any, tmp_path: Path) -> Path:
    loop(clip("h264_closed"), tmp_path / "long.mp4", 20040)
    return tmp_path / "long.mp4"


def test_a_reader_that_is_cancelled_ends_its_process(demuxers: Demuxers, clip: Any, long: Path) -> None:
    before, reader, packets = begun(demuxers, long)
    reader.cancel()
    with pytest.raises(Stopped):
        list(packets)
    reader.close()
    assert not runs(before)
    assert apart(demuxers, clip("h264_closed")) == here(clip("h264_closed")), "another one takes its place"


def test_a_process_that_ends_is_an_error(demuxers: Demuxers, clip: Any, long: Path) -> None:
    process, reader, packets = begun(demuxers, long)
    os.kill(process, signal.SIGKILL)
    with pytest.raises(VideoProcessingError, match=r"that demuxed '.*long.mp4' ended \(signal 9\)"):
        list(packets)
    reader.close()
    apart(demuxers, clip("h264_closed"))
    os.kill(number(demuxers), signal.SIGKILL)  # while it waits
    demuxers._idle[0]._process.wait()
    assert apart(demuxers, clip("h264_closed")) == here(clip("h264_closed"))


def test_the_keyboard_interrupts_this_process_only(demuxers: Demuxers, long: Path) -> None:
    process, reader, packets = begun(demuxers, long)
    os.kill(process, signal.SIGINT)
    assert 1 + sum(1 for _ in packets) == 20040
    reader.close()
    assert number(demuxers) == process


@pytest.mark.parametrize("when", ["while it waits", "while it reads"])
def test_none_is_left_without_its_parent(long: Path, when: str) -> None:
    program = f"""
import sys, time
sys.path[:] = {sys.path!r}
from fastface.decode.demuxer import Demuxers
from fastface.decode.probe import DecodeStats
demuxers = Demuxers()
demuxers.start()
print(demuxers._idle[0]._process.pid, flush=True)
if {when == "while it reads"}:
    reader = demuxers.open({str(long)!r})
    reader.read(DecodeStats(), **{HOW!r})
    next(iter(reader))
print("ready", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        assert parent.stdout.readline() == "ready\n"
        assert runs(process)
        parent.kill()
    until(lambda: not runs(process))


class TestDecoder:
    """NvdecDecoder over it, with a stand-in for the device."""

    @pytest.mark.parametrize("name", FOR_NVDEC)
    def test_same_as_libav(self, demuxers: Demuxers, clip: Any, name: str) -> None:
        path = clip(name)
        with NvdecDecoder(
            path, sessions=3, batch_size=8, min_frames=25, demuxers=demuxers, _backend=FakeGpu.maker()
        ) as decoder:
            check_equals_libav(decoder, path)

    @pytest.mark.timeout(60)
    def test_closed_in_the_middle(self, demuxers: Demuxers, long: Path) -> None:
        for batches in (0, 1, 5):
            with NvdecDecoder(long, sessions=3, batch_size=8, demuxers=demuxers, _backend=FakeGpu.maker()) as decoder:
                for _, batch in zip(range(batches), decoder, strict=False):
                    batch.release(0)
        assert not any(d.alive for d in demuxers._idle)

    def test_no_video(self, demuxers: Demuxers, clip: Any, tmp_path: Path) -> None:
        apart(demuxers, clip("h264_closed"))
        process = number(demuxers)
        with pytest.raises(InputValidationError, match="does not exist"):
            NvdecDecoder(tmp_path / "none.mp4", demuxers=demuxers, _backend=FakeGpu.maker())
        assert number(demuxers) == process

    def test_without_an_interpreter_a_thread_does_it(self, clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "")
        path = clip("h264_closed")
        with NvdecDecoder(path, batch_size=8, demuxers=Demuxers(), _backend=FakeGpu.maker()) as decoder:
            assert take(decoder)[0] == list(range(120))
        assert decoder.stats.warnings == [
            "no process could be started to demux beside this one ('' is no Python interpreter), so a thread did"
        ]
