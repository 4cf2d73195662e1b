"""Files to frames: time, orientation, colours, order, and what happens to damaged files."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fastface.decode import LibavDecoder
from fastface.demo.compose import Encoding, compose_shots
from fastface.demo.scene import Photo, Shot
from fastface.errors import InputValidationError, VideoProcessingError
from fastface.types import FrameBatch

SIZE = (96, 64)
FPS = 10


def flat(colour: tuple[int, int, int], seconds: float = 1.0) -> Shot:
    return Shot(seconds, background=colour)


def ramp(n: int) -> list[Shot]:
    """Shots of a frame each, a grey level that says the frame's number: see :func:`number_of`."""
    return [flat((20 + 4 * i,) * 3, 1 / FPS) for i in range(n)]


def number_of(pixels: np.ndarray) -> int:
    return round((float(pixels.mean()) - 20) / 4)


def decode(path: Path, **arguments: int) -> tuple[LibavDecoder, np.ndarray, np.ndarray, np.ndarray]:
    """The (closed) decoder, and index, time and pixels of all frames."""
    with LibavDecoder(path, **arguments) as decoder:
        batches = list(decoder)
    index, time, pixels = (np.concatenate([getattr(b, n) for b in batches]) for n in ("index", "time", "pixels"))
    return decoder, index, time, pixels


LOSSLESS = {"crf": "1", "preset": "ultrafast"}


class TestTime:
    def test_constant_rate(self, tmp_path: Path) -> None:
        truth = compose_shots(tmp_path / "a.mp4", ramp(25), size=SIZE, fps=Fraction(30000, 1001))
        decoder, index, time, _ = decode(tmp_path / "a.mp4")
        assert index.tolist() == list(range(len(truth["times"])))
        np.testing.assert_allclose(time, truth["times"], atol=1e-4)
        info = decoder.info
        assert (info.width, info.height, info.rotation, info.codec) == (*SIZE, 0, "h264")
        assert info.average_rate == pytest.approx(30000 / 1001)
        assert info.frame_count == len(index) == decoder.stats.frames
        assert decoder.stats.end == pytest.approx(len(index) * 1001 / 30000, abs=1e-3)
        assert info.duration == pytest.approx(decoder.stats.end, abs=1e-3)
        assert decoder.stats.times == time.tolist()
        assert decoder.stats.skipped == 0
        assert decoder.stats.warnings == []

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    @pytest.mark.parametrize("start", [0, 270000])
    def test_variable_rate_and_late_start(self, tmp_path: Path, suffix: str, start: int) -> None:
        """Time stamps decide, counted from the first frame shown; the frame's number says nothing."""
        gaps = [3000, 1500, 9000, 45000, 900, 900, 3000, 12000, 6000]
        pts = [start, *(start + np.cumsum(gaps)).tolist()]
        path = tmp_path / f"a{suffix}"
        compose_shots(path, [flat((90, 90, 90), 2.0)], size=SIZE, pts=pts, encoding=Encoding(b_frames=2), audio=False)
        decoder, _, time, _ = decode(path)
        np.testing.assert_allclose(time, (np.array(pts) - start) / 90000, atol=1.1e-3)  # Matroska counts in ms
        assert decoder.stats.warnings == []

    def test_without_time_stamps_frames_are_at_the_average_rate(self, tmp_path: Path) -> None:
        """A raw H.264 stream has none."""
        compose_shots(tmp_path / "a.mp4", ramp(12), size=SIZE, fps=25, audio=False, encoding=Encoding(b_frames=0))
        with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(tmp_path / "a.h264"), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        decoder, _, time, _ = decode(tmp_path / "a.h264")
        assert len(time) == decoder.stats.frames
        np.testing.assert_allclose(np.diff(time), 0.04, atol=1e-6)
        assert time[0] == 0


