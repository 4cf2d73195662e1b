"""A video: its timeline, and a picture of each person."""

from __future__ import annotations

import logging
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastface.checkpoint import SCHEMA as CHECKPOINT_SCHEMA
from fastface.errors import GalleryError, InputValidationError, VideoProcessingError
from fastface.files import replacing
from fastface.service.carry import Carrier
from fastface.service.tasks.work import Work

if TYPE_CHECKING:
    from fastface.gallery import Gallery
    from fastface.timeline import Timeline

_log = logging.getLogger("fastface.service")

PICTURE = 160
"""Pixels of a side of a person's picture."""


def run(work: Work) -> None:
    """Make the timeline, named by the gallery that the job may ask for, and the pictures."""
    place, job = work.place, work.job
    video, limits = work.source()
    timeline = _timeline(work, video, limits)
    work.free_device()  # what follows is the CPU's, and takes as long as many a video does on a GPU
    result = place.result_name(work.claim)
    pictures = place.faces(result)
    try:
        _write_pictures(timeline, video, pictures)
        place.keep(pictures)
    except (InputValidationError, VideoProcessingError) as error:  # a timeline without them is better than none
        message = place.told(f"no picture of anybody could be made: {error}", job.request)
        timeline = timeline.with_run(warnings=[*timeline.run["warnings"], message])
    place.save_timeline(result, replace(timeline, video={**timeline.video, "path": job.request.name}))


def _timeline(work: Work, video: Path, limits: Any) -> Timeline:
    settings = dict(work.job.request.settings)
    gallery = _gallery(work, settings.pop("gallery", None))
    pipeline = work.pipelines.get(settings, limits)
    checkpoint = work.place.checkpoint(work.job)
    arguments: dict[str, Any] = {
        "gallery": gallery, "progress": work.progress, "checkpoint": checkpoint,
        "checkpoint_seconds": work.options.checkpoint,
    }  # fmt: skip
    with Carrier(work.place, checkpoint):
        try:
            return pipeline.process(video, **arguments)
        except InputValidationError as error:
            if not checkpoint.exists() or "checkpoint" not in str(error):
                raise
            _log.warning("job %s begins anew: %s (%s)", work.job.id, error, CHECKPOINT_SCHEMA)
            work.place.remove(checkpoint)
            return pipeline.process(video, **arguments)


def _gallery(work: Work, name: str | None) -> Gallery | None:
    """The gallery of that name; None: nobody is named.

    Raises:
        GalleryError: it is not there any more, or damaged.
    """
    if name is None:
        return None
    try:
        gallery = work.place.gallery(work.job.owner, name)
    except FileNotFoundError as error:
        raise GalleryError(f"there is no gallery {name!r} any more") from error
    return gallery if len(gallery) else None


def _write_pictures(timeline: Timeline, video: Path, path: Path) -> None:
    from fastface.drawing.thumbnails import face_thumbnails, jpeg

    faces = face_thumbnails(timeline, video, PICTURE)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as out:
        for person, picture in faces.items():
            out.writestr(f"{person}.jpg", jpeg(picture))
