"""What is damaged, what is done with it, and what must hold then: it gives a result, or an error of fastface."""

from __future__ import annotations

import functools
import itertools
import json
import math
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "decode"))

import mutate
from decode_clips import CLIPS, X264, Clip, make, uneven
from fake_gpu import FakeGpu

from fastface.decode import LibavDecoder
from fastface.decode.device import Unsupported
from fastface.decode.nvdec import NvdecDecoder
from fastface.errors import FastFaceError
from fastface.export import FORMATS
from fastface.gallery import Gallery
from fastface.timeline import Identity, Span, Timeline, Track
from fastface.types import Embeddings, Faces

KINDS = ("video", "timeline", "gallery")
GOP = {"g": "6", "keyint_min": "6"}
REALTIME = {"g": "6", "cpu-used": "8", "deadline": "realtime"}

SOURCES = {
    **{n: CLIPS[n] for n in ("h264_closed", "h264_vfr", "h264_mkv", "h264_ts", "h264_open_ts", "h264_raw")},
    **{n: CLIPS[n] for n in ("hevc_idr", "hevc_mkv", "hevc_ts", "hevc_10bit", "vp9", "vp9_hidden", "vp9_odd")},
    **{n: CLIPS[n] for n in ("av1", "av1_mkv", "mpeg2")},
    "h264_flv": Clip(suffix="flv"),
    "h264_interlaced": Clip(options={**X264, "flags": "+ildct+ilme", "x264-params": "interlaced=1"}),
    "h264_front": Clip(crop=(0, 16)),
    "vp8": Clip("libvpx", REALTIME, "webm"),
    "mjpeg": Clip("mjpeg", {}, "avi", pixel_format="yuvj420p"),
    "mpeg4": Clip("mpeg4", {}, "avi"),
    "ffv1_alpha": Clip("ffv1", {}, "mkv", pixel_format="yuva420p"),
    "prores_alpha": Clip("prores_ks", {}, "mov", pixel_format="yuva444p10le", stamps=uneven),
    "gif": Clip("gif", {}, "gif", pixel_format="rgb8"),
    "y4m": Clip("rawvideo", {}, "y4m"),
}
FRONT = {"h264_front"}  # these have their index in front


