"""Small videos of every kind that decoding has to get right, made with libav's encoders."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

TIME_BASE = Fraction(1, 12800)
RATE = 25
X265 = "log-level=error:keyint=30:min-keyint=30:scenecut=0:bframes=4:b-adapt=0:pools=2:frame-threads=1"
X264 = {"g": "30", "keyint_min": "30", "bf": "3", "x264-params": "scenecut=0:open-gop=0:b-adapt=0"}


def steady(n: int) -> list[int]:
    """Time stamps of n frames at a constant rate."""
    return [512 * i for i in range(n)]


def uneven(n: int) -> list[int]:
    """Time stamps of n frames at a variable rate, with a hole and a gap of one unit."""
    steps = np.random.default_rng(5).integers(1, 1500, n)
    steps[n // 2] = 40_000
    return [int(x) for x in np.cumsum(steps) - steps[0]]


@dataclass(frozen=True)
class Clip:
    """How a clip is encoded.

    Attributes:
        encoder, options, pixel_format: for libav.
        suffix: of the file, which chooses the container.
        segments: how many segments of at least 25 frames it must be cut into (120 frames, a key every 30 or so).
        stamps: time stamps of n frames.
        crop: taken off width and height, to make them no multiple of 16.
        global_header: keep the parameter sets out of the stream, as mp4 and mkv have it.
    """

    encoder: str = "libx264"
    options: dict[str, str] = field(default_factory=lambda: dict(X264))
    suffix: str = "mp4"
    segments: int = 4
    pixel_format: str = "yuv420p"
    stamps: Callable[[int], list[int]] = steady
    crop: tuple[int, int] = (0, 0)
    global_header: bool = True


def _x264(parameters: str, **options: str) -> dict[str, str]:
    return {**X264, "x264-params": parameters, **options}


def _x265(parameters: str) -> dict[str, str]:
    return {"x265-params": f"{X265}:{parameters}"}


CLIPS: dict[str, Clip] = {
    "h264_closed": Clip(),
    "h264_open": Clip(options=_x264("scenecut=0:open-gop=1:b-adapt=0"), segments=1),
    "h264_pyramid": Clip(options=_x264("scenecut=0:b-adapt=0:b-pyramid=normal:ref=4", bf="7")),
    "h264_no_b": Clip(options=_x264("scenecut=0", bf="0")),
    "h264_vfr": Clip(stamps=uneven),
    "h264_one_gop": Clip(options={**X264, "g": "9999"}, segments=1),
    "h264_mkv": Clip(suffix="mkv"),
    "h264_ts": Clip(suffix="ts", global_header=False),
    "h264_open_ts": Clip(
        options=_x264("scenecut=0:open-gop=1:b-adapt=0"), suffix="ts", segments=1, global_header=False
    ),
    "h264_raw": Clip(suffix="h264", segments=1, global_header=False),
    "h264_refresh": Clip(options=_x264("intra-refresh=1:scenecut=0", bf="0"), segments=1),
    "h264_cropped": Clip(crop=(6, 2)),
    "hevc_idr": Clip("libx265", _x265("open-gop=0")),
    "hevc_cra": Clip("libx265", _x265("open-gop=1"), segments=1),
    "hevc_cra_no_b": Clip("libx265", _x265("open-gop=1:bframes=0")),
    "hevc_mkv": Clip("libx265", _x265("open-gop=0"), suffix="mkv"),
    "hevc_ts": Clip("libx265", _x265("open-gop=0"), suffix="ts", global_header=False),
    "hevc_10bit": Clip("libx265", _x265("open-gop=0"), pixel_format="yuv420p10le"),
    "hevc_vfr": Clip("libx265", _x265("open-gop=0"), stamps=uneven),
    "vp9": Clip(
        "libvpx-vp9",
        {"g": "30", "keyint_min": "30", "cpu-used": "8", "deadline": "realtime", "auto-alt-ref": "0"},
        "webm",
    ),
    "vp9_hidden": Clip(
        "libvpx-vp9",
        {
            "g": "30",
            "keyint_min": "30",
            "cpu-used": "5",
            "deadline": "good",
            "auto-alt-ref": "1",
            "lag-in-frames": "16",
        },
        "webm",
    ),
    "vp9_odd": Clip(
        "libvpx-vp9",
        {"g": "30", "keyint_min": "30", "cpu-used": "8", "deadline": "realtime", "auto-alt-ref": "0"},
        "webm",
        crop=(5, 3),
    ),
    "av1": Clip("libsvtav1", {"preset": "12", "g": "30", "svtav1-params": "keyint=30:irefresh-type=2"}, "mp4"),
    "av1_mkv": Clip("libsvtav1", {"preset": "12", "g": "30", "svtav1-params": "keyint=30:irefresh-type=2"}, "mkv"),
    "mpeg2": Clip(
        "mpeg2video",
        {"g": "30", "bf": "2", "sc_threshold": "1000000000", "flags": "+cgop"},
        "ts",
        segments=5,
        global_header=False,
    ),
    "mpeg2_open": Clip(
        "mpeg2video", {"g": "30", "bf": "2", "sc_threshold": "1000000000"}, "ts", segments=1, global_header=False
    ),
}
"""Name to clip; MPEG-2's open groups, H.264's recovery points and HEVC's CRA pictures must not be cut."""

