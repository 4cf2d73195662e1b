"""Who is on screen together: the timeline cut wherever somebody comes or goes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fastface.timeline.timeline import Timeline


@dataclass(frozen=True)
class Stretch:
    """A stretch of time with the same people on screen; half open.

    Attributes:
        start, end: seconds from the first frame shown.
        people: ids, in the order of the timeline's identities; never empty.
    """

    start: float
    end: float
    people: tuple[int, ...]


def stretches(timeline: Timeline) -> list[Stretch]:
    """When which people are on screen, in order, without overlap; times at which nobody is there are left out."""
    changes: dict[float, Counter[int]] = {}
    for person in timeline.identities:
        for span in person.instances:
            changes.setdefault(span.start, Counter())[person.id] += 1
            changes.setdefault(span.end, Counter())[person.id] -= 1
    place = {person.id: i for i, person in enumerate(timeline.identities)}
    there: Counter[int] = Counter()
    found: list[Stretch] = []
    for start, end in pairwise(sorted(changes)):
        for who, change in changes[start].items():
            there[who] += change
            if not there[who]:
                del there[who]
        people = tuple(sorted(there, key=place.__getitem__))
        if not people:
            continue
        if found and found[-1].end == start and found[-1].people == people:
            found[-1] = Stretch(found[-1].start, end, people)
        else:
            found.append(Stretch(start, end, people))
    return found


def seconds_together(timeline: Timeline) -> NDArray[np.float64]:
    """How long each two people are on screen at once.

    Returns:
        [P, P] float64, seconds, symmetric, in the order of the timeline's P identities; on the diagonal how long each
        person is there.
    """
    place = {person.id: i for i, person in enumerate(timeline.identities)}
    seconds = np.zeros((len(place), len(place)))
    for stretch in stretches(timeline):
        rows = [place[who] for who in stretch.people]
        seconds[np.ix_(rows, rows)] += stretch.end - stretch.start
    return seconds
