"""The GPU's kernels and cascade against their twins on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from fastface.settings import DetectorSettings

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def cascade(torch):
    from fastface.detect.cuda import CudaMTCNN

    return CudaMTCNN(DetectorSettings(), precision="fp32")


def picture(rng: np.random.Generator, n: int, height: int, width: int) -> np.ndarray:
    """Smooth noise [n, height, width, 3] uint8, so that resampling has something to average."""
    coarse = rng.integers(0, 256, (n, height // 8 + 2, width // 8 + 2, 3)).astype(np.float32)
    fine = coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width]
    return np.clip(fine + rng.normal(0, 12, fine.shape), 0, 255).astype(np.uint8)


def on_gpu(torch, pixels: np.ndarray):
    from fastface.gpu.frames import DeviceFrames

    return DeviceFrames.from_rgb(torch.from_numpy(pixels).cuda())


def nv12_of(rng: np.random.Generator, n: int, height: int, width: int, pitch: int) -> np.ndarray:
    out = np.zeros((n, height + (height + 1) // 2, pitch), np.uint8)
    out[:, :height, :width] = rng.integers(0, 256, (n, height, width))
    out[:, height:, : width + width % 2] = rng.integers(0, 256, (n, (height + 1) // 2, width + width % 2))
    return out


def rgb_of(samples: np.ndarray, width: int, height: int, matrix: str, full: bool) -> np.ndarray:
    """NV12 to RGB in float64, from the standards' definitions."""
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[matrix]
    kg = 1 - kr - kb
    y = samples[:, :height, :width].astype(np.float64)
    uv = samples[:, height:].reshape(len(samples), -1, samples.shape[2] // 2, 2).astype(np.float64)
    uv = uv.repeat(2, 1).repeat(2, 2)[:, :height, :width] - 128
    y, uv = (y / 255, uv / 255) if full else ((y - 16) / 219, uv / 224)
    r, b = y + 2 * (1 - kr) * uv[..., 1], y + 2 * (1 - kb) * uv[..., 0]
    g = (y - kr * r - kb * b) / kg
    return np.clip(np.stack([r, g, b], -1) * 255, 0, 255)


def random_rects(rng: np.random.Generator, m: int, height: int, width: int) -> np.ndarray:
    x, y = np.sort(rng.integers(0, width + 1, (m, 2))), np.sort(rng.integers(0, height + 1, (m, 2)))
    x[:, 1] = np.maximum(x[:, 1], x[:, 0] + 1)
    y[:, 1] = np.maximum(y[:, 1], y[:, 0] + 1)
    x, y = x - (x[:, 1:] > width), y - (y[:, 1:] > height)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1).astype(np.int32)


