"""Where one shot ends and the next begins.

A cut that is missed may chain two people into one track; one too many only splits a track, and matching joins the
halves again. So the detector would rather see one too many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_CHANGE = 0.012
"""Mean absolute change of the thumbnail, in units of full scale, under which nothing is a cut."""

USUAL_RATIO = 5.0
"""A cut changes this many times more than frames usually did (median of the last few),"""

LAST_RATIO = 2.0
"""and this many times more than the frame before it did: motion and flicker go on, a cut is alone."""

SURE_CHANGE = 0.25
"""A change this large is a cut however restless the video is."""

_HISTORY = 8


class ShotDetector:
    """Finds hard cuts from small thumbnails of consecutive frames."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._was_cut = False
        self._changes: deque[float] = deque(maxlen=_HISTORY)

    def update(self, signatures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Which frames begin a shot.

        Args:
            signatures: [N, S] uint8, a thumbnail of each frame; N frames that follow those of the last
                call.

        Returns:
            [N] uint8, 1 where a shot begins; the very first frame counts as one.
        """
        cuts = np.zeros(len(signatures), np.uint8)
        if not len(signatures):
            return cuts
        pictures = signatures.astype(np.float32) / 255
        first = self._last is None
        before = pictures[:1] if self._last is None else self._last[None]
        steps = np.abs(pictures - np.concatenate([before, pictures[:-1]])).mean(1).tolist()
        for i, change in enumerate(steps):
            if i == 0 and first:
                cuts[i] = 1
            else:
                last = self._changes[-1] if self._changes else 0.0
                # A cut right after a cut (a shot of one frame) is as large as that one.
                ratio = 0.5 if self._was_cut else LAST_RATIO
                alone = change >= max(MIN_CHANGE, USUAL_RATIO * _median(self._changes), ratio * last)
                cuts[i] = change >= SURE_CHANGE or alone
                self._changes.append(change)
            self._was_cut = bool(cuts[i])
        self._last = pictures[-1]
        return cuts

    def state(self) -> dict[str, NDArray[Any]]:
        """What is known between two calls: last [S] float32 (S = 0 before the first), was_cut [1], changes [<= 8]."""
        return {
            "last": np.zeros(0, np.float32) if self._last is None else self._last,
            "was_cut": np.array([self._was_cut], np.uint8),
            "changes": np.array(self._changes, np.float64),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on where :meth:`state` was taken."""
        self._last = state["last"] if len(state["last"]) else None
        self._was_cut = bool(state["was_cut"][0])
        self._changes = deque(state["changes"].tolist(), maxlen=_HISTORY)


def _median(values: deque[float]) -> float:
    """The median of a few numbers; 0 of none. NumPy's takes twenty times as long for eight."""
    if not values:
        return 0.0
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
