"""Frames that the user decoded, on the CPU: detect, embed and process_frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fastface
from fastface.decode import LibavDecoder
from fastface.given import rgb_frames
from fastface.types import FrameBatch

pytestmark = pytest.mark.media

EMBEDDER = "facenet-msceleb1m"


@pytest.fixture(scope="module")
def pipeline() -> Iterator[fastface.Pipeline]:
    with fastface.Pipeline(device="cpu", embedder=EMBEDDER, min_face_size=40) as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def frames(media: Path) -> np.ndarray:
    with LibavDecoder(media / "hamilton.mp4", batch_size=24) as decoder:
        return next(iter(decoder)).pixels


def nv12_of(rgb: np.ndarray) -> np.ndarray:
    """RGB to NV12 (BT.601, limited range) by Pillow."""
    from PIL import Image

    out = []
    for picture in rgb:
        y, u, v = (np.asarray(p, np.float32) for p in Image.fromarray(picture).convert("YCbCr").split())
        small = [p.reshape(p.shape[0] // 2, 2, -1, 2).mean((1, 3)) for p in (u, v)]
        uv = np.stack(small, -1).reshape(len(small[0]), -1)
        out.append(np.concatenate([16 + y * (219 / 255), 128 + (uv - 128) * (224 / 255)]).round().astype(np.uint8))
    return np.stack(out)


def test_detect_gives_what_the_detector_finds(pipeline: fastface.Pipeline, frames: np.ndarray) -> None:
    wanted = pipeline.executor.detect(FrameBatch(np.arange(24), np.arange(24.0), frames))
    found = pipeline.detect(frames)
    assert found.count.tolist() == np.bincount(wanted.row, minlength=24).tolist()
    assert found.box.shape == (24, found.count.max(), 4)
    assert found.overflow.tolist() == [0]
    there = np.arange(found.count.max()) < found.count[:, None]
    for name in ("box", "score", "landmarks"):
        np.testing.assert_array_equal(getattr(found, name)[there], getattr(wanted, name))
        assert not getattr(found, name)[~there].any()
    assert len(pipeline.detect(frames[:0])) == 0


def test_anything_with_dlpack_and_nv12(pipeline: fastface.Pipeline, frames: np.ndarray) -> None:
    import torch

    wanted = pipeline.detect(frames[:3])
    same = pipeline.detect(torch.from_numpy(frames[:3]))
    np.testing.assert_array_equal(same.box, wanted.box)
    nv12 = pipeline.detect(nv12_of(frames[:3]))  # 360 lines: BT.601
    assert nv12.count.tolist() == wanted.count.tolist()
    there = wanted.score >= 0.99
    assert there.any()
    side = (wanted.box[..., 2:] - wanted.box[..., :2]).max(-1)
    off = (np.abs(nv12.box - wanted.box).max(-1) / np.maximum(side, 1))[there]
    assert off.max() < 0.3, "half the chroma is gone, which moves boxes a little"
    assert np.median(off) < 0.05
    back = rgb_frames(nv12_of(frames[:3]), None, False)
    np.testing.assert_allclose(back.mean((1, 2)), frames[:3].mean((1, 2)), atol=3)


def test_embed_both_forms_of_boxes(pipeline: fastface.Pipeline, frames: np.ndarray) -> None:
    found = pipeline.detect(frames[:3])
    by_frame = pipeline.embed(frames[:3], found.box)
    assert by_frame.shape == (*found.score.shape, 128)
    np.testing.assert_allclose(np.linalg.norm(by_frame, axis=2), 1, rtol=1e-5)
    rows = np.flatnonzero(found.count)
    listed = pipeline.embed(frames[:3], found.box[rows, 0], rows=rows)
    np.testing.assert_allclose(listed, by_frame[rows, 0], atol=1e-5)
    assert pipeline.embed(frames[:3], np.zeros((0, 4), np.float32), rows=np.zeros(0, np.int64)).shape == (0, 128)


def test_process_frames_equals_process(pipeline: fastface.Pipeline, media: Path) -> None:
    """The same frames in other batches, one buffer for all: the same faces, tracks and people."""
    wanted = pipeline.process(media / "hamilton.mp4")
    seen: list[int] = []

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        buffer = np.zeros((20, 360, 640, 3), np.uint8)
        with LibavDecoder(media / "hamilton.mp4", batch_size=20) as decoder:
            for batch in decoder:
                buffer[: len(batch)] = batch.pixels
                yield buffer[: len(batch)], batch.time
                buffer[:] = 0

    got = pipeline.process_frames(batches(), progress=lambda done, _: seen.append(done), name="a feed")
    assert got.video["path"] == "a feed"
    assert (got.video["width"], got.video["height"], got.video["frame_count"]) == (640, 360, 275)
    assert got.run["decoder"]["name"] == "given"
    assert got.run["gpu_memory_peak"] is None
    assert seen[-1] == 275
    for name in ("frame", "time", "track", "identity"):
        np.testing.assert_array_equal(getattr(got.faces, name), getattr(wanted.faces, name))
    for name, close in (("box", 1e-3), ("score", 1e-5), ("landmarks", 1e-3)):  # other batches may round otherwise
        np.testing.assert_allclose(getattr(got.faces, name), getattr(wanted.faces, name), rtol=0, atol=close)
    assert len(got.identities) == len(wanted.identities) > 0


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 40, 60), np.float32), ((2, 40, 60, 4), np.uint8), ((40, 60, 3), np.uint8), ((2, 40, 61), np.uint8)],
)
def test_wrong_frames_are_refused(pipeline: fastface.Pipeline, shape: tuple[int, ...], dtype: type) -> None:
    with pytest.raises(fastface.InputValidationError, match=r"frames are .*must be uint8"):
        pipeline.detect(np.zeros(shape, dtype))


def test_wrong_arguments_are_refused(pipeline: fastface.Pipeline, frames: np.ndarray) -> None:
    few = frames[:2]
    with pytest.raises(fastface.InputValidationError, match="matrix is 'bt9'"):
        pipeline.detect(np.zeros((1, 60, 40), np.uint8), matrix="bt9")
    with pytest.raises(fastface.InputValidationError, match="stream is given"):
        pipeline.detect(few, stream=0)
    with pytest.raises(fastface.InputValidationError, match="max_faces is 0"):
        pipeline.detect(few, max_faces=0)
    with pytest.raises(fastface.InputValidationError, match="rows are from 0 to 2, must be from 0 to 1"):
        pipeline.embed(few, np.zeros((2, 4), np.float32), rows=np.array([0, 2]))
    with pytest.raises(fastface.InputValidationError, match="boxes are"):
        pipeline.embed(few, np.zeros((2, 4), np.float32))
    with pytest.raises(fastface.InputValidationError, match="3 times for 2 frames"):
        pipeline.process_frames([(few, [0, 1, 2])])
    with pytest.raises(fastface.InputValidationError, match="ascend"):
        pipeline.process_frames([(few, [0.0, 0.1]), (few, [0.1, 0.2])])
    with pytest.raises(fastface.InputValidationError, match=r"must be .* as those before"):
        pipeline.process_frames([(few, [0.0, 0.1]), (np.zeros((1, 48, 64, 3), np.uint8), [0.2])])
    with pytest.raises(fastface.InputValidationError, match="not one frame"):
        pipeline.process_frames([])
