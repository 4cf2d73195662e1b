"""Which tracks are faces at all, and which of those may be persons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastface.match.identify import CERTAIN_SCORE, long_enough, track_score
from fastface.types import Faces


def credible_faces(
    faces: Faces, overlaps: NDArray[np.int64], min_score: float, interval: float
) -> tuple[Faces, dict[int, bool]]:
    """The faces of credible tracks, and for each credible track whether it is long and sure enough to be a person.

    Dismissed are the detector's errors: tracks whose best faces score less than `min_score`, and (unless that is 0,
    which keeps everything and takes it for sure) tracks that lie on another, surer one's face for at least half of
    their own faces.
    """
    order = np.argsort(faces.track, kind="stable")
    ids, starts = np.unique(faces.track[order], return_index=True)
    score, count = {}, {}
    for track, begin, end in zip(ids.tolist(), starts, np.append(starts, len(faces))[1:], strict=True):
        best = track_score(faces.score[order[begin:end]])
        if best >= min_score:
            score[track], count[track] = best, int(end - begin)
    if min_score > 0:
        for a, b, frames in overlaps.tolist():
            if a in score and b in score:
                worse = min(a, b, key=lambda t: (score[t], count[t], -t))
                if 2 * frames >= count[worse]:
                    del score[worse], count[worse]
    sure = CERTAIN_SCORE if min_score > 0 else 0.0
    certain = {t: score[t] >= sure and long_enough(count[t], interval) for t in score}
    return faces[np.isin(faces.track, list(score))], certain
