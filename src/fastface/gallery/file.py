"""A gallery as one file: safetensors, whose header holds the model's name and whose vectors each row is.

vectors     [n, dim] float32, everybody's rows one after the other
header      schema, model, people: JSON [[name, rows], ...], next_unknown
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastface.errors import GalleryError
from fastface.files import replacing

if TYPE_CHECKING:
    from fastface.gallery.gallery import Gallery

SCHEMA = "fastface.gallery/1"


def save(gallery: Gallery, path: str | os.PathLike[str]) -> None:
    """See :meth:`Gallery.save`."""
    from safetensors.numpy import save as dump

    people = gallery.people
    rows = [v for v in people.values()] or [np.zeros((0, gallery.dim or 0), np.float32)]
    header = {
        "schema": SCHEMA,
        "model": gallery.model,
        "people": json.dumps([[name, len(v)] for name, v in people.items()], ensure_ascii=False),
        "next_unknown": str(gallery.next_unknown),
    }
    content = dump({"vectors": np.ascontiguousarray(np.concatenate(rows))}, metadata=header)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # else a machine that fails may leave an empty file under the name


def load(path: str | os.PathLike[str]) -> Gallery:
    """See :meth:`Gallery.load`."""
    from safetensors import SafetensorError, safe_open

    from fastface.gallery.gallery import Gallery

    name = os.fspath(path)
    if not Path(path).is_file():
        raise GalleryError(f"there is no gallery {name!r}")
    try:
        with safe_open(name, "numpy") as file:
            header = file.metadata() or {}
            if header.get("schema") != SCHEMA:
                raise GalleryError(f"{name!r} is no gallery: its schema is {header.get('schema')!r}, not {SCHEMA!r}")
            vectors = file.get_tensor("vectors")
        people = json.loads(header["people"])
        if not all(isinstance(who, str) and type(n) is int for who, n in people):
            raise GalleryError(f"{name!r} is damaged: its people must be [name, whole number of vectors] each")
        counts = [n for _, n in people]
        if (
            vectors.dtype != np.float32
            or vectors.ndim != 2
            or min(counts, default=1) < 1
            or sum(counts) != len(vectors)
        ):
            raise GalleryError(f"{name!r} is damaged: its {list(vectors.shape)} vectors do not fit its people")
        starts = np.cumsum([0, *counts])
        parts = {who: vectors[a:b] for (who, _), a, b in zip(people, starts[:-1], starts[1:], strict=True)}
        if len(parts) < len(people):
            raise GalleryError(f"{name!r} is damaged: a name stands there twice")
        next_unknown = int(header["next_unknown"])
        if next_unknown < 1:
            raise GalleryError(f"{name!r} is damaged: its next_unknown is {next_unknown}, must be at least 1")
        try:
            return Gallery(header["model"], parts, next_unknown=next_unknown)
        except GalleryError as error:
            raise GalleryError(f"{name!r} is damaged: {error}") from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        if isinstance(error, GalleryError):
            raise
        raise GalleryError(f"{name!r} is no gallery, or damaged: {error}") from error
