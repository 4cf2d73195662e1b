"""The camera's path: a window of fixed shape that follows one person's face.

All of the timeline is known, so nothing lags. Per shot, the wanted window (the face a certain share of its height, a
little above its middle) is made even by a B-spline kernel: three moving averages over tau seconds each, centred on the
very moment. What comes out has a bounded acceleration, at most 2 v / tau for a face that moves with v; tau is the
shortest of some for which the acceleration stays below :data:`ACCELERATION`. The wanted windows are moved into the
picture first, and as an average of windows inside the picture is inside the picture, nothing has to be cut off
afterwards, which would be a kink.

Beyond the ends of a shot the path goes on along a straight line, so that it neither lags nor drifts there. Between
shots it jumps. A shot changes where the person's track ends and no track of anybody goes through to the next one: the
tracker ends every track at a cut.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastface.timeline import Timeline

Array = NDArray[np.float64]

FACE_SHARE = 0.3
"""Height of the face over height of the window, where the picture is large enough."""

HEADROOM = 0.05
"""By how much of the window's height the face is above its middle."""

ACCELERATION = 0.5
"""Heights of the window a second squared; the path's acceleration stays below it wherever the face can be kept."""

MOST_ENLARGED = 2.0
"""Pixels of the output for one of the picture at most, unless the picture is too small for any window as large."""

_TAUS = (0.3, 0.45, 0.65, 0.9, 1.3)  # seconds
_ZOOM = 1.5  # a change of size is more noticeable than one of place: it is made even over so many times longer
_STEP = 1 / 240  # seconds of the grid that paths are computed on
_SLOPE_OVER = 0.5  # seconds at the ends of a shot by which it is told how the face moves there
_FEWEST = 3  # detections by which it is told
_SHORT, _NEAR = 0.2, 0.25  # a gap longer than this (seconds) over less than that (heights) need not be a cut


@dataclass(frozen=True)
class Run:
    """One stretch of a path, within a shot.

    Attributes:
        times: [k] float64, seconds, from the first detection to the last.
        window: [k, 3] float64, centre x, y and height in display pixels.
    """

    times: Array
    window: Array

    def at(self, times: Array) -> Array:
        """[n, 3] at n times; beyond its ends as it is there."""
        return np.stack([np.interp(times, self.times, column) for column in self.window.T], -1)


@dataclass(frozen=True)
class Path:
    """A window over the whole video.

    Attributes:
        aspect: its width over its height, in pixels of the picture.
        size: (width, height) of the picture, display pixels.
        runs: in the order of time.
        spans: [m, 2] float64, seconds, when the person is seen.
    """

    aspect: float
    size: tuple[int, int]
    runs: tuple[Run, ...]
    spans: Array

    def at(self, times: Array) -> Array:
        """The window at n times in seconds.

        Returns:
            [n, 4] float64, xyxy in display pixels, inside the picture. Before the first run it is where that begins;
            between two it stays until the later one begins.
        """
        out = np.empty((len(times), 3))
        which = np.maximum(np.searchsorted([run.times[0] - 1e-6 for run in self.runs], times, side="right") - 1, 0)
        for k in np.unique(which):
            out[which == k] = self.runs[k].at(times[which == k])
        half = np.stack([out[:, 2] * self.aspect / 2, out[:, 2] / 2], -1)
        corners: Array = np.concatenate([out[:, :2] - half, out[:, :2] + half], 1)
        corners = np.clip(corners, 0, np.array([*self.size, *self.size], np.float64))  # of rounding only
        return corners

    def present(self, times: Array) -> NDArray[np.bool_]:
        """[n] whether the person is seen at n times."""
        if not len(self.spans):
            return np.zeros(len(times), bool)
        k = np.searchsorted(self.spans[:, 0] - 1e-6, times, side="right") - 1
        inside: NDArray[np.bool_] = (k >= 0) & (times < self.spans[np.maximum(k, 0), 1] - 1e-6)
        return inside


def follow(
    timeline: Timeline, person: int, times: Array, shape: tuple[int, int], size: tuple[int, int], pixel: float = 1.0
) -> Path:
    """The path of a window that follows a person.

    Args:
        timeline: of the video.
        person: id of somebody who has faces in it.
        times: [n] seconds of all frames, ascending.
        shape: (width, height) of the output.
        size: (width, height) of the picture, display pixels.
        pixel: width of a pixel of the picture over its height.
    """
    aspect = shape[0] / shape[1] / pixel
    highest = min(float(size[1]), size[0] / aspect)
    lowest = min(shape[1] / MOST_ENLARGED, highest)
    seen, boxes, pieces = _pieces(timeline, person, lowest)
    runs = []
    for a, b in pieces:
        first, last = np.searchsorted(times, (seen[a] - 1e-6, seen[b - 1] + 1e-6))
        at = times[first:last] if first < last else seen[a : a + 1]
        runs.append(_steady(seen[a:b], boxes[a:b], at, aspect, size, (lowest, highest)))
    spans = next(p for p in timeline.identities if p.id == person).instances
    return Path(aspect, size, tuple(runs), np.array([(s.start, s.end) for s in spans]).reshape(-1, 2))


