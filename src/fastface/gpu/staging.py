"""Tables of crops on their way to the device, and the launches that read them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastface.detect.cuda.operations import Operations
from fastface.embed.crops import CROP_SIZE
from fastface.gpu.frames import DeviceFrames
from fastface.gpu.kernels import COUNT, OUTPUT, Program, recorded_event

_SLOTS = 8
"""Tables that may wait."""

ROOM = 256
"""Crops of a table."""


class _Slot:
    """Row, place and rectangle of up to ROOM crops, in pinned memory and on the device."""

    def __init__(self, device: torch.device) -> None:
        self.host = torch.empty(32 * ROOM, dtype=torch.uint8, pin_memory=True)
        self.row, self.place, self.rect = _columns(self.host.numpy())
        self.device = torch.empty_like(self.host, device=device)
        self.event = recorded_event(device)  # the last use
        self.programs: dict[tuple[int, int], Program] = {}  # by address of the frames' geometry, and their depth


def _columns(table: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    wide = table[: 16 * ROOM].view(np.int64)
    return wide[:ROOM], wide[ROOM:], table[16 * ROOM :].view(np.int32).reshape(ROOM, 4)


class CropQueue:
    """Queues crops of 160 x 160, whose table is copied by the stream that reads it; used by one thread.

    Args:
        on: the GPU.
    """

    def __init__(self, on: Operations) -> None:
        self._on = on
        self._slots: list[_Slot | None] = [None] * _SLOTS
        self._turn = 0

    def add(
        self,
        frames: DeviceFrames,
        row: NDArray[np.int64],
        rect: NDArray[np.int32],
        place: NDArray[np.int64],
        out: Tensor,
        stream: int,
    ) -> None:
        """Queue M crops.

        Args:
            row: [M], which frame.
            rect: [M, 4], half open, inside the displayed frame.
            place: [M], where in `out` [K, 3, 160, 160] uint8 they go.
            stream: address of a CUDA stream.
        """
        for begin in range(0, len(row), ROOM):
            slot = self._slots[self._turn]
            if slot is None:
                slot = self._slots[self._turn] = _Slot(self._on.device)
            self._turn = (self._turn + 1) % _SLOTS
            if not slot.event.query():  # to wait gives the interpreter's lock away, and this one is mostly over
                slot.event.synchronize()
            count = min(ROOM, len(row) - begin)
            slot.row[:count] = row[begin : begin + count]
            slot.place[:count] = place[begin : begin + count]
            slot.rect[:count] = rect[begin : begin + count]
            self._program(slot, frames).run(stream, self._on.device.index, frames.samples, out, count=count)

    def _program(self, slot: _Slot, frames: DeviceFrames) -> Program:
        geometry = self._on.geometry_of(frames)
        key = (geometry.data_ptr(), frames.depth)
        if key not in slot.programs:
            program = slot.programs[key] = Program()
            program.to_device(slot.device, slot.host, slot.host.numel())
            row, place, rect = (slot.device[8 * ROOM * i :] for i in range(3))
            self._on.add_crops(program, frames.depth, geometry, row, rect, CROP_SIZE, place, OUTPUT, COUNT)
            program.record(slot.event)
        return slot.programs[key]
