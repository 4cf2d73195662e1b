"""The result: who is on screen, when and where."""

from fastface.timeline.timeline import Appearance, Identity, Span, Timeline, Track

__all__ = ["Appearance", "Identity", "Span", "Timeline", "Track"]
