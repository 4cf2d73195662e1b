"""One call for one video."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastface.gallery import Gallery
    from fastface.passage import Progress
    from fastface.settings import Device, EmbedMode, Precision
    from fastface.timeline import Timeline
    from fastface.validation import Limits


def process(
    path: str | os.PathLike[str],
    *,
    device: Device = "auto",
    gallery: Gallery | str | os.PathLike[str] | None = None,
    min_face_size: int = 20,
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
    factor: float = 0.709,
    embedder: str = "auto",
    embed: EmbedMode = "track",
    faces_per_track: int = 5,
    every: int = 1,
    min_track_score: float = 0.95,
    far: float | None = None,
    similarity_threshold: float | None = None,
    linkage_threshold: float | None = None,
    batch_size: int | None = None,
    precision: Precision = "fp16",
    cpu_fallback: bool = False,
    strict: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 30.0,
) -> Timeline:
    """Find out who is on screen in a video, when and where.

    For many videos make a :class:`fastface.Pipeline` once and call its `process`: that loads the models once.

    Args:
        path: a video file.
        device: "cpu", "cuda", "cuda:1", or "auto": the GPU if there is one, else the CPU; the result says which.
        gallery: known people, the path of a file with them, or a folder that holds a folder of photographs per person.
        min_face_size, thresholds, factor: of MTCNN, named as facenet-pytorch names them.
        embedder, embed, faces_per_track, every, min_track_score, far, similarity_threshold, linkage_threshold,
            batch_size, precision, cpu_fallback, strict, limits: see :class:`fastface.Pipeline`.
        progress: called with the frames done and the frames there are (None where the container does not say).
        checkpoint, checkpoint_seconds: see :meth:`fastface.Pipeline.process`.

    Raises:
        InputValidationError: an argument is out of its range, there is no such file, or it is not a video.
        VideoProcessingError: not one frame can be decoded.
        ModelError: the embedder is missing and cannot be fetched.
        GalleryError: the gallery cannot be used.
        GPUError: device="cuda" and there is no usable GPU.

    Example:
        >>> timeline = fastface.process("video.mp4")
        >>> for person in timeline.identities:
        ...     print(f"{person.label}: {person.screen_time:.1f} s")
        person 1: 1.2 s
        person 2: 1.2 s
        person 3: 1.2 s
    """
    from fastface.pipeline import Pipeline

    settings: dict[str, Any] = {
        "device": device,
        "min_face_size": min_face_size,
        "thresholds": thresholds,
        "factor": factor,
        "embedder": embedder,
        "embed": embed,
        "faces_per_track": faces_per_track,
        "every": every,
        "min_track_score": min_track_score,
        "far": far,
        "similarity_threshold": similarity_threshold,
        "linkage_threshold": linkage_threshold,
        "batch_size": batch_size,
        "precision": precision,
        "cpu_fallback": cpu_fallback,
        "strict": strict,
        "limits": limits,
    }
    with Pipeline(**settings) as pipeline:
        return pipeline.process(
            path, gallery=gallery, progress=progress, checkpoint=checkpoint, checkpoint_seconds=checkpoint_seconds
        )


def timeline_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the document that :meth:`Timeline.to_json` writes."""
    from fastface.timeline.document import json_schema

    return json_schema()
