"""Odd and damaged videos, one by one, with both decoders: what can be had is had with true times, the rest is told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from decode_clips import X264, Clip, make
from fake_gpu import FakeGpu

from fastface.decode import LibavDecoder
from fastface.decode.device import Unsupported
from fastface.decode.nvdec import NvdecDecoder
from fastface.decode.probe import BACKWARDS, BUILT_ON_NOTHING, Clock, DecodeStats
from fastface.errors import FastFaceError, InputValidationError, VideoProcessingError

INTRA = {"mjpeg": Clip("mjpeg", {}, "mkv", pixel_format="yuvj420p")}


def libav(path: Path) -> tuple[LibavDecoder, list[float]]:
    """The (closed) decoder and the times of all frames; index, times and counts are consistent."""
    with LibavDecoder(path) as decoder:
        batches = list(decoder)
    time = [t for b in batches for t in b.time.tolist()]
    assert [i for b in batches for i in b.index.tolist()] == list(range(len(time)))
    assert all(b.pixels.shape[1:] == (decoder.info.height, decoder.info.width, 3) for b in batches)
    assert decoder.stats.frames == len(time)
    assert decoder.stats.times == time
    assert (np.diff(time) > 0).all()
    return decoder, time


def nvdec(path: Path, **settings: Any) -> tuple[NvdecDecoder, list[float]]:
    """The same of the GPU decoder, with a stand-in for the GPU."""
    settings = {"sessions": 2, "min_frames": 5, **settings}
    with NvdecDecoder(path, _backend=FakeGpu.maker(forgiving=True), **settings) as decoder:
        index, time = [], []
        for batch in decoder:
            index += batch.index.tolist()
            time += batch.time.tolist()
            batch.release()
    assert (np.diff(index) > 0).all()
    assert (np.diff(time) > 0).all()
    assert decoder.stats.frames == len(time)
    assert decoder.stats.times == time
    return decoder, time


def remux(path: Path, out: Path, change: Any) -> Path:
    """Write a video anew; change: gets (packet, its number), gives the packets to write in its place."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for i, packet in enumerate(p for p in source.demux(video=0) if p.size):
            for written in change(packet, i):
                written.stream = stream
                target.mux_one(written)
    return out


def write(path: Path, codec: str, frames: Iterable[av.VideoFrame], **options: Any) -> Path:
    """Encode these frames, 25 a second."""
    with av.open(str(path), "w") as container:
        stream = None
        for i, frame in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=25, options=options.get("options", {}))
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
                for name, value in options.get("context", {}).items():
                    setattr(stream.codec_context, name, value)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        if stream is None:
            stream = container.add_stream(codec, rate=25)  # without a frame
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.mux(stream.encode(None))
    return path


def grey(n: int, width: int, height: int, pixel_format: str = "yuv420p") -> list[av.VideoFrame]:
    picture = np.full((height, width, 3), 90, np.uint8)
    return [av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format) for _ in range(n)]


