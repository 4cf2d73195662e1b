"""Where one shot ends and the next begins.

A cut that is missed may chain two people into one track; one too many only splits a track, and matching joins the
halves again. So the detector would rather see one too many.
"""

from __future__ import annotations

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
        from fastface import _core

        self._core = _core.ShotDetector(
            min_change=MIN_CHANGE,
            usual_ratio=USUAL_RATIO,
            last_ratio=LAST_RATIO,
            sure_change=SURE_CHANGE,
            history=_HISTORY,
        )

    def update(self, signatures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Which frames begin a shot.

        Args:
            signatures: [N, S] uint8, a thumbnail of each frame; N frames that follow those of the last
                call.

        Returns:
            [N] uint8, 1 where a shot begins; the very first frame counts as one.
        """
        cuts: NDArray[np.uint8] = self._core.update(signatures)
        return cuts

    def state(self) -> dict[str, NDArray[Any]]:
        """What is known between two calls: last [S] uint8 (S = 0 before the first), was_cut [1], changes [<= 8]."""
        last, was_cut, changes = self._core.state()
        return {"last": last, "was_cut": np.array([was_cut], np.uint8), "changes": changes}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on where :meth:`state` was taken."""
        self._core.restore(state["last"], bool(state["was_cut"][0]), state["changes"])
