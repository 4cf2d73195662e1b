"""The threads of fastface that a test has started: a service that other tests share has some of its own."""

from __future__ import annotations

import threading

_before: set[threading.Thread] = set()


def remember() -> None:
    """What is there now is not the test's."""
    _before.clear()
    _before.update(threading.enumerate())


def threads() -> list[str]:
    """Names of those that have come and live."""
    return [t.name for t in threading.enumerate() if t.name.startswith("fastface") and t not in _before]
