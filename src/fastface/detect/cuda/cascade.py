"""All kernels of a pass in their order: pyramid, P-Net, R-Net, O-Net, and the suppressions between them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastface.detect.cuda.buffers import Buffers, Fact, Result
from fastface.detect.cuda.operations import Operations
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
from fastface.gpu.kernels import FRAMES, Program
from fastface.gpu.precision import exact_float32
from fastface.settings import DetectorSettings

_DOUBT = {"fp16": 0.05, "fp32": 0.001}
"""By how much a scan may misjudge a cell's probability: cells that much below the threshold are scored as well."""

_DOUBT_REFINE = 0.1
"""The same of R-Net's scan, in half precision."""

_SCAN_MEMORY, _CELLS_MEMORY, _RSCAN_MEMORY, _RNET_MEMORY, _ONET_MEMORY = 56000, 37248, 63616, 42240, 101120
_RNET_DENSE_MEMORY, _ONET_DENSE_MEMORY = 46080, 73760


def _logit(probability: float) -> float:
    if 0 < probability < 1:
        return math.log(probability / (1 - probability))
    return math.copysign(1e30, probability - 0.5)


class Cascade:
    """The networks on one GPU, and the launches of a pass.

    Args:
        on: the GPU.
        settings, precision: as :class:`CudaMTCNN` has them.
    """

    def __init__(self, on: Operations, settings: DetectorSettings, precision: str) -> None:
        self._on, self._settings, self._precision = on, settings, precision
        pnet, rnet, onet = (stored_net(name) for name in ("pnet", "rnet", "onet"))
        self._scan_net = load_nets(on.device, torch.float32)[0] if precision == "fp32" else None
        self._rscan_weights = on.upload(rscan_weights(rnet))
        self._scan_weights, self._cell_weights = on.upload(scan_weights(pnet)), on.upload(cell_weights(pnet))
        self._rnet, self._onet = on.upload(rnet_weights(rnet)), on.upload(onet_weights(onet))
        self._rnet_dense = on.upload(dense_weights(rnet.dense4, rnet.prelu4, (rnet.dense5_1, rnet.dense5_2)))
        self._onet_dense = on.upload(
            dense_weights(onet.dense5, onet.prelu5, (onet.dense6_1, onet.dense6_2, onet.dense6_3))
        )
        self._windows: dict[tuple[int, int, int, int], Tensor] = {}

    def add(
        self,
        program: Program,
        n: int,
        depth: int,
        geometry: Tensor,
        b: Buffers,
        thumbnail: tuple[int, int] | None,
        result: Result,
    ) -> None:
        """Add all launches of a pass of n frames.

        Args:
            program: what they are added to.
            n: frames, at most those that the buffers are for.
            depth: bits of a sample, 8 or 16.
            geometry: see :meth:`Operations.geometry_of`.
            b: what the stages leave to each other.
            thumbnail: rows and columns of a small copy of each frame that is wanted as well.
            result: where faces and thumbnails go.
        """
        c, plan, settings = b.capacity, b.plan, self._settings
        facts = result.facts()
        program.add(
            self._on.kernel("quads", "to_quads", depth=depth),
            (min(-(-b.height * b.groups // 256), -(-16 * self._on.processors // n)), n),
            256,
            *(FRAMES, geometry, b.groups, b.quads),
        )
        quads, whole = (b.quads, b.height, b.groups), (b.quads, b.height, b.width, b.groups)
        if thumbnail:
            rows, columns = thumbnail
            program.add(
                self._on.kernel("pyramid", "thumbnails"),
                (-(-rows * columns // 8), n),
                256,
                *(*quads, rows, columns, self._thumbnail_windows(b, rows, columns), result.thumbnails()),
            )
        if len(plan):
            self._propose(program, b, quads, n, facts)
            failed = [facts[Fact.FAILED + i :] for i in range(4)]
            total = [facts[i:] for i in range(4)]
            thresholds = settings.thresholds
            self._on.add_nms(
                program, n * len(plan), b.cell_box, b.cell_score, b.cell_tie, None, b.cell_start, b.cell_count, 1,
                c.cells, min(c.cells, self._on.max_sort), 0.0, 0.5, False, b.n * c.levels, b.level_kept, b.level_group,
                b.level_start, b.level_count, total[0], failed[0],
            )  # fmt: skip
            self._on.add_nms(
                program, n, b.cell_box, b.cell_score, b.cell_tie, b.level_kept, b.level_start, b.level_count, len(plan),
                1 << 30, c.sort_levels, 0.0, 0.7, False, b.n * c.refine, b.refine_kept, b.refine_frame, b.refine_start,
                b.refine_count, total[1], failed[1],
            )  # fmt: skip
            chosen: tuple[Tensor | None, Tensor | None] = (None, None)
            if self._precision == "fp16":
                chosen = (b.refine_chosen, facts[Fact.CHOSEN :])
                program.add(
                    self._on.kernel("rscan", "rscan"), (3 * self._on.processors,), 192,
                    *whole, b.refine_kept, b.refine_frame, total[1], b.n * c.refine,
                    b.cell_box, b.cell_offsets, self._rscan_weights, _logit(thresholds[1] - _DOUBT_REFINE),
                    b.refine_box, b.refine_score, *chosen, facts[Fact.BEGUN :], shared_memory=_RSCAN_MEMORY,
                )  # fmt: skip
            program.add(
                self._on.kernel("rnet", "rnet"), (4 * self._on.processors,), 128,
                *whole, b.refine_kept, b.refine_frame, total[1], b.n * c.refine, *chosen, b.cell_box,
                b.cell_offsets, self._rnet, b.refine_box, b.refine_features, facts[Fact.BEGUN + 1 :],
                shared_memory=_RNET_MEMORY,
            )  # fmt: skip
            program.add(
                self._on.kernel("dense", "rnet_dense"), (4 * self._on.processors,), 256,
                b.refine_features, total[1], b.n * c.refine, *chosen, b.height, b.width, b.refine_box, self._rnet_dense,
                b.refine_score, b.refine_offsets, shared_memory=_RNET_DENSE_MEMORY,
            )  # fmt: skip
            self._on.add_nms(
                program, n, b.refine_box, b.refine_score, None, None, b.refine_start, b.refine_count, 1, 1 << 30,
                c.sort_refine, thresholds[1], 0.7, False, b.n * c.decide, b.decide_kept, b.decide_frame, b.decide_start,
                b.decide_count, total[2], failed[2],
            )  # fmt: skip
            program.add(
                self._on.kernel("onet", "onet"), (2 * self._on.processors,), 256,
                *whole, b.decide_kept, b.decide_frame, total[2], b.n * c.decide, b.refine_box,
                b.refine_offsets, self._onet, b.decide_box, b.decide_features, facts[Fact.BEGUN + 2 :],
                shared_memory=_ONET_MEMORY,
            )  # fmt: skip
            program.add(
                self._on.kernel("dense", "onet_dense"), (2 * self._on.processors,), 512,
                b.decide_features, total[2], b.n * c.decide, b.height, b.width, b.decide_box, self._onet_dense,
                b.decide_score, b.decide_refined, b.decide_landmarks, shared_memory=_ONET_DENSE_MEMORY,
            )  # fmt: skip
            self._on.add_nms(
                program, n, b.decide_refined, b.decide_score, None, None, b.decide_start, b.decide_count, 1, 1 << 30,
                c.sort_decide, thresholds[2], 0.7, True, b.n * c.faces, b.face_kept, b.face_frame, b.face_start,
                b.face_count, total[3], failed[3],
            )  # fmt: skip
            program.add(
                self._on.kernel("describe", "record_faces", depth=depth), (4 * self._on.processors,), 256,
                FRAMES, geometry, b.face_kept, b.face_frame, total[3], b.n * c.faces, b.decide_refined,
                b.decide_score, b.decide_landmarks, result.records(),
            )  # fmt: skip

    def _thumbnail_windows(self, b: Buffers, rows: int, columns: int) -> Tensor:
        key = (b.height, b.width, rows, columns)
        if key not in self._windows:
            table = np.concatenate([windows(b.width, columns), windows(b.height, rows)])
            self._windows[key] = self._on.table(table.view(np.int32))
        return self._windows[key]

    def _propose(self, program: Program, b: Buffers, quads: tuple[Any, ...], n: int, facts: Tensor) -> None:
        """P-Net: the cells of each level, with boxes, scores and offsets."""
        plan, cells, levels = b.plan, b.capacity.cells, len(b.plan)
        threshold = self._settings.thresholds[0]
        least = threshold - _DOUBT[self._precision]
        half = self._precision == "fp16"
        for first in range(0, n, b.scanned_at_once):
            some = min(b.scanned_at_once, n - first)
            program.add(
                self._on.kernel("pyramid", "pyramid", output="float16" if half else "float32"),
                (plan.wide_blocks + plan.regions[0] * plan.regions[1], some),
                256,
                *(*quads, b.levels, levels, b.windows, plan.regional, plan.wide_blocks, plan.regions[1]),
                *(True, b.canvas, b.exact if half else None, first),
            )
            if half:
                program.add(
                    self._on.kernel("scan", "scan"),
                    (plan.scan_blocks, some),
                    256,
                    *(b.canvas, b.levels, levels, self._scan_weights, _logit(least), cells),
                    *(b.cell_tie[first * levels * cells :], b.cell_count[first * levels :]),
                    shared_memory=_SCAN_MEMORY,
                )
        if not half:
            program.call(lambda: self._scan_float32(b, n, least))
        # The largest levels have most cells; blocks that have none end at once.
        self.add_cells(program, b, n, 32, facts)

    def add_cells(self, program: Program, b: Buffers, n: int, blocks: int, facts: Tensor) -> None:
        """Add boxes, scores and offsets of the cells that are in the buffers, by so many blocks a level of each of n
        frames."""
        quads, levels = (b.quads, b.height, b.groups), len(b.plan)
        program.add(
            self._on.kernel("cells", "cells"),
            (blocks, n * levels),
            96,
            *(*quads, b.exact, b.levels, levels, b.windows, self._cell_weights, float(self._settings.thresholds[0])),
            *(b.capacity.cells, b.cell_tie, b.cell_count, b.cell_box, b.cell_score, b.cell_offsets),
            facts[Fact.CELLS_FULL :],
            shared_memory=_CELLS_MEMORY,
        )

    def _scan_float32(self, b: Buffers, n: int, least: float) -> None:
        assert self._scan_net is not None
        for number, image in enumerate(levels(b, n)):
            with exact_float32():  # cuDNN would round to TF32
                _, probability = self._scan_net(image.contiguous(memory_format=torch.channels_last))
            face = probability[:, 1].contiguous()
            self._on.launch(
                self._on.kernel("candidates", "candidates"),
                (min(-(-face.numel() // 256), 4096),),
                256,
                *(face, n, *face.shape[1:], least, len(b.plan), number, b.capacity.cells, b.cell_tie, b.cell_count),
            )


def levels(b: Buffers, n: int) -> list[Tensor]:
    """The levels of the n frames that P-Net saw last, at most `scanned_at_once`, until R-Net writes over them:
    [n, 3, h, w] views of the canvas, float16 or float32."""
    channels = 4 if b.canvas.dtype == torch.float16 else 3
    out = []
    for level in b.plan.levels:
        h, w, stride, begin = (int(level[k]) for k in ("height", "width", "stride", "offset"))
        image = b.canvas[channels * begin : channels * (begin + n * h * stride)].view(n, h, stride, channels)
        out.append(image[:, :, :w, :3].permute(0, 3, 1, 2))
    return out
