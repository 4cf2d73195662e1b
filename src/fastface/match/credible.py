"""Which tracks are faces at all, and which of those may be persons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastface.match.identify import CERTAIN_SCORE, long_enough
from fastface.types import Faces

_BEST = 5


def track_scores(track: NDArray[np.int64], score: NDArray[np.float32]) -> tuple[NDArray[np.int64], ...]:
    """Of each track its id, the number of its faces, and the mean score of its best five: the detector's errors are
    short and of low score.

    Args:
        track: [N] int64, of each face.
        score: [N] float32, in [0, 1].

    Returns:
        Ids [T] ascending, counts [T] and scores [T] float32.
    """
    order = np.lexsort((-score, track))
    ids, start, count = np.unique(track[order], return_index=True, return_counts=True)
    best = np.arange(len(order)) - np.repeat(start, count) < _BEST
    used = np.minimum(count, _BEST)
    first = np.concatenate([[0], np.cumsum(used)[:-1]]).astype(np.int64)
    mean = np.add.reduceat(score[order][best], first) / used if len(ids) else np.zeros(0)
    return ids, count, mean.astype(np.float32)


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
