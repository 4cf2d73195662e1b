"""The cascade on an NVIDIA GPU: the same results as :mod:`fastface.detect.mtcnn`, from frames in device memory.

All of it is queued on a stream at once and never asks the host: buffers have a fixed capacity, counts stay on the
device, and kernels return at once beyond them. Where something does not fit, the result says so and that pass runs
again with larger buffers, so nothing is dropped.

P-Net, which sees every pixel, computes in half precision on tensor cores (precision="fp16") and only points at cells, a
little below the threshold; those cells are scored again in float32, and everything after them is float32, so that the
faces are the same.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastface.detect.cuda.buffers import SORT_BYTES, Buffers, Capacity, Fact, Result, most_sorted
from fastface.detect.cuda.plan import windows
from fastface.detect.cuda.weights import (
    cell_weights,
    dense_weights,
    onet_weights,
    rnet_weights,
    rscan_weights,
    scan_weights,
    stored_net,
)
from fastface.detect.mtcnn import load_nets
from fastface.errors import GPUMemoryError
from fastface.gpu.frames import DeviceFrames
from fastface.gpu.kernels import FRAMES, Program, kernel, launch, shared_memory_limit
from fastface.gpu.precision import exact_float32
from fastface.settings import DetectorSettings
from fastface.types import Detections, FrameFaces

_DOUBT = {"fp16": 0.05, "fp32": 0.001}
"""By how much a scan may misjudge a cell's probability: cells that much below the threshold are scored as well."""

_DOUBT_REFINE = 0.1
"""The same of R-Net's scan, in half precision."""

FRAMES_A_PASS = 32
"""Frames that go through the cascade at once, at most."""

_LOOK = 16
"""Submissions from one look at the free memory to the next, where it was short."""

_SCAN_MEMORY, _CELLS_MEMORY, _RSCAN_MEMORY, _RNET_MEMORY, _ONET_MEMORY = 56000, 53008, 75648, 42240, 100352
_RNET_DENSE_MEMORY, _ONET_DENSE_MEMORY = 46080, 92160


def _logit(probability: float) -> float:
    if 0 < probability < 1:
        return math.log(probability / (1 - probability))
    return math.copysign(1e30, probability - 0.5)


class Pending:
    """Detection that was queued; :meth:`result` waits for it."""

    def __init__(
        self, detector: CudaMTCNN, passes: list[tuple[DeviceFrames, Result]], stream: torch.cuda.Stream
    ) -> None:
        self._detector, self._passes, self._stream = detector, passes, stream

    def result(self) -> tuple[Detections, NDArray[np.uint8]]:
        """The faces, and thumbnails [N, T] uint8 (T is 0 if none were asked for). Can be called once."""
        return self._detector._collect(self._passes, self._stream)


def _detections(records: NDArray[np.float32]) -> Detections:
    """Records [M, 81] as record_faces writes them: frames in any order, the faces of each in theirs."""
    records = records[np.argsort(records[:, 0], kind="stable")]
    return Detections(
        row=records[:, 0].astype(np.int64),
        box=records[:, 1:5].copy(),
        score=records[:, 5].copy(),
        landmarks=records[:, 6:16].reshape(-1, 5, 2).copy(),
        sharpness=records[:, 16].copy(),
        appearance=records[:, 17:].copy(),
    )