def _pieces(timeline: Timeline, person: int, near: float) -> tuple[Array, Array, list[tuple[int, int]]]:
    """A person's faces, one a frame, and where they fall apart: times [n], boxes [n, 4], (first, last) in them."""
    faces = timeline.faces
    mine = np.flatnonzero(faces.identity == person)
    # Of two boxes on one face the surer one.
    mine = mine[np.lexsort((-faces.score[mine], faces.frame[mine]))]
    mine = mine[np.unique(faces.frame[mine], return_index=True)[1]]
    frame, track, time = faces.frame[mine], faces.track[mine], faces.time[mine]
    box = faces.box[mine].astype(np.float64)
    extents = np.array([(t.start_frame, t.end_frame) for t in timeline.tracks], np.int64).reshape(-1, 2)
    edges = [0]
    for k in (np.flatnonzero(np.diff(track)) + 1).tolist():
        through = (extents[:, 0] < frame[k]) & (extents[:, 1] > frame[k])
        moved = np.abs((box[k] - box[k - 1])[:2] + (box[k] - box[k - 1])[2:]).max() / 2
        turned_away = time[k] - time[k - 1] > _SHORT and moved < _NEAR * near
        if not through.any() and not turned_away:
            edges.append(k)
    edges.append(len(mine))
    return time, box, list(itertools.pairwise(edges))


def _steady(
    seen: Array, box: Array, at: Array, aspect: float, size: tuple[int, int], limits: tuple[float, float]
) -> Run:
    """The path over one run: the shortest tau whose acceleration is small enough, else the longest that keeps the face.

    Args:
        seen: [n] seconds of the detections, ascending.
        box: [n, 4] of the face.
        at: [k] seconds at which the path is wanted.
        aspect, size: of the window, of the picture.
        limits: lowest and highest window.
    """
    best, most = None, 0
    for tau in _TAUS:
        grid, window = _smoothed(seen, box, tau, aspect, size, limits)
        run = Run(at, np.stack([np.interp(at, grid, column) for column in window.T], -1))
        kept = _kept(run.at(seen), box, aspect)
        if best is not None and kept < most:
            break
        best, most = run, kept
        if len(grid) < 3 or acceleration(grid, window).max() <= ACCELERATION:
            break
    assert best is not None
    return best


def _smoothed(
    seen: Array, box: Array, tau: float, aspect: float, size: tuple[int, int], limits: tuple[float, float]
) -> tuple[Array, Array]:
    """The grid [k] in seconds and the window [k, 3] on it: centre x, y and height."""
    inner = max(round((seen[-1] - seen[0]) / _STEP), 0) + 1
    half = max(round(tau / _STEP / 2), 1)
    half_zoom = round(half * _ZOOM)
    # The height first, over a longer time; then the places that a window of that height can take.
    pad = 3 * half_zoom + 3 * half
    height = _extended(seen, (box[:, 3] - box[:, 1]) / FACE_SHARE, inner, pad, flat=True)
    height = _average(np.clip(height, *limits)[:, None], half_zoom)[:, 0]
    centre = [_extended(seen, (box[:, i] + box[:, i + 2]) / 2, inner, 3 * half, flat=False) for i in (0, 1)]
    centre[1] += HEADROOM * height
    room = [height * aspect / 2, height / 2]
    placed = [np.clip(c, r, np.maximum(s - r, r)) for c, r, s in zip(centre, room, size, strict=True)]
    return seen[0] + _STEP * np.arange(inner), _average(np.stack([*placed, height], 1), half)


def _extended(seen: Array, values: Array, inner: int, pad: int, *, flat: bool) -> Array:
    """[pad + inner + pad] values on the grid; beyond the ends on the line (flat: at the mean) of what is near them."""
    grid = seen[0] + _STEP * np.arange(-pad, inner + pad)
    out: Array = np.interp(grid, seen, values)
    for beyond, end in ((grid < seen[0], seen[0]), (grid > seen[-1], seen[-1])):
        away = np.abs(seen - end)
        # Three detections, where they come rarely; of fewer, and of those at once, no slope can be told.
        near = away <= max(_SLOPE_OVER, np.sort(away)[:_FEWEST][-1])
        level = flat or near.sum() < _FEWEST or away[near].max() < _SLOPE_OVER / 2
        line = np.polynomial.Polynomial.fit(seen[near], values[near], 0 if level else 1)
        out[beyond] = line(grid[beyond])
    return out


def _average(values: Array, half: int) -> Array:
    """[k - 6 half, c] three moving averages over 2 half + 1 rows each of [k, c]."""
    count = 2 * half + 1
    for _ in range(3):
        sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
        values = (sums[count:] - sums[:-count]) / count
    return values


def acceleration(times: Array, window: Array) -> Array:
    """[n - 2] of the centre, in heights of the window a second squared, by second differences.

    Args:
        times: [n] seconds, ascending.
        window: [n, 3] centre x, y and height.
    """
    speed = np.diff(window[:, :2], axis=0) / np.diff(times)[:, None]
    change = np.diff(speed, axis=0) / ((times[2:] - times[:-2]) / 2)[:, None]
    out: Array = np.hypot(*change.T) / window[1:-1, 2]
    return out


def _kept(window: Array, box: Array, aspect: float) -> int:
    """How many faces lie within their windows."""
    half = np.stack([window[:, 2] * aspect, window[:, 2]], 1) / 2
    inside = (box[:, :2] >= window[:, :2] - half).all(1) & (box[:, 2:] <= window[:, :2] + half).all(1)
    return int(inside.sum())
