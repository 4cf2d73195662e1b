"""Known people, from photographs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
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

Embed = Callable[[NDArray[np.uint8]], "tuple[Any, NDArray[np.float32]]"]


class Gallery:
    """Vectors of known people, made by one embedder.

    Args:
        model: name of the embedder.
        people: name -> [n, dim] float32 unit vectors, n >= 1, one per photograph.

    Attributes:
        model: as above.
        people: as above, in the order given.
        warnings: photographs that were left out, and why.

    Raises:
        GalleryError: a name is empty, or vectors are not unit vectors of one dimension.
    """

    def __init__(self, model: str, people: Mapping[str, NDArray[np.float32]], warnings: tuple[str, ...] = ()) -> None:
        self.model = model
        self.people = {name: np.ascontiguousarray(v, np.float32) for name, v in people.items()}
        self.warnings = warnings
        dims = set()
        for name, vectors in self.people.items():
            if not name:
                raise GalleryError("a person's name is empty")
            if vectors.ndim != 2 or not len(vectors):
                raise GalleryError(f"the vectors of {name!r} have shape {list(vectors.shape)}, must be [n >= 1, dim]")
            if not np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3):
                raise GalleryError(f"the vectors of {name!r} are not of norm 1")
            dims.add(vectors.shape[1])
        if len(dims) > 1:
            raise GalleryError(f"vectors have different dimensions: {sorted(dims)}")

    def __len__(self) -> int:
        return len(self.people)

    def __repr__(self) -> str:
        return f"Gallery({self.model!r}, {len(self)} people)"

    def check_model(self, model: str) -> None:
        """Raise unless the gallery was made with this embedder.

        Raises:
            GalleryError: it was not; vectors of different models cannot be compared.
        """
        if model != self.model:
            raise GalleryError(
                f"the gallery was made with {self.model!r}, this run uses {model!r}: vectors of different models "
                f"cannot be compared; make the gallery again or ask for embedder={self.model!r}"
            )

    def matcher(self) -> tuple[Any, list[str]]:
        """A `_core.Matcher` of all vectors, and the name for each of its ids."""
        from fastface import _core

        names = list(self.people)
        dim = next(iter(self.people.values())).shape[1]
        matcher = _core.Matcher(dim)
        for i, name in enumerate(names):
            matcher.add(self.people[name], np.full(len(self.people[name]), i))
        return matcher, names

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str], *, embedder: str = "auto", device: str = "auto") -> Gallery:
        """Make a gallery from a folder that holds one folder of photographs per person, named after the person.

        Args:
            folder: with a subfolder per person; files that are not images are ignored.
            embedder: name of the model, or "auto"; the video must be processed with the same.
            device: "auto", "cpu" or "cuda".

        Raises:
            GalleryError: no such folder, nobody in it, or a person none of whose photographs shows one clear face;
                the message names each file and its reason.
        """
        from fastface.pipeline import Pipeline

        with Pipeline(embedder=embedder, device=device) as pipeline:
            return pipeline.gallery(folder)


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
        raise GalleryError(f"{str(path)!r} cannot be read as an image: {error}") from error


def _padded(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame of the picture's mean colour around it: a face that fills the picture is found only with one."""
    h, w = pixels.shape[0] // 2, pixels.shape[1] // 2
    out = np.empty((pixels.shape[0] + 2 * h, pixels.shape[1] + 2 * w, 3), np.uint8)
    out[:] = pixels.reshape(-1, 3).mean(0)
    out[h : h + pixels.shape[0], w : w + pixels.shape[1]] = pixels
    return out


def enrol_photograph(path: Path, executor: Any) -> NDArray[np.float32]:
    """The vector [dim] of the one face in a photograph.

    Raises:
        GalleryError: it cannot be read, or does not show one clear face.
    """
    from fastface.types import FrameBatch

    original = read_photograph(path)
    for pixels in (original, _padded(original)):
        batch = FrameBatch(np.zeros(1, np.int64), np.zeros(1), np.ascontiguousarray(pixels[None]))
        found = executor.detect(batch)
        clear = np.flatnonzero(found.score >= MIN_SCORE)
        if len(clear):
            break
        executor.release(batch)
    else:
        raise GalleryError(f"{str(path)!r} shows no face")
    area = (found.box[clear, 2:] - found.box[clear, :2]).prod(1)
    order = np.argsort(-area)
    if len(order) > 1 and area[order[0]] < DOMINANT * area[order[1]]:
        raise GalleryError(f"{str(path)!r} shows {len(clear)} faces, must show one")
    best = clear[order[:1]]
    crops = executor.crop(batch, found.row[best], found.box[best])
    vector: NDArray[np.float32] = executor.embed(crops).result()[0]
    executor.release(batch)
    return vector


def enrol_folder(folder: str | os.PathLike[str], executor: Any, model: str) -> Gallery:
    """See :meth:`Gallery.from_folder`."""
    root = Path(folder)
    if not root.is_dir():
        raise GalleryError(f"the gallery {str(root)!r} is not a folder; it must hold a folder per person")
    people: dict[str, NDArray[np.float32]] = {}
    problems: list[str] = []
    nobody: list[str] = []
    for person in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        vectors = []
        for path in sorted(p for p in person.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES):
            try:
                vectors.append(enrol_photograph(path, executor))
            except GalleryError as error:
                problems.append(str(error))
        if vectors:
            people[person.name] = np.stack(vectors)
        else:
            nobody.append(person.name)
    if nobody:
        raise GalleryError(
            f"no usable photograph of {', '.join(map(repr, nobody))}"
            + (": " + "; ".join(problems) if problems else f" (wanted: {', '.join(sorted(IMAGE_SUFFIXES))})")
        )
    if not people:
        raise GalleryError(f"the gallery {str(root)!r} holds no folder; it must hold a folder per person")
    return Gallery(model, people, tuple(f"gallery: {p}; it was left out" for p in problems))
