"""The NVIDIA driver, where CuPy and torch are in the way."""

from __future__ import annotations

import ctypes
import functools
from typing import Any


@functools.cache
def driver() -> Any:
    """The driver's library, called without giving the interpreter's lock away: to queue a copy takes
    microseconds, to get the lock back from busy threads may take milliseconds.

    Raises:
        OSError: there is no driver.
    """
    library = ctypes.PyDLL("libcuda.so.1")
    library.cuMemcpyDtoDAsync_v2.argtypes = (ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p)
    library.cuEventRecord.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    library.cuStreamWaitEvent.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint)
    return library


def free_memory(device: Any) -> str:
    """How much of a GPU's memory (number, or torch.device) is free, for messages."""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return f"{free >> 20} of {total >> 20} MiB of device memory are free"
