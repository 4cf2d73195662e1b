"""What is refused before any work is done on it, and that what is fine passes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastface
from ending import ENDS, seconds_to_end
from fastface import Limits
from fastface.decode import LibavDecoder
from fastface.errors import InputValidationError, VideoProcessingError
from fastface.validation import check_file, check_info, content_type, inside
from film import MODEL, Film


def test_a_video_passes(film: Film) -> None:
    assert check_file(film.path, Limits()) == film.path
    assert content_type(film.path) is None


@pytest.mark.parametrize("raises", [True, False])
def test_what_nobody_knows_is_left_to_libav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises: bool) -> None:
    """puremagic says so by an error until 1.x, by an empty list from 2 on."""
    import puremagic

    def unknown(head: bytes) -> list[object]:
        if raises:
            raise puremagic.PureError("Could not identify file")
        return []

    monkeypatch.setattr(puremagic, "magic_string", unknown)
    (tmp_path / "x").write_bytes(b"whatever")
    assert content_type(tmp_path / "x") is None


KINDS = [
    ("a.mp4", "libx264"), ("a.mov", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.flv", "libx264"),
    ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9"), ("a.mpg", "mpeg2video"), ("a.h264", "libx264"), ("a.hevc", "libx265"),
    ("a.ivf", "libvpx"), ("a.mjpeg", "mjpeg"), ("a.gif", "gif"), ("a.y4m", "rawvideo"), ("a.3gp", "mpeg4"),
    ("a.wmv", "msmpeg4"), ("a.mxf", "mpeg2video"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "codec"), KINDS)
def test_videos_of_every_kind_pass(tmp_path: Path, name: str, codec: str) -> None:
    """What is no video is told by few bytes; no kind of video may be mistaken for it, however it is called."""
    import av

    formats = {"gif": "rgb8", "mjpeg": "yuvj420p"}
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = formats.get(codec, "yuv420p")
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=error"}
        for i in range(5):
            pixels = np.full((64, 64, 3), 40 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels).reformat(format=stream.pix_fmt)))
        container.mux(stream.encode(None))
    assert check_file(tmp_path / name, Limits())
    if not name.endswith(".mjpeg"):  # whose beginning is that of a JPEG file
        (tmp_path / name).rename(tmp_path / "video")
        assert check_file(tmp_path / "video", Limits())


def contents(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are no videos, whatever they are called, and what is said of them."""
    Image.new("RGB", (64, 64)).save(folder / "jpeg.mp4", "JPEG")
    Image.new("RGB", (64, 64)).save(folder / "png.mp4", "PNG")
    (folder / "text.mp4").write_text("WEBVTT\n\nnot a video at all\n" * 9)
    (folder / "html.mkv").write_text("<!DOCTYPE html><html><body>hello</body></html>")
    (folder / "pdf.mp4").write_bytes(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n")
    (folder / "zip.mp4").write_bytes(b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + bytes(60))
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    return {
        "jpeg.mp4": (folder / "jpeg.mp4", "is not a video: it is image/jpeg"),
        "png.mp4": (folder / "png.mp4", "it is image/png"),
        "text.mp4": (folder / "text.mp4", "it is text/"),
        "html.mkv": (folder / "html.mkv", "it is text/html"),
        "pdf.mp4": (folder / "pdf.mp4", "it is application/pdf"),
        "zip.mp4": (folder / "zip.mp4", "it is application/"),
        "empty.mp4": (folder / "empty.mp4", "is empty"),
        "folder.mp4": (folder / "folder.mp4", "is a folder"),
        "pipe.mp4": (folder / "pipe.mp4", "is no regular file"),
        "none.mp4": (folder / "none.mp4", "does not exist"),
        "nul": (folder / "a\0b.mp4", "holds a NUL"),
    }


def test_what_is_no_video(tmp_path: Path) -> None:
    for path, message in contents(tmp_path).values():
        with pytest.raises(InputValidationError, match=message):
            check_file(path, Limits())


def test_limits(film: Film, tmp_path: Path, embedder_spec: object) -> None:
    size = film.path.stat().st_size
    assert check_file(film.path, Limits(max_bytes=size))
    with pytest.raises(InputValidationError, match=rf"has {size:,} bytes, must have at most {size - 1:,}"):
        check_file(film.path, Limits(max_bytes=size - 1))
    with pytest.raises(InputValidationError, match="leads out of"):
        check_file(film.path, Limits(root=tmp_path))
    with LibavDecoder(film.path) as decoder:
        check_info(decoder.info, Limits(max_seconds=7, max_pixels=640 * 360))
    too_long = Limits(max_seconds=2)
    with pytest.raises(InputValidationError, match="are 640 x 360, must have at most 230,399 pixels"):
        check_info(decoder.info, Limits(max_pixels=640 * 360 - 1))
    with (
        fastface.Pipeline(device="cpu", embedder=MODEL, limits=too_long) as pipeline,
        pytest.raises(InputValidationError, match=r"lasts 6\.\d s, must last at most 2 s"),
    ):
        pipeline.process(film.path)


@pytest.mark.parametrize(
    "wrong", [{"max_bytes": 0}, {"max_bytes": None}, {"max_seconds": -1}, {"max_pixels": True}, {"root": "/no/such"}]
)
def test_limits_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputValidationError, match=next(iter(wrong))):
        Limits(**wrong)


