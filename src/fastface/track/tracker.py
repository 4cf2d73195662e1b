"""From detections to tracks: the C++ tracker with its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.track.shots import ShotDetector
from fastface.types import Detections

MIN_IOU = 0.3
MAX_SHIFT = 0.6
"""In box sizes: how far a face may move between frames and still be the same one where boxes do not overlap."""

MIN_APPEARANCE = 0.6
"""Correlation of 8 x 8 thumbnails. Of one face from frame to frame it is 0.98 at the median (0.76 at the 5th
percentile on hamilton.mp4), of two people's photographs 0.33 (0.63 at the 90th): see docs/identities.md."""

MAX_GAP = 0.6
"""Seconds that a track waits for a face that was turned away, covered or missed."""


_LIVE = ("id", "time", "box", "velocity", "appearance")


class FaceTracker:
    """Gives each detected face the id of its track.

    Args:
        frame_interval: seconds between the frames that are looked at; a track waits for at least three of them.
    """

    def __init__(self, frame_interval: float) -> None:
        from fastface import _core

        self._shots = ShotDetector()
        self._tracker = _core.Tracker(
            min_iou=MIN_IOU,
            max_shift=MAX_SHIFT,
            min_appearance=MIN_APPEARANCE,
            max_gap=max(MAX_GAP, 3.5 * frame_interval),
        )

    def update(
        self, time: NDArray[np.float64], signatures: NDArray[np.uint8], detections: Detections
    ) -> NDArray[np.int64]:
        """One batch, in order.

        Args:
            time: [N] float64, seconds of the frames.
            signatures: [N, S] uint8, thumbnails of the frames; see :class:`ShotDetector`.
            detections: the M faces of these frames.

        Returns:
            [M] int64, track ids, from 0 in the order of appearance.
        """
        track: NDArray[np.int64] = self._tracker.update(
            time, self._shots.update(signatures), detections.row, detections.box, detections.appearance
        )
        return track

    def take_finished(self, *, last: bool = False) -> NDArray[np.int64]:
        """Tracks that ended since the last call; with `last`, every one that is left."""
        finished: NDArray[np.int64] = self._tracker.take_finished(last)
        return finished

    def conflicts(self) -> NDArray[np.int64]:
        """[P, 3] int64: two tracks that were seen apart in one frame, and in how many frames."""
        pairs: NDArray[np.int64] = self._tracker.conflicts()
        return pairs

    def overlaps(self) -> NDArray[np.int64]:
        """[P, 3] int64: two tracks whose boxes lay on one face in one frame, and in how many frames."""
        pairs: NDArray[np.int64] = self._tracker.overlaps()
        return pairs

    def state(self) -> dict[str, NDArray[Any]]:
        """What is known between two batches, once the finished tracks were taken."""
        next_id, *live = self._tracker.state()
        arrays = dict(zip(_LIVE, live, strict=True))
        shots = {f"shots.{name}": array for name, array in self._shots.state().items()}
        pairs = {"conflicts": self.conflicts(), "overlaps": self.overlaps()}
        return {"next_id": np.array([next_id], np.int64), **arrays, **pairs, **shots}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on where :meth:`state` was taken.

        Raises:
            ValueError: this is no such state.
        """
        live = [state[name] for name in (*_LIVE, "conflicts", "overlaps")]
        self._tracker.restore(int(state["next_id"][0]), *live)
        self._shots.restore({n.removeprefix("shots."): a for n, a in state.items() if n.startswith("shots.")})