class TestOrientation:
    @pytest.mark.parametrize("rotation", [0, 90, 180, 270])
    def test_a_coloured_corner_comes_to_its_display_place(self, tmp_path: Path, rotation: int) -> None:
        pixels = np.full((64, 96, 3), 60, np.uint8)
        pixels[:16, :24] = (230, 20, 20)  # top left red
        pixels[:16, -24:] = (20, 200, 30)  # top right green
        pixels[-16:, :24] = (30, 40, 230)  # bottom left blue
        actor_shot = Shot(0.5, [actor_filling(pixels)], (60, 60, 60))
        compose_shots(
            tmp_path / "a.mp4", [actor_shot], size=SIZE, fps=FPS, encoding=Encoding(rotation=rotation, options=LOSSLESS)
        )
        decoder, _, _, out = decode(tmp_path / "a.mp4")
        assert out.shape[1:] == (64, 96, 3)
        assert (decoder.info.width, decoder.info.height, decoder.info.rotation) == (*SIZE, rotation)
        with av.open(str(tmp_path / "a.mp4")) as container:
            coded = container.streams.video[0]
            assert (coded.width, coded.height) == (SIZE if rotation in (0, 180) else SIZE[::-1])
        for part, colour in (
            (out[:, 3:10, 3:18], (230, 20, 20)),
            (out[:, 3:10, -18:-3], (20, 200, 30)),
            (out[:, -10:-3, 3:18], (30, 40, 230)),
            (out[:, -10:-3, -18:-3], (60, 60, 60)),
        ):
            assert np.abs(part.reshape(-1, 3).mean(0) - colour).max() < 6


def actor_filling(pixels: np.ndarray) -> object:
    from fastface.demo.scene import Actor

    height, width = pixels.shape[:2]
    return Actor(Photo(pixels, (1, 1, 5, 5)), "picture", (width / 2, height / 2), height=height)


COLOURS = [(220, 30, 40), (30, 190, 60), (40, 50, 220), (128, 128, 128), (235, 235, 235), (20, 20, 20), (250, 200, 10)]


class TestColour:
    @pytest.mark.parametrize("full_range", [False, True])
    @pytest.mark.parametrize("matrix", ["bt601", "bt709"])
    def test_solid_colours_come_back(self, tmp_path: Path, matrix: str, full_range: bool) -> None:
        shots = [flat(c, 0.3) for c in COLOURS]
        encoding = Encoding(matrix=matrix, full_range=full_range, options=LOSSLESS)
        compose_shots(tmp_path / "a.mp4", shots, size=SIZE, fps=FPS, encoding=encoding)
        decoder, _, _, pixels = decode(tmp_path / "a.mp4")
        assert (decoder.info.matrix, decoder.info.full_range) == (matrix, full_range)
        middle = pixels[:, 8:-8, 8:-8].astype(int)
        for frame, colour in zip(middle, np.repeat(COLOURS, 3, 0), strict=True):
            assert np.abs(frame - colour).max() <= 3, (colour, frame.reshape(-1, 3).mean(0))

    @pytest.mark.parametrize(("height", "matrix"), [(718, "bt601"), (720, "bt709")])
    def test_untagged_is_bt709_from_720_lines_on(self, tmp_path: Path, height: int, matrix: str) -> None:
        compose_shots(
            tmp_path / "a.mp4",
            [flat((220, 30, 40), 0.2)],
            size=(64, height),
            fps=FPS,
            encoding=Encoding(matrix=None, options=LOSSLESS),
        )
        decoder, _, _, pixels = decode(tmp_path / "a.mp4")
        assert decoder.info.matrix == matrix
        assert np.abs(pixels.reshape(-1, 3).mean(0) - (220, 30, 40)).max() <= 3

    def test_the_wrong_matrix_would_be_noticed(self, tmp_path: Path) -> None:
        """libav's own default (BT.601 whatever the tag says) misses by far more than the tolerance above."""
        encoding = Encoding(matrix="bt709", options=LOSSLESS)
        compose_shots(tmp_path / "a.mp4", [flat((220, 30, 40), 0.2)], size=SIZE, fps=FPS, encoding=encoding)
        with av.open(str(tmp_path / "a.mp4")) as container:
            frame = next(container.decode(video=0)).reformat(format="rgb24", src_colorspace="ITU601")
        assert np.abs(frame.to_ndarray().reshape(-1, 3).mean(0) - (220, 30, 40)).max() > 10

    @pytest.mark.parametrize(
        ("codec", "pixel_format"),
        [("libx264", "yuv420p10le"), ("libx265", "yuv420p10le"), ("libx264", "yuv444p"), ("libx264", "yuv422p")],
    )
    def test_other_pixel_formats(self, tmp_path: Path, codec: str, pixel_format: str) -> None:
        encoding = Encoding(codec=codec, pixel_format=pixel_format, options=LOSSLESS)
        shots = [flat(c, 0.2) for c in COLOURS]
        compose_shots(tmp_path / "a.mkv", shots, size=SIZE, fps=FPS, encoding=encoding)
        decoder, _, _, pixels = decode(tmp_path / "a.mkv")
        assert decoder.info.pixel_format == pixel_format
        for frame, colour in zip(pixels[:, 8:-8, 8:-8].astype(int), np.repeat(COLOURS, 2, 0), strict=True):
            assert np.abs(frame - colour).max() <= 3

    def test_odd_sizes(self, tmp_path: Path) -> None:
        encoding = Encoding(pixel_format="yuv444p", options=LOSSLESS)
        compose_shots(tmp_path / "a.mp4", [flat((40, 50, 220), 0.2)], size=(97, 63), fps=FPS, encoding=encoding)
        _, _, _, pixels = decode(tmp_path / "a.mp4")
        assert pixels.shape == (2, 63, 97, 3)
        assert np.abs(pixels.astype(int) - (40, 50, 220)).max() <= 3


