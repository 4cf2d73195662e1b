"""Tracks to people."""

from fastface.match.identify import Person, identify, long_enough, track_score

__all__ = ["Person", "identify", "long_enough", "track_score"]
