"""What is asked for, and what that comes to: which pictures go into which file, and in which parts they are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastface.clip.copy import fast_pieces, refusal
from fastface.clip.cut import Part
from fastface.clip.names import safe_name
from fastface.clip.source import Cut, Source, parts_of
from fastface.clip.spans import Interval, condensed, divided, merged, padded
from fastface.errors import InputValidationError
from fastface.timeline import Identity, Timeline
from fastface.timeline.edit import spans_of_tracks

_PART_SECONDS = 4.0  # long enough that beginning anew costs little, short enough that a minute keeps many cores busy
_LARGEST = 8192  # pixels


@dataclass(frozen=True)
class Wishes:
    """What :meth:`fastface.Timeline.clips` is asked for; see there.

    Raises:
        InputValidationError: a value is out of its range, or contradicts another.
    """

    join: bool = False
    max_gap: float = 0.0
    pad: float = 0.0
    segment: float | None = None
    condense: float | None = None
    fast: bool = False
    follow: tuple[int, int] | None = None
    split: tuple[int | str, int | str] | None = None

    def __post_init__(self) -> None:
        for name in ("max_gap", "pad", "condense"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InputValidationError(f"{name} is {value!r}, must be seconds, 0 or more")
        if self.segment is not None and not 0.1 <= self.segment < math.inf:
            raise InputValidationError(f"segment is {self.segment!r}, must be seconds, 0.1 or more")
        if self.segment is not None and self.one:
            raise InputValidationError("segment makes many files, join and condense make one: give one of them")
        if self.follow is not None and self.split is not None:
            raise InputValidationError("follow and split both say what is shown: give one of them")
        if self.fast and (self.follow is not None or self.split is not None):
            raise InputValidationError("fast copies pictures as they are, follow and split make new ones: not both")
        if self.follow is not None and not all(16 <= v <= _LARGEST and v % 2 == 0 for v in self.follow):
            raise InputValidationError(
                f"follow is {self.follow!r}, must be width and height in even pixels from 16 to {_LARGEST}"
            )

    @property
    def one(self) -> bool:
        """Whether all goes into one file."""
        return self.join or self.condense is not None

    def people(self, timeline: Timeline, person: int | str | None) -> list[Identity]:
        """Whose moments are cut; nobody stands for everybody.

        Raises:
            InputValidationError: there is no such person, or it is not said who.
        """
        if self.split is not None:
            if person is not None or len(self.split) != 2:
                raise InputValidationError(f"split is {self.split!r}, person {person!r}: must be two people, and None")
            people = [timeline.identity(who) for who in self.split]
            if people[0].id == people[1].id:
                raise InputValidationError(f"split is {self.split!r}, must be two different people")
            return people
        if person is None and self.condense is None:
            raise InputValidationError("person is None, must be a name or an id; or give split or condense")
        if person is None and self.follow is not None:
            raise InputValidationError("follow needs a person, whom the window follows")
        return [] if person is None else [timeline.identity(person)]


@dataclass(frozen=True)
class File:
    """A file to write: its path, the cuts it shows one after the other, and the parts that these are made in."""

    path: Path
    cuts: tuple[Cut, ...]
    parts: tuple[Part, ...]


def plan(
    timeline: Timeline, source: Source, people: Sequence[Identity], folder: Path, wishes: Wishes
) -> tuple[list[File], str | None]:
    """The files to write, and why nothing can be copied where that was asked for.

    Raises:
        InputValidationError: there is nothing to cut.
    """
    cuts = _cuts(timeline, source, people, wishes)
    if not cuts:
        who = " and ".join(p.label for p in people) or "anybody"
        raise InputValidationError(f"there is nothing to cut: no picture of {source.path!r} shows {who}")
    note = refusal(source, cuts) if wishes.fast else None
    stem = "+".join(safe_name(p.label, p.id) for p in people) or safe_name(Path(source.path).stem, 0)
    stem += "-condensed" if wishes.condense is not None else ""
    groups = [cuts] if wishes.one else [[cut] for cut in cuts]
    digits = max(3, len(str(len(groups))))
    files = []
    for k, group in enumerate(groups):
        name = f"{stem}.mp4" if wishes.one else f"{stem}-{k + 1:0{digits}d}.mp4"
        files.append(File(folder / name, tuple(group), _parts(source, group, wishes.fast and note is None)))
    return files, note


def _cuts(timeline: Timeline, source: Source, people: Sequence[Identity], wishes: Wishes) -> list[Cut]:
    spans = padded(merged(_seen(timeline, people), wishes.max_gap), wishes.pad, source.duration)
    if wishes.condense is not None:
        spans = condensed(spans, wishes.condense, source.duration)
    if wishes.segment is not None:
        spans = divided(spans, wishes.segment)
    return [cut for cut in (source.cut(span) for span in spans) if cut.first < cut.last]


def _seen(timeline: Timeline, people: Sequence[Identity]) -> list[Interval]:
    """When these people are on screen; nobody: when there is any face."""
    if people:
        return [(s.start, s.end) for person in people for s in person.instances]
    return [(s.start, s.end) for s in spans_of_tracks(timeline, list(timeline.tracks))]


def _parts(source: Source, cuts: Sequence[Cut], fast: bool) -> tuple[Part, ...]:
    most = max(round(_PART_SECONDS * float(source.coding.rate)), 16)
    parts, offset = [], 0
    for cut in cuts:
        for piece, copied in fast_pieces(source, cut, most) if fast else [(cut, False)]:
            for part in [piece] if copied else parts_of(source, piece, most):
                parts.append(Part(part, offset, copied))
                offset += source.stamp(part.last) - source.stamp(part.first)
    return tuple(parts)
