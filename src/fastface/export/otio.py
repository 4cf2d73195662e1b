"""OpenTimelineIO (https://opentimeline.io): for editing programs, and for its adapters to other formats."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastface.errors import InputValidationError
from fastface.export.lines import one_line
from fastface.export.timecode import rate_of
from fastface.files import replacing

if TYPE_CHECKING:
    from fastface.timeline import Timeline

# OpenTimelineIO's colours that come nearest to fastface.drawing.colors.PALETTE, in its order.
_COLOURS = (
    *("BLUE", "ORANGE", "GREEN", "RED", "CYAN", "PINK"),
    *("PURPLE", "YELLOW", "MAGENTA", "GREEN", "PURPLE", "ORANGE"),
)


def write(
    timeline: Timeline,
    path: str | os.PathLike[str],
    *,
    rate: float | None = None,
    start_timecode: str | None = None,
) -> None:
    """The video as one clip on one track, with a marker per stretch of a person, ordered by time.

    Times are whole frames at a nominal rate, computed from seconds; a marker's metadata, under "fastface", have the
    exact seconds, and identity, name, gallery_id, similarity and threshold. Needs the extra ``fastface-gpu[export]``.

    Args:
        timeline: what is written.
        path: the file.
        rate: None: the known rate nearest to the video's average.
        start_timecode: at which the timeline begins; None: it does not say.

    Raises:
        InputValidationError: OpenTimelineIO is not installed; see :meth:`Timeline.export`.
    """
    try:
        import opentimelineio as otio
    except ImportError as error:
        raise InputValidationError(
            "OpenTimelineIO is not installed, which this format needs: pip install 'fastface-gpu[export]'"
        ) from error
    nominal = rate_of(timeline, rate)
    fps = float(nominal.exact)

    def at(frame: int) -> Any:
        return otio.opentime.RationalTime(frame, fps)

    video = str(timeline.video.get("path", ""))
    name = one_line(Path(video).name) or "video"
    whole = otio.opentime.TimeRange(at(0), at(max(nominal.frame(float(timeline.video.get("duration") or 0.0)), 1)))
    media = otio.schema.ExternalReference(target_url=_url(video), available_range=whole)
    clip = otio.schema.Clip(name, media, whole)
    spans = sorted((nominal.frames(s), i, s) for i, p in enumerate(timeline.identities) for s in p.instances)
    for (start, end), i, span in spans:
        person = timeline.identities[i]
        told: dict[str, Any] = {"identity": person.id, "name": person.name, "gallery_id": person.gallery_id}
        told |= {"similarity": person.similarity, "threshold": person.threshold, **asdict(span)}
        marker = otio.schema.Marker(
            name=person.label,
            marked_range=otio.opentime.TimeRange(at(start), at(end - start)),
            color=_COLOURS[person.id % len(_COLOURS)],
            metadata={"fastface": told},
        )
        clip.markers.append(marker)
    track = otio.schema.Track("video", [clip], kind=otio.schema.TrackKind.Video)
    start_at = None if start_timecode is None else at(nominal.parse(start_timecode))
    document = otio.schema.Timeline(name, [track], start_at)
    with replacing(path) as temporary:
        text = otio.adapters.write_to_string(document, "otio_json")
        temporary.write_text(text + "\n", encoding="utf-8")


def _url(path: str) -> str:
    """A path as a URL reference; names of files need not be UTF-8, and a document may hold anything."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        name = path.encode("utf-8", "replace")
    return ("file://" if os.path.isabs(path) else "") + quote(name)
