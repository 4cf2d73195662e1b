"""Which tracks are faces at all, and which of those may be persons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastface.match.identify import CERTAIN_SCORE, long_enough
from fastface.types import Faces

_BEST = 5
_ALL_BITS = np.int64(0xFFFFFFFF)


def track_scores(track: NDArray[np.int64], score: NDArray[np.float32]) -> tuple[NDArray[np.int64], ...]:
    """Of each track its id, the number of its faces, and the mean score of its best five: the detector's errors are
    short and of low score.

    Args:
        track: [N] int64, of each face, from 0 to 2^31 - 1.
        score: [N] float32, in [0, 1].

    Returns:
        Ids [T] ascending, counts [T] and scores [T] float32.
    """
    if not len(track):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    # One sort, by track and then by score, highest first: the bits of positive floats order as the floats do.
    key = np.sort(track << 32 | (_ALL_BITS - np.ascontiguousarray(score).view(np.uint32)))
    by_track = key >> 32
    ordered = (_ALL_BITS - (key & _ALL_BITS)).astype(np.uint32).view(np.float32)
    start = np.flatnonzero(np.diff(by_track, prepend=-1))
    count = np.diff(start, append=len(key))
    best = np.arange(len(key)) - np.repeat(start, count) < _BEST
    used = np.minimum(count, _BEST)
    mean = np.add.reduceat(ordered[best], np.cumsum(used) - used) / used
    return by_track[start], count, mean.astype(np.float32)


def credible_faces(
    faces: Faces, overlaps: NDArray[np.int64], min_score: float, interval: float
) -> tuple[Faces, dict[int, bool]]:
    """The faces of credible tracks, and for each credible track whether it is long and sure enough to be a person.

    Dismissed are the detector's errors: tracks whose best faces score less than `min_score`, and (unless that is 0,
    which keeps everything and takes it for sure) tracks that lie on another, surer one's face for at least half of
    their own faces.
    """
    ids, counts, scores = track_scores(faces.track, faces.score)
    keep = scores >= min_score
    score = dict(zip(ids[keep].tolist(), scores[keep].tolist(), strict=True))
    count = dict(zip(ids[keep].tolist(), counts[keep].tolist(), strict=True))
    if min_score > 0:
        for a, b, frames in overlaps.tolist():
            if a in score and b in score:
                worse = min(a, b, key=lambda t: (score[t], count[t], -t))
                if 2 * frames >= count[worse]:
                    del score[worse], count[worse]
    sure = CERTAIN_SCORE if min_score > 0 else 0.0
    certain = {t: score[t] >= sure and long_enough(count[t], interval) for t in score}
    return faces[np.isin(faces.track, list(score))], certain