class TestOrderAndBatches:
    @pytest.mark.parametrize(
        "encoding",
        [
            Encoding(b_frames=0, options=LOSSLESS),
            Encoding(b_frames=3, gop=12, options={**LOSSLESS, "preset": "medium"}),
            Encoding(codec="libx265", b_frames=3, options={"preset": "medium"}),
        ],
        ids=lambda e: f"{e.codec}-{e.b_frames}",
    )
    def test_frames_come_in_the_order_shown(self, tmp_path: Path, encoding: Encoding) -> None:
        compose_shots(tmp_path / "a.mp4", ramp(50), size=SIZE, fps=FPS, encoding=encoding)
        with av.open(str(tmp_path / "a.mp4")) as container:
            pts = [p.pts for p in container.demux(video=0) if p.pts is not None]
        assert (pts == sorted(pts)) is (encoding.b_frames == 0), "the clip does not test what it should"
        _, index, time, pixels = decode(tmp_path / "a.mp4")
        assert [number_of(p) for p in pixels] == list(range(50))
        assert index.tolist() == list(range(50))
        np.testing.assert_allclose(time, np.arange(50) / FPS, atol=1e-3)

    @pytest.fixture(scope="class")
    @classmethod
    def clip(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("clip") / "a.mp4"
        compose_shots(path, ramp(50), size=SIZE, fps=FPS, encoding=Encoding(b_frames=2, options=LOSSLESS))
        return path

    @pytest.mark.parametrize("every", [1, 2, 3, 7, 49, 50, 1000])
    @pytest.mark.parametrize("batch_size", [1, 4, 32])
    def test_every_and_batch_size(self, clip: Path, every: int, batch_size: int) -> None:
        with LibavDecoder(clip, every=every, batch_size=batch_size) as decoder:
            batches = list(decoder)
        wanted = list(range(0, 50, every))
        assert [len(b) for b in batches[:-1]] == [batch_size] * (len(batches) - 1)
        assert np.concatenate([b.index for b in batches]).tolist() == wanted
        assert [number_of(p) for b in batches for p in b.pixels] == wanted
        np.testing.assert_allclose(np.concatenate([b.time for b in batches]), np.array(wanted) / FPS, atol=1e-3)
        assert decoder.stats.frames == len(decoder.stats.times) == 50

    def test_batches_stay_as_they_were(self, clip: Path) -> None:
        """They may be kept while decoding goes on: a later frame must not be written over them."""
        with LibavDecoder(clip, batch_size=5) as decoder:
            first = next(batches := iter(decoder))
            copy = first.pixels.copy()
            for _ in batches:
                pass
        np.testing.assert_array_equal(first.pixels, copy)

    def test_batches_are_made_when_they_are_asked_for(self, clip: Path) -> None:
        with LibavDecoder(clip, batch_size=5) as decoder:
            assert decoder.stats.frames == 0
            for n, batch in enumerate(itertools.islice(decoder, 3), start=1):
                assert isinstance(batch, FrameBatch)
                assert decoder.stats.frames == 5 * n

    def test_large_pictures_come_in_small_batches(self, tmp_path: Path) -> None:
        for size, frames in (((1920, 1080), 8), ((3840, 2160), 2), ((320, 240), 32)):
            compose_shots(tmp_path / "a.mp4", [flat((9, 9, 9), 0.1)], size=size, fps=FPS, audio=False)
            with LibavDecoder(tmp_path / "a.mp4") as decoder:
                assert decoder.batch_size == frames

    def test_every_must_be_positive(self, clip: Path) -> None:
        with pytest.raises(InputValidationError, match="every is 0, must be at least 1"):
            LibavDecoder(clip, every=0)

    def test_a_name_with_a_colon_and_other_letters(self, clip: Path, tmp_path: Path, monkeypatch) -> None:
        """Not a protocol."""
        monkeypatch.chdir(tmp_path)
        Path("http: é%d.mp4").write_bytes(clip.read_bytes())
        assert len(decode(Path("http: é%d.mp4"))[1]) == 50


def test_a_picture_that_changes_size_is_scaled_back(tmp_path: Path) -> None:
    """Two raw H.264 streams in one file: allowed, and seen in recordings of broadcasts."""
    for name, size in (("a", SIZE), ("b", (128, 96))):
        compose_shots(tmp_path / f"{name}.mp4", [flat((90, 120, 60), 0.5)], size=size, fps=FPS, audio=False)
        with av.open(str(tmp_path / f"{name}.mp4")) as source, av.open(str(tmp_path / f"{name}.h264"), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
    (tmp_path / "c.h264").write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    decoder, index, _, pixels = decode(tmp_path / "c.h264")
    assert len(index) == 10
    assert np.abs(pixels.astype(int) - (90, 120, 60)).max() < 8
    assert any("changes size" in w and "128x96" in w for w in decoder.stats.warnings)


class TestWhatIsNoVideo:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(InputValidationError, match=r"no\.mp4' does not exist"):
            LibavDecoder(tmp_path / "no.mp4")

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputValidationError, match="is a folder"):
            LibavDecoder(tmp_path)

    @pytest.mark.parametrize("name", ["a.mp4", "a.txt", "a.nfo", "a"])
    @pytest.mark.parametrize("content", [b"", b"Once upon a time there was no video.\n" * 50])
    def test_text_and_nothing(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputValidationError, match=name):
            LibavDecoder(tmp_path / name)

    def test_random_bytes(self, tmp_path: Path, rng: np.random.Generator) -> None:
        (tmp_path / "a.mp4").write_bytes(rng.bytes(100_000))
        with pytest.raises((InputValidationError, VideoProcessingError)):
            LibavDecoder(tmp_path / "a.mp4")

    def test_audio_only(self, tmp_path: Path) -> None:
        with av.open(str(tmp_path / "a.m4a"), "w") as container:
            stream = container.add_stream("aac", rate=44100, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 44100
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        with pytest.raises(InputValidationError, match=r"has no video stream \(it has: audio\)"):
            LibavDecoder(tmp_path / "a.m4a")


class TestDamage:
    @pytest.fixture(scope="class", params=[".mkv", ".ts"])
    @classmethod
    def clip(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """100 frames in containers that can be read from the front."""
        path = tmp_path_factory.mktemp("clip") / f"a{request.param}"
        noise = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        shots = [Shot(0.5, [actor_filling(np.roll(noise, i, 0))], (0, 0, 0)) for i in range(20)]
        compose_shots(path, shots, size=SIZE, fps=FPS, encoding=Encoding(gop=10, b_frames=2), audio=False)
        return path

    @pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
    def test_of_a_truncated_file_the_frames_before_the_break_come_out(
        self, clip: Path, tmp_path: Path, share: float
    ) -> None:
        data = clip.read_bytes()
        path = tmp_path / clip.name
        path.write_bytes(data[: int(share * len(data))])
        _, _, _, whole = decode(clip)
        _, index, time, pixels = decode(path)
        n = len(index)
        assert 0.7 * share * 100 < n <= 100 * share + 12
        # Of the last pictures some may be lost, because they build on what is gone; those before are as they were.
        np.testing.assert_allclose(time[: n - 8], np.arange(n - 8) / FPS, atol=2e-3)
        assert (np.diff(time) > 0).all()
        np.testing.assert_array_equal(pixels[: n - 8], whole[: n - 8])

    def test_an_mp4_without_its_index_is_refused(self, clip: Path, tmp_path: Path) -> None:
        compose_shots(tmp_path / "a.mp4", ramp(30), size=SIZE, fps=FPS)
        data = (tmp_path / "a.mp4").read_bytes()
        (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
        with pytest.raises(InputValidationError, match=r"a\.mp4' is not a video that libav can open"):
            LibavDecoder(tmp_path / "a.mp4")

    def test_a_truncated_mp4_with_its_index_in_front_is_reported(self, tmp_path: Path) -> None:
        path = fast_start(tmp_path)
        data = path.read_bytes()
        path.write_bytes(data[: int(0.6 * len(data))])
        decoder, index, _, _ = decode(path)
        assert 20 < len(index) < 90
        assert decoder.info.frame_count == 100
        assert decoder.stats.warnings == [
            "the file breaks off, or parts of it are missing: a packet is incomplete",
            "frames were left out: they, or what they build on, are damaged or missing",
        ]
        assert decoder.stats.skipped == 100 - len(index)

    def test_damage_in_the_middle_is_reported_and_survived(self, tmp_path: Path) -> None:
        path = fast_start(tmp_path)
        data = bytearray(path.read_bytes())
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(video=0) if p.size]
        for packet in packets[30:35]:
            data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
        path.write_bytes(data)
        decoder, index, time, _ = decode(path)
        assert 80 <= len(index) <= 99
        assert time[-1] > 9.5, "decoding did not go on after the damage"
        assert (np.diff(time) > 0).all()
        assert decoder.stats.skipped >= 1
        assert any("damaged packets were left out" in w for w in decoder.stats.warnings)

    def test_not_one_frame(self, tmp_path: Path) -> None:
        path = fast_start(tmp_path)
        data = bytearray(path.read_bytes())
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(video=0) if p.size]
        for packet in packets:
            data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
        path.write_bytes(data)
        with pytest.raises(VideoProcessingError, match="not a single frame of"):
            LibavDecoder(path)


def fast_start(folder: Path) -> Path:
    """An MP4 of 100 frames, key frames every 10, whose index comes first."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    shots = [Shot(0.5, [actor_filling(np.roll(noise, i, 0))], (0, 0, 0)) for i in range(20)]
    compose_shots(folder / "slow.mp4", shots, size=SIZE, fps=FPS, encoding=Encoding(gop=10, b_frames=0), audio=False)
    with (
        av.open(str(folder / "slow.mp4")) as source,
        av.open(str(folder / "fast.mp4"), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return folder / "fast.mp4"
