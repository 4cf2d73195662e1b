"""Frames at a nominal rate and SMPTE time code, both computed from seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from fastface.errors import InputValidationError, shown

if TYPE_CHECKING:
    from fastface.timeline import Span, Timeline

_NTSC = Fraction(1000, 1001)

RATES = tuple(
    sorted(
        [Fraction(n) for n in (16, 18, 24, 25, 30, 48, 50, 60, 72, 96, 100, 120)]
        + [n * _NTSC for n in (24, 30, 48, 60, 96, 120)]
    )
)
"""Frames a second that editing programs know (those of DaVinci Resolve's timelines)."""

_KNOWN = ", ".join(f"{float(r):.5g}" for r in RATES)
_TIME_CODE = re.compile(r"(\d\d):(\d\d):(\d\d)[:;](\d\d\d?)")


@dataclass(frozen=True)
class Rate:
    """A nominal frame rate.

    Attributes:
        exact: frames a second, one of :data:`RATES`.
    """

    exact: Fraction

    @property
    def base(self) -> int:
        """Frames that time code counts as a second: 30 at 29.97."""
        return round(self.exact)

    @property
    def dropped(self) -> int:
        """Numbers that drop-frame time code leaves out at the start of a minute: 2 at 29.97, 4 at 59.94, else 0."""
        return {Fraction(30000, 1001): 2, Fraction(60000, 1001): 4}.get(self.exact, 0)

    def frame(self, seconds: float) -> int:
        """The frame at the nominal rate that begins nearest to a time."""
        return round(seconds * self.exact)

    def frames(self, span: Span) -> tuple[int, int]:
        """First frame and the one after the last at the nominal rate, at least one."""
        start = self.frame(span.start)
        return start, max(self.frame(span.end), start + 1)

    def time_code(self, frame: int) -> str:
        """HH:MM:SS:FF, or HH:MM:SS;FF in drop frame; begins anew after 24 hours."""
        minute, ten = self.base * 60 - self.dropped, self.base * 600 - 9 * self.dropped
        frame %= 144 * ten
        tens, rest = divmod(frame, ten)
        # The first minute of ten is whole, each of the other nine lacks some numbers.
        minutes = max(rest - self.dropped, 0) // minute
        number = frame + self.dropped * (9 * tens + minutes)
        seconds, part = divmod(number, self.base)
        sign = ";" if self.dropped else ":"
        width = len(str(self.base - 1))
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{sign}{part:0{width}d}"

    def parse(self, time_code: str) -> int:
        """The frame of a time code, with either sign before the frames.

        Raises:
            InputValidationError: there is no such time code at this rate.
        """
        wrong = InputValidationError(
            f"start_timecode is {shown(time_code)}, must be a time code of {float(self.exact):.5g} frames/s such as "
            f"{self.time_code(3600 * self.base - 54 * self.dropped)!r}"
        )
        found = _TIME_CODE.fullmatch(time_code) if isinstance(time_code, str) else None
        if found is None:
            raise wrong
        hours, minutes, seconds, part = (int(group) for group in found.groups())
        missing = seconds == 0 and minutes % 10 and part < self.dropped
        if hours > 23 or minutes > 59 or seconds > 59 or part >= self.base or missing:
            raise wrong
        minutes += 60 * hours
        return (minutes * 60 + seconds) * self.base + part - self.dropped * (minutes - minutes // 10)


def rate_of(timeline: Timeline, rate: float | None) -> Rate:
    """The nominal rate that was asked for, else the one nearest to the video's average.

    Raises:
        InputValidationError: it is no rate of editing programs, or the timeline does not say one.
    """
    if rate is None:
        average = timeline.video.get("average_rate")
        if not average or not average > 0:
            raise InputValidationError(f"the timeline does not say its video's frame rate: give rate, one of {_KNOWN}")
        return Rate(min(RATES, key=lambda r: abs(float(r) - average)))
    for known in RATES:
        if isinstance(rate, (int, float)) and abs(float(known) - rate) <= 0.005:
            return Rate(known)
    raise InputValidationError(f"rate is {rate!r}, must be one of {_KNOWN} frames/s")
