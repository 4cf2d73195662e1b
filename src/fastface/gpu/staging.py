"""Pinned memory for small tables on their way to the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastface.gpu.kernels import Program, recorded_event

_SLOTS = 4
_LEAST = 1 << 14


class _Slot:
    def __init__(self, size: int, device: torch.device) -> None:
        self.host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        self.device = torch.empty(size, dtype=torch.uint8, device=device)
        self.event = recorded_event(device)


class Staging:
    """Tables are written to pinned memory and copied by the stream that reads them, a few at a time.

    Args:
        device: where they go.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._slots: list[_Slot | None] = [None] * _SLOTS
        self._turn = 0

    def add(self, program: Program, tables: Sequence[NDArray[Any]]) -> tuple[list[Tensor], torch.cuda.Event]:
        """Add the copy of a few arrays to a program that is run once, before another three are made.

        Returns:
            Each array on the device, of its dtype and shape, and the event that the program must record after its last
            use of them: then their memory is used again.
        """
        sizes = [-(-t.nbytes // 16) * 16 for t in tables]
        total = sum(sizes)
        slot = self._slots[self._turn]
        if slot is None or slot.host.numel() < total:
            if slot is not None:
                slot.event.synchronize()  # its memory goes to whoever asks next
            slot = self._slots[self._turn] = _Slot(max(_LEAST, 2 * total), self._device)
        self._turn = (self._turn + 1) % _SLOTS
        slot.event.synchronize()
        host, out, begin = slot.host.numpy(), [], 0
        for table, size in zip(tables, sizes, strict=True):
            host[begin : begin + table.nbytes] = np.ascontiguousarray(table).view(np.uint8).reshape(-1)
            part = slot.device[begin : begin + table.nbytes]
            out.append(part.view(torch.from_numpy(table[:0]).dtype).view(table.shape))
            begin += size
        program.to_device(slot.device, slot.host, total)
        return out, slot.event
