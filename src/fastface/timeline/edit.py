"""What people put right in a timeline: names, who is whom. Each gives a new, consistent timeline.

Ids of people stay as they are; who was merged into another leaves a gap, who was split off gets the next free one. The
list of people stays in the order of first appearance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from fastface.errors import InputValidationError
from fastface.timeline.build import union
from fastface.timeline.document import is_text
from fastface.timeline.timeline import Identity, Span, Timeline, Track


def rename(timeline: Timeline, who: int | str, name: str | None) -> Timeline:
    """See :meth:`Timeline.rename`."""
    person = timeline.identity(who)
    if name is not None and not (isinstance(name, str) and name.strip() and is_text(name)):
        raise InputValidationError(f"name is {name!r}, must be None or a text (of UTF-8) that is not empty")
    for other in timeline.identities:
        if name is not None and other.name == name and other.id != person.id:
            raise InputValidationError(
                f"person {other.id} is called {name!r} already; merge({other.id}, {person.id}) makes them one"
            )
    return with_identity(timeline, person.id, name=name, gallery_id=None, similarity=None, threshold=None)


def merge(timeline: Timeline, who: int | str, *others: int | str) -> Timeline:
    """See :meth:`Timeline.merge`."""
    ids = [timeline.identity(w).id for w in (who, *others)]
    if len(set(ids)) < len(ids):
        raise InputValidationError(f"{[who, *others]} names a person twice")
    return _with_people(timeline, {i: ids[0] for i in ids[1:]}, {}, changed=ids[:1] if others else [])


def split(timeline: Timeline, who: int | str, tracks: Iterable[int]) -> Timeline:
    """See :meth:`Timeline.split`."""
    person = timeline.identity(who).id
    mine = {t.id for t in timeline.tracks if t.identity == person}
    chosen = set(tracks)
    if not chosen or not chosen < mine:
        raise InputValidationError(
            f"tracks are {sorted(chosen)}, must be some, not all, of this person's: {sorted(mine)}"
        )
    new = max(p.id for p in timeline.identities) + 1
    return _with_people(timeline, {}, {t: new for t in chosen}, changed=[person, new])


def with_identity(timeline: Timeline, person: int, **facts: Any) -> Timeline:
    """A timeline in which fields of one person are others."""
    people = tuple(replace(p, **facts) if p.id == person else p for p in timeline.identities)
    return replace(timeline, identities=people)


def _with_people(
    timeline: Timeline, person_of: dict[int, int], track_to: dict[int, int], *, changed: list[int]
) -> Timeline:
    """Tracks and faces given to other people, by person or by track; those who changed are summed up anew."""
    tracks = tuple(
        replace(
            t, identity=track_to.get(t.id, person_of.get(t.identity, t.identity) if t.identity is not None else None)
        )
        for t in timeline.tracks
    )
    owner = {t.id: -1 if t.identity is None else t.identity for t in tracks}
    faces = timeline.faces
    identity = np.array([owner[t] for t in faces.track.tolist()], np.int64)
    # A face without a person stays so, whatever its track says.
    identity = np.where(faces.identity < 0, -1, identity)
    before = {p.id: p for p in timeline.identities}
    people = []
    for person in sorted({*before, *changed} - set(person_of)):
        if person not in changed:
            people.append(before[person])
            continue
        spans = spans_of_tracks(timeline, [t for t in tracks if t.identity == person])
        told = before.get(person, Identity(person, None, None, None, 0.0, ()))
        people.append(
            replace(
                told,
                similarity=None,
                threshold=None,
                screen_time=float(sum(s.end - s.start for s in spans)),
                instances=spans,
            )
        )
    people.sort(key=lambda p: (p.instances[0].start_frame if p.instances else 0, p.id))
    return replace(timeline, identities=tuple(people), tracks=tracks, faces=replace(faces, identity=identity))


def spans_of_tracks(timeline: Timeline, tracks: list[Track]) -> tuple[Span, ...]:
    """When tracks are on screen; their ends are ends of spans that are there, so that times stay exact."""
    seconds: dict[int, float] = {}
    for person in timeline.identities:
        for span in person.instances:
            seconds[span.start_frame], seconds[span.end_frame] = span.start, span.end
    seconds |= {int(f): float(t) for f, t in zip(timeline.faces.frame, timeline.faces.time, strict=True)}
    out = union(sorted((t.start_frame, t.end_frame) for t in tracks))
    times = [(_at(timeline, seconds, a), _at(timeline, seconds, b)) for a, b in out]
    # Frames that a document puts beyond its video's end have no time of their own.
    return tuple(Span(start, max(start, end), a, b) for (start, end), (a, b) in zip(times, out, strict=True))


def _at(timeline: Timeline, seconds: dict[int, float], frame: int) -> float:
    """The time of a frame: known, else between its known neighbours, as evenly as frames come."""
    if frame in seconds:
        return seconds[frame]
    end = int(timeline.video["frame_count"])
    if frame >= end:
        return float(timeline.video["duration"])
    known = sorted({**seconds, 0: 0.0, end: float(timeline.video["duration"])}.items())
    frames, times = [k for k, _ in known], [v for _, v in known]
    return float(np.interp(frame, frames, times))
