"""Markers for DaVinci Resolve: an EDL in the manner of CMX 3600, to be imported into a timeline that exists
(Timelines > Import > Timeline Markers from EDL)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fastface.export.lines import one_line
from fastface.export.timecode import rate_of
from fastface.files import replacing

if TYPE_CHECKING:
    from fastface.timeline import Timeline

# Resolve's marker colours that come nearest to fastface.drawing.colors.PALETTE, in its order.
_COLOURS = ("Blue", "Yellow", "Green", "Red", "Sky", "Pink", "Purple", "Lemon", "Rose", "Cyan", "Fuchsia", "Cocoa")


def write(
    timeline: Timeline,
    path: str | os.PathLike[str],
    *,
    rate: float | None = None,
    start_timecode: str = "01:00:00:00",
) -> None:
    """One marker per stretch of a person, ordered by time, with the name, a colour and how many frames it lasts.

    Frames are counted at a nominal rate, from seconds: at 29.97 and 59.94 time code is drop frame, else not. After 24
    hours it begins anew. Events beyond the 999th have numbers of four digits, which CMX 3600 itself does not know.

    A frame of Resolve's holds one marker (its scripting interface knows them by frame): of several people who appear at
    once each gets a frame of their own, one after the other, and the markers end where the people go. In names "|",
    which ends a field, becomes "/".

    Args:
        timeline: what is written.
        path: the file.
        rate: of the editing program's timeline; None: the known rate nearest to the video's average.
        start_timecode: at which that timeline begins; Resolve's own begin at one hour.

    Raises:
        InputValidationError: see :meth:`Timeline.export`.
    """
    nominal = rate_of(timeline, rate)
    first = nominal.parse(start_timecode)
    title = one_line(Path(str(timeline.video.get("path", ""))).name) or "fastface"
    blocks = [f"TITLE: {title}\nFCM: {'DROP FRAME' if nominal.dropped else 'NON-DROP FRAME'}"]
    spans = sorted((nominal.frames(s), i) for i, p in enumerate(timeline.identities) for s in p.instances)
    free = 0
    for number, ((start, end), i) in enumerate(spans, 1):
        person = timeline.identities[i]
        start = max(start, free)
        end, free = max(end, start + 1), start + 1
        at, after = nominal.time_code(first + start), nominal.time_code(first + start + 1)
        name = one_line(person.label).replace("|", "/")
        colour = _COLOURS[person.id % len(_COLOURS)]
        blocks.append(
            f"{number:03d}  001      V     C        {at} {after} {at} {after}  \n"
            f" |C:ResolveColor{colour} |M:{name} |D:{end - start}"
        )
    with replacing(path) as temporary:
        temporary.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
