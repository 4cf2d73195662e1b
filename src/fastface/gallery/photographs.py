"""From a photograph to the vector of the one face that it shows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import GalleryError, InputValidationError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""What Pillow calls the formats of photographs that others send."""

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


def check_photograph(path: Path, most: int) -> None:
    """Look at a picture's kind and size; nothing is decoded.

    Raises:
        InputValidationError: it is none, or has more than `most` pixels.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputValidationError("what was sent is no photograph: JPEG, PNG, WebP, BMP or TIFF") from error
    if not 0 < width * height <= most:
        raise InputValidationError(f"the photograph is {width} x {height}, must have at most {most:,} pixels")


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


@dataclass(frozen=True)
class PhotographFaces:
    """The faces of a photograph, the most certain first.

    Attributes:
        width, height: pixels, upright.
        box: [M, 4] float32, xyxy in these pixels; may reach beyond the picture.
        score: [M] float32 in [0, 1], the detector's certainty, 0.9 or more.
        detail: [M] float32, pixels of detail that each has.
        vector: [M, dim] float32, unit vectors.
        chosen: number of the one clear face that the photograph shows; None where it does not show one.
        reason: why it does not, as in :class:`Unclear`; None where it does.
        message: the same as a sentence.
    """

    width: int
    height: int
    box: NDArray[np.float32]
    score: NDArray[np.float32]
    detail: NDArray[np.float32]
    vector: NDArray[np.float32]
    chosen: int | None
    reason: str | None
    message: str | None


def photograph_faces(image: Any, name: str, executor: Any) -> PhotographFaces:
    """All clear faces of a photograph, and which of them it shows.

    Raises:
        Unclear: it cannot be read.
        GalleryError: it is neither a path nor an image.
    """
    from fastface.embed.quality import resolution

    original, width, height = _pixels(image, name)
    batch, found, clear, offset = _looked_at(original, executor)
    chosen, why = None, None
    try:
        try:
            best = _the_one(found, clear, name)
        except Unclear as error:
            why = error
        else:
            chosen = int(np.flatnonzero(clear == best[0])[0])
        if len(clear):
            store = executor.crop_store(len(clear))
            vector = executor.embed(store, executor.crop(batch, found.row[clear], found.box[clear], store)).result()
        else:
            vector = np.zeros((0, executor.spec.dim), np.float32)
        scale = np.float32(width / original.shape[1])
        box = (found.box[clear] - np.tile(np.array(offset, np.float32), 2)) * scale
        detail = resolution(found)[clear].astype(np.float32)
    finally:
        executor.release(batch)
    reason, message = (None, None) if why is None else (why.reason, str(why))
    return PhotographFaces(width, height, box, found.score[clear], detail, vector, chosen, reason, message)


def embed_photograph(image: Any, name: str, executor: Any) -> NDArray[np.float32]:
    """The vector [dim] of the one clear face in a photograph.

    Raises:
        Unclear: it cannot be read, or does not show one clear face.
        GalleryError: it is neither a path nor an image.
    """
    original, _, _ = _pixels(image, name)
    batch, found, clear, _ = _looked_at(original, executor)
    try:
        best = _the_one(found, clear, name)
        store = executor.crop_store(len(best))
        place = executor.crop(batch, found.row[best], found.box[best], store)
        vector: NDArray[np.float32] = executor.embed(store, place).result()[0]
    finally:
        executor.release(batch)
    return vector


def _looked_at(original: NDArray[np.uint8], executor: Any) -> tuple[Any, Any, NDArray[np.int64], tuple[int, int]]:
    """The picture as a batch, which the caller releases; what was found in it; the rows of clear faces; and where the
    original begins in it, (x, y) in pixels."""
    from fastface.types import FrameBatch

    def look(pixels: NDArray[np.uint8]) -> tuple[Any, Any, NDArray[np.int64]]:
        batch = FrameBatch(np.zeros(1, np.int64), np.zeros(1), np.ascontiguousarray(pixels[None]))
        found = executor.detect(batch)
        return batch, found, np.flatnonzero(found.score >= MIN_SCORE)

    batch, found, clear = look(original)
    if len(clear):
        return batch, found, clear, (0, 0)
    executor.release(batch)
    return *look(_padded(original)), (original.shape[1] // 2, original.shape[0] // 2)


def _pixels(given: Any, name: str) -> tuple[NDArray[np.uint8], int, int]:
    """The picture, made smaller where it is large, and its own width and height."""
    from PIL import Image

    image: NDArray[Any] = given if isinstance(given, np.ndarray) else read_photograph(Path(given))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise GalleryError(f"{name} is {image.dtype} {list(image.shape)}, must be uint8 [H, W, 3], RGB")
    height, width = image.shape[:2]
    if max(image.shape) <= MAX_SIDE:
        return image, width, height
    smaller = Image.fromarray(image)
    smaller.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC)
    return np.array(smaller), width, height


def _the_one(found: Any, clear: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """The row of the face that the photograph shows, as an array of one."""
    from fastface.embed.quality import resolution

    if not len(clear):
        raise Unclear("no face", f"{name!r} shows no face")
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