def make_sources(folder: Path) -> None:
    """Write the files that are damaged: the same bytes each time, but for HEVC (x265)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, clip in SOURCES.items():
        options = {**clip.options, "threads": "1"}
        if "g" in options:
            options |= GOP
        if "x265-params" in options:
            one = options["x265-params"].replace("keyint=30", "keyint=6").replace("pools=2", "pools=none")
            options["x265-params"] = f"{one}:no-wpp=1"
        if clip.encoder == "libsvtav1":
            options["svtav1-params"] += ":lp=1"
        muxer = {"fflags": "+bitexact", **({"movflags": "faststart"} if name in FRONT else {})}
        path = folder / f"{name}.{clip.suffix}"
        make(path, replace(clip, options=options), frames=15, width=64, height=64, muxer=muxer)
    with np.errstate(all="ignore"):
        _timeline().to_json(folder / "timeline.json", embeddings="inside")
        _gallery().save(folder / "people.gallery")
    # safetensors writes what is in the header in any order.
    data = (folder / "people.gallery").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True).encode()
    (folder / "people.gallery").write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])


def _timeline() -> Timeline:
    rng = np.random.default_rng(3)
    frame = np.repeat(np.arange(6), 2)
    faces = Faces(
        frame=frame,
        time=frame / 25,
        box=rng.uniform(0, 500, (12, 4)).astype(np.float32),
        score=rng.uniform(0.7, 1, 12).astype(np.float32),
        landmarks=rng.uniform(0, 500, (12, 5, 2)).astype(np.float32),
        track=np.array([0, 1] * 4 + [0, 2] * 2),
        identity=np.array([0, 1] * 4 + [0, 1] * 2),
    )
    video = {"path": "a.mp4", "width": 640, "height": 360, "rotation": 0, "codec": "h264", "duration": 0.24}
    run = {
        "version": "1",
        "embedder": {"name": "facenet-msceleb1m"},
        "frames_decoded": 6,
        "frames_skipped": 0,
        "warnings": ["ü"],
    }
    people = (
        Identity(0, "Žofie", 0.7, 0.4, 0.24, (Span(0.0, 0.24, 0, 6),), "Žofie"),
        Identity(1, None, None, None, 0.24, (Span(0.0, 0.16, 0, 4), Span(0.16, 0.24, 4, 6))),
    )
    mean = rng.normal(size=(3, 8)).astype(np.float32)
    embeddings = Embeddings(
        np.arange(3),
        mean / np.linalg.norm(mean, axis=1, keepdims=True),
        np.ones(3, np.float32),
        np.ones(3, np.float32),
        np.array([6, 4, 2]),
    )
    tracks = (Track(0, 0, 0, 6), Track(1, 1, 0, 4), Track(2, 1, 4, 6))
    return Timeline({**video, "frame_count": 6, "average_rate": 25.0}, run, people, tracks, faces, embeddings)


def _gallery() -> Gallery:
    rng = np.random.default_rng(4)
    gallery = Gallery("facenet-msceleb1m")
    for name, n in (("Ann", 3), ("Žofie", 1), ("unknown-3", 2), ("Bob", 2)):
        vectors = rng.normal(size=(n, 8)).astype(np.float32)
        gallery.add_vectors(name, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return gallery


class Gpu(FakeGpu):
    """Skips damaged packets, as NVDEC does, and has little memory, so that no case takes long."""

    forgiving = True
    free_bytes = 64 << 20

    def allocate(self, blocks: int, batch: int) -> list[np.ndarray]:
        if blocks * batch * self.form.frame_bytes > self.free_bytes:
            raise MemoryError("no room")
        return super().allocate(blocks, batch)


def _ask(outcome: list[str], act: Callable[[], Any]) -> Any:
    """What `act` gives, or None with the name of the error of fastface; anything else is a failure."""
    try:
        result = act()
    except FastFaceError as error:
        if not str(error):
            raise AssertionError("an error without a message") from error
        outcome.append(type(error).__name__)
        return None
    return True if result is None else result


def _check_stats(decoder: Any, frames: int) -> None:
    stats, info = decoder.stats, decoder.info
    assert stats.frames == frames, f"{stats.frames} frames are counted, {frames} came"
    assert len(stats.times) == frames, f"{frames} frames, {len(stats.times)} times"
    assert stats.skipped >= 0, f"skipped is {stats.skipped}"
    assert stats.skipped == 0 or stats.warnings, "frames were skipped without a word"
    assert all(math.isfinite(t) for t in stats.times), "a time is not finite"
    assert all(a < b for a, b in itertools.pairwise(stats.times)), f"times {stats.times} do not ascend"
    assert stats.times[0] >= 0, f"the first time is {stats.times[0]}"
    assert stats.end > stats.times[-1], f"the video ends at {stats.end}, its last frame is at {stats.times[-1]}"
    assert info.width > 0
    assert info.height > 0
    for name in ("duration", "frame_count", "average_rate"):
        value = getattr(info, name)
        assert value is None or (math.isfinite(value) and value > 0), f"{name} is {value}"


def _libav(path: Path, every: int, batch_size: int | None) -> str:
    with LibavDecoder(path, every=every, batch_size=batch_size) as decoder:
        index: list[int] = []
        time: list[float] = []
        for batch in decoder:
            assert batch.pixels.shape == (len(batch.index), decoder.info.height, decoder.info.width, 3)
            index += batch.index.tolist()
            time += batch.time.tolist()
        n = decoder.stats.frames
        assert index == list(range(0, n, every)), f"frames {index} of {n} came, every {every}"
        assert time == decoder.stats.times[::every]
        _check_stats(decoder, n)
        return "decoded" if decoder.stats.skipped == 0 else "decoded in part"


def _nvdec(path: Path, every: int, batch_size: int | None, sessions: int, ordered: bool, gpu: bool = False) -> str:
    """Decode by NVDEC, or by what stands for it."""
    settings: dict[str, Any] = {"sessions": sessions, "ordered": ordered, "memory": 16 << 20, "min_frames": 5}
    maker = Gpu.maker()
    settings["_backend"] = None if gpu else maker
    try:
        with NvdecDecoder(path, every=every, batch_size=batch_size, **settings) as decoder:
            index: list[int] = []
            time: list[float] = []
            for batch in decoder:
                assert len(batch.index) == len(batch.pixels)
                index += batch.index.tolist()
                time += batch.time.tolist()
                batch.release(0 if gpu else 1)
            if not ordered:
                order = np.argsort(index)
                index, time = [index[i] for i in order], [time[i] for i in order]
            assert all(a < b for a, b in itertools.pairwise(index)), f"frames {index} came"
            assert all(a < b for a, b in itertools.pairwise(time)), f"times {time} came"
            assert all(i % every == 0 for i in index)
            assert set(time) <= set(decoder.stats.times)
            _check_stats(decoder, len(index) if every == 1 else decoder.stats.frames)
            return "decoded" if decoder.stats.skipped == 0 else "decoded in part"
    except Unsupported:
        return "Unsupported"
    finally:
        assert all(gpu.opened == gpu.closed for gpu in maker.made), "a session was left open"


def video(rng: random.Random, sources: Path, folder: Path) -> tuple[list[str], list[str]]:
    """A damaged video, with both decoders: what was done to it, and how it ended with each."""
    clips = sorted(p for p in sources.iterdir() if p.suffix not in (".json", ".gallery"))
    path = folder / "case"
    done = mutate.damage_video(rng, clips, path)
    every, batch_size = rng.choice((1, 1, 3)), rng.choice((None, 1, 4))
    sessions, ordered = rng.randint(1, 3), rng.random() < 0.7
    outcome: list[str] = []
    for act in (
        lambda: _libav(path, every, batch_size),
        lambda: _nvdec(path, every, batch_size, sessions, ordered),
    ):
        ended = _ask(outcome, act)
        if ended is not None:
            outcome.append(ended)
    return done, [f"libav: {outcome[0]}", f"nvdec: {outcome[1]}"]


def nvdec(rng: random.Random, sources: Path, folder: Path) -> tuple[list[str], list[str]]:
    """A damaged video through a GPU's decoder; every eighth through all of the pipeline there."""
    clips = sorted(p for p in sources.iterdir() if p.suffix not in (".json", ".gallery"))
    path = folder / "case"
    done = mutate.damage_video(rng, clips, path)
    every, batch_size = rng.choice((1, 1, 3)), rng.choice((None, 1, 4))
    sessions, ordered = rng.randint(1, 3), rng.random() < 0.7
    outcome: list[str] = []
    ended = _ask(outcome, lambda: _nvdec(path, every, batch_size, sessions, ordered, gpu=True))
    told = [f"decoding: {ended or outcome.pop()}"]
    if rng.random() < 0.125:
        timeline = _ask(outcome, lambda: _pipeline().process(path))
        told.append(f"processing: {outcome.pop() if timeline is None else 'done'}")
    return done, told


