"""The GPU's P-, R- and O-Net, and how they read what they look at, against torch on the CPU."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from cuda_pictures import on_gpu, picture, run

from fastface.settings import DetectorSettings

pytestmark = pytest.mark.gpu


def candidates(n: int, height: int, width: int) -> np.ndarray:
    """Squares of all sizes in a picture and over its edges; the last is outside."""
    rng, longer = np.random.default_rng(n), max(height, width)
    side = np.concatenate([[1, 2, 3, 4.5, longer, 2 * longer, 12], np.geomspace(5, longer, n - 7)])
    corner = rng.uniform(-0.7, 0, (n, 2)) * side[:, None]
    corner += rng.uniform(0, 1, (n, 2)) * (np.array([width, height]) + 0.4 * side[:, None])
    corner[:6], corner[-1] = [[0, 0], [width - 2, height - 2], [-1, -1], [0, 0], [0, 0], [-5, -7]], [width + 9, 0]
    return np.concatenate([corner, corner + side[:, None]], 1).astype(np.float32)


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


@pytest.mark.parametrize("size", [(230, 250), (90, 3), (3, 1100), (1300, 40)])
def test_candidates_of_all_sizes_equal_torch(torch, half, size):
    """R- and O-Net of squares that are resampled by each way there is, against torch on the CPU in float64. In
    float32 torch itself is up to 2e-6 from it here."""
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
            wanted = features(copy.deepcopy(net).double(), crop.double(), last)
        square, got = torch.zeros(n, 4).cuda(), torch.zeros(wanted.shape).cuda()
        begun = torch.zeros(1, dtype=torch.int32).cuda()
        run_kernel(name, threads, memory, *common, *before, box, offsets, packed, square, got, begun)
        torch.testing.assert_close(square.cpu(), boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(got.cpu().double(), wanted, atol=6e-6, rtol=1e-5)

    with torch.inference_mode():
        probability = rnet(crops[0])[1][:, 1].double()
    logit = (probability / (1 - probability)).log()
    for least in logit.quantile(torch.linspace(0.1, 0.9, 9).double()).tolist():
        chosen, count = torch.zeros(n, dtype=torch.int32).cuda(), torch.zeros(1, dtype=torch.int32).cuda()
        run_kernel("rscan", 192, sizes._RSCAN_MEMORY, *common, box, offsets, half._cascade._rscan_weights, least,
                   torch.zeros(n, 4).cuda(), torch.ones(n).cuda(), chosen, count,
                   torch.zeros(1, dtype=torch.int32).cuda())  # fmt: skip
        got = set(chosen[: int(count)].tolist())
        assert set((logit > least + 0.1).nonzero()[:, 0].tolist()) <= got
        assert got <= set((logit > least - 0.1).nonzero()[:, 0].tolist())


@pytest.mark.parametrize("size", [(47, 52), (90, 31)])
def test_every_cell_of_a_level_equals_pnet(torch, half, size):
    """Also those at its right and lower end, whose last pools are narrower, from levels of odd and even sides; against
    torch in float64."""
    from fastface.detect import ops
    from fastface.detect.mtcnn import load_nets
    from fastface.gpu.kernels import Program

    pnet = copy.deepcopy(load_nets(torch.device("cpu"), torch.float32)[0]).double()
    pixels = picture(np.random.default_rng(21), 2, *size)
    b, result = run(torch, half, on_gpu(torch, pixels))
    plan, capacity, n = b.plan, b.capacity.cells, 2
    tie = np.zeros((n, len(plan), capacity), np.int32)
    cells = [int(level["rows"] * level["columns"]) for level in plan.levels]
    assert len(plan) > 1
    assert max(cells) <= capacity
    for number, count in enumerate(cells):
        tie[:, number, :count] = number << 26 | np.random.default_rng(number).permutation(count)
    with torch.inference_mode():
        b.cell_tie.copy_(torch.from_numpy(tie.ravel()))
        b.cell_count.copy_(torch.tensor(cells * n, dtype=torch.int32))
        for place in (b.cell_score, b.cell_offsets, b.cell_box):
            place.fill_(-7)
    program = Program()
    # Fewer blocks than the cells would need: each has several turns.
    half._cascade.add_cells(program, b, n, 2, result.facts())
    program.run(torch.cuda.current_stream().cuda_stream, 0)
    torch.cuda.synchronize()
    found = cells_of(torch, b, n)
    for number, level in enumerate(plan.levels):
        image = ops.resize_area_reference(torch.from_numpy(pixels), int(level["height"]), int(level["width"]))
        offsets, probability = pnet(image.double())
        for frame in range(n):
            cell, score, offset, _ = found[frame, number]
            p = probability[frame, 1].flatten().numpy()[cell]
            sure = np.abs(p - 0.6) > 1e-5
            # Tensor cores cut sums off where the simulation rounds them.
            np.testing.assert_allclose(score[sure], np.where(p >= 0.6, p, 0)[sure], atol=2e-6, rtol=0)
            np.testing.assert_allclose(offset, offsets[frame].flatten(1).numpy().T[cell], atol=2e-6, rtol=0)
        assert (b.cell_score.view(n, len(plan), capacity)[:, number, cells[number] :] == -7).all()
