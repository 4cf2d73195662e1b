"""Faces made unrecognisable: which places of a frame are covered, and with what.

What is covered is more than what was detected: boxes are enlarged to the whole head, every gap within a track is
bridged, and a track is covered for a while before and after it was seen, there wherever the face may have gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastface.drawing.boxes import Trail, trails, usual_step
from fastface.encode.planes import Planes
from fastface.errors import InputValidationError
from fastface.timeline import Timeline

Hide = Literal["blur", "pixelate"]

HOLD = 0.5
"""Seconds that a face stays covered before its track begins and after it ends."""

ENLARGE = 1.7
"""Sides of what is covered over those of the detected box, which reaches from the brow to the chin."""

CELLS: dict[Hide, int] = {"blur": 4, "pixelate": 6}
"""Colours that are left along the longer side of what is covered. A smooth course through six still looks like a face
to the detector now and then (a score of 0.92 once in 604 places), six cells do not."""

_VELOCITY_OVER = 0.2  # seconds of a track by which it is told where the face was going


def hidden_people(timeline: Timeline, only: Iterable[int | str] | None, but: Iterable[int | str]) -> frozenset[int]:
    """Ids of the people to hide, with -1 for faces of which it is not told whose they are.

    Args:
        timeline: of the video.
        only: ids or names; None: everybody.
        but: who is not hidden.

    Raises:
        InputValidationError: there is no such person, or `only` and `but` are both given, or `only` is empty.
    """
    but = list(but)
    if only is None:
        return frozenset({-1, *(p.id for p in timeline.identities)} - {timeline.identity(who).id for who in but})
    only = list(only)
    if but or not only:
        raise InputValidationError(f"only is {only!r} and but is {but!r}: give people in one of them")
    return frozenset(timeline.identity(who).id for who in only)


class Cover:
    """Covers the faces of some people. Frames must be given in ascending order.

    Args:
        timeline: of the video.
        people: see :func:`hidden_people`.
        kind: "blur" or "pixelate".

    Raises:
        InputValidationError: there is no such kind.
    """

    def __init__(self, timeline: Timeline, people: frozenset[int], kind: Hide) -> None:
        if kind not in get_args(Hide):
            raise InputValidationError(f"hide is {kind!r}, must be None or one of {', '.join(get_args(Hide))}")
        self.people, self.kind = people, kind
        # A track ends with the last frame that was looked at; up to the next one nobody knows.
        self.after = HOLD + usual_step(timeline)
        mine = [t for t in trails(timeline) if t.identities & people]  # one face of theirs hides the track
        self.waiting = sorted(mine, key=lambda t: float(t.times[0]), reverse=True)
        self.active: list[Trail] = []

    def boxes(self, time: float) -> Iterator[NDArray[np.float64]]:
        """What is covered at a time in seconds: [4] xyxy each, enlarged."""
        while self.waiting and self.waiting[-1].times[0] - HOLD <= time:
            self.active.append(self.waiting.pop())
        self.active = [trail for trail in self.active if time <= trail.times[-1] + self.after]
        for trail in self.active:
            yield enlarged(_place(trail, time))

    def paint(self, planes: Planes, time: float) -> None:
        """Cover what is to be covered at a time, in a picture of even size."""
        for box in self.boxes(time):
            x1, y1, x2, y2 = box.tolist()
            cell = max(x2 - x1, y2 - y1) / CELLS[self.kind]
            height, width = planes[0].shape
            left, top = max(int(x1) // 2 * 2, 0), max(int(y1) // 2 * 2, 0)
            right, bottom = min(-(-int(np.ceil(x2)) // 2) * 2, width), min(-(-int(np.ceil(y2)) // 2) * 2, height)
            if left >= right or top >= bottom:
                continue
            count = (max(int((right - left) / cell), 1), max(int((bottom - top) / cell), 1))
            for i, plane in enumerate(planes):
                s = 2 if i else 1
                _coarsen(plane[top // s : bottom // s, left // s : right // s], count, self.kind)


def _place(trail: Trail, time: float) -> NDArray[np.float64]:
    """[4] where the face of a track is, or may be before and after the track."""
    k = max(int(np.searchsorted(trail.times, time, side="right")) - 1, 0)
    box = trail.between(k, time).box.astype(np.float64)
    beyond = time - float(np.clip(time, trail.times[0], trail.times[-1]))
    if beyond == 0 or len(trail.times) < 2:
        return box
    # It may have stayed, and it may have gone on as it went: both places, and what is between.
    end = 0 if beyond < 0 else len(trail.times) - 1
    other = int(np.argmin(np.abs(np.abs(trail.times - trail.times[end]) - _VELOCITY_OVER)))
    span = float(trail.times[other] - trail.times[end])
    if span == 0:
        return box
    gone = box + (trail.boxes[other].astype(np.float64) - box) * (beyond / span)
    return np.concatenate([np.minimum(box[:2], gone[:2]), np.maximum(box[2:], gone[2:])])


def enlarged(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """[4] around the same centre, :data:`ENLARGE` times as wide and high."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * ENLARGE
    return np.concatenate([centre - half, centre + half])


def _coarsen(region: NDArray[np.uint8], count: tuple[int, int], kind: Hide) -> None:
    """Leave the means of `count` (columns, rows) cells of a region, as cells or as a smooth course through them."""
    picture = Image.fromarray(np.ascontiguousarray(region))
    few = picture.resize((min(count[0], picture.width), min(count[1], picture.height)), Image.Resampling.BOX)
    back = Image.Resampling.NEAREST if kind == "pixelate" else Image.Resampling.BILINEAR
    region[...] = np.asarray(few.resize(picture.size, back))