@functools.cache
def _pipeline() -> Any:
    from fastface import Pipeline

    return Pipeline(device="cuda", embedder="facenet-msceleb1m")


def timeline(rng: random.Random, sources: Path, folder: Path) -> tuple[list[str], list[str]]:
    """A damaged timeline, read, looked at, corrected and written."""
    document = json.loads((sources / "timeline.json").read_text(encoding="utf-8"))
    if rng.random() < 0.3:
        del document["embeddings"]
    path = folder / "timeline.json"
    outcome: list[str] = []
    way = rng.random()
    if way < 0.25:
        done = mutate.damage_json(rng, document)
        read = _ask(outcome, lambda: Timeline.from_dict(document))
    else:
        done = mutate.damage_timeline(rng, document, path)
        text = path.read_bytes().decode("utf-8", "replace") if way < 0.4 else path
        read = _ask(outcome, lambda: Timeline.from_json(text))
    if read is None:
        return done, outcome
    edits: list[str] = []
    assert repr(read)
    for seconds in (0.0, 0.05, 0.2, 1e9, math.nan, -1.0, rng.uniform(0, 1)):
        for found in _ask(edits, lambda seconds=seconds: read.at(seconds)) or ():
            assert found.box.shape == (4,)
    for person in read.identities[:3]:
        assert isinstance(person.label, str)
    frame = _ask(edits, read.to_dataframe)
    assert frame is None or len(frame) == len(read.faces)
    timelines = [read]
    known = Gallery.load(sources / "people.gallery")
    timelines.append(_ask(edits, lambda: known.update(read, similarity_threshold=0.5)))
    for act in (
        lambda: read.rename(0, "Eve"),
        lambda: read.rename("Žofie", None),
        lambda: read.merge(0, 1),
        lambda: read.merge(read.identities[-1].id, read.identities[0].id),
        lambda: read.split(1, [2]),
        lambda: read.split(0, [0]),
    ):
        if read.identities:
            timelines.append(_ask(edits, act))
    for one in timelines:
        if one is None:
            continue
        written = _ask(edits, lambda one=one: one.to_json(folder / "out.json", embeddings=rng.choice(("inside", "no"))))
        if written is not None:
            again = Timeline.from_json(folder / "out.json")
            assert again.to_json() == one.to_json(), "written, and read as another"
    for form in FORMATS if rng.random() < 0.1 else ():
        _ask(edits, lambda form=form: read.export(folder / f"out{form.ending}"))
    return done, ["read"]


