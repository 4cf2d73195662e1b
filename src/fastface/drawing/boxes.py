"""Where the faces of a timeline are in any frame, those in between two detections as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastface.timeline import Timeline

_LONGEST_GAP = 1.0  # seconds between two detections of a track over which its box is interpolated


class Shown(NamedTuple):
    """A face in a frame.

    Attributes:
        box: [4] float32, xyxy in display pixels.
        landmarks: [5, 2] float32, display pixels.
        identity: id of the person, -1 where not told.
    """

    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    identity: int


@dataclass(frozen=True)
class Trail:
    """One track: n detections in the order of time.

    Attributes:
        frames: [n] int64, numbers of the frames.
        times: [n] float64, seconds.
        boxes: [n, 4] float32.
        landmarks: [n, 5, 2] float32.
        identity: id of the person of its first face, -1 where not told.
        identities: of all of its faces, which need not be told alike.
        end: number of the frame after the last one it is in.
    """

    frames: NDArray[np.int64]
    times: NDArray[np.float64]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    identity: int
    identities: frozenset[int]
    end: int

    def between(self, k: int, time: float) -> Shown:
        """The face at a time from detection k on to the next, on the straight line from the one to the other."""
        if k + 1 == len(self.times):
            return Shown(self.boxes[k], self.landmarks[k], self.identity)
        gap = float(self.times[k + 1] - self.times[k])
        u = np.float32(min(max((time - float(self.times[k])) / gap, 0.0), 1.0) if gap > 0 else 0.0)
        box, landmarks = ((1 - u) * a[k] + u * a[k + 1] for a in (self.boxes, self.landmarks))
        return Shown(box, landmarks, self.identity)


def trails(timeline: Timeline) -> list[Trail]:
    """Every track that has faces, in the order of tracks."""
    faces = timeline.faces
    ends = {track.id: track.end_frame for track in timeline.tracks}
    order = np.lexsort((faces.frame, faces.track))
    cuts = np.flatnonzero(np.diff(faces.track[order])) + 1
    out = []
    for rows in np.split(order, cuts) if len(order) else ():
        frames = faces.frame[rows]
        end = max(ends.get(int(faces.track[rows[0]]), 0), int(frames[-1]) + 1)
        whose = faces.identity[rows].tolist()
        all_of_it = (frames, faces.time[rows], faces.box[rows], faces.landmarks[rows])
        out.append(Trail(*all_of_it, whose[0], frozenset(whose), end))
    return out


def usual_step(timeline: Timeline) -> float:
    """Seconds from one frame with faces to the next, as a rule; 0 where there are less than two."""
    seen = np.unique(timeline.faces.time)
    return float(np.median(np.diff(seen))) if len(seen) > 1 else 0.0


class Boxes:
    """Which faces a frame shows. Frames must be asked for in ascending order.

    Attributes:
        times_of: seconds of each frame with a face.
        last_frame: number of the last frame with a face, -1 where there is none.
    """

    def __init__(self, timeline: Timeline) -> None:
        faces = timeline.faces
        self.times_of: dict[int, float] = dict(zip(faces.frame.tolist(), faces.time.tolist(), strict=True))
        self.last_frame = int(faces.frame[-1]) if len(faces) else -1
        # Where only every Nth frame was looked at, gaps of N frames are the rule.
        self.longest_gap = max(_LONGEST_GAP, 2.5 * usual_step(timeline))
        self.waiting = sorted(trails(timeline), key=lambda t: int(t.frames[0]), reverse=True)
        self.active: list[Trail] = []

    def at(self, frame: int, time: float) -> Iterator[Shown]:
        """The faces of a frame, given its number and its time in seconds."""
        while self.waiting and self.waiting[-1].frames[0] <= frame:
            self.active.append(self.waiting.pop())
        self.active = [trail for trail in self.active if frame < trail.end]
        for trail in self.active:
            k = int(np.searchsorted(trail.frames, frame, side="right")) - 1
            if trail.frames[k] == frame or k + 1 == len(trail.frames):
                if time - trail.times[k] <= self.longest_gap:
                    yield trail.between(k, float(trail.times[k]))
            elif 0 < trail.times[k + 1] - trail.times[k] <= self.longest_gap:
                yield trail.between(k, time)