class TestRoot:
    def test_files_that_name_other_files(self, film: Film, tmp_path: Path) -> None:
        """libav would open those, whatever the list is called."""
        (tmp_path / "film.mp4").write_bytes(film.path.read_bytes())
        assert check_file("film.mp4", Limits(root=tmp_path))
        lists = {
            "concat.mp4": "ffconcat version 1.0\nfile film.mp4\n",
            "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfilm.mp4\n",
            "dash.mp4": '<?xml version="1.0"?>\n<MPD profiles="urn:mpeg:dash:profile:full:2011"></MPD>',
            "sdp.mp4": "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        }
        for name, text in lists.items():
            (tmp_path / name).write_text(text)
            with pytest.raises(InputValidationError, match="is not a video"):
                check_file(name, Limits(root=tmp_path))
        with LibavDecoder(tmp_path / "concat.mp4") as decoder:  # else the test would prove nothing
            assert decoder.info.width == 640

    def test_paths_inside(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        (root / "a").mkdir(parents=True)
        (root / "a" / "v.mp4").write_bytes(b"x")
        (root / "link.mp4").symlink_to(root / "a" / "v.mp4")
        for path in ("a/v.mp4", root / "a" / "v.mp4", "a/../a/v.mp4", "link.mp4"):
            assert inside(root, path) == root / "a" / "v.mp4"

    def test_paths_that_lead_out(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        root.mkdir()
        (tmp_path / "root2").mkdir()
        (tmp_path / "secret.mp4").write_bytes(b"x")
        (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
        (root / "up").symlink_to(tmp_path)
        (root / "loop").symlink_to(root / "loop")
        for path in ("../secret.mp4", "link.mp4", "up/secret.mp4", "/etc/passwd", tmp_path / "root2" / "x",
                     "a/../../secret.mp4", "a\0b"):  # fmt: skip
            with pytest.raises(InputValidationError, match=r"leads out of|cannot be followed"):
                inside(root, path)


def test_strict(film: Film, tmp_path: Path, embedder_spec: object) -> None:
    """What is otherwise left out and counted is an error, with the place where it happened."""
    content = bytearray(film.path.read_bytes())
    start = content.find(b"mdat") + len(content) // 3
    for i in range(start, start + 4000):
        content[i] = (content[i] * 7 + 13) % 256
    (tmp_path / "broken.mp4").write_bytes(content)
    settings: dict[str, Any] = {"device": "cpu", "embedder": MODEL, "min_face_size": 100, "every": 10}
    with fastface.Pipeline(**settings) as pipeline:
        lax = pipeline.process(tmp_path / "broken.mp4")
    assert lax.run["frames_skipped"] > 0
    assert any("damaged" in w or "decoded" in w for w in lax.run["warnings"])
    with fastface.Pipeline(**settings, strict=True) as pipeline:
        with pytest.raises(VideoProcessingError, match="strict=True") as caught:
            pipeline.process(tmp_path / "broken.mp4")
        assert caught.value.frame is not None
        assert caught.value.time is not None
        assert pipeline.process(film.path).run["frames_skipped"] == 0


@pytest.mark.alone
@pytest.mark.parametrize("end", ENDS, ids=[word for _, _, word in ENDS])
def test_ends_within_two_seconds(film: Film, tmp_path: Path, embedder_spec: object, end: tuple[int, int, str]) -> None:
    """In the middle of a long video: quickly, saying so, and leaving no output behind."""
    import av

    long = tmp_path / "long.mp4"
    with av.open(str(film.path)) as source, av.open(str(long), "w") as target:
        (stream,) = source.streams.video
        out = target.add_stream_from_template(stream)
        packets = [p for p in source.demux(stream) if p.dts is not None]
        length = sum(p.duration or 0 for p in packets)
        copies = [(bytes(p), p.pts, p.dts, p.time_base, p.is_keyframe) for p in packets]
        for turn in range(40):
            for content, pts, dts, base, key in copies:
                packet = av.Packet(content)
                packet.pts, packet.dts, packet.time_base = pts + turn * length, dts + turn * length, base
                packet.stream, packet.is_keyframe = out, key
                target.mux(packet)
    (tmp_path / "out").mkdir()
    seconds: list[float] = []
    while not seconds or (min(seconds) >= 2 and len(seconds) < 5):  # other work on the machine may disturb one
        seconds.append(seconds_to_end(long, tmp_path / "out", "cpu", MODEL, end, lambda: time.sleep(1.5)))
    print(f"ended after {seconds} s")
    assert min(seconds) < 2