FOR_NVDEC = [name for name in CLIPS if not name.startswith("mpeg")]
"""Those that the GPU decoder takes."""


@contextlib.contextmanager
def priority_kept() -> Iterator[None]:
    """SVT-AV1, where root runs it, makes a real-time thread of the one that opens it, and thereby of all threads and
    processes that this starts later: everything else on the machine would wait for the tests."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


def pictures(n: int, width: int, height: int) -> Iterable[NDArray[np.uint8]]:
    """[height, width, 3] uint8 each: a texture that moves, over which bars move the other way."""
    rng = np.random.default_rng(11)
    texture = rng.integers(0, 255, (height + 256, width + 256, 3), np.uint8)
    for _ in range(3):
        texture = ((texture.astype(np.uint16) + np.roll(texture, 1, 0) + np.roll(texture, 1, 1)) // 3).astype(np.uint8)
    for i in range(n):
        y, x = (3 * i) % 256, (5 * i) % 256
        picture = texture[y : y + height, x : x + width].copy()
        bar = (7 * i) % (width - 16)
        picture[:, bar : bar + 16] = (i * 2 % 256, 255 - i * 2 % 256, 128)
        yield picture


def make(
    path: Path,
    clip: Clip,
    *,
    frames: int = 120,
    width: int = 320,
    height: int = 192,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Encode a clip; muxer: options of the container."""
    width, height = width - clip.crop[0], height - clip.crop[1]
    with priority_kept(), av.open(str(path), "w", container_options=muxer or {}) as container:
        stream = container.add_stream(clip.encoder, rate=RATE, options=clip.options)
        stream.width, stream.height, stream.pix_fmt = width, height, clip.pixel_format
        stream.codec_context.time_base = TIME_BASE if clip.encoder not in ("mpeg2video", "mpeg4") else Fraction(1, RATE)
        stream.bit_rate = 800_000
        if not clip.global_header:
            stream.codec_context.flags &= ~(1 << 22)
        for picture, pts in zip(pictures(frames, width, height), clip.stamps(frames), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=clip.pixel_format)
            frame.pts, frame.time_base = pts, TIME_BASE
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def make_all(folder: Path, names: Iterable[str] = CLIPS, **size: int) -> dict[str, Path]:
    """Encode clips into a folder; name to path."""
    folder.mkdir(parents=True, exist_ok=True)
    return {name: make(folder / f"{name}.{CLIPS[name].suffix}", CLIPS[name], **size) for name in names}


def loop(path: Path, out: Path, frames: int) -> int:
    """Write a video again and again into one file, without decoding it; how many frames that gives."""
    total = 0
    with av.open(str(out), "w") as container:
        target, offset = None, 0
        while total < frames:
            with av.open(str(path)) as source:
                stream = source.streams.video[0]
                if target is None:
                    target = container.add_stream_from_template(stream)
                packets = [p for p in source.demux(stream) if p.size]
                first = min(p.pts for p in packets)
                step = round(float(1 / (stream.average_rate * stream.time_base)))
                length = max(p.pts for p in packets) - first + step
                for packet in packets:
                    packet.pts += offset - first
                    packet.dts += offset - first
                    packet.stream = target
                    container.mux(packet)
                total += len(packets)
                offset += length
    return total


def two_sequences(folder: Path) -> Path:
    """A transport stream of two of 120 frames after each other, with different parameter sets."""
    raw, out = Clip(suffix="h264", global_header=False), folder / "both.ts"
    parts = make(folder / "a.h264", raw), make(folder / "b.h264", raw, width=256, height=128)
    with av.open(str(out), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = 320, 192
        for before, path in zip((0, 120), parts, strict=True):
            with av.open(str(path)) as source:
                for i, packet in enumerate(p for p in source.demux(video=0) if p.size):
                    packet.pts, packet.dts = (before + i + 3) * 3600, (before + i) * 3600
                    packet.stream, packet.time_base = stream, Fraction(1, 90000)
                    container.mux(packet)
    return out
