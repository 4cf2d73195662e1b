"""Tracks to people."""

from fastface.match.credible import track_scores
from fastface.match.identify import CERTAIN_SCORE, Person, identify, long_enough
from fastface.match.index import ApproximateIndex, DeviceIndex, ExactIndex, Index, make_index

__all__ = [
    "CERTAIN_SCORE",
    "ApproximateIndex",
    "DeviceIndex",
    "ExactIndex",
    "Index",
    "Person",
    "identify",
    "long_enough",
    "make_index",
    "track_scores",
]
