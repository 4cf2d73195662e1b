"""The GPU's kernels that make and read pictures, and suppression, against their twins on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_pictures import nv12_of, on_gpu, picture, pyramid_of, random_rects, rgb_of, rgb_seen

from fastface.settings import DetectorSettings

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("size", [(360, 640), (97, 131), pytest.param((1080, 1920), id="1080p")])
def test_pyramid_equals_torch(torch, cascade, half, size):
    """Every level, by regions of the frame and by windows of its own, and the thumbnails."""
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


@pytest.mark.parametrize("size", [(405, 431), (12, 13), (17, 300), (420, 12)])
def test_means_are_rounded_once(torch, size):
    """Levels in float32 equal whole-number sums that are divided once, in every bit; columns beyond the width are 0."""
    from fastface.detect.cuda import CudaMTCNN
    from fastface.detect.cuda.plan import windows

    pixels = picture(np.random.default_rng(15), 2, *size)
    before = np.pad(pixels.astype(np.int64).cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0), (0, 0)))
    for precision in ("fp32", "fp16"):
        detector = CudaMTCNN(DetectorSettings(min_face_size=12), precision=precision)
        b, _ = pyramid_of(torch, detector, pixels)
        place, canvas = ("offset", b.canvas) if precision == "fp32" else ("exact", b.exact)
        for level in b.plan.levels[b.plan.levels[place] >= 0]:
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
        assert size != (405, 431) or 0 < b.plan.regional < len(b.plan)


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
@pytest.mark.parametrize("size", [(66, 50), (67, 51), (3, 5)])
def test_rows_of_any_alignment(torch, cascade, size, wide):
    """The same picture where four samples may be loaded at once, and where rows or the frame begin elsewhere."""
    from fastface.gpu.frames import DeviceFrames

    width, height = size
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


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_crops_of_nv12_are_those_of_its_colours(torch, cascade, wide, rotation):
    """Straight from the planes, enlarged and made smaller: as if the frames had become RGB before."""
    from fastface.gpu.frames import DeviceFrames

    rng = np.random.default_rng(17)
    samples = nv12_of(rng, 2, 60, 80, 96)
    samples = (samples.astype(np.uint16) << 8).view(np.int16) if wide else samples
    frames = DeviceFrames.from_nv12(torch.from_numpy(samples).cuda(), 80, 60, matrix="bt709", full_range=False,
                                    rotation=rotation)  # fmt: skip
    rgb = np.ascontiguousarray(rgb_seen(torch, cascade, frames))
    rect = torch.from_numpy(random_rects(rng, 30, *rgb.shape[1:3])).cuda()
    row = torch.from_numpy(rng.integers(0, 2, 30)).cuda()
    for size in (20, 48):
        got = cascade.crop_triangle(frames, row, rect, size)
        assert torch.equal(got, cascade.crop_triangle(on_gpu(torch, rgb), row, rect, size))
        assert got.any()


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
