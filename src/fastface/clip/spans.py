"""Arithmetic on spans: half-open intervals of seconds (start, end), in order and apart. Nothing is read or written."""

from __future__ import annotations

from collections.abc import Iterable

Interval = tuple[float, float]


def merged(spans: Iterable[Interval], max_gap: float = 0.0) -> list[Interval]:
    """In order, those that overlap, touch, or lie less than `max_gap` seconds apart joined; empty ones left out."""
    out: list[Interval] = []
    for start, end in sorted(s for s in spans if s[1] > s[0]):
        if out and (start <= out[-1][1] or start - out[-1][1] < max_gap):
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def padded(spans: Iterable[Interval], seconds: float, duration: float) -> list[Interval]:
    """Each longer by `seconds` at both ends, as far as the video goes; what then touches is joined."""
    return merged((max(a - seconds, 0.0), min(b + seconds, duration)) for a, b in spans)


def condensed(spans: Iterable[Interval], longest: float, duration: float) -> list[Interval]:
    """The whole video without the gaps between spans that are longer than `longest` seconds.

    Before the first span and after the last one there is a gap as well.
    """
    spans = merged(spans)
    if not spans:
        return []
    out: list[Interval] = []
    for start, end in spans:
        if out and start - out[-1][1] <= longest:
            out[-1] = (out[-1][0], end)
        else:
            out.append((start, end))
    if out[0][0] <= longest:
        out[0] = (0.0, out[0][1])
    if duration - out[-1][1] <= longest:
        out[-1] = (out[-1][0], duration)
    return out


def divided(spans: Iterable[Interval], length: float) -> list[Interval]:
    """Each cut into pieces of `length` seconds; the last piece of a span may be shorter."""
    out = []
    for start, end in spans:
        count = 0
        # Multiples from the start: adding up would drift. A rest that is shorter than rounding is none.
        while start + (count + 1) * length < end - 1e-6:
            out.append((start + count * length, start + (count + 1) * length))
            count += 1
        out.append((start + count * length, end))
    return out
