"""How busy the decoder of a GPU is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def decoder_use(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` gives, and NVDEC's utilisation in percent: the median over the middle half of its time.

    NVML is asked fifty times a second. Its figure is a mean over a part of a second, so it says little about work of
    less than ten.
    """
    import pynvml

    from fastface.faults import current_gpu

    pynvml.nvmlInit()
    device = current_gpu(pynvml)
    over, seen = threading.Event(), list[int]()

    def watch() -> None:
        while not over.wait(0.02):
            seen.append(pynvml.nvmlDeviceGetDecoderUtilization(device)[0])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        done = work()
    finally:
        over.set()
        thread.join()
    return done, float(np.median(seen[len(seen) // 4 : -(len(seen) // 4) or None] or [0]))
