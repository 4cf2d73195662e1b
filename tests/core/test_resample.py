"""Resampling against torch and Pillow."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from fastface import _core

# height, width -> height, width: down, up, odd, one pixel, the same, one axis each way.
SIZES = [
    ((40, 60), (20, 30)),
    ((37, 53), (12, 17)),
    ((37, 53), (36, 52)),
    ((9, 7), (24, 24)),
    ((50, 10), (24, 24)),
    ((1, 1), (24, 24)),
    ((24, 24), (24, 24)),
    ((360, 640), (18, 32)),
    ((5, 300), (1, 1)),
]


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def area(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[n, H, W, 3] uint8 by torch in double precision, in MTCNN's range."""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).double()
    return ((interpolate(x, size=size, mode="area") - 127.5) / 128).numpy()


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_resize_is_torchs_area(rng: np.random.Generator, source: tuple[int, int], target: tuple[int, int]) -> None:
    frames = noise(rng, 3, *source, 3)
    got = _core.resize_area(frames, *target)
    assert got.shape == (3, 3, *target)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, area(frames, target), atol=2e-7)


@pytest.mark.parametrize("size", [24, 48, 7])
def test_crops_are_torchs_area(rng: np.random.Generator, size: int) -> None:
    frames = noise(rng, 2, 70, 90, 3)
    rect = np.array([[0, 0, 90, 70], [3, 5, 27, 29], [60, 2, 90, 70], [89, 69, 90, 70], [10, 10, 20, 12]], np.int32)
    row = np.array([0, 1, 1, 0, 1], np.int64)
    got = _core.crop_area(frames, row, rect, size)
    for out, r, (x1, y1, x2, y2) in zip(got, row, rect, strict=True):
        np.testing.assert_allclose(out, area(frames[r : r + 1, y1:y2, x1:x2], (size, size))[0], atol=2e-7)


@pytest.mark.parametrize("rect", [(0, 0, 90, 70), (3, 5, 63, 65), (60, 2, 90, 70), (10, 10, 20, 12), (89, 69, 90, 70)])
@pytest.mark.parametrize("size", [160, 33, 8])
def test_triangle_is_pillows_bilinear(rng: np.random.Generator, rect: tuple[int, ...], size: int) -> None:
    frames = noise(rng, 1, 70, 90, 3)
    got = _core.crop_triangle(frames, np.zeros(1, np.int64), np.array([rect], np.int32), size)[0]
    picture = Image.fromarray(frames[0]).crop(rect).resize((size, size), Image.Resampling.BILINEAR)
    difference = np.abs(got.transpose(1, 2, 0).astype(int) - np.asarray(picture))
    # Pillow rounds between its two passes, ours does not.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.25


