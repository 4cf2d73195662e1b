"""How long an event loop is kept from its work by other threads of its own process."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

TICK = 0.002


def _waited(stat: Path) -> float:
    """Seconds that a thread, able to run, has waited for a core."""
    return int(stat.read_text().split()[1]) / 1e9


async def measure(lags: list[float]) -> None:
    """Add, each tick until cancelled, the seconds that the loop came late; without those that the system, busy with
    other processes, kept its thread from the cores."""
    stat = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    before, begin = _waited(stat), time.perf_counter()
    while True:
        await asyncio.sleep(TICK)
        now, end = _waited(stat), time.perf_counter()
        lags.append(max(0.0, end - begin - TICK - (now - before)))
        before, begin = now, end
