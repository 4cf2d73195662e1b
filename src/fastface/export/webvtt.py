"""WebVTT (https://www.w3.org/TR/webvtt1/): chapters for players, metadata for scripts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from fastface.export.lines import one_line
from fastface.files import replacing
from fastface.timeline.together import stretches

if TYPE_CHECKING:
    from fastface.timeline import Timeline

Cue = tuple[str, int, int, str]
"""Identifier, start and end in milliseconds, text."""


def write_chapters(timeline: Timeline, path: str | os.PathLike[str]) -> None:
    """One chapter per stretch of time with the same people on screen, called after them; nobody there, no chapter.

    Chapters follow each other without overlap, as players expect. Times are rounded to milliseconds.
    """
    label = {person.id: person.label for person in timeline.identities}
    cues: list[Cue] = []
    for stretch in stretches(timeline):
        start, end = _milliseconds(stretch.start), _milliseconds(stretch.end)
        if start < end:  # shorter ones a cue cannot tell
            names = ", ".join(one_line(label[who]) for who in stretch.people)
            cues.append((str(len(cues) + 1), start, end, _escaped(names)))
    _write(path, "chapters: who is on screen", cues)


def write_metadata(timeline: Timeline, path: str | os.PathLike[str]) -> None:
    """One cue per stretch of a person, ordered by time: a JSON object on one line, with identity, name, gallery_id,
    label, similarity, threshold, start, end (seconds, not rounded to milliseconds as the cue's own), start_frame,
    end_frame.

    In the JSON "<", ">" and "&" are written as escapes, so that no name ends a cue or looks like a tag.
    """
    cues: list[Cue] = []
    for person in timeline.identities:
        told = {
            "identity": person.id,
            "name": person.name,
            "gallery_id": person.gallery_id,
            "label": person.label,
            "similarity": person.similarity,
            "threshold": person.threshold,
        }
        for number, span in enumerate(person.instances, 1):
            start = _milliseconds(span.start)
            text = json.dumps({**told, **asdict(span)})
            for sign in "<>&":
                text = text.replace(sign, f"\\u{ord(sign):04x}")
            cues.append((f"{person.id}-{number}", start, max(_milliseconds(span.end), start + 1), text))
    cues.sort(key=lambda cue: cue[1:3])
    _write(path, "metadata: a cue of JSON per stretch of a person", cues)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"


def _escaped(text: str) -> str:
    """As cue text, in which "&" and "<" begin something and "-->" must not stand."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _write(path: str | os.PathLike[str], note: str, cues: Iterable[Cue]) -> None:
    blocks = ["WEBVTT", f"NOTE {note}"]
    blocks += [f"{name}\n{_clock(start)} --> {_clock(end)}\n{text}" for name, start, end, text in cues]
    with replacing(path) as temporary:
        temporary.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
