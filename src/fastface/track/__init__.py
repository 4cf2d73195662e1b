"""Faces followed from frame to frame, within shots."""

from fastface.track.shots import ShotDetector
from fastface.track.tracker import FaceTracker

__all__ = ["FaceTracker", "ShotDetector"]