class CudaMTCNN:
    """facenet-pytorch's detector on one GPU.

    Args:
        settings: see :class:`fastface.settings.DetectorSettings`.
        device: number of the GPU.
        precision: "fp16" or "fp32", of the scan for candidates; what decides is float32 either way.
    """

    name = "mtcnn"

    def __init__(self, settings: DetectorSettings, device: int = 0, precision: str = "fp16") -> None:
        self.settings = settings
        self.device = torch.device("cuda", device)
        self.precision = precision
        self.capacity = Capacity()
        self.frames_a_pass = self.fewest = FRAMES_A_PASS
        self._submitted = 0
        pnet, rnet, onet = (stored_net(name) for name in ("pnet", "rnet", "onet"))
        self._scan_net = load_nets(self.device, torch.float32)[0] if self.precision == "fp32" else None
        self._rscan_weights = self._upload(rscan_weights(rnet))
        self._scan_weights, self._cell_weights = self._upload(scan_weights(pnet)), self._upload(cell_weights(pnet))
        self._rnet, self._onet = self._upload(rnet_weights(rnet)), self._upload(onet_weights(onet))
        self._rnet_dense = self._upload(dense_weights(rnet.dense4, rnet.prelu4, (rnet.dense5_1, rnet.dense5_2)))
        self._onet_dense = self._upload(
            dense_weights(onet.dense5, onet.prelu5, (onet.dense6_1, onet.dense6_2, onet.dense6_3))
        )
        self._processors = torch.cuda.get_device_properties(self.device).multi_processor_count
        self._shared_memory = shared_memory_limit(device)
        self._max_sort = most_sorted(self._shared_memory)
        self._buffers: Buffers | None = None
        self._busy = torch.cuda.Event()  # the last use of the buffers
        self._results: list[Result] = []
        self._geometry: dict[bytes, Tensor] = {}
        self._windows: dict[tuple[int, int, int, int], Tensor] = {}
        self._lock = threading.RLock()
        torch.cuda.synchronize(self.device)  # other streams will read the weights

    def _upload(self, packed: NDArray[Any]) -> Tensor:
        return torch.from_numpy(packed).to(self.device)

    def _shared(self, array: NDArray[Any]) -> Tensor:
        """A small table on the device, there before any stream may read it."""
        out = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        torch.cuda.current_stream(self.device).synchronize()
        return out

    def _launch(self, function: Any, grid: tuple[int, ...], block: int, *args: Any) -> None:
        launch(torch.cuda.current_stream(self.device).cuda_stream, self.device.index, function, grid, block, *args)

    def _kernel(self, file: str, function: str, *, output: str = "float32", depth: int = 8) -> Any:
        return kernel(file, function, output=output, depth=depth, device=self.device.index)

    def _geometry_of(self, frames: DeviceFrames) -> Tensor:
        packed = frames.geometry.tobytes()
        if packed not in self._geometry:
            self._geometry[packed] = self._shared(np.frombuffer(packed, np.uint8).copy())
        return self._geometry[packed]

    # Operations on their own

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
        function = self._kernel("crop", "crop_triangle", depth=frames.depth)
        row, rect = row.contiguous(), rect.contiguous()
        for i in range(0, len(row), 65535):  # the limit of grid.y
            part = slice(i, i + 65535)
            self._launch(
                function,
                (-(-size * size // 256), len(row[part])),
                256,
                frames.samples,
                self._geometry_of(frames),
                row[part],
                rect[part],
                size,
                place[part],
                out,
            )
        return out

    @torch.inference_mode()
    def describe(self, frames: DeviceFrames, row: Tensor, rect: Tensor) -> tuple[Tensor, Tensor]:
        """Look [M, 64] and sharpness [M] of rectangles, float32; see :meth:`crop_triangle`."""
        look = torch.empty((len(row), 64), device=self.device)
        sharpness = torch.empty(len(row), device=self.device)
        if len(row):
            self._launch(
                self._kernel("describe", "describe", depth=frames.depth),
                (len(row),),
                256,
                frames.samples,
                self._geometry_of(frames),
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
        if not 1 <= most <= self._max_sort:
            raise ValueError(f"most is {most}, must be from 1 to {self._max_sort}")
        groups, most = len(start) // parts, 1 << max(most - 1, 0).bit_length()
        capacity = len(score) if capacity is None else capacity

        def ints(size: int) -> Tensor:
            return torch.zeros(size, dtype=torch.int32, device=self.device)

        kept, group, kept_start, kept_count, facts = ints(capacity), ints(capacity), ints(groups), ints(groups), ints(2)
        program = Program()
        self._nms(
            program, groups, box, score, tie, items, start, count, parts, 1 << 30, most, least, threshold,
            minimum, capacity, kept, group, kept_start, kept_count, facts[:1], facts[1:],
        )  # fmt: skip
        program.run(torch.cuda.current_stream(self.device).cuda_stream, self.device.index, box)
        return kept, group, kept_start, kept_count, facts

    def _nms(
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
        with_boxes = (SORT_BYTES + 16) * most
        in_shared = with_boxes <= self._shared_memory
        program.add(
            self._kernel("nms", "nms"),
            (groups,),
            256,
            *(box, score, tie, items, start, count, parts, limit, most, in_shared, float(least), float(threshold)),
            *(minimum, capacity, *out),
            shared_memory=with_boxes if in_shared else SORT_BYTES * most,
        )

    # The cascade

    def detect(self, frames: DeviceFrames) -> Detections:
        """Find the faces of N frames; waits for the result, which is on the host, for it is small."""
        return self.submit(frames).result()[0]

    @torch.inference_mode()
    def submit(self, frames: DeviceFrames, *, thumbnail: tuple[int, int] | None = None) -> Pending:
        """Queue the detection of N frames on torch's current stream; the host does not wait.

        Args:
            frames: must stay as they are until the result is there.
            thumbnail: rows and columns of a small copy of each frame that is wanted as well.

        Raises:
            GPUMemoryError: there is not even room for one frame.
        """
        stream = torch.cuda.current_stream(self.device)
        passes = []
        with self._lock:
            self._grow_back()
            begin = 0
            while begin < len(frames):
                buffers = self._buffers_for(min(len(frames) - begin, self.frames_a_pass), frames)
                part = frames.part(begin, min(begin + buffers.n, len(frames)))
                passes.append((part, self._run(part, buffers, thumbnail, stream)))
                begin += len(part)
        return Pending(self, passes, stream)

    def _grow_back(self) -> None:
        """Where passes were made smaller for want of memory, and there is memory again: twice as many frames."""
        self._submitted += 1
        old = self._buffers
        if self.frames_a_pass == FRAMES_A_PASS or old is None or self._submitted % _LOOK:
            return
        free = torch.cuda.mem_get_info(self.device)[0]
        if free > 3 * self.frames_a_pass * old.nbytes // old.n:
            self.frames_a_pass = min(FRAMES_A_PASS, 2 * self.frames_a_pass)

    @torch.inference_mode()
    def by_frame(self, frames: DeviceFrames, most: int) -> tuple[FrameFaces, list[Tensor]]:
        """Queue the detection of N frames on torch's current stream, with the result in device memory.

        Args:
            most: faces a frame that there is room for.

        Returns:
            The faces, and [16] int32 of each pass, see `Fact`: what did not fit.
        """
        n, stream = len(frames), torch.cuda.current_stream(self.device)

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        out = FrameFaces(
            count=zeros(n, dtype=torch.int32),
            box=zeros(n, most, 4),
            score=zeros(n, most),
            landmarks=zeros(n, most, 5, 2),
            overflow=zeros(1, dtype=torch.int32),
        )
        facts, begin = [], 0
        with self._lock:
            while begin < n:
                b = self._buffers_for(min(n - begin, self.frames_a_pass), frames)
                part = frames.part(begin, min(begin + b.n, n))
                result = self._run(part, b, None, stream, fetch=False)
                facts.append(result.facts().clone())
                if len(b.plan):
                    here = slice(begin, begin + len(part))
                    self._launch(
                        self._kernel("describe", "faces_by_frame"), (len(part),), 64,
                        b.face_kept, b.face_start, b.face_count, facts[-1], Fact.FAILED, Fact.CELLS_FULL + 1,
                        b.decide_refined, b.decide_score, b.decide_landmarks, most, out.count[here], out.box[here],
                        out.score[here], out.landmarks[here], out.overflow,
                    )  # fmt: skip
                self._busy.record(stream)
                self._give_back(result)  # whoever takes it next waits for this stream
                begin += len(part)
        return out, facts

    def grow(self, facts: Sequence[Tensor]) -> bool:
        """Make room for what did not fit; False if all did. Waits for the device."""
        with self._lock:
            short = [f for f in (t.cpu().numpy() for t in facts) if f[Fact.FAILED : Fact.CELLS_FULL + 1].any()]
            for f in short:
                self.capacity = self.capacity.at_least(self.capacity.grown(f, self._max_sort))
            return bool(short)

    def _collect(
        self, passes: Sequence[tuple[DeviceFrames, Result]], stream: torch.cuda.Stream
    ) -> tuple[Detections, NDArray[np.uint8]]:
        found, small, begin = [], [], 0
        for frames, result in passes:
            facts, thumbnails, records = result.read(len(frames))
            if facts[Fact.FAILED : Fact.CELLS_FULL + 1].any():
                with self._lock, torch.cuda.stream(stream):
                    self.capacity = self.capacity.at_least(result.capacity.grown(facts, self._max_sort))
                    again = self.submit(frames)
                part = again.result()[0]
            else:
                self._give_back(result)
                part = _detections(records)
            found.append(replace(part, row=part.row + begin))
            small.append(thumbnails)
            begin += len(frames)
        if not found:
            return Detections.empty(), np.zeros((0, 0), np.uint8)
        columns = {f.name: np.concatenate([getattr(part, f.name) for part in found]) for f in fields(Detections)}
        return Detections(**columns), np.concatenate(small)

    def _give_back(self, result: Result) -> None:
        with self._lock:
            if result.buffers is self._buffers:
                self._results.append(result)

    def _result(self, buffers: Buffers, thumbnail: int) -> Result:
        for result in self._results:
            if result.thumbnail == thumbnail:
                self._results.remove(result)
                return result
        return Result(buffers, thumbnail, self.device)

    def _buffers_for(self, n: int, frames: DeviceFrames) -> Buffers:
        """Buffers for at least n frames of this size, or for as many as there is room for."""
        size = (frames.height, frames.width)
        old = self._buffers
        if old is not None and (old.height, old.width) == size and old.n >= n and old.capacity == self.capacity:
            return old
        if old is not None:
            self._busy.synchronize()
            if (old.height, old.width) == size:
                n = max(n, min(old.n, self.frames_a_pass))
            self._buffers = old = None
            self._results.clear()
        while True:
            try:
                self._buffers = Buffers(
                    n, *size, self.settings, self.capacity, self.device, half=self.precision == "fp16"
                )
                torch.cuda.current_stream(self.device).synchronize()  # tables are there for all streams
                return self._buffers
            except torch.cuda.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                if n == 1:
                    free, total = torch.cuda.mem_get_info(self.device)
                    raise GPUMemoryError(
                        f"there is no room to detect faces in a single frame of {size[1]} x {size[0]}: {free >> 20} of "
                        f"{total >> 20} MiB of device memory are free"
                    ) from error
                n = self.frames_a_pass = n // 2
                self.fewest = min(self.fewest, n)

    def _run(
        self,
        frames: DeviceFrames,
        b: Buffers,
        thumbnail: tuple[int, int] | None,
        stream: torch.cuda.Stream,
        *,
        fetch: bool = True,
    ) -> Result:
        """Queue one pass, and the copy of its result to the host."""
        result = self._result(b, 3 * thumbnail[0] * thumbnail[1] if thumbnail else 0)
        geometry = self._geometry_of(frames)
        key = (len(frames), geometry.data_ptr(), frames.depth)
        if key not in result.programs:
            result.programs[key] = self._program(len(frames), frames.depth, geometry, b, thumbnail, result)
        stream.wait_event(self._busy)
        result.facts().zero_()
        b.cell_count.zero_()
        result.programs[key].run(stream.cuda_stream, self.device.index, frames.samples)
        if fetch:
            result.fetch(stream)
        self._busy.record(stream)
        return result

    def _program(
        self, n: int, depth: int, geometry: Tensor, b: Buffers, thumbnail: tuple[int, int] | None, result: Result
    ) -> Program:
        """All launches of a pass of n frames."""
        c, plan, settings = b.capacity, b.plan, self.settings
        facts, program = result.facts(), Program()
        program.add(
            self._kernel("quads", "to_quads", depth=depth),
            (min(-(-b.height * b.groups // 256), 4096), n),
            256,
            *(FRAMES, geometry, b.groups, b.quads),
        )
        quads = (b.quads, b.height, b.groups)
        if thumbnail:
            rows, columns = thumbnail
            program.add(
                self._kernel("pyramid", "thumbnails"),
                (-(-rows * columns // 8), n),
                256,
                *(*quads, rows, columns, self._thumbnail_windows(b, rows, columns), result.thumbnails()),
            )
        if len(plan):
            self._propose(program, b, quads, n, facts)
            failed = [facts[Fact.FAILED + i :] for i in range(4)]
            total = [facts[i:] for i in range(4)]
            thresholds = settings.thresholds
            self._nms(
                program, n * len(plan), b.cell_box, b.cell_score, b.cell_tie, None, b.cell_start, b.cell_count, 1,
                c.cells, min(c.cells, self._max_sort), 0.0, 0.5, False, b.n * c.levels, b.level_kept, b.level_group,
                b.level_start, b.level_count, total[0], failed[0],
            )  # fmt: skip
            self._nms(
                program, n, b.cell_box, b.cell_score, b.cell_tie, b.level_kept, b.level_start, b.level_count, len(plan),
                1 << 30, c.sort_levels, 0.0, 0.7, False, b.n * c.refine, b.refine_kept, b.refine_frame, b.refine_start,
                b.refine_count, total[1], failed[1],
            )  # fmt: skip
            chosen: tuple[Tensor | None, Tensor | None] = (None, None)
            if self.precision == "fp16":
                chosen = (b.refine_chosen, facts[Fact.CHOSEN :])
                program.add(
                    self._kernel("rscan", "rscan"), (2 * self._processors,), 192,
                    b.quads, b.height, b.width, b.groups, b.refine_kept, b.refine_frame, total[1], b.n * c.refine,
                    b.cell_box, b.cell_offsets, self._rscan_weights, _logit(thresholds[1] - _DOUBT_REFINE),
                    b.refine_box, b.refine_score, *chosen, shared_memory=_RSCAN_MEMORY,
                )  # fmt: skip
            program.add(
                self._kernel("rnet", "rnet", depth=depth), (4 * self._processors,), 128,
                FRAMES, geometry, b.refine_kept, b.refine_frame, total[1], b.n * c.refine, *chosen, b.cell_box,
                b.cell_offsets, self._rnet, b.refine_box, b.refine_features, shared_memory=_RNET_MEMORY,
            )  # fmt: skip
            program.add(
                self._kernel("dense", "rnet_dense"), (4 * self._processors,), 256,
                b.refine_features, total[1], b.n * c.refine, *chosen, geometry, b.refine_box, self._rnet_dense,
                b.refine_score, b.refine_offsets, shared_memory=_RNET_DENSE_MEMORY,
            )  # fmt: skip
            self._nms(
                program, n, b.refine_box, b.refine_score, None, None, b.refine_start, b.refine_count, 1, 1 << 30,
                c.sort_refine, thresholds[1], 0.7, False, b.n * c.decide, b.decide_kept, b.decide_frame, b.decide_start,
                b.decide_count, total[2], failed[2],
            )  # fmt: skip
            program.add(
                self._kernel("onet", "onet", depth=depth), (2 * self._processors,), 256,
                FRAMES, geometry, b.decide_kept, b.decide_frame, total[2], b.n * c.decide, b.refine_box,
                b.refine_offsets, self._onet, b.decide_box, b.decide_features, shared_memory=_ONET_MEMORY,
            )  # fmt: skip
            program.add(
                self._kernel("dense", "onet_dense"), (2 * self._processors,), 256,
                b.decide_features, total[2], b.n * c.decide, geometry, b.decide_box, self._onet_dense, b.decide_score,
                b.decide_refined, b.decide_landmarks, shared_memory=_ONET_DENSE_MEMORY,
            )  # fmt: skip
            self._nms(
                program, n, b.decide_refined, b.decide_score, None, None, b.decide_start, b.decide_count, 1, 1 << 30,
                c.sort_decide, thresholds[2], 0.7, True, b.n * c.faces, b.face_kept, b.face_frame, b.face_start,
                b.face_count, total[3], failed[3],
            )  # fmt: skip
            program.add(
                self._kernel("describe", "record_faces", depth=depth), (4 * self._processors,), 256,
                FRAMES, geometry, b.face_kept, b.face_frame, total[3], b.n * c.faces, b.decide_refined,
                b.decide_score, b.decide_landmarks, result.records(),
            )  # fmt: skip
        return program

    def _thumbnail_windows(self, b: Buffers, rows: int, columns: int) -> Tensor:
        key = (b.height, b.width, rows, columns)
        if key not in self._windows:
            table = np.concatenate([windows(b.width, columns), windows(b.height, rows)])
            self._windows[key] = self._shared(table.view(np.int32))
        return self._windows[key]

    def _propose(self, program: Program, b: Buffers, quads: tuple[Any, ...], n: int, facts: Tensor) -> None:
        """P-Net: the cells of each level, with boxes, scores and offsets."""
        plan, cells, levels = b.plan, b.capacity.cells, len(b.plan)
        threshold = self.settings.thresholds[0]
        least = threshold - _DOUBT[self.precision]
        half = self.precision == "fp16"
        program.add(
            self._kernel("pyramid", "pyramid", output="float16" if half else "float32"),
            (plan.pyramid_blocks, n),
            256,
            *(*quads, b.levels, levels, b.windows, True, b.canvas, b.exact if half else None),
        )
        if half:
            program.add(
                self._kernel("scan", "scan"),
                (plan.scan_blocks, n),
                256,
                *(b.canvas, b.levels, levels, self._scan_weights, _logit(least), cells, b.cell_tie, b.cell_count),
                shared_memory=_SCAN_MEMORY,
            )
        else:
            program.call(lambda: self._scan_float32(b, n, least))
        program.add(
            self._kernel("cells", "cells"),
            (4, n * levels),
            256,
            *(*quads, b.exact, b.levels, levels, b.windows, self._cell_weights, float(threshold), cells),
            *(b.cell_tie, b.cell_count, b.cell_box, b.cell_score, b.cell_offsets, facts[Fact.CELLS_FULL :]),
            shared_memory=_CELLS_MEMORY,
        )

    def _scan_float32(self, b: Buffers, n: int, least: float) -> None:
        assert self._scan_net is not None
        for number, image in enumerate(self.levels(b, n)):
            with exact_float32():  # cuDNN would round to TF32
                _, probability = self._scan_net(image.contiguous(memory_format=torch.channels_last))
            face = probability[:, 1].contiguous()
            self._launch(
                self._kernel("candidates", "candidates"),
                (min(-(-face.numel() // 256), 4096),),
                256,
                *(face, n, *face.shape[1:], least, len(b.plan), number, b.capacity.cells, b.cell_tie, b.cell_count),
            )

    @staticmethod
    def levels(b: Buffers, n: int) -> list[Tensor]:
        """The levels of the last pass's first n frames: [n, 3, h, w] views of the canvas, float16 or float32."""
        channels = 4 if b.canvas.dtype == torch.float16 else 3
        out = []
        for level in b.plan.levels:
            h, w, stride, begin = (int(level[k]) for k in ("height", "width", "stride", "offset"))
            image = b.canvas[channels * begin : channels * (begin + n * h * stride)].view(n, h, stride, channels)
            out.append(image[:, :, :w, :3].permute(0, 3, 1, 2))
        return out


__all__ = ["CudaMTCNN", "Pending"]
