"""From a photograph to the vector of the one face that it shows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import GalleryError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

MIN_SCORE = 0.9
"""Detector score from which a face in a photograph counts."""

DOMINANT = 2.25
"""A face this many times larger (by area) than the next is whom the photograph shows."""

MIN_RESOLUTION = 20.0
"""Pixels of detail that a face must have. At 20 a face has lost 0.3 of its similarity to its own person, at 14 two
thirds; and where both sides are poor, strangers look alike."""

MAX_SIDE = 2048
"""Pixels; larger photographs are made smaller first: a portrait loses nothing by it, and the detector's work falls."""


class Unclear(GalleryError):
    """A photograph cannot be used.

    Attributes:
        reason: "unreadable", "no face", "several faces", "too small" or "too blurred".
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Refused:
    """A photograph that was left out.

    Attributes:
        file: its path, or "image 3" (counted from 1) where an array was given.
        reason: "unreadable", "no face", "several faces", "too small" or "too blurred".
        message: a sentence with the values that were met.
    """

    file: str
    reason: str
    message: str


def read_photograph(path: Path) -> NDArray[np.uint8]:
    """[H, W, 3] uint8 RGB, turned upright as its EXIF data say.

    Raises:
        GalleryError: it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Unclear("unreadable", f"{str(path)!r} cannot be read as an image: {error}") from error


def photographs_in(folder: Path) -> list[Path]:
    """The image files of a folder, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)


def embed_photographs(
    images: Iterable[Any], executor: Any
) -> Iterator[tuple[str, NDArray[np.float32] | None, Refused | None]]:
    """Of each photograph its name and its vector [dim], or why it was left out.

    Args:
        images: paths, or [H, W, 3] uint8 RGB arrays.
        executor: what detects and embeds.

    Raises:
        GalleryError: something is neither.
    """
    for number, image in enumerate(images, 1):
        name = f"image {number}" if isinstance(image, np.ndarray) else os.fspath(image)
        try:
            yield name, embed_photograph(image, name, executor), None
        except Unclear as error:
            yield name, None, Refused(name, error.reason, str(error))


def embed_photograph(image: Any, name: str, executor: Any) -> NDArray[np.float32]:
    """The vector [dim] of the one clear face in a photograph.

    Raises:
        Unclear: it cannot be read, or does not show one clear face.
        GalleryError: it is neither a path nor an image.
    """
    from fastface.types import FrameBatch

    original = _pixels(image, name)
    for pixels in (original, _padded(original)):
        batch = FrameBatch(np.zeros(1, np.int64), np.zeros(1), np.ascontiguousarray(pixels[None]))
        found = executor.detect(batch)
        clear = np.flatnonzero(found.score >= MIN_SCORE)
        if len(clear):
            break
        executor.release(batch)
    else:
        raise Unclear("no face", f"{name!r} shows no face")
    try:
        best = _the_one(found, clear, name)
        store = executor.crop_store()
        place = executor.crop(batch, found.row[best], found.box[best], store)
        vector: NDArray[np.float32] = executor.embed(store, place).result()[0]
    finally:
        executor.release(batch)
    return vector


def _pixels(given: Any, name: str) -> NDArray[np.uint8]:
    from PIL import Image

    image: NDArray[Any] = given if isinstance(given, np.ndarray) else read_photograph(Path(given))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise GalleryError(f"{name} is {image.dtype} {list(image.shape)}, must be uint8 [H, W, 3], RGB")
    if max(image.shape) <= MAX_SIDE:
        return image
    smaller = Image.fromarray(image)
    smaller.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC)
    return np.array(smaller)


def _the_one(found: Any, clear: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """The row of the face that the photograph shows, as an array of one."""
    from fastface.embed.quality import resolution

    sides = found.box[clear, 2:] - found.box[clear, :2]
    order = np.argsort(-sides.prod(1))
    if len(order) > 1 and sides[order[0]].prod() < DOMINANT * sides[order[1]].prod():
        raise Unclear("several faces", f"{name!r} shows {len(clear)} faces, must show one")
    best: NDArray[np.int64] = clear[order[:1]]
    side, detail = float(np.sqrt(sides[order[0]].prod())), float(resolution(found)[best[0]])
    if side < MIN_RESOLUTION:
        raise Unclear(
            "too small", f"the face in {name!r} is {side:.1f} pixels large, must be {MIN_RESOLUTION:.0f} at least"
        )
    if detail < MIN_RESOLUTION:
        raise Unclear(
            "too blurred",
            f"the face in {name!r} is blurred: it has the detail of {detail:.1f} pixels, must have that of "
            f"{MIN_RESOLUTION:.0f} at least",
        )
    return best


def _padded(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame of the picture's mean colour around it: a face that fills the picture is found only with one."""
    h, w = pixels.shape[0] // 2, pixels.shape[1] // 2
    out = np.empty((pixels.shape[0] + 2 * h, pixels.shape[1] + 2 * w, 3), np.uint8)
    out[:] = pixels.reshape(-1, 3).mean(0)
    out[h : h + pixels.shape[0], w : w + pixels.shape[1]] = pixels
    return out
