"""What a report says of the video, the faces and the run: names and values as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastface.timeline import Timeline
from fastface.words import count, lasting

_PARTS = ("decoder", "detector", "embedder")


@dataclass(frozen=True)
class Table:
    """A heading and rows of (name, value)."""

    title: str
    rows: tuple[tuple[str, str], ...]


def facts(timeline: Timeline) -> list[Table]:
    """The tables, those without anything to say included."""
    run = timeline.run
    rest = {k: v for k, v in run.items() if k not in (*_PARTS, "warnings")}
    tables = [
        Table("Video", tuple(_flat({k: v for k, v in timeline.video.items() if k != "path"}))),
        Table("Faces", tuple(_faces(timeline))),
        Table("Run", tuple(_run(rest))),
    ]
    for part in _PARTS:
        told = run.get(part)
        tables.append(Table(part.capitalize(), tuple(_flat(told)) if isinstance(told, Mapping) else ()))
    return tables


def _faces(timeline: Timeline) -> Iterator[tuple[str, str]]:
    faces = timeline.faces
    yield "faces", f"{len(faces):,}"
    yield "tracks", f"{len(timeline.tracks):,}"
    if not len(faces):
        return
    yield "faces of nobody (too short or too poor to tell)", f"{int((faces.identity < 0).sum()):,}"
    height = (faces.box[:, 3] - faces.box[:, 1]).astype(np.float64)
    low, middle, high = np.percentile(height, [10, 50, 90])
    yield "height of faces", f"{middle:.0f} px (80% have {low:.0f} to {high:.0f})"
    low, middle = np.percentile(faces.score.astype(np.float64), [10, 50])
    yield "score of faces", f"{middle:.3f} (90% have at least {low:.3f})"
    known = [p for p in timeline.identities if p.similarity is not None and p.threshold is not None]
    if known:
        nearest = min(known, key=lambda p: (p.similarity or 0.0) - (p.threshold or 0.0))
        yield "nearest to its threshold", f"{nearest.label}: {nearest.similarity:.2f} ≥ {nearest.threshold:.2f}"


def _run(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in run.items():
        if key == "seconds" and isinstance(value, (int, float)):
            yield "time", lasting(value)
            if value and isinstance(run.get("frames_decoded"), int):
                yield "speed", f"{run['frames_decoded'] / value:,.1f} frames a second"
        elif key.endswith("_memory_peak"):
            yield _name(key), f"{value / 1e9:.2f} GB" if isinstance(value, (int, float)) else "not used"
        else:
            yield from _flat({key: value})


def _name(key: str) -> str:
    return key.replace("_", " ")


def _flat(told: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Each value of a mapping, however deep, under its path."""
    for key, value in told.items():
        name = before + _name(str(key))
        if isinstance(value, Mapping):
            yield from _flat(value, name + " / ")
        else:
            yield name, _value(name, value)


def _value(name: str, value: Any) -> str:
    if value is None:
        return "not told"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return lasting(value) if name == "duration" else f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(name, v) for v in value)
    if name == "rotation":
        return count(value, "degree", "degrees")
    return f"{value:,}" if isinstance(value, int) else str(value)
