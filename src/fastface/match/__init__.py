"""Tracks to people."""

from fastface.match.identify import Person, identify, long_enough, track_score
from fastface.match.index import ApproximateIndex, DeviceIndex, ExactIndex, Index, make_index

__all__ = [
    "ApproximateIndex",
    "DeviceIndex",
    "ExactIndex",
    "Index",
    "Person",
    "identify",
    "long_enough",
    "make_index",
    "track_score",
]
