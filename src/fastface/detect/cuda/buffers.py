"""Device memory of the cascade: allocated once for a frame size, of fixed capacity, with counts on the device."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastface.detect.cuda.plan import LEVEL, PyramidPlan, plan_pyramid
from fastface.errors import GPUError
from fastface.gpu.kernels import Program, recorded_event
from fastface.settings import DetectorSettings
from fastface.types import SIGNATURE_SIZE

FACTS = 16
"""int32 at the head of a result: see `Fact`."""

RECORD = 17 + SIGNATURE_SIZE
"""float32 of a face: frame, box, score, landmarks, sharpness, look."""

SORT_BYTES = 13
"""Shared memory that the suppression kernel takes for each item of a group; 16 more where boxes are there as well."""


def most_sorted(shared_memory: int) -> int:
    """Items of one group that fit into that many bytes: a power of two."""
    return 1 << (shared_memory // SORT_BYTES).bit_length() - 1


SCANNED_AT_ONCE = 4 * 1920 * 1080
"""Pixels of the frames whose pyramid is in memory at once, in half precision: a scan needs it for 0.15 ms."""

FIRST_COPY = 12
"""Faces a frame that come to the host with the counts; more need a second copy."""


class Fact:
    """Places in the head of a result: how many items each stage kept, and what did not fit (0: all did)."""

    LEVELS, REFINE, DECIDE, FACES = 0, 1, 2, 3
    FAILED = 4  # and the three after it, of the same stages: 1, too many to sort; 2, too many kept
    CELLS_FULL = 8
    CHOSEN = 9  # candidates of R-Net that its scan passed on
    BEGUN = 10  # and the two after it: candidates that blocks have begun with, of R-Net's scan, R- and O-Net


@dataclass(frozen=True)
class Capacity:
    """How many items the buffers have room for; the second to the fifth are of a whole batch, written a frame.

    Attributes:
        cells: on one level of one frame.
        levels: that the levels' suppressions keep.
        refine, decide: candidates of R- and O-Net.
        faces: at the end.
        sort_levels, sort_refine, sort_decide: items that take part in the suppression of one frame; powers of two.
    """

    cells: int = 1024
    levels: int = 2048
    refine: int = 1024
    decide: int = 128
    faces: int = 64
    sort_levels: int = 2048
    sort_refine: int = 512
    sort_decide: int = 256

    def grown(self, facts: np.ndarray[Any, Any], max_sort: int) -> Capacity:
        """Twice as large wherever something did not fit; at most `max_sort` items are sorted at once.

        Raises:
            GPUError: more than the kernels can do.
        """
        bigger = {}
        if facts[Fact.CELLS_FULL] or facts[Fact.FAILED] & 1:
            bigger["cells"] = 2 * self.cells
        stages = (("levels", None), ("refine", "sort_levels"), ("decide", "sort_refine"), ("faces", "sort_decide"))
        for i, (name, sort) in enumerate(stages):
            if facts[Fact.FAILED + i] & 2:
                bigger[name] = 2 * getattr(self, name)
            if sort and facts[Fact.FAILED + i] & 1:
                bigger[sort] = 2 * getattr(self, sort)
        for name in ("cells", "sort_levels", "sort_refine", "sort_decide"):
            if bigger.get(name, 0) > max_sort:
                raise GPUError(
                    f"over {max_sort} candidates in one frame, more than the GPU suppresses: raise thresholds or "
                    "min_face_size, or use device='cpu'"
                )
        return replace(self, **bigger)

    def at_least(self, other: Capacity) -> Capacity:
        """The larger of both, each for itself."""
        return Capacity(*(max(a, b) for a, b in zip(astuple(self), astuple(other), strict=True)))


class Buffers:
    """What one pass of n frames needs, on one device.

    Raises:
        torch.cuda.OutOfMemoryError: there is no room.
    """

    def __init__(
        self,
        n: int,
        height: int,
        width: int,
        settings: DetectorSettings,
        capacity: Capacity,
        device: torch.device,
        *,
        half: bool,
    ) -> None:
        self.n, self.height, self.width, self.capacity = n, height, width, capacity
        self.scanned_at_once = min(n, max(1, SCANNED_AT_ONCE // (height * width))) if half else n
        self.plan: PyramidPlan = plan_pyramid(n, height, width, settings, self.scanned_at_once)
        levels = max(len(self.plan), 1)

        def floats(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=torch.float32, device=device)

        def ints(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=torch.int32, device=device)

        self.groups = -(-width // 4)
        self.quads = torch.empty((n, height, self.groups, 16), dtype=torch.uint8, device=device)
        self.windows = torch.from_numpy(self.plan.windows.view(np.int32)).to(device)
        if half:
            self.canvas = torch.empty(self.plan.pixels * 4, dtype=torch.float16, device=device)
            self.exact = floats(self.plan.exact_pixels * 3)
        else:
            self.canvas = self.exact = floats(self.plan.pixels * 3)

        def after_scan(rows: int, columns: int) -> Tensor:
            """Where the pyramid was, which nobody reads after P-Net; each is read before the next is written."""
            place = self.canvas.view(torch.float32)[: rows * columns]
            return place.view(rows, columns) if len(place) == rows * columns else floats(rows, columns)

        table = self.plan.levels.copy()
        if not half:
            table["exact"] = table["offset"]
        self.levels = torch.from_numpy(table.view(np.uint8).reshape(-1, LEVEL.itemsize).copy()).to(device)

        groups, c = n * levels, capacity
        self.cell_tie, self.cell_count = ints(groups * c.cells), ints(groups)
        self.cell_start = torch.arange(groups, dtype=torch.int32, device=device) * c.cells
        self.cell_box, self.cell_offsets = floats(groups * c.cells, 4), floats(groups * c.cells, 4)
        self.cell_score = floats(groups * c.cells)
        self.level_kept, self.level_group = ints(n * c.levels), ints(n * c.levels)
        self.level_start, self.level_count = ints(groups), ints(groups)
        self.refine_kept, self.refine_frame = ints(n * c.refine), ints(n * c.refine)
        self.refine_start, self.refine_count = ints(n), ints(n)
        self.refine_box, self.refine_offsets = floats(n * c.refine, 4), floats(n * c.refine, 4)
        self.refine_chosen = ints(n * c.refine)
        self.refine_features, self.refine_score = after_scan(n * c.refine, 576), floats(n * c.refine)
        self.decide_kept, self.decide_frame = ints(n * c.decide), ints(n * c.decide)
        self.decide_start, self.decide_count = ints(n), ints(n)
        self.decide_box, self.decide_features = floats(n * c.decide, 4), after_scan(n * c.decide, 1152)
        self.decide_score, self.decide_refined = floats(n * c.decide), floats(n * c.decide, 4)
        self.decide_landmarks = floats(n * c.decide, 5, 2)
        self.face_kept, self.face_frame = ints(n * c.faces), ints(n * c.faces)
        self.face_start, self.face_count = ints(n), ints(n)

    @property
    def nbytes(self) -> int:
        storages = (t.untyped_storage() for t in vars(self).values() if isinstance(t, Tensor))
        return sum({s.data_ptr(): s.nbytes() for s in storages}.values())


class Result:
    """Where a pass leaves its result: head, thumbnails and faces, in device memory and, after a copy, on the host."""

    def __init__(self, buffers: Buffers, thumbnail: int, device: torch.device) -> None:
        n = buffers.n
        self.buffers: Buffers | None = buffers
        self.n, self.thumbnail, self.capacity = n, thumbnail, buffers.capacity
        self.faces = n * buffers.capacity.faces
        self._records = -(-(4 * FACTS + n * thumbnail) // 16) * 16
        size = self._records + 4 * RECORD * self.faces
        self.device = torch.empty(size, dtype=torch.uint8, device=device)
        self.prefix = min(size, self._records + 4 * RECORD * FIRST_COPY * n)
        self.host = torch.empty(self.prefix, dtype=torch.uint8, pin_memory=True)
        self._array = self.host.numpy()
        self.event = recorded_event(device)
        self.programs: dict[tuple[int, int, int, bool], Program] = {}  # for these buffers and this result

    def forget(self) -> None:
        """Let go of the buffers, which this result was the last to use."""
        self.programs.clear()
        self.buffers = None

    def facts(self) -> Tensor:
        """[16] int32, on the device."""
        return self.device[: 4 * FACTS].view(torch.int32)

    def thumbnails(self) -> Tensor:
        return self.device[4 * FACTS : 4 * FACTS + self.n * self.thumbnail]

    def records(self) -> Tensor:
        """[faces, 81] float32, on the device."""
        return self.device[self._records :].view(torch.float32).view(-1, RECORD)

    def fetch(self, program: Program) -> None:
        """Add the copy to the host."""
        program.to_host(self.host, self.device)
        program.record(self.event)

    def read(self, n: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Wait, and give facts [16], thumbnails [n, T] and records [M, 81] of what is there (copies)."""
        self.event.synchronize()
        host = self._array
        facts = host[: 4 * FACTS].view(np.int32).copy()
        thumbnails = host[4 * FACTS : 4 * FACTS + n * self.thumbnail].reshape(n, self.thumbnail).copy()
        count = int(facts[Fact.FACES])
        here = host[self._records :].view(np.float32).reshape(-1, RECORD)[:count]
        if len(here) < min(count, self.faces):
            return facts, thumbnails, self.records()[:count].cpu().numpy()
        return facts, thumbnails, here.copy()
