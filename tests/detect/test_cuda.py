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


@pytest.fixture(scope="module")
def half(torch):
    from fastface.detect.cuda import CudaMTCNN

    return CudaMTCNN(DetectorSettings(), precision="fp16")


def rgb_seen(torch, cascade, frames):
    """Frames as the pyramid reads them: [N, H, W, 3] uint8."""
    buffers, _ = run(torch, cascade, frames)
    quads = buffers.quads[: len(frames)].view(len(frames), frames.height, -1, 4, 4).transpose(3, 4).flatten(2, 3)
    return quads[:, :, : frames.width, :3].cpu().numpy()


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


def run(torch, cascade, frames):
    """One pass; its buffers and its result, to look into."""
    stream = torch.cuda.current_stream()
    buffers = cascade._buffers_for(len(frames), frames, stream)
    result = cascade._run(frames, buffers, (18, 32), stream)
    torch.cuda.synchronize()
    return buffers, result


def pyramid_of(torch, detector, pixels):
    """The buffers after the pyramid, which later stages of a pass write over; and the pass's result."""
    from fastface.gpu.kernels import Program

    frames = on_gpu(torch, pixels)
    buffers, result = run(torch, detector, frames)
    program = Program()
    quads = (buffers.quads, buffers.height, buffers.groups)
    detector._cascade._propose(program, buffers, quads, len(pixels), result.facts())
    program.run(torch.cuda.current_stream().cuda_stream, 0)
    torch.cuda.synchronize()
    return buffers, result


@pytest.mark.parametrize("size", [(360, 640), (97, 131), (1080, 1920)])
def test_pyramid_equals_torch(torch, cascade, half, size):
    """Every level, by a thread a pixel and by a warp a pixel, and the thumbnails."""
    from fastface.detect import ops
    from fastface.detect.cuda import levels

    pixels = picture(np.random.default_rng(1), 3, *size)
    for detector, tolerance in ((cascade, 1e-6), (half, 6e-4)):
        buffers, result = pyramid_of(torch, detector, pixels)
        images = levels(buffers, len(pixels))
        assert len(images) == len(buffers.plan) > 2
        for level in images:
            wanted = ops.resize_area_reference(torch.from_numpy(pixels), *level.shape[2:])
            torch.testing.assert_close(level.float().cpu(), wanted, atol=max(tolerance, 2e-6), rtol=0)
        small = ops.resize_area_reference(torch.from_numpy(pixels), 18, 32) * 128 + 127.5
        got = result.read(len(pixels))[1].reshape(len(pixels), 3, 18, 32)
        assert np.abs(got - small.numpy()).max() <= 0.5001


@pytest.mark.parametrize("size", [(203, 250), (12, 13), (17, 300), (420, 12)])
def test_means_are_rounded_once(torch, size):
    """Levels in float32 equal whole-number sums that are divided once, in every bit; columns beyond the width are 0."""
    from fastface.detect.cuda import CudaMTCNN
    from fastface.detect.cuda.plan import windows

    pixels = picture(np.random.default_rng(15), 2, *size)
    before = np.pad(pixels.astype(np.int64).cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0), (0, 0)))
    ways = set()
    for precision in ("fp32", "fp16"):
        detector = CudaMTCNN(DetectorSettings(min_face_size=12), precision=precision)
        b, _ = pyramid_of(torch, detector, pixels)
        place, canvas = ("offset", b.canvas) if precision == "fp32" else ("exact", b.exact)
        for level in b.plan.levels[b.plan.levels[place] >= 0]:
            ways.add((int(level["wide"]), int(level["across"])))
            shape = (2, int(level["height"]), int(level["stride"]), 3)
            got = canvas[3 * int(level[place]) :][: np.prod(shape)].cpu().numpy().reshape(shape)
            (x1, x2), (y1, y2) = ((w & 0xFFFF, w >> 16) for w in (windows(size[1], int(level["width"])),
                                                                  windows(size[0], int(level["height"]))))  # fmt: skip
            y1, y2 = y1[:, None], y2[:, None]
            total = before[:, y2, x2] - before[:, y1, x2] - before[:, y2, x1] + before[:, y1, x1]
            area = ((y2 - y1) * (x2 - x1)).astype(np.float32)[..., None]
            wanted = (total.astype(np.float32) / area - np.float32(127.5)) * np.float32(0.0078125)
            np.testing.assert_array_equal(got[:, :, : level["width"]], wanted)
            assert not got[:, :, level["width"] :].any()
    if size == (203, 250):
        assert ways == {(0, 64), (0, 32), (1, 0)}


