"""Opening a file costs tens of milliseconds: each decoder opens it once, and nothing is lost by that."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av
import pytest
from decode_clips import CLIPS, make
from fake_gpu import FakeGpu

from fastface.decode import LibavDecoder, probe
from fastface.decode.device import Unsupported
from fastface.decode.nvdec import NvdecDecoder
from fastface.decode.probe import DecodeStats, VideoFile
from fastface.decode.segments import plan
from fastface.errors import VideoProcessingError

NAMES = ("h264_closed", "h264_cropped", "h264_raw", "h264_ts", "hevc_mkv", "vp9_hidden", "vp9_odd")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The containers that were opened."""
    containers: list[Any] = []
    real = av.open

    def counting(*args: Any, **kwargs: Any) -> Any:
        containers.append(real(*args, **kwargs))
        return containers[-1]

    monkeypatch.setattr(av, "open", counting)
    return containers


def is_closed(container: Any) -> bool:
    return not len(container.streams)


def gpu(path: Path, **options: Any) -> NvdecDecoder:
    return NvdecDecoder(path, sessions=2, batch_size=8, min_frames=25, _backend=FakeGpu.maker(), **options)


def frames_of(decoder: Any) -> int:
    """How many frames come out; each batch is released."""
    count = 0
    for batch in decoder:
        count += len(batch)
        if isinstance(decoder, NvdecDecoder):
            batch.release()
    return count


def stamps(packets: Any) -> list[tuple[int | None, int]]:
    return [(p.pts, p.size) for p in packets]


@pytest.mark.parametrize("name", NAMES)
def test_once(clip: Any, name: str, opened: list[Any]) -> None:
    path = clip(name)
    opened.clear()  # of the encoder
    for n, make_decoder in enumerate((gpu, LibavDecoder), 1):
        with make_decoder(path) as decoder:
            assert frames_of(decoder) == 120
        assert len(opened) == n
    assert plan(path, min_frames=25)
    assert len(opened) == 3
    assert all(map(is_closed, opened))


def test_what_cannot_be_decoded_is_closed(clip: Any, opened: list[Any]) -> None:
    path = clip("mpeg2")
    opened.clear()
    with pytest.raises(Unsupported):
        gpu(path)
    assert list(map(is_closed, opened)) == [True]


@pytest.mark.parametrize("name", [*NAMES, "mpeg2", "av1"])
def test_all_packets_come_after_the_first_frame(clip: Any, name: str) -> None:
    with av.open(str(clip(name))) as container:
        want = stamps(container.demux(video=0))
    with av.open(str(clip(name))) as container:
        pts = next(container.decode(video=0)).pts
    file = VideoFile(clip(name), DecodeStats())
    assert file.first_frame().pts == pts
    copy = file.first_packet()
    assert copy.size == want[0][1]
    assert stamps(file.packets()) == want
    assert list(file.packets()) == []
    file.close()


@pytest.mark.parametrize("limit", ["KEPT_PACKETS", "KEPT_BYTES"])
def test_a_late_first_frame_opens_the_file_again(
    clip: Any, limit: str, opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept is bounded, however long it takes to see a frame."""
    path = clip("h264_cropped")
    with av.open(str(path)) as container:
        want = stamps(container.demux(video=0))
    monkeypatch.setattr(probe, limit, 1 if limit == "KEPT_PACKETS" else want[0][1])
    opened.clear()
    file = VideoFile(path, DecodeStats())
    file.first_frame()
    assert len(file._kept) == 1
    assert file.first_packet().size == want[0][1]
    assert stamps(file.packets()) == want
    assert len(opened) == 2
    file.close()
    assert all(map(is_closed, opened))
    with gpu(path) as decoder:
        assert frames_of(decoder) == 120


def damage(path: Path, out: Path, begin: int, end: int) -> Path:
    """A copy whose packets [begin, end) are nonsense."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in [p for p in container.demux(video=0) if p.size][begin:end]:
            data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    out.write_bytes(data)
    return out


def test_damaged_first_packets_are_counted_once(clip: Any, tmp_path: Path) -> None:
    path = damage(clip("h264_closed"), tmp_path / "a.mp4", 0, 2)
    file = VideoFile(path, stats := DecodeStats())
    file.first_frame()
    assert stats == DecodeStats()
    assert len([p for p in file.packets() if p.size]) == 120
    file.close()


def test_without_a_frame_there_is_no_decoder(clip: Any, tmp_path: Path, opened: list[Any]) -> None:
    path = damage(clip("h264_closed"), tmp_path / "a.mp4", 0, 120)
    opened.clear()
    for make_decoder in (gpu, LibavDecoder):
        with pytest.raises(VideoProcessingError, match=r"a\.mp4' can be decoded \(\d+ packets were damaged\)"):
            make_decoder(path)
    assert list(map(is_closed, opened)) == [True, True]


def test_making_a_clip_makes_nothing_real_time(tmp_path: Path) -> None:
    """Else every test and every process after it would run before all others of the machine."""
    make(tmp_path / "clip.mp4", CLIPS["av1"], frames=10)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