def gallery(rng: random.Random, sources: Path, folder: Path) -> tuple[list[str], list[str]]:
    """A damaged gallery, loaded, asked, changed and saved."""
    path = folder / "people.gallery"
    done = mutate.damage_gallery(rng, (sources / "people.gallery").read_bytes(), path)
    outcome: list[str] = []
    loaded = _ask(outcome, lambda: Gallery.load(path))
    if loaded is None:
        return done, outcome
    edits: list[str] = []
    assert repr(loaded)
    if loaded.dim:
        queries = np.eye(loaded.dim, dtype=np.float32)[:2]
        found = _ask(edits, lambda: loaded.nearest(queries))
        if found is not None:
            assert len(found[0]) == len(queries)
            assert np.isfinite(found[1]).all()
            assert set(found[0]) <= set(loaded.people)
        new = _ask(edits, lambda: loaded.add_unknown(queries[0]))
        assert new is None or new in loaded.unknown, f"{new!r} is not among the unknown"
        for name in list(loaded.people)[:2]:
            _ask(edits, lambda name=name: loaded.rename(name, "somebody"))
    if _ask(edits, lambda: loaded.save(folder / "again.gallery")) is not None:
        again = Gallery.load(folder / "again.gallery")
        assert list(again.people) == list(loaded.people)
        assert all(np.array_equal(v, again.people[n]) for n, v in loaded.people.items())
        assert (again.model, again.next_unknown) == (loaded.model, loaded.next_unknown)
    return done, ["read"]


GPU_KINDS = ("nvdec",)
"""These need an NVIDIA GPU."""


def prepare(kind: str, sources: Path) -> None:
    """Make what all cases share, so that it is no leak of theirs."""
    if kind == "nvdec":
        _pipeline().process(next(sources.glob("h264_closed*")))


RUN: dict[str, Callable[[random.Random, Path, Path], tuple[list[str], list[str]]]] = {
    "video": video,
    "timeline": timeline,
    "gallery": gallery,
    "nvdec": nvdec,
}