def cells_of(torch, buffers, n):
    """What the scan found, by frame and level, and what the cells' own pass made of it."""
    out = {}
    counts = buffers.cell_count.cpu().numpy()
    for group in range(n * len(buffers.plan)):
        part = slice(group * buffers.capacity.cells, group * buffers.capacity.cells + counts[group])
        assert counts[group] <= buffers.capacity.cells
        tie = buffers.cell_tie[part].cpu().numpy().astype(np.int64) & 0xFFFFFFFF
        assert (tie >> 26 == group % len(buffers.plan)).all()
        columns = [t[part].cpu().numpy() for t in (buffers.cell_score, buffers.cell_offsets, buffers.cell_box)]
        out[divmod(group, len(buffers.plan))] = (tie & ((1 << 26) - 1), *columns)
    return out


@pytest.mark.parametrize("size", [(360, 640), (97, 131), (203, 250)])
def test_scan_and_cells_equal_pnet(torch, half, cascade, size):
    """Which cells the scans find, and their float32 scores, offsets and boxes, against torch on the CPU."""
    from fastface.detect import geometry, ops
    from fastface.detect.mtcnn import load_nets

    pnet = load_nets(torch.device("cpu"), torch.float32)[0]
    pixels = picture(np.random.default_rng(11), 2, *size)
    for detector in (half, cascade):
        buffers, _ = run(torch, detector, on_gpu(torch, pixels))
        found, total, off = cells_of(torch, buffers, 2), 0, 0.0
        for number, level in enumerate(buffers.plan.levels):
            image = ops.resize_area_reference(torch.from_numpy(pixels), int(level["height"]), int(level["width"]))
            offsets, probability = pnet(image)
            assert probability.shape[2:] == (level["rows"], level["columns"])
            for frame in range(2):
                p = probability[frame, 1].flatten().numpy()
                cell, score, offset, box = found[frame, number]
                assert len(set(cell.tolist())) == len(cell)
                assert set(np.flatnonzero(p >= 0.6)) <= set(cell.tolist()), "a cell over the threshold was missed"
                total += len(cell)
                if len(cell):
                    off = max(off, 0.6 - p[cell].min())
                sure = np.abs(p[cell] - 0.6) > 1e-5
                np.testing.assert_allclose(score[sure], np.where(p[cell] >= 0.6, p[cell], 0)[sure], atol=5e-6)
                wanted = offsets[frame].flatten(1).numpy().T[cell]
                np.testing.assert_allclose(offset, wanted, atol=5e-6)
                yx = torch.from_numpy(np.stack([cell // int(level["columns"]), cell % int(level["columns"])], 1))
                np.testing.assert_array_equal(box, geometry.cell_boxes(yx, float(level["scale"])).numpy())
        print(f"{detector.precision} {size}: {total} cells, the lowest {off:.4f} below the threshold")
        assert total > 2
        assert off <= 0.08, "cells far below the threshold cost time"


def test_frames_are_scanned_in_parts(torch, monkeypatch):
    """The canvas holds fewer frames than a pass: the same cells, in every frame."""
    from fastface.detect.cuda import CudaMTCNN, buffers

    pixels = picture(np.random.default_rng(5), 5, 97, 131)
    found = []
    for at_once in (5, 2):
        monkeypatch.setattr(buffers, "SCANNED_AT_ONCE", at_once * 97 * 131)
        b, _ = run(torch, CudaMTCNN(DetectorSettings(), precision="fp16"), on_gpu(torch, pixels))
        assert b.scanned_at_once == at_once
        found.append(cells_of(torch, b, 5))
    whole, parts = found
    assert sum(len(cells[0]) for (frame, _), cells in whole.items() if frame == 4) > 0
    for group, columns in whole.items():
        order, other = np.argsort(columns[0]), np.argsort(parts[group][0])
        for a, b in zip(columns, parts[group], strict=True):
            np.testing.assert_array_equal(a[order], b[other])


def test_refining_scan_equals_rnet(torch, half):
    """Which candidates R-Net's half-precision scan passes on, against torch on the CPU."""
    from fastface.detect import geometry, ops
    from fastface.detect.cuda.buffers import Fact
    from fastface.detect.mtcnn import load_nets

    rnet = load_nets(torch.device("cpu"), torch.float32)[1]
    pixels = picture(np.random.default_rng(13), 3, 240, 320)
    for threshold in (0.2, 0.7):
        loose = type(half)(DetectorSettings(thresholds=(0.5, threshold, 0.1)), precision="fp16")
        b, result = run(torch, loose, on_gpu(torch, pixels))
        facts = result.read(3)[0]
        count, chosen = int(facts[Fact.REFINE]), b.refine_chosen[: int(facts[Fact.CHOSEN])].cpu().long()
        box, frame = b.refine_box[:count].cpu(), b.refine_frame[:count].cpu().long()
        rects = geometry.pixel_rects(box, 240, 320)
        seen = geometry.not_empty(rects)
        probability = torch.zeros(count)
        crops = ops.crop_area(torch.from_numpy(pixels), frame[seen], rects[seen].contiguous(), 24)
        probability[seen] = rnet(crops)[1][:, 1]
        assert len(set(chosen.tolist())) == len(chosen)
        assert set((probability > threshold).nonzero()[:, 0].tolist()) <= set(chosen.tolist())
        low = float(threshold - probability[chosen].min()) if len(chosen) else 0.0
        print(f"R-Net's scan at {threshold}: {len(chosen)} of {count}, the lowest {low:.4f} below")
        assert len(chosen) < count
        assert low < 0.15, "candidates far below the threshold cost time"


def test_refining_and_deciding_networks_equal_torch(torch, cascade):
    """R- and O-Net's own kernels, from boxes to scores, offsets and landmarks, against torch on the CPU."""
    from fastface.detect import geometry, ops
    from fastface.detect.mtcnn import load_nets

    _, rnet, onet = load_nets(torch.device("cpu"), torch.float32)
    pixels = picture(np.random.default_rng(12), 3, 240, 320)
    loose = type(cascade)(DetectorSettings(thresholds=(0.5, 0.1, 0.1)), precision="fp32")
    b, result = run(torch, loose, on_gpu(torch, pixels))
    facts = result.read(3)[0]
    stages = ((1, rnet, 24, b.refine_box, b.refine_frame), (2, onet, 48, b.decide_box, b.decide_frame))
    for stage, net, size, box, frame in stages:
        count = int(facts[stage])
        assert count > 20
        box, frame = box[:count].cpu(), frame[:count].cpu().long()
        rects = geometry.pixel_rects(box, 240, 320)
        seen = geometry.not_empty(rects)
        crops = ops.crop_area(torch.from_numpy(pixels), frame[seen], rects[seen].contiguous(), size)
        *outputs, probability = net(crops)
        score = (b.refine_score if stage == 1 else b.decide_score)[:count].cpu()
        assert not score[~seen].any()
        torch.testing.assert_close(score[seen], probability[:, 1], atol=2e-5, rtol=0)
        if stage == 1:
            torch.testing.assert_close(b.refine_offsets[:count].cpu()[seen], outputs[0], atol=2e-5, rtol=0)
        else:
            refined = geometry.refine(box[seen], outputs[0], inclusive=True)
            torch.testing.assert_close(b.decide_refined[:count].cpu()[seen], refined, atol=5e-3, rtol=0)
            points = geometry.place_landmarks(outputs[1], box[seen])
            torch.testing.assert_close(b.decide_landmarks[:count].cpu()[seen], points, atol=5e-3, rtol=0)


def candidates(n: int, height: int, width: int) -> np.ndarray:
    """Squares of all sizes in a picture and over its edges; the last is outside."""
    rng, longer = np.random.default_rng(n), max(height, width)
    side = np.concatenate([[1, 2, 3, 4.5, longer, 2 * longer, 12], np.geomspace(5, longer, n - 7)])
    corner = rng.uniform(-0.7, 0, (n, 2)) * side[:, None]
    corner += rng.uniform(0, 1, (n, 2)) * (np.array([width, height]) + 0.4 * side[:, None])
    corner[:6], corner[-1] = [[0, 0], [width - 2, height - 2], [-1, -1], [0, 0], [0, 0], [-5, -7]], [width + 9, 0]
    return np.concatenate([corner, corner + side[:, None]], 1).astype(np.float32)


@pytest.mark.parametrize("size", [(230, 250), (90, 3), (3, 1100), (1300, 40)])
def test_candidates_of_all_sizes_equal_torch(torch, half, size):
    """R- and O-Net of squares that are resampled by each way there is, against torch on the CPU."""
    from fastface.detect import geometry, ops
    from fastface.detect.cuda import cascade as sizes
    from fastface.detect.mtcnn import load_nets
    from fastface.gpu.kernels import Program

    _, rnet, onet = load_nets(torch.device("cpu"), torch.float32)
    n, pixels = 24, picture(np.random.default_rng(14), 2, *size)
    boxes = torch.from_numpy(candidates(n, *size))
    frame = torch.arange(n, dtype=torch.int32) % 2
    quads = np.zeros((2, size[0], -(-size[1] // 4) * 4, 4), np.uint8)
    quads[:, :, : size[1], :3] = pixels
    quads = quads.reshape(2, size[0], -1, 4, 4).swapaxes(3, 4).copy()
    rects = geometry.pixel_rects(boxes, *size)
    seen = geometry.not_empty(rects)
    assert seen.sum() >= n - 5
    assert not seen[-1]
    given = [t.cuda() for t in (torch.from_numpy(quads), torch.arange(n, dtype=torch.int32), frame,
                                torch.full((1,), n, dtype=torch.int32), boxes, torch.zeros(n, 4))]  # fmt: skip
    data, kept, frames, total, box, offsets = given
    common = (data, *size, quads.shape[2], kept, frames, total, n)

    def run_kernel(name, threads, memory, *arguments):
        program = Program()
        program.add(half.kernel(name, name), (3,), threads, *arguments, shared_memory=memory)
        program.run(torch.cuda.current_stream().cuda_stream, 0)
        torch.cuda.synchronize()

    def features(net, x, last):
        for i in range(1, last):
            x = getattr(net, f"pool{i}")(getattr(net, f"prelu{i}")(getattr(net, f"conv{i}")(x)))
        return getattr(net, f"prelu{last}")(getattr(net, f"conv{last}")(x)).flatten(1)

    crops, images = [torch.zeros(n, 3, side, side) for side in (24, 48)], torch.from_numpy(pixels)
    for crop in crops:
        crop[seen] = ops.crop_area(images, frame[seen].long(), rects[seen].contiguous(), crop.shape[3])
    for name, net, last, crop, packed, threads, memory, before in (
        ("rnet", rnet, 3, crops[0], half._cascade._rnet, 128, sizes._RNET_MEMORY, (None, None)),
        ("onet", onet, 4, crops[1], half._cascade._onet, 256, sizes._ONET_MEMORY, ()),
    ):
        with torch.inference_mode():
            wanted = features(net, crop, last)
        square, got = torch.zeros(n, 4).cuda(), torch.zeros(wanted.shape).cuda()
        run_kernel(name, threads, memory, *common, *before, box, offsets, packed, square, got)
        torch.testing.assert_close(square.cpu(), boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(got.cpu(), wanted, atol=2e-6, rtol=1e-5)

    with torch.inference_mode():
        probability = rnet(crops[0])[1][:, 1].double()
    logit = (probability / (1 - probability)).log()
    for least in logit.quantile(torch.linspace(0.1, 0.9, 9).double()).tolist():
        chosen, count = torch.zeros(n, dtype=torch.int32).cuda(), torch.zeros(1, dtype=torch.int32).cuda()
        run_kernel("rscan", 192, sizes._RSCAN_MEMORY, *common, box, offsets, half._cascade._rscan_weights, least,
                   torch.zeros(n, 4).cuda(), torch.ones(n).cuda(), chosen, count)  # fmt: skip
        got = set(chosen[: int(count)].tolist())
        assert set((logit > least + 0.1).nonzero()[:, 0].tolist()) <= got
        assert got <= set((logit > least - 0.1).nonzero()[:, 0].tolist())


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
    same = rgb_seen(torch, cascade, frames)
    # Three products are rounded down, and their factors to 1 / 8192.
    assert np.abs(same - shown).max() <= 3.1
    # Against the CPU's conversion there is no difference at all.
    y, uv = samples[0, :height], samples[0, height:]
    out = np.empty((height, width, 3), np.uint8)
    coefficients = [*yuv_coefficients(matrix, full).values()]
    _core.yuv420_to_rgb(y, uv[:, 0::2], uv[:, 1::2], width, height, coefficients, out)
    np.testing.assert_array_equal(same[0], np.rot90(out, -rotation // 90))


@pytest.mark.parametrize("wide", [False, True])
def test_rows_of_any_alignment(torch, cascade, wide):
    """The same picture where four samples may be loaded at once, and where rows or the frame begin elsewhere."""
    from fastface.gpu.frames import DeviceFrames

    width, height = 66, 50
    seen = []
    for pitch, begin in ((68, 0), (70, 0), (68, 2)):
        samples = nv12_of(np.random.default_rng(16), 2, height, width, pitch)
        samples = (samples.astype(np.uint16) << 8).view(np.int16) if wide else samples
        place = torch.from_numpy(np.zeros(samples.size + begin, samples.dtype)).cuda()
        place[begin:] = torch.from_numpy(samples).cuda().flatten()
        frames = DeviceFrames.from_nv12(place[begin:].view(samples.shape), width, height, matrix="bt709",
                                        full_range=False)  # fmt: skip
        seen.append(rgb_seen(torch, cascade, frames))
    assert seen[0].any()
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])


def test_p016_equals_nv12(torch, cascade):
    """Ten bits in the high part of sixteen: four times eight bits give the same picture."""
    from fastface.gpu.frames import DeviceFrames

    rng = np.random.default_rng(3)
    samples = nv12_of(rng, 1, 40, 60, 64)
    wide = torch.from_numpy((samples.astype(np.uint16) << 8).view(np.int16)).cuda()
    eight = DeviceFrames.from_nv12(torch.from_numpy(samples).cuda(), 60, 40, matrix="bt709", full_range=False)
    sixteen = DeviceFrames.from_nv12(wide, 60, 40, matrix="bt709", full_range=False)
    assert sixteen.depth == 16
    np.testing.assert_array_equal(rgb_seen(torch, cascade, eight), rgb_seen(torch, cascade, sixteen))


def test_crops_equal_twins(torch, cascade):
    from fastface import _core

    rng = np.random.default_rng(4)
    pixels = picture(rng, 3, 200, 300)
    rects = random_rects(rng, 60, 200, 300)
    row = rng.integers(0, 3, 60)
    frames, device_rects = on_gpu(torch, pixels), torch.from_numpy(rects).cuda()
    device_row = torch.from_numpy(row).cuda()
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
    assert not cascade.crop_triangle(frames, row, rect, 24).any()
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
    kept, groups, starts, counts, facts = cascade.nms(
        box.cuda(), score.cuda(), tie.cuda(), start[:-1].cuda(), (start[1:] - start[:-1]).cuda(), most, least=0.3,
        threshold=0.4, minimum=minimum)  # fmt: skip
    assert facts.tolist() == [len(wanted), 0]
    for g in range(7):  # groups follow each other in any order
        mine = slice(int(starts[g]), int(starts[g]) + int(counts[g]))
        assert kept[mine].tolist() == wanted[group[wanted] == g].tolist()
        assert groups[mine].tolist() == [g] * int(counts[g])


def test_nms_over_lists_of_items_and_its_limits(torch, cascade):
    """Two groups of three lists each; and what does not fit is reported, not dropped."""
    from fastface.detect import ops

    rng = np.random.default_rng(21)
    corner = rng.uniform(0, 100, (300, 2))
    box = torch.from_numpy(np.concatenate([corner, corner + 30], 1).astype(np.float32))
    score = torch.from_numpy(rng.permutation(300).astype(np.float32) / 300 + 0.001)
    items = torch.from_numpy(rng.permutation(300).astype(np.int32))
    start, count = torch.tensor([0, 60, 100, 150, 200, 210]), torch.tensor([50, 40, 50, 50, 0, 90])
    arguments = [t.to(torch.int32).cuda() for t in (start, count)]
    members = [torch.cat([items[s : s + c] for s, c in zip(start[g], count[g], strict=True)]).long()
               for g in (slice(0, 3), slice(3, 6))]  # fmt: skip
    kept, _, starts, counts, facts = cascade.nms(
        box.cuda(), score.cuda(), None, *arguments, 256, least=0.0, threshold=0.5, parts=3, items=items.cuda()
    )
    for g, member in enumerate(members):
        wanted = member[ops.nms(box[member], score[member], torch.zeros(len(member), dtype=torch.int64), 0.5)]
        assert kept[int(starts[g]) : int(starts[g]) + int(counts[g])].tolist() == wanted.tolist()
    assert facts.tolist() == [int(counts.sum()), 0]
    *_, counts, facts = cascade.nms(
        box.cuda(), score.cuda(), None, *arguments, 128, least=0.0, threshold=0.5, parts=3, items=items.cuda()
    )
    assert counts[0] == 0  # 140 items, room for 128
    assert facts[1] == 1
    *_, facts = cascade.nms(
        box.cuda(),
        score.cuda(),
        None,
        *arguments,
        256,
        least=0.0,
        threshold=0.5,
        parts=3,
        items=items.cuda(),
        capacity=5,
    )
    assert facts[1] == 2


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
