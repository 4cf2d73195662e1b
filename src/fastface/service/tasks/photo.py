"""A photograph: its faces, and which of them it shows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InputValidationError
from fastface.files import replacing
from fastface.service.tasks.work import Work

SCHEMA = "fastface.photo/1"


@dataclass(frozen=True)
class Photo:
    """What a job of a photograph gives.

    Attributes:
        model: name of the embedder.
        vector: [dim] float32, unit: of the one clear face that it shows; None where it does not show one.
        reason: why it does not: "no face", "several faces", "too small" or "too blurred".
        message: the same as a sentence.
    """

    model: str
    vector: NDArray[np.float32] | None
    reason: str | None
    message: str | None


def run(work: Work) -> None:
    """Write the photograph's faces as JSON: box, score, quality and embedding of each."""
    from fastface.gallery.photographs import Unclear, check_photograph, photograph_faces

    path, limits = work.source()
    check_photograph(path, limits.max_pixels)
    executor = work.pipelines.any(limits).executor
    try:
        found = photograph_faces(path, work.job.request.name, executor)
    except Unclear as error:
        raise InputValidationError(str(error)) from error
    document = {
        "schema": SCHEMA, "model": executor.spec.name, "width": found.width, "height": found.height,
        "faces": [
            {"box": np.round(box.astype(float), 2).tolist(), "score": round(float(score), 5),
             "quality": round(float(detail), 2), "embedding": vector.astype(float).tolist()}
            for box, score, detail, vector in zip(found.box, found.score, found.detail, found.vector, strict=True)
        ],
        "chosen": found.chosen, "reason": found.reason, "message": found.message,
    }  # fmt: skip
    with replacing(work.path) as temporary:
        temporary.write_text(json.dumps(document, allow_nan=False))
    work.place.keep(work.path)


def read(path: Path) -> Photo:
    """What :func:`run` wrote."""
    document: dict[str, Any] = json.loads(path.read_text())
    chosen = document["chosen"]
    vector = None if chosen is None else np.array(document["faces"][chosen]["embedding"], np.float32)
    return Photo(document["model"], vector, document["reason"], document["message"])
