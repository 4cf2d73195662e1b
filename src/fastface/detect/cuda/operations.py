"""The kernels that stand for themselves: crops, what faces look like, suppression; and what every launch needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastface.detect.cuda.buffers import SORT_BYTES, most_sorted
from fastface.gpu.frames import DeviceFrames
from fastface.gpu.kernels import FRAMES, OUTPUT, Function, Given, Program, kernel, launch, shared_memory_limit


class Operations:
    """Operations on frames in the memory of one GPU.

    Args:
        device: number of the GPU.

    Attributes:
        device: torch's.
        processors: how many the GPU has.
        max_sort: items of one group that can be suppressed.
    """

    def __init__(self, device: int) -> None:
        self.device = torch.device("cuda", device)
        self.processors = torch.cuda.get_device_properties(self.device).multi_processor_count
        self._shared_memory = shared_memory_limit(device)
        self.max_sort = most_sorted(self._shared_memory)
        self._geometry: dict[bytes, Tensor] = {}

    def upload(self, packed: NDArray[Any]) -> Tensor:
        """An array on the device."""
        return torch.from_numpy(packed).to(self.device)

    def table(self, array: NDArray[Any]) -> Tensor:
        """A small table on the device, there before any stream may read it."""
        out = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        torch.cuda.current_stream(self.device).synchronize()
        return out

    def launch(self, function: Function, grid: tuple[int, ...], block: int, *args: Any) -> None:
        """Queue one launch on torch's current stream."""
        launch(torch.cuda.current_stream(self.device).cuda_stream, self.device.index, function, grid, block, *args)

    def kernel(self, file: str, function: str, *, output: str = "float32", depth: int = 8) -> Function:
        """See :func:`fastface.gpu.kernels.kernel`."""
        return kernel(file, function, output=output, depth=depth, device=self.device.index)

    def geometry_of(self, frames: DeviceFrames) -> Tensor:
        """Where the frames' pixels lie, as the kernels take it: uint8, on the device."""
        packed = frames.geometry.tobytes()
        if packed not in self._geometry:
            self._geometry[packed] = self.table(np.frombuffer(packed, np.uint8).copy())
        return self._geometry[packed]

    @torch.inference_mode()
    def crop_triangle(
        self,
        frames: DeviceFrames,
        row: Tensor,
        rect: Tensor,
        size: int,
        *,
        out: Tensor | None = None,
        place: Tensor | None = None,
    ) -> Tensor:
        """[M, 3, size, size] uint8, by Pillow's BILINEAR; rectangles without a pixel give zeros.

        Args:
            row: [M] int64.
            rect: [M, 4] int32, half open, inside the displayed frame.
            out: [K, 3, size, size] uint8, where crop i goes to number place[i]; place: [M] int64.
        """
        if rect.dtype != torch.int32 or rect.shape != (len(row), 4) or row.dtype != torch.int64:
            raise ValueError(
                f"row is {row.dtype} {list(row.shape)} and rect {rect.dtype} {list(rect.shape)}, must be "
                "int64 [M] and int32 [M, 4]"
            )
        if out is None or place is None:
            out = torch.empty((len(row), 3, size, size), dtype=torch.uint8, device=self.device)
            place = torch.arange(len(row), device=self.device)
        geometry, row, rect = self.geometry_of(frames), row.contiguous(), rect.contiguous()
        program = Program()
        for i in range(0, len(row), 65535):  # the limit of grid.y
            part = slice(i, i + 65535)
            count = len(row[part])
            self.add_crops(program, frames.depth, geometry, row[part], rect[part], size, place[part], OUTPUT, count)
        program.run(torch.cuda.current_stream(self.device).cuda_stream, self.device.index, frames.samples, out)
        return out

    def add_crops(
        self, program: Program, depth: int, geometry: Tensor, row: Tensor, rect: Tensor, size: int, place: Tensor,
        out: Tensor | Given, count: int,
    ) -> None:  # fmt: skip
        """Add `count` crops of FRAMES to a program, see :meth:`crop_triangle`."""
        grid = (-(-size * size // 1024), count)  # four pixels a thread: what is the same for all is computed once
        function = self.kernel("crop", "crop_triangle", depth=depth)
        program.add(function, grid, 256, FRAMES, geometry, row, rect, size, place, out)

    @torch.inference_mode()
    def describe(self, frames: DeviceFrames, row: Tensor, rect: Tensor) -> tuple[Tensor, Tensor]:
        """Look [M, 64] and sharpness [M] of rectangles, float32; see :meth:`crop_triangle`."""
        look = torch.empty((len(row), 64), device=self.device)
        sharpness = torch.empty(len(row), device=self.device)
        if len(row):
            self.launch(
                self.kernel("describe", "describe", depth=frames.depth),
                (len(row),),
                256,
                frames.samples,
                self.geometry_of(frames),
                row,
                rect,
                look,
                sharpness,
            )
        return look, sharpness

    @torch.inference_mode()
    def nms(
        self,
        box: Tensor,
        score: Tensor,
        tie: Tensor | None,
        start: Tensor,
        count: Tensor,
        most: int,
        *,
        least: float,
        threshold: float,
        minimum: bool = False,
        capacity: int | None = None,
        parts: int = 1,
        items: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Suppress within groups; see csrc/cuda/nms.cu.

        Args:
            box: [I, 4] float32; score: [I] float32 > 0; tie: [I] int32 (read as unsigned) or None.
            start, count: [G * parts] int32.
            most: items of a group that may take part; as many at most as fit into shared memory.
            least: items of this score or less do not take part.
            threshold: a box goes where its overlap with a kept one is above.
            minimum: overlap over the smaller box, sides + 1.
            capacity: of the list that is returned; None: the number of items.
            items: [J] int32, what start and count speak of; None: the numbers of the items themselves.

        Returns:
            kept [capacity] int32, kept items; group [capacity] int32; start [G] and count [G] int32, where those of
            each group are; facts [2] int32: how many there are, and what did not fit.
        """
        if not 1 <= most <= self.max_sort:
            raise ValueError(f"most is {most}, must be from 1 to {self.max_sort}")
        groups, most = len(start) // parts, 1 << max(most - 1, 0).bit_length()
        capacity = len(score) if capacity is None else capacity

        def ints(size: int) -> Tensor:
            return torch.zeros(size, dtype=torch.int32, device=self.device)

        kept, group, kept_start, kept_count, facts = ints(capacity), ints(capacity), ints(groups), ints(groups), ints(2)
        program = Program()
        self.add_nms(
            program, groups, box, score, tie, items, start, count, parts, 1 << 30, most, least, threshold,
            minimum, capacity, kept, group, kept_start, kept_count, facts[:1], facts[1:],
        )  # fmt: skip
        program.run(torch.cuda.current_stream(self.device).cuda_stream, self.device.index, box)
        return kept, group, kept_start, kept_count, facts

    def add_nms(
        self,
        program: Program,
        groups: int,
        box: Tensor,
        score: Tensor,
        tie: Tensor | None,
        items: Tensor | None,
        start: Tensor,
        count: Tensor,
        parts: int,
        limit: int,
        most: int,
        least: float,
        threshold: float,
        minimum: bool,
        capacity: int,
        *out: Tensor,
    ) -> None:
        """Add a suppression to a program; see :meth:`nms` and csrc/cuda/nms.cu."""
        with_boxes = (SORT_BYTES + 16) * most
        in_shared = with_boxes <= self._shared_memory
        # A block a group: few of them have a processor each, for as many threads as it takes.
        threads = 256 if groups > self.processors else min(1024, max(256, most // 2))
        program.add(
            self.kernel("nms", "nms"),
            (groups,),
            threads,
            *(box, score, tie, items, start, count, parts, limit, most, in_shared, float(least), float(threshold)),
            *(minimum, capacity, *out),
            shared_memory=with_boxes if in_shared else SORT_BYTES * most,
        )
