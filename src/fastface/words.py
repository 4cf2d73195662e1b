"""Seconds and counts as people read them."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Seconds as 0:07.5 or 1:02:03.4."""
    tenths = round(seconds * 10)
    hours, rest = divmod(tenths, 36000)
    minutes, rest = divmod(rest, 600)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{head}:{rest / 10:04.1f}"


def lasting(seconds: float) -> str:
    """Seconds as 7.5 s, 2 min 05 s or 1 h 02 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(n: int, one: str, many: str) -> str:
    """1 person, 2 people."""
    return f"{n} {one if n == 1 else many}"
