"""Suppression against torchvision and facenet-pytorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from facenet_pytorch.models.utils.detect_face import nms_numpy
from torchvision.ops import nms as torchvision_nms

from fastface import _core


def random_boxes(rng: np.random.Generator, n: int, spread: float = 120.0) -> tuple[np.ndarray, np.ndarray]:
    """Boxes that overlap a lot, many with negative corners; scores without ties."""
    corner = rng.uniform(-0.5 * spread, 0.5 * spread, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 60, (n, 2))], 1).astype(np.float32)
    return boxes, (rng.permutation(n) / n).astype(np.float32)


def groups(n: int) -> np.ndarray:
    return np.zeros(n, np.int64)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("n", [1, 2, 37, 400])
def test_union_is_torchvisions(rng: np.random.Generator, n: int, threshold: float) -> None:
    for _ in range(10):
        boxes, scores = random_boxes(rng, n)
        want = torchvision_nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
        np.testing.assert_array_equal(_core.nms(boxes, scores, groups(n), threshold), want)


@pytest.mark.parametrize("threshold", [0.3, 0.7])
@pytest.mark.parametrize("n", [1, 2, 37, 400])
def test_minimum_is_facenet_pytorchs(rng: np.random.Generator, n: int, threshold: float) -> None:
    for _ in range(10):
        boxes, scores = random_boxes(rng, n)
        want = nms_numpy(boxes, scores, threshold, "Min")
        np.testing.assert_array_equal(_core.nms(boxes, scores, groups(n), threshold, minimum=True), want)


def test_the_two_overlaps_differ() -> None:
    """A small box inside a large one: little union, all of the smaller."""
    boxes = np.array([[0, 0, 100, 100], [10, 10, 30, 30]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    assert _core.nms(boxes, scores, groups(2), 0.5).tolist() == [0, 1]
    assert _core.nms(boxes, scores, groups(2), 0.5, minimum=True).tolist() == [0]


@pytest.mark.parametrize("minimum", [False, True])
def test_groups_do_not_see_each_other(rng: np.random.Generator, minimum: bool) -> None:
    boxes, scores = random_boxes(rng, 300)
    group = rng.choice([-5, 0, 3, 2**40], 300).astype(np.int64)
    want = []
    for g in sorted(set(group.tolist())):
        rows = np.flatnonzero(group == g)
        alone = _core.nms(boxes[rows], scores[rows], groups(len(rows)), 0.4, minimum)
        want += rows[alone].tolist()
    assert _core.nms(boxes, scores, group, 0.4, minimum).tolist() == want


def test_order_is_group_then_score_then_index() -> None:
    apart = np.array([[100.0 * i, 0, 100.0 * i + 10, 10] for i in range(6)], np.float32)
    scores = np.array([0.5, 0.9, 0.5, 0.5, 0.7, 0.9], np.float32)
    group = np.array([1, 1, 0, 1, 0, 1], np.int64)
    assert _core.nms(apart, scores, group, 0.5).tolist() == [4, 2, 1, 5, 0, 3]


def test_of_equal_scores_the_first_is_kept() -> None:
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (3, 1))
    assert _core.nms(boxes, np.full(3, 0.5, np.float32), groups(3), 0.5).tolist() == [0]


def test_a_box_at_the_very_threshold_stays() -> None:
    """Halves of a box: intersection over union is 0.5 exactly, and only more than the threshold goes."""
    boxes = np.array([[0, 0, 8, 8], [0, 0, 8, 4]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    assert _core.nms(boxes, scores, groups(2), 0.5).tolist() == [0, 1]
    assert _core.nms(boxes, scores, groups(2), 0.499).tolist() == [0]


@pytest.mark.parametrize("minimum", [False, True])
def test_nothing_gives_nothing(minimum: bool) -> None:
    kept = _core.nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), groups(0), 0.5, minimum)
    assert kept.dtype == np.int64
    assert kept.shape == (0,)


@pytest.mark.parametrize(
    ("boxes", "scores", "group", "message"),
    [
        ((3, 5), 3, 3, r"boxes has shape \[3, 5\], must be \[3, 4\]"),
        ((2, 4), 3, 3, r"boxes has shape \[2, 4\], must be \[3, 4\]"),
        ((12,), 3, 3, r"boxes has shape \[12\], must be \[3, 4\]"),
        ((3, 4), 3, 2, r"group has shape \[2\], must be \[3\]"),
    ],
)
def test_errors_name_the_shapes(boxes: tuple[int, ...], scores: int, group: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.nms(np.zeros(boxes, np.float32), np.zeros(scores, np.float32), groups(group), 0.5)


def test_other_types_are_not_converted_in_silence() -> None:
    with pytest.raises(TypeError):
        _core.nms(np.zeros((1, 4), np.float64), np.zeros(1, np.float32), groups(1), 0.5)
