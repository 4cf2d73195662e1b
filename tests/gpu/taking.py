"""Taking a GPU's memory away."""

from __future__ import annotations

from typing import Any


def all_but(left: int) -> Any:
    """A tensor that takes all of the GPU's free memory but `left` MiB (and less than two more).

    Its size is a multiple of 2 MiB, as is what torch fetches from the driver: of a remainder torch would make room for
    other tensors, and while one of them lives, nothing of the whole piece can be given back.
    """
    import torch

    size = (torch.cuda.mem_get_info()[0] - (left << 20)) >> 21 << 21
    return torch.empty(size, dtype=torch.uint8, device="cuda")
