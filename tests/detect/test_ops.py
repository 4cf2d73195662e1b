"""The C++ operations against their plain torch forms, and the arithmetic on boxes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from facenet_pytorch.models.utils import detect_face as theirs

from fastface.detect import geometry, ops


@pytest.fixture
def frames(rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, 256, (3, 61, 83, 3), dtype=np.uint8))


def boxes_of(rng: np.random.Generator, n: int) -> torch.Tensor:
    corner = rng.uniform(-40, 80, (n, 2))
    return torch.from_numpy(np.concatenate([corner, corner + rng.uniform(2, 60, (n, 2))], 1).astype(np.float32))


@pytest.mark.parametrize("size", [(37, 50), (61, 83), (62, 84), (8, 11), (1, 1)])
def test_resize_area(frames: torch.Tensor, size: tuple[int, int]) -> None:
    torch.testing.assert_close(
        ops.resize_area(frames, *size), ops.resize_area_reference(frames, *size), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("size", [24, 48])
def test_crop_area(frames: torch.Tensor, rng: np.random.Generator, size: int) -> None:
    rect = geometry.pixel_rects(boxes_of(rng, 60), 61, 83)
    rect = rect[geometry.not_empty(rect)].contiguous()
    assert len(rect) > 30
    row = torch.from_numpy(rng.integers(0, 3, len(rect)))
    torch.testing.assert_close(
        ops.crop_area(frames, row, rect, size), ops.crop_area_reference(frames, row, rect, size), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("minimum", [False, True])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_nms(rng: np.random.Generator, threshold: float, minimum: bool) -> None:
    for n in (0, 1, 17, 300):
        boxes = boxes_of(rng, n)
        scores = torch.from_numpy((rng.integers(0, 40, n) / 40).astype(np.float32))  # with ties
        group = torch.from_numpy(rng.integers(-2, 3, n))
        got = ops.nms(boxes, scores, group, threshold, minimum=minimum)
        assert got.tolist() == ops.nms_reference(boxes, scores, group, threshold, minimum=minimum).tolist()


@pytest.mark.parametrize(("height", "width", "smallest", "factor"), [
    (1080, 1920, 20, 0.709), (360, 640, 40, 0.709), (61, 83, 20, 0.6), (20, 20, 20, 0.709), (19, 500, 20, 0.709),
    (10, 10, 20, 0.709),
])  # fmt: skip
def test_pyramid(height: int, width: int, smallest: int, factor: float) -> None:
    """Every level must hold P-Net's 12 pixels, in the picture's shorter side; the first sees the smallest face."""
    scales = geometry.pyramid_scales(height, width, smallest, factor)
    assert all(b == pytest.approx(a * factor) for a, b in itertools.pairwise(scales))
    if min(height, width) < smallest:
        assert scales == []
    else:
        assert scales[0] == 12 / smallest
        assert min(height, width) * scales[-1] >= 12 > min(height, width) * scales[-1] * factor * (1 - 1e-9)
        for scale in scales:
            assert geometry.level_size(height, width, scale) == (int(height * scale + 1), int(width * scale + 1))


def test_cell_boxes_are_facenet_pytorchs(rng: np.random.Generator) -> None:
    for scale in (0.6, 0.6 * 0.709, 0.3 * 0.709**5, 12 / 47):
        probability = torch.from_numpy(rng.uniform(0, 1, (1, 40, 50)).astype(np.float32))
        want, _ = theirs.generateBoundingBox(torch.zeros(1, 4, 40, 50), probability, scale, 0.5)
        cells = (probability[0] >= 0.5).nonzero()
        assert torch.equal(geometry.cell_boxes(cells, scale), want[:, :4])


def test_square_is_facenet_pytorchs(rng: np.random.Generator) -> None:
    boxes = boxes_of(rng, 200)
    want = theirs.rerec(torch.cat([boxes, torch.zeros(200, 1)], 1))[:, :4]
    assert torch.equal(geometry.square(boxes), want)


def test_pixel_rects_are_facenet_pytorchs(rng: np.random.Generator) -> None:
    """What it crops: rows y - 1 to ey, columns x - 1 to ex, of pad()."""
    boxes = boxes_of(rng, 500)
    y, ey, x, ex = (torch.as_tensor(v) for v in theirs.pad(boxes, 83, 61))
    want = torch.stack([x - 1, y - 1, ex, ey], 1).int()
    got = geometry.pixel_rects(boxes, 61, 83)
    good = (want[:, 2] > want[:, 0]) & (want[:, 3] > want[:, 1])
    assert torch.equal(geometry.not_empty(got), good)
    assert torch.equal(got[good], want[good])
    assert 0 < int(good.sum()) < 500