@pytest.mark.parametrize("size", [(360, 640), (97, 131)])
def test_pyramid_equals_torch(torch, cascade, size):
    from fastface.detect import ops

    rng = np.random.default_rng(1)
    pixels = picture(rng, 3, *size)
    sizes = [(60, 111), (33, 17), (1, 1), size]
    for (h, w), level in zip(sizes, cascade.pyramid(on_gpu(torch, pixels), sizes), strict=True):
        wanted = ops.resize_area_reference(torch.from_numpy(pixels), h, w)
        torch.testing.assert_close(level.cpu(), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_nv12_is_converted_and_rotated(torch, cascade, matrix, full, rotation):
    from fastface import _core
    from fastface.decode.color import yuv_coefficients
    from fastface.gpu.frames import DeviceFrames

    rng = np.random.default_rng(2)
    height, width, pitch = 50, 70, 96
    samples = nv12_of(rng, 2, height, width, pitch)
    frames = DeviceFrames.from_nv12(torch.from_numpy(samples).cuda(), width, height, matrix=matrix, full_range=full,
                                    rotation=rotation)  # fmt: skip
    shown = np.rot90(rgb_of(samples, width, height, matrix, full), -rotation // 90, axes=(1, 2))
    (same,) = cascade.pyramid(frames, [(frames.height, frames.width)], scaled=False)
    # Three products are rounded down, and their factors to 1 / 8192.
    assert np.abs(same.permute(0, 2, 3, 1).cpu().numpy() - shown).max() <= 3.1
    # Against the CPU's conversion there is no difference at all.
    y, uv = samples[0, :height], samples[0, height:]
    out = np.empty((height, width, 3), np.uint8)
    coefficients = [*yuv_coefficients(matrix, full).values()]
    _core.yuv420_to_rgb(y, uv[:, 0::2], uv[:, 1::2], width, height, coefficients, out)
    np.testing.assert_array_equal(same[0].permute(1, 2, 0).cpu().numpy(), np.rot90(out, -rotation // 90))


def test_p016_equals_nv12(torch, cascade):
    """Ten bits in the high part of sixteen: four times eight bits give the same picture."""
    from fastface.gpu.frames import DeviceFrames

    rng = np.random.default_rng(3)
    samples = nv12_of(rng, 1, 40, 60, 64)
    wide = torch.from_numpy((samples.astype(np.uint16) << 8).view(np.int16)).cuda()
    eight = DeviceFrames.from_nv12(torch.from_numpy(samples).cuda(), 60, 40, matrix="bt709", full_range=False)
    sixteen = DeviceFrames.from_nv12(wide, 60, 40, matrix="bt709", full_range=False)
    assert sixteen.depth == 16
    a, b = (cascade.pyramid(f, [(40, 60)], scaled=False)[0].cpu() for f in (eight, sixteen))
    torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_crops_equal_twins(torch, cascade):
    from fastface import _core

    rng = np.random.default_rng(4)
    pixels = picture(rng, 3, 200, 300)
    rects = random_rects(rng, 60, 200, 300)
    row = rng.integers(0, 3, 60)
    frames, device_rects = on_gpu(torch, pixels), torch.from_numpy(rects).cuda()
    device_row = torch.from_numpy(row).cuda()
    for size in (24, 48):
        got = cascade.crop_area(frames, device_row, device_rects, size).cpu().numpy()
        np.testing.assert_allclose(got, _core.crop_area(pixels, row, rects, size), atol=2e-5)
    got = cascade.crop_triangle(frames, device_row, device_rects, 160).cpu().numpy().astype(int)
    assert np.abs(got - _core.crop_triangle(pixels, row, rects, 160)).max() <= 1
    look, sharp = (t.cpu().numpy() for t in cascade.describe(frames, device_row, device_rects))
    wanted_look, wanted_sharp = _core.describe_faces(pixels, row, rects)
    np.testing.assert_allclose(look, wanted_look, atol=1e-4)
    np.testing.assert_allclose(sharp, wanted_sharp, rtol=2e-3, atol=1e-6)


def test_empty_rectangles_give_zeros(torch, cascade):
    rng = np.random.default_rng(5)
    frames = on_gpu(torch, picture(rng, 1, 40, 40))
    rect = torch.tensor([[5, 5, 5, 9], [30, 30, 20, 40]], dtype=torch.int32).cuda()
    row = torch.zeros(2, dtype=torch.int64).cuda()
    assert not cascade.crop_area(frames, row, rect, 24).any()
    assert not torch.cat([t.flatten() for t in cascade.describe(frames, row, rect)]).any()


@pytest.mark.parametrize("minimum", [False, True])
@pytest.mark.parametrize("most", [40, 900, 5000])
def test_nms_equals_twin(torch, cascade, minimum, most):
    from fastface.detect import ops

    rng = np.random.default_rng(most)
    counts = rng.integers(0, most, 7)
    counts[2], counts[3] = 0, most
    n = int(counts.sum())
    corner = rng.uniform(-20, 200, (n, 2))
    box = torch.from_numpy(np.concatenate([corner, corner + rng.uniform(5, 60, (n, 2))], 1).astype(np.float32))
    score = torch.from_numpy((rng.integers(1, 200, n) / 200).astype(np.float32))  # many ties
    group = torch.from_numpy(np.repeat(np.arange(7), counts))
    start = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    tie = torch.arange(n, dtype=torch.int32)
    part = torch.nonzero(score > 0.3)[:, 0]
    wanted = part[ops.nms(box[part], score[part], group[part], 0.4, minimum=minimum)]
    flat, groups, starts, failed = cascade.nms(
        box.cuda(), score.cuda(), tie.cuda(), start[:-1].cuda(), (start[1:] - start[:-1]).cuda(), most, least=0.3,
        threshold=0.4, minimum=minimum)  # fmt: skip
    total = int(starts[-1])
    assert not int(failed)
    assert flat[:total].tolist() == wanted.tolist()
    assert groups[:total].tolist() == group[wanted].tolist()


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
def test_detections_equal_the_cpu(torch, media, cascade, name):
    """On the same RGB frames: float32 equal, float16 at least 99.5% of the sure faces."""
    from fastface.decode import LibavDecoder
    from fastface.detect import MTCNN
    from fastface.detect.cuda import CudaMTCNN

    half = CudaMTCNN(DetectorSettings(), precision="fp16")
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


def test_overflow_runs_again_and_loses_nothing(torch, cascade):
    from fastface.detect.cuda import CudaMTCNN

    small = CudaMTCNN(DetectorSettings(), precision="fp32")
    small._capacity = 4
    frames = on_gpu(torch, picture(np.random.default_rng(9), 2, 240, 320))
    (rows, boxes, *_), (wanted_rows, wanted_boxes, *_) = small._propose(frames), cascade._propose(frames)
    assert len(rows) > 8
    assert small._capacity > 4
    assert rows.tolist() == wanted_rows.tolist()
    torch.testing.assert_close(boxes, wanted_boxes)


def test_no_face_and_tiny_frames(torch, cascade):
    black = np.zeros((2, 100, 100, 3), np.uint8)
    assert len(cascade.detect(on_gpu(torch, black))) == 0
    assert len(cascade.detect(on_gpu(torch, black[:, :8, :8].copy()))) == 0
