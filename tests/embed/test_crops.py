"""The rectangle that the embedder sees of a face."""

from __future__ import annotations

import numpy as np
import pytest
from facenet_pytorch.models.utils.detect_face import extract_face
from PIL import Image

from fastface import _core
from fastface.embed.crops import CROP_SIZE, MARGIN, crop_rects


def rects(*boxes: tuple[float, ...], width: int = 640, height: int = 480) -> list[list[int]]:
    out = crop_rects(np.array(boxes, np.float32).reshape(-1, 4), width, height)
    assert out.dtype == np.int32
    assert out.flags.c_contiguous
    return out.tolist()


def test_the_margin_is_a_share_of_the_box_on_both_sides_together() -> None:
    assert MARGIN == 0.1
    assert rects((200, 100, 300, 300)) == [[195, 90, 305, 310]]


def test_it_is_cut_to_the_picture() -> None:
    assert rects((-20, -30, 100, 100), (600, 400, 700, 500)) == [[0, 0, 106, 106], [595, 395, 640, 480]]


@pytest.mark.parametrize("box", [(-300, -300, -200, -200), (900, 900, 950, 950), (639.9, 479.9, 640.2, 480.2),
                                 (-50, 100, -40, 110), (100, 100, 100, 100), (100, 100, 99, 98)])  # fmt: skip
def test_there_is_always_a_pixel_inside_the_picture(box: tuple[float, ...]) -> None:
    ((x1, y1, x2, y2),) = rects(box)
    assert 0 <= x1 < x2 <= 640
    assert 0 <= y1 < y2 <= 480


def test_random_boxes_can_always_be_cropped(rng: np.random.Generator) -> None:
    corner = rng.uniform(-300, 900, (500, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 400, (500, 2))], 1).astype(np.float32)
    frame = np.zeros((1, 480, 640, 3), np.uint8)
    crops = _core.crop_triangle(frame, np.zeros(500, np.int64), crop_rects(boxes, 640, 480), 8)
    assert crops.shape == (500, 3, 8, 8)


def test_the_crop_is_nearly_facenet_pytorchs(rng: np.random.Generator) -> None:
    """extract_face puts the margin in pixels of the crop; its rectangle is within two pixels of ours, and the picture
    the same to the eye (it fits 160 pixels by Pillow's BILINEAR as well)."""
    small = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    soft = small.resize((640, 480), Image.Resampling.BICUBIC)
    box = np.array([210.3, 120.8, 330.9, 270.2], np.float32)
    want = np.asarray(extract_face(soft, box, image_size=CROP_SIZE, margin=round(CROP_SIZE * MARGIN / (1 + MARGIN))))
    frame = np.asarray(soft)[None].copy()
    got = _core.crop_triangle(frame, np.zeros(1, np.int64), crop_rects(box[None], 640, 480), CROP_SIZE)[0]
    assert np.abs(want - got).mean() < 4


def test_nobody() -> None:
    assert crop_rects(np.zeros((0, 4), np.float32), 640, 480).shape == (0, 4)