class TestStreams:
    def test_one_frame(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.mp4", "libx264", grey(1, 64, 48))
        for decode in (libav, nvdec):
            decoder, time = decode(path)
            assert time == [0.0]
            assert decoder.stats.end == pytest.approx(0.04)

    def test_zero_frames(self, tmp_path: Path) -> None:
        for name in ("a.mkv", "a.mp4"):
            path = write(tmp_path / name, "libx264", [])
            for decode in (libav, nvdec):
                with pytest.raises((VideoProcessingError, InputValidationError), match=name):
                    decode(path)

    def test_a_video_of_text_subtitles_only(self, tmp_path: Path) -> None:
        (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
        with pytest.raises(InputValidationError, match="has no video stream"):
            libav(tmp_path / "a.srt")

    @pytest.mark.parametrize("size", [(16, 16), (2, 2), (18, 34), (1282, 2)])
    @pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
    def test_small_and_narrow(self, tmp_path: Path, size: tuple[int, int], codec: str) -> None:
        pixel_format = "yuv420p" if codec == "libx264" else "yuvj420p"
        path = write(tmp_path / "a.mkv", codec, grey(4, *size, pixel_format))
        decoder, time = libav(path)
        assert (decoder.info.width, decoder.info.height) == size
        np.testing.assert_allclose(time, np.arange(4) / 25, atol=1e-3)

    @pytest.mark.parametrize("size", [(17, 17), (1, 1), (65, 33), (64, 33), (33, 64)])
    @pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
    def test_odd_sizes(self, tmp_path: Path, size: tuple[int, int], pixel_format: str) -> None:
        path = write(tmp_path / "a.mkv", "ffv1", grey(2, *size, pixel_format))
        with LibavDecoder(path) as decoder:
            pixels = np.concatenate([b.pixels for b in decoder])
        assert pixels.shape == (2, size[1], size[0], 3)
        assert np.abs(pixels.astype(int) - 90).max() <= 2

    def test_8k(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.mkv", "mjpeg", grey(2, 7680, 4320, "yuvj420p"))
        decoder, time = libav(path)
        assert (decoder.info.width, decoder.info.height, len(time)) == (7680, 4320, 2)
        assert decoder.batch_size == 1

    @pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
    def test_interlaced(self, tmp_path: Path, codec: str) -> None:
        options = {"flags": "+ildct+ilme", **({"x264-params": "interlaced=1"} if codec == "libx264" else {})}
        path = tmp_path / "a.ts"
        make(path, Clip(codec, options, "ts", global_header=False), frames=20, width=64, height=64)
        with av.open(str(path)) as container:
            assert next(container.decode(video=0)).interlaced_frame, "the clip does not test what it should"
        decoder, time = libav(path)
        np.testing.assert_allclose(time, np.arange(20) / 25, atol=1e-3)
        assert decoder.stats.skipped == 0
        with pytest.raises(Unsupported):
            nvdec(path)

    @pytest.mark.parametrize(
        ("codec", "pixel_format"), [("qtrle", "argb"), ("prores_ks", "yuva444p10le"), ("png", "rgba")]
    )
    def test_alpha(self, tmp_path: Path, codec: str, pixel_format: str) -> None:
        """What is transparent keeps its colour: nothing is known of what would be behind."""
        picture = np.full((48, 64, 4), (200, 90, 40, 255), np.uint8)
        picture[:, :32, 3] = 0
        frame = av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format=pixel_format)
        path = write(tmp_path / "a.mov", codec, [frame])
        with LibavDecoder(path) as decoder:
            (batch,) = decoder
        assert np.abs(batch.pixels[0, 8:-8, [8, -8]].astype(int) - (200, 90, 40)).max() <= 4
        with pytest.raises(Unsupported):
            nvdec(path)

    def test_hdr_tags(self, tmp_path: Path) -> None:
        """PQ, BT.2020, ten bits: the matrix is followed; brightness is left as it is coded."""
        context = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
        frames = grey(3, 64, 48, "yuv420p10le")
        options = {"x265-params": "log-level=error:pools=1:colormatrix=bt2020nc:transfer=smpte2084:colorprim=bt2020"}
        path = write(tmp_path / "a.mkv", "libx265", frames, options=options, context=context)
        for decode in (libav, nvdec):
            decoder, time = decode(path)
            assert (decoder.info.matrix, decoder.info.pixel_format, len(time)) == ("bt2020", "yuv420p10le", 3)

    def test_a_tag_that_is_no_utf_8(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mkv"
        with av.open(str(path), "w") as container:
            container.metadata["title"] = "TITLETITLE"
            stream = container.add_stream("mjpeg", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
            for frame in grey(2, 64, 48, "yuvj420p"):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        data = path.read_bytes()
        assert b"TITLETITLE" in data
        path.write_bytes(data.replace(b"TITLETITLE", b"\xff" * 10))
        assert len(libav(path)[1]) == 2

    def test_a_codec_that_nobody_knows(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.mp4", "libx264", grey(2, 64, 48))
        data = path.read_bytes()
        path.write_bytes(data.replace(b"avc1", b"qqqq"))
        for decode in (libav, nvdec):
            with pytest.raises(InputValidationError, match=r"a\.mp4' is of a codec that libav does not know"):
                decode(path)


class TestChanges:
    def join(self, folder: Path, codec: str, parts: list[list[av.VideoFrame]], suffix: str = "mkv") -> Path:
        """Streams one after the other in one."""
        with av.open(str(folder / f"joined.{suffix}"), "w") as target:
            stream, offset = None, 0
            for i, frames in enumerate(parts):
                with av.open(str(write(folder / f"{i}.{suffix}", codec, frames))) as source:
                    if stream is None:
                        stream = target.add_stream_from_template(source.streams.video[0])
                    for packet in [p for p in source.demux(video=0) if p.size]:
                        packet.pts = packet.dts = offset
                        packet.time_base, packet.stream = Fraction(1, 25), stream
                        offset += 1
                        target.mux_one(packet)
        return folder / f"joined.{suffix}"

    @pytest.mark.parametrize(
        ("codec", "pixel_format"), [("mjpeg", "yuvj420p"), ("libvpx", "yuv420p"), ("libvpx-vp9", "yuv420p")]
    )
    def test_of_size(self, tmp_path: Path, codec: str, pixel_format: str) -> None:
        path = self.join(tmp_path, codec, [grey(8, 64, 48, pixel_format), grey(8, 96, 80, pixel_format)])
        decoder, time = libav(path)
        np.testing.assert_allclose(time, np.arange(16) / 25, atol=1e-3)
        assert any("changes size in mid-stream (to 96x80)" in w for w in decoder.stats.warnings)
        for min_frames in (5, 64):  # the change at the beginning of a segment, and within
            with pytest.raises(Unsupported):
                nvdec(path, min_frames=min_frames)

    def test_of_pixel_format(self, tmp_path: Path) -> None:
        path = self.join(tmp_path, "mjpeg", [grey(5, 64, 48, "yuvj420p"), grey(5, 64, 48, "yuvj444p")])
        with LibavDecoder(path) as decoder:
            pixels = np.concatenate([b.pixels for b in decoder])
        assert len(pixels) == 10
        assert np.abs(pixels.astype(int) - 90).max() <= 3


class TestTimeStamps:
    @pytest.fixture(scope="class")
    @classmethod
    def clip(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """30 frames, a key every 6, no B-frames."""
        folder = tmp_path_factory.mktemp("clip")
        options = {**X264, "g": "6", "keyint_min": "6", "bf": "0"}
        return make(folder / "a.mkv", Clip(options=options, suffix="mkv"), frames=30, width=64, height=64)

    @pytest.mark.parametrize("decode", [libav, nvdec])
    def test_that_jump(self, clip: Path, tmp_path: Path, decode: Any) -> None:
        """A hole of 100 seconds stays one."""

        def change(packet: Any, i: int) -> list[Any]:
            if i >= 10:
                packet.pts, packet.dts = packet.pts + 100_000, packet.dts + 100_000
            return [packet]

        decoder, time = decode(remux(clip, tmp_path / "b.mkv", change))
        np.testing.assert_allclose(time, np.arange(30) / 25 + (np.arange(30) >= 10) * 100, atol=1e-3)
        assert decoder.stats.warnings == []

    @pytest.mark.parametrize("decode", [libav, nvdec])
    def test_that_repeat(self, clip: Path, tmp_path: Path, decode: Any) -> None:
        """Frames of one time stamp are moved on at the average rate, and said."""

        def change(packet: Any, i: int) -> list[Any]:
            if 14 <= i < 18:
                packet.pts = packet.dts = 560
            return [packet]

        decoder, time = decode(remux(clip, tmp_path / "b.mkv", change))
        assert len(time) == 30
        np.testing.assert_allclose(time[:14], np.arange(14) / 25, atol=1e-3)
        np.testing.assert_allclose(time[22:], np.arange(22, 30) / 25, atol=1e-3)
        assert BACKWARDS in decoder.stats.warnings

    @pytest.mark.parametrize("decode", [libav, nvdec])
    def test_a_missing_key_frame(self, clip: Path, tmp_path: Path, decode: Any) -> None:
        """The first: nothing can be had before the next, and what is lost is counted. Times begin where frames do."""
        path = remux(clip, tmp_path / "b.mkv", lambda packet, i: [] if i == 0 else [packet])
        decoder, time = decode(path)
        assert (len(time), decoder.stats.skipped) == (24, 5)
        assert decoder.stats.warnings == [BUILT_ON_NOTHING]
        np.testing.assert_allclose(time, np.arange(24) / 25, atol=1e-3)

    def test_huge_ones_ascend_nevertheless(self) -> None:
        """In seconds of 1e18 a step of 0.04 is lost in rounding."""
        clock = Clock(stats := DecodeStats(), 25.0, Fraction(1, 1))
        times = [clock(pts, 0) for pts in (0, 2**62, 2**62, 2**62 - 5)]
        assert (np.diff(times) > 0).all()
        assert clock.end > times[-1]
        assert stats.warnings == [BACKWARDS]

    def test_a_duration_below_zero(self) -> None:
        clock = Clock(DecodeStats(), 25.0, Fraction(1, 25))
        assert clock(0, -100) == 0.0
        assert clock.end > 0


def test_broken_packets_are_counted_alike(tmp_path: Path) -> None:
    """Of ten broken packets of thirty, in Motion JPEG, where no frame builds on another."""
    clip = make(tmp_path / "a.mkv", INTRA["mjpeg"], frames=30, width=64, height=64)

    def change(packet: Any, i: int) -> list[Any]:
        if i % 3:
            return [packet]
        broken = av.Packet(b"\xff\xd8" + b"\x00" * 30)
        broken.pts, broken.dts, broken.time_base = packet.pts, packet.dts, packet.time_base
        broken.is_keyframe = True
        return [broken]

    decoder, time = libav(remux(clip, tmp_path / "b.mkv", change))
    assert (len(time), decoder.stats.skipped) == (20, 10)
    assert decoder.stats.warnings
    kept = np.array([i for i in range(30) if i % 3])
    np.testing.assert_allclose(time, (kept - kept[0]) / 25, atol=1e-3)


def test_a_decoder_that_cannot_be_opened(tmp_path: Path) -> None:
    """Packet after packet fails with libav's error, which is counted."""
    path = write(tmp_path / "a.mp4", "libx265", grey(8, 64, 64))
    data = path.read_bytes()
    at = data.index(b"hvcC") + 4
    path.write_bytes(data[: at + 22] + b"\xff" * 20 + data[at + 42 :])
    for decode in (libav, nvdec):
        with pytest.raises(VideoProcessingError, match="not a single frame"):
            decode(path)


def test_damaged_parameter_sets_in_the_container(tmp_path: Path) -> None:
    """avcC that breaks off: an error of fastface, or libav's frames; nothing raw from the reading of headers."""
    path = make(tmp_path / "a.mp4", Clip(), frames=10, width=64, height=64)
    data = path.read_bytes()
    at = data.index(b"avcC")
    for offset in range(4, 40):
        for value in (0, 0xFF):
            path.write_bytes(data[: at + offset] + bytes([value]) + data[at + offset + 1 :])
            for decode in (libav, nvdec):
                with contextlib.suppress(FastFaceError, Unsupported):
                    decode(path)
