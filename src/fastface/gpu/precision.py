"""float32 that is float32: torch lets cuDNN round it to TF32 unless told otherwise, for the whole process at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

_lock = threading.Lock()
_users = 0
_before = True


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Convolutions in true float32 within the block; several threads may be in it at once.

    The setting is the process's, so the first to enter changes it and the last to leave puts it back.
    """
    global _users, _before
    with _lock:
        if _users == 0:
            _before = torch.backends.cudnn.allow_tf32
            torch.backends.cudnn.allow_tf32 = False
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                torch.backends.cudnn.allow_tf32 = _before