def smooth(rng: np.random.Generator, height: int = 128, width: int = 128) -> np.ndarray:
    """[1, H, W, 3] uint8, a soft pattern."""
    small = Image.fromarray(noise(rng, 6, 6, 3)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(small)[None].copy()


def describe(frames: np.ndarray, *rects: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return _core.describe_faces(frames, np.zeros(len(rects), np.int64), np.array(rects, np.int32))


def test_appearance_is_an_8_by_8_grey_thumbnail(rng: np.random.Generator) -> None:
    frames = smooth(rng)
    appearance, _ = describe(frames, (0, 0, 128, 128))
    grey = frames[0].astype(float) @ [0.299, 0.587, 0.114]
    want = grey.reshape(8, 16, 8, 16).mean((1, 3)).ravel()
    want -= want.mean()
    np.testing.assert_allclose(appearance[0], want / np.linalg.norm(want), atol=1e-5)


def test_appearance_ignores_brightness_and_contrast(rng: np.random.Generator) -> None:
    frames = smooth(rng)
    dim = (frames * 0.4 + 20).astype(np.uint8)
    (bright,), _ = describe(frames, (0, 0, 128, 128))
    (dark,), _ = describe(dim, (0, 0, 128, 128))
    (other,), _ = describe(smooth(rng), (0, 0, 128, 128))
    assert bright @ dark > 0.999
    assert bright @ other < 0.7


def test_a_blurred_face_is_less_sharp(rng: np.random.Generator) -> None:
    from PIL import ImageFilter

    crisp = Image.fromarray(smooth(rng)[0]).filter(ImageFilter.EDGE_ENHANCE_MORE)
    crisp = Image.blend(crisp, Image.fromarray(noise(rng, 128, 128, 3)), 0.2)
    measured = []
    for radius in (0, 1, 2, 4, 8):
        _, sharp = describe(np.asarray(crisp.filter(ImageFilter.GaussianBlur(radius)))[None].copy(), (0, 0, 128, 128))
        measured.append(float(sharp[0]))
    assert all(a > 1.2 * b > 0 for a, b in itertools.pairwise(measured)), measured


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_face_has_no_look(level: int) -> None:
    appearance, sharpness = describe(np.full((1, 40, 40, 3), level, np.uint8), (0, 0, 40, 40), (5, 5, 6, 6))
    assert not appearance.any()
    assert not sharpness.any()


OPERATIONS: dict[str, Callable[..., np.ndarray]] = {
    "resize_area": lambda f, row, rect, t: _core.resize_area(f, 30, 40, t),
    "crop_area": lambda f, row, rect, t: _core.crop_area(f, row, rect, 24, t),
    "crop_triangle": lambda f, row, rect, t: _core.crop_triangle(f, row, rect, 50, t),
    "describe_faces": lambda f, row, rect, t: np.concatenate(
        [part.ravel() for part in _core.describe_faces(f, row, rect, t)]
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_threads_change_nothing(rng: np.random.Generator, name: str) -> None:
    frames = noise(rng, 5, 64, 80, 3)
    low = rng.integers(0, 30, (23, 2))
    rect = np.concatenate([low, low + rng.integers(1, 34, (23, 2))], 1).astype(np.int32)
    row = rng.integers(0, 5, 23)
    one = OPERATIONS[name](frames, row, rect, 1)
    for threads in (0, 2, 7, 64):
        np.testing.assert_array_equal(OPERATIONS[name](frames, row, rect, threads), one)


def test_nothing_gives_nothing() -> None:
    frames, row, rect = np.zeros((0, 9, 9, 3), np.uint8), np.zeros(0, np.int64), np.zeros((0, 4), np.int32)
    assert _core.resize_area(frames, 4, 5).shape == (0, 3, 4, 5)
    assert _core.crop_area(frames, row, rect, 24).shape == (0, 3, 24, 24)
    assert _core.crop_triangle(frames, row, rect, 160).shape == (0, 3, 160, 160)
    assert [a.shape for a in _core.describe_faces(frames, row, rect)] == [(0, 64), (0,)]


@pytest.mark.parametrize(
    "rect", [(-1, 0, 5, 5), (0, -1, 5, 5), (0, 0, 11, 5), (0, 0, 5, 9), (3, 3, 3, 5), (5, 3, 3, 5), (0, 5, 5, 5)]
)
@pytest.mark.parametrize("name", ["crop_area", "crop_triangle", "describe_faces"])
def test_rectangles_outside_the_frame_raise(name: str, rect: tuple[int, ...]) -> None:
    good = (0, 0, 10, 8)
    with pytest.raises(ValueError, match=r"rect\[1\] must be a rectangle inside the frame"):
        OPERATIONS[name](np.zeros((1, 8, 10, 3), np.uint8), np.zeros(2, np.int64), np.array([good, rect], np.int32), 1)


@pytest.mark.parametrize("name", ["crop_area", "crop_triangle", "describe_faces"])
def test_other_bad_arguments_raise(name: str) -> None:
    run, frames = OPERATIONS[name], np.zeros((2, 8, 10, 3), np.uint8)
    rect = np.array([[0, 0, 5, 5]], np.int32)
    for row in (-1, 2):
        with pytest.raises(ValueError, match=rf"row\[0\] is {row}, must be in \[0, 2\)"):
            run(frames, np.array([row], np.int64), rect, 1)
    with pytest.raises(ValueError, match=r"rect has shape \[1, 4\], must be \[2, 4\]"):
        run(frames, np.zeros(2, np.int64), rect, 1)
    with pytest.raises(ValueError, match=r"frames has shape \[2, 8, 10, 4\], must be \[any, any, any, 3\]"):
        run(np.zeros((2, 8, 10, 4), np.uint8), np.zeros(1, np.int64), rect, 1)


def test_sizes_must_be_positive() -> None:
    frames = np.zeros((1, 8, 10, 3), np.uint8)
    with pytest.raises(ValueError, match="height is 0, must be at least 1"):
        _core.resize_area(frames, 0, 5)
    with pytest.raises(ValueError, match="size is -1, must be at least 1"):
        _core.crop_area(frames, np.zeros(0, np.int64), np.zeros((0, 4), np.int32), -1)
    with pytest.raises(ValueError, match="frames must be 1 to"):
        _core.resize_area(np.zeros((1, 0, 10, 3), np.uint8), 4, 4)
