"""The GPU's whole cascade against the CPU's."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_pictures import on_gpu, picture

from fastface.settings import DetectorSettings

pytestmark = pytest.mark.gpu


def match(ours, theirs):
    """IoU of each of their faces with the best of ours in the same frame."""
    best = np.zeros(len(theirs))
    for i in range(len(theirs)):
        box = ours.box[ours.row == theirs.row[i]]
        if not len(box):
            continue
        low, high = np.maximum(box[:, :2], theirs.box[i, :2]), np.minimum(box[:, 2:], theirs.box[i, 2:])
        inter = np.clip(high - low, 0, None).prod(1)
        whole = (box[:, 2:] - box[:, :2]).prod(1) + (theirs.box[i, 2:] - theirs.box[i, :2]).prod() - inter
        best[i] = (inter / whole).max()
    return best


@pytest.mark.media
@pytest.mark.parametrize("name", ["hamilton.mp4", "crowd.mp4"])
def test_detections_equal_the_cpu(torch, media, cascade, half, name):
    """On the same RGB frames: float32 equal, float16 at least 99.5% of the sure faces."""
    from fastface.decode import LibavDecoder
    from fastface.detect import MTCNN

    cpu = MTCNN(DetectorSettings())
    sure = found = 0
    with LibavDecoder(media / name, every=25 if name == "hamilton.mp4" else 35, batch_size=4) as decoder:
        for batch in decoder:
            wanted, frames = cpu.detect(batch.pixels), on_gpu(torch, batch.pixels)
            got = cascade.detect(frames)
            assert got.row.tolist() == wanted.row.tolist()
            np.testing.assert_allclose(got.box, wanted.box, atol=0.05)
            np.testing.assert_allclose(got.score, wanted.score, atol=1e-4)
            np.testing.assert_allclose(got.landmarks, wanted.landmarks, atol=0.05)
            np.testing.assert_allclose(got.appearance, wanted.appearance, atol=2e-3)
            good = match(half.detect(frames), wanted)[wanted.score >= 0.9]
            sure, found = sure + len(good), found + int((good >= 0.95).sum())
    assert sure >= 15
    assert found >= 0.995 * sure


@pytest.mark.media
def test_overflow_runs_again_and_loses_nothing(torch, media, half):
    """Buffers that are far too small in every stage grow until all fits."""
    from fastface.decode import LibavDecoder
    from fastface.detect.cuda import CudaMTCNN
    from fastface.detect.cuda.buffers import Capacity

    with LibavDecoder(media / "crowd.mp4", batch_size=2) as decoder:
        pixels = next(iter(decoder)).pixels
    wanted = half.detect(on_gpu(torch, pixels))
    small = CudaMTCNN(DetectorSettings(), precision="fp16")
    small.capacity = Capacity(4, 8, 8, 2, 1, 16, 4, 2)
    got = small.detect(on_gpu(torch, pixels))
    assert len(wanted) >= 8
    for name in ("row", "box", "score", "landmarks", "sharpness", "appearance"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))
    grown = small.capacity
    assert all(b > a for a, b in zip((4, 8, 8, 2, 1, 16, 4, 2), vars(grown).values(), strict=True)), grown


@pytest.mark.media
def test_more_frames_than_a_pass_takes(torch, media, half):
    from fastface.decode import LibavDecoder
    from fastface.detect.cuda import CudaMTCNN

    with LibavDecoder(media / "hamilton.mp4", batch_size=7, every=9) as decoder:
        pixels = next(iter(decoder)).pixels
    wanted = half.detect(on_gpu(torch, pixels))
    pieces = CudaMTCNN(DetectorSettings(), precision="fp16")
    pieces.frames_a_pass = 3
    got, small = pieces.submit(on_gpu(torch, pixels), thumbnail=(18, 32)).result()
    assert small.shape == (7, 18 * 32 * 3)
    assert len(set(wanted.row.tolist())) >= 4
    for name in ("row", "box", "score", "landmarks", "sharpness", "appearance"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))


@pytest.mark.media
def test_the_same_again_on_another_stream(torch, media):
    """Passes share buffers, whatever frames they are given and on whichever stream."""
    from fastface.decode import LibavDecoder
    from fastface.detect.cuda import CudaMTCNN

    with LibavDecoder(media / "hamilton.mp4", batch_size=4, every=25) as decoder:
        batches = [on_gpu(torch, batch.pixels) for batch in decoder][:2]
    detector = CudaMTCNN(DetectorSettings(), precision="fp16")
    streams = [torch.cuda.Stream(priority=-1), torch.cuda.Stream()]
    torch.cuda.synchronize()  # the frames are there
    seen = [
        detector.submit(batches[i % 2], thumbnail=(18, 32), stream=streams[i // 2 % 2]).result() for i in range(8)
    ]
    assert len(seen[0][0]) >= 3
    assert not np.array_equal(seen[0][0].box, seen[1][0].box)
    for i, (got, small) in enumerate(seen):
        wanted, thumbnails = seen[i % 2]
        np.testing.assert_array_equal(small, thumbnails)
        for name in ("row", "box", "score", "landmarks", "sharpness", "appearance"):
            np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))


def test_memory_is_given_to_others(torch):
    """Also while a result is on its way; and the next pass takes half as many frames."""
    from fastface.detect.cuda import CudaMTCNN

    detector = CudaMTCNN(DetectorSettings(), precision="fp16")
    frames = on_gpu(torch, picture(np.random.default_rng(8), 4, 97, 131))
    assert not detector.yield_memory(), "it has none yet"
    wanted, small = detector.submit(frames, thumbnail=(18, 32)).result()
    on_its_way = detector.submit(frames, thumbnail=(18, 32))
    assert detector._buffers.n == 4
    assert detector.yield_memory()
    assert detector._buffers is None
    assert not detector._results
    assert not detector.yield_memory()
    for _ in range(2):
        found, thumbnails = on_its_way.result()
        np.testing.assert_array_equal(thumbnails, small)
        for name in ("row", "box", "score", "landmarks"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        on_its_way = detector.submit(frames, thumbnail=(18, 32))
        assert detector.frames_a_pass == detector._buffers.n == detector.fewest == 2
    assert small.any()


def test_no_face_and_tiny_frames(torch, cascade):
    black = np.zeros((2, 100, 100, 3), np.uint8)
    assert len(cascade.detect(on_gpu(torch, black))) == 0
    assert len(cascade.detect(on_gpu(torch, black[:, :8, :8].copy()))) == 0
