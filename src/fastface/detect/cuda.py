"""The cascade on an NVIDIA GPU: the same results as :mod:`fastface.detect.mtcnn`, from frames in device memory.

Candidates, suppression and crops are our kernels, networks are torch's. Between the stages one small record of counts
comes to the host, which sizes the next stage: three a batch. Buffers have a capacity; where one is full the batch runs
again with larger ones, and nothing is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fastface.detect import geometry
from fastface.detect.mtcnn import load_nets
from fastface.errors import GPUError, InputValidationError
from fastface.gpu.frames import DeviceFrames
from fastface.gpu.kernels import Launcher, kernel
from fastface.gpu.precision import exact_float32
from fastface.settings import DetectorSettings
from fastface.types import SIGNATURE_SIZE, Detections

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
_CHUNK = 16384  # crops that a network sees at once: bounds its activations to about half a gigabyte
_MAX_SORT = 16384  # items of one group that the suppression kernel sorts in shared memory (11 bytes each)
_BLOCK = 256
_DOUBT = 0.05  # by how much half precision may misjudge a cell's probability
_MAX_LEVELS = 64  # levels that the order of suppression has bits for


@dataclass(frozen=True)
class _Plan:
    """What depends on the size of the frames only."""

    scales: list[float]
    sizes: list[tuple[int, int]]
    pixels: int
    heights: Tensor
    widths: Tensor
    first: Tensor


def _power_of_two(n: int) -> int:
    return 1 << max(n - 1, 1).bit_length()


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
        self._dtype = _DTYPES[precision]
        self._output = "float16" if precision == "fp16" else "float32"
        # P-Net, which sees every pixel, may compute in half precision: it only points at cells. What decides, its
        # scores of those cells and the other two networks, is float32, so that the faces are the same.
        self._pnet, self._rnet, self._onet = load_nets(self.device, torch.float32)
        # The kernels take the softmax themselves, in float32.
        self._rnet.softmax5_1 = self._onet.softmax6_1 = torch.nn.Identity()
        scan = load_nets(self.device, self._dtype)[0]
        self._heads = torch.nn.Conv2d(32, 6, 1).to(self.device, self._dtype).requires_grad_(False)
        self._heads.weight.copy_(torch.cat([scan.conv4_1.weight, scan.conv4_2.weight]))
        self._heads.bias.copy_(torch.cat([scan.conv4_1.bias, scan.conv4_2.bias]))
        self._scan_layers = ((scan.conv1, scan.prelu1, 2), (scan.conv2, scan.prelu2, 1), (scan.conv3, scan.prelu3, 1))
        self._plans: dict[tuple[int, int], _Plan] = {}
        self._resizes: dict[tuple[tuple[int, int], ...], _Plan] = {}
        self._capacity = 2048
        self._geometry: tuple[bytes, Tensor] | None = None

    def _plan(self, height: int, width: int) -> _Plan:
        if (height, width) not in self._plans:
            scales = geometry.pyramid_scales(height, width, self.settings.min_face_size, self.settings.factor)
            if len(scales) > _MAX_LEVELS:
                raise InputValidationError(
                    f"factor is {self.settings.factor}, which makes {len(scales)} pyramid levels of {width} x "
                    f"{height}; the GPU does {_MAX_LEVELS} at most: take a smaller factor"
                )
            self._plans[height, width] = self._plan_for(scales, [geometry.level_size(height, width, s) for s in scales])
        return self._plans[height, width]

    def _plan_for(self, scales: list[float], sizes: list[tuple[int, int]]) -> _Plan:
        areas = [h * w for h, w in sizes]
        first = np.concatenate([[0], np.cumsum(areas)])

        def ints(values: Any) -> Tensor:
            return torch.tensor(np.asarray(values), dtype=torch.int32, device=self.device)

        plan = _Plan(
            scales, sizes, int(first[-1]), ints([h for h, _ in sizes]), ints([w for _, w in sizes]), ints(first[:-1])
        )
        torch.cuda.current_stream(self.device).synchronize()  # other threads' streams will read it
        return plan

    def _launcher(self) -> Launcher:
        return Launcher(torch.cuda.current_stream(self.device).cuda_stream, self.device.index)

    def _kernel(self, file: str, function: str, *, output: str | None = None, depth: int = 8) -> Any:
        return kernel(file, function, output=output or self._output, depth=depth, device=self.device.index)

    def _geometry_of(self, frames: DeviceFrames) -> Tensor:
        packed = frames.geometry.tobytes()
        if self._geometry is None or self._geometry[0] != packed:
            host = torch.from_numpy(np.frombuffer(packed, np.uint8).copy())
            device = host.to(self.device)
            torch.cuda.current_stream(self.device).synchronize()  # other threads' streams will read it
            self._geometry = (packed, device)
        return self._geometry[1]

    @torch.inference_mode()
    def pyramid(
        self, frames: DeviceFrames, sizes: list[tuple[int, int]], *, scaled: bool = True, output: str | None = None
    ) -> list[Tensor]:
        """All frames at all sizes, by area resampling: tensors [N, 3, h, w], channels last.

        Args:
            sizes: (height, width) of each level.
            scaled: for MTCNN, else [0, 255].
            output: "float32" or "float16"; None: the networks' type.
        """
        key = tuple(sizes)
        if key not in self._resizes:
            self._resizes[key] = self._plan_for([], sizes)
        plan = self._resizes[key]
        return self._fill(frames, plan, scaled=scaled, output=output or self._output)

    def _fill(self, frames: DeviceFrames, plan: _Plan, *, scaled: bool, output: str) -> list[Tensor]:
        n = len(frames)
        dtype = torch.float16 if output == "float16" else torch.float32
        canvas = torch.empty(n * plan.pixels * 3, dtype=dtype, device=self.device)
        offsets = plan.first.to(torch.int64) * (3 * n)
        self._launcher()(
            self._kernel("pyramid", "pyramid", output=output, depth=frames.depth),
            (min(-(-plan.pixels // _BLOCK), 65535), n),
            _BLOCK,
            frames.samples,
            self._geometry_of(frames),
            len(plan.sizes),
            plan.heights,
            plan.widths,
            plan.first,
            offsets,
            plan.pixels,
            scaled,
            canvas,
        )
        levels, at = [], 0
        for h, w in plan.sizes:
            size = n * h * w * 3
            levels.append(canvas[at : at + size].view(n, h, w, 3).permute(0, 3, 1, 2))
            at += size
        return levels

    @torch.inference_mode()
    def crop_area(self, frames: DeviceFrames, row: Tensor, rect: Tensor, size: int) -> Tensor:
        """[M, 3, size, size], channels last, scaled for MTCNN; empty rectangles give zeros.

        Args:
            row: [M] int64.
            rect: [M, 4] int32, half open, inside the displayed frame.
        """
        out = torch.empty((len(row), size, size, 3), device=self.device)
        self._crops("crop_area", frames, row, rect, size, out)
        return out.permute(0, 3, 1, 2)

    @torch.inference_mode()
    def crop_triangle(self, frames: DeviceFrames, row: Tensor, rect: Tensor, size: int) -> Tensor:
        """[M, 3, size, size] uint8, by Pillow's BILINEAR; see :meth:`crop_area`."""
        out = torch.empty((len(row), 3, size, size), dtype=torch.uint8, device=self.device)
        self._crops("crop_triangle", frames, row, rect, size, out)
        return out

    def _crops(self, name: str, frames: DeviceFrames, row: Tensor, rect: Tensor, size: int, out: Tensor) -> None:
        if rect.dtype != torch.int32 or rect.shape != (len(row), 4) or row.dtype != torch.int64:
            raise ValueError(
                f"row is {row.dtype} {list(row.shape)} and rect {rect.dtype} {list(rect.shape)}, must be "
                "int64 [M] and int32 [M, 4]"
            )
        function = self._kernel("crop", name, output="float32", depth=frames.depth)
        row, rect = row.contiguous(), rect.contiguous()
        for i in range(0, len(row), 65535):  # the limit of grid.y
            part = slice(i, i + 65535)
            count = len(row[part])
            self._launcher()(
                function,
                (-(-size * size // _BLOCK), count),
                _BLOCK,
                frames.samples,
                self._geometry_of(frames),
                row[part],
                rect[part],
                size,
                out[part],
            )

    @torch.inference_mode()
    def describe(self, frames: DeviceFrames, row: Tensor, rect: Tensor) -> tuple[Tensor, Tensor]:
        """Look [M, 64] and sharpness [M] of faces, float32."""
        look = torch.empty((len(row), SIGNATURE_SIZE), device=self.device)
        sharpness = torch.empty(len(row), device=self.device)
        if len(row):
            self._launcher()(
                self._kernel("describe", "describe", depth=frames.depth),
                (len(row),),
                _BLOCK,
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
        tie: Tensor,
        start: Tensor,
        count: Tensor,
        most: int,
        *,
        least: float,
        threshold: float,
        minimum: bool = False,
        capacity: int | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Suppress within groups; see csrc/cuda/nms.cu.

        Args:
            box: [I, 4] float32; score: [I] float32 > 0; tie: [I] int32 (read as unsigned), different within a group.
            start, count: [G] int32, the items of each group.
            most: at least the largest count, at most 16384.
            least: items of this score or less do not take part.
            threshold: a box goes where its overlap with a kept one is above.
            minimum: overlap over the smaller box, sides + 1.
            capacity: of the list that is returned; None: the number of items.

        Returns:
            flat [capacity] int32, kept items by group and order; group [capacity] int64; start [G + 1] int32; failed
            [1] int32, not 0 where a group had more than `most` items or the list was full.
        """
        groups, most = len(start), _power_of_two(most)
        if most > _MAX_SORT:
            raise ValueError(f"most is {most}, must be at most {_MAX_SORT}")
        capacity = len(score) if capacity is None else capacity
        kept = torch.empty((groups, most), dtype=torch.int32, device=self.device)
        kept_count = torch.empty(groups, dtype=torch.int32, device=self.device)
        flat = torch.empty(capacity, dtype=torch.int32, device=self.device)
        group = torch.empty(capacity, dtype=torch.int64, device=self.device)
        starts = torch.empty(groups + 1, dtype=torch.int32, device=self.device)
        failed = torch.zeros(1, dtype=torch.int32, device=self.device)
        launch = self._launcher()
        launch(
            self._kernel("nms", "nms"),
            (groups,),
            _BLOCK,
            box,
            score,
            tie,
            start,
            count,
            most,
            float(least),
            float(threshold),
            minimum,
            kept,
            kept_count,
            shared_memory=11 * most,
        )
        launch(
            self._kernel("nms", "gather_kept"),
            (1,),
            1024,
            kept,
            kept_count,
            groups,
            most,
            capacity,
            flat,
            group,
            starts,
            failed,
        )
        return flat, group, starts, failed

    def _suppress(
        self,
        row: Tensor,
        box: Tensor,
        score: Tensor,
        tie: Tensor,
        start: Tensor,
        *,
        least: float,
        threshold: float,
        minimum: bool = False,
        largest: int,
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Suppress within frames. Returns kept items [K], their rows [K], starts [N + 1] and the largest count."""
        count = start[1:] - start[:-1]
        if largest > _MAX_SORT:
            # More candidates in one frame than shared memory sorts: the plain form is slow, and right.
            from fastface.detect.ops import nms_reference

            part = torch.nonzero(score > least)[:, 0]
            kept = part[nms_reference(box[part], score[part], row[part], threshold, minimum=minimum)]
            counts = torch.bincount(row[kept], minlength=len(count))
            starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(torch.int32)
            return kept, row[kept], starts, int(counts.max())
        flat, group, starts, _ = self.nms(
            box,
            score,
            tie,
            start[:-1].contiguous(),
            count.contiguous(),
            largest,
            least=least,
            threshold=threshold,
            minimum=minimum,
        )
        total, most = torch.stack([starts[-1], (starts[1:] - starts[:-1]).max()]).tolist()
        return flat[:total].long(), group[:total], starts, most

    @torch.inference_mode()
    def detect(self, frames: DeviceFrames) -> Detections:
        """Find the faces of N frames; the result is on the host, for it is small."""
        row, box, score, landmarks, look, sharpness = self.detect_on_device(frames)
        if not len(row):
            return Detections.empty()
        columns = (row.float()[:, None], box, score[:, None], landmarks.flatten(1), sharpness[:, None], look)
        host = torch.cat(columns, 1).cpu().numpy()
        return Detections(
            row=host[:, 0].astype(np.int64),
            box=host[:, 1:5].copy(),
            score=host[:, 5].copy(),
            landmarks=host[:, 6:16].reshape(-1, 5, 2).copy(),
            sharpness=host[:, 16].copy(),
            appearance=host[:, 17:].copy(),
        )

    @torch.inference_mode()
    def detect_on_device(self, frames: DeviceFrames) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Rows [M] int64, boxes [M, 4], scores [M], landmarks [M, 5, 2], look [M, 64], sharpness [M], on the GPU."""
        # cuDNN would round float32 to TF32, which moves boxes by up to a pixel.
        with exact_float32():
            return self._cascade(frames)

    def _cascade(self, frames: DeviceFrames) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        row, box, start, largest = self._propose(frames)
        if len(row):
            row, box, start, largest = self._refine(frames, row, box, start, largest)
        if not len(row):
            empty = torch.zeros(0, device=self.device)
            return (
                torch.zeros(0, dtype=torch.int64, device=self.device),
                empty.view(0, 4),
                empty,
                empty.view(0, 5, 2),
                empty.view(0, SIGNATURE_SIZE),
                empty,
            )
        row, box, score, landmarks = self._decide(frames, row, box, start, largest)
        rects = geometry.pixel_rects(box, frames.height, frames.width).contiguous()
        look, sharpness = self.describe(frames, row.contiguous(), rects)
        return row, box, score, landmarks, look, sharpness

    def _propose(self, frames: DeviceFrames) -> tuple[Tensor, Tensor, Tensor, int]:
        """P-Net: rows [M], square boxes [M, 4], starts [N + 1], the most boxes in one frame."""
        n, plan = len(frames), self._plan(frames.height, frames.width)
        levels = len(plan.sizes)
        nothing = torch.zeros(0, dtype=torch.int64, device=self.device)
        if not levels:
            return nothing, torch.zeros((0, 4), device=self.device), nothing, 0
        images = self._fill(frames, plan, scaled=True, output=self._output)
        maps = [self._scan(image) for image in images]
        exact = self._dtype == torch.float32
        threshold = self.settings.thresholds[0]
        below = float(np.nextafter(np.float32(threshold), np.float32(-1)))  # the kernel asks for more than this
        groups = n * levels
        append = self._kernel("candidates", "candidates")
        while True:
            capacity = self._capacity
            box = torch.empty((groups * capacity, 4), device=self.device)
            offsets = torch.empty((groups * capacity, 4), device=self.device)
            score = torch.empty(groups * capacity, device=self.device)
            tie = torch.empty(groups * capacity, dtype=torch.int32, device=self.device)
            count = torch.zeros(groups, dtype=torch.int32, device=self.device)
            launch = self._launcher()
            for level, heads in enumerate(maps):
                height, width = heads.shape[1:3]
                grid = (min(-(-n * height * width // _BLOCK), 4096),)
                launch(
                    append,
                    grid,
                    _BLOCK,
                    heads,
                    n,
                    height,
                    width,
                    plan.scales[level],
                    threshold if exact else threshold - _DOUBT,
                    levels,
                    level,
                    capacity,
                    box,
                    score,
                    offsets,
                    tie,
                    count,
                )
            # Groups beyond the capacity are looked at below; here they must not read beyond their place.
            filled = count.clamp(max=capacity)
            if not exact:
                self._rescore(frames, plan, filled, capacity, score, offsets, tie)
            start = torch.arange(groups, dtype=torch.int32, device=self.device) * capacity
            flat, group, starts, _ = self.nms(
                box, score, tie, start, filled, capacity, least=below, threshold=0.5, capacity=groups * capacity
            )
            starts = starts[::levels].contiguous()
            facts = torch.stack([count.max(), starts[-1], (starts[1:] - starts[:-1]).max()]).tolist()
            if facts[0] <= capacity:
                break
            if facts[0] > _MAX_SORT:
                raise GPUError(
                    f"{facts[0]} candidates on one level of one frame, more than {_MAX_SORT}: raise thresholds[0] "
                    f"(it is {threshold}) or min_face_size, or use device='cpu'"
                )
            self._capacity = _power_of_two(facts[0])
        total, largest = facts[1:]
        if not total:
            return nothing, torch.zeros((0, 4), device=self.device), nothing, 0
        items = flat[:total].long()
        row = group[:total] // levels
        box, score, offsets, tie = box[items], score[items], offsets[items], tie[items]
        kept, row, starts, largest = self._suppress(
            row, box, score, tie, starts, least=0.0, threshold=0.7, largest=largest
        )
        boxes = geometry.square(geometry.refine(box[kept], offsets[kept], inclusive=False))
        return row, boxes, starts, largest

    def _scan(self, image: Tensor) -> Tensor:
        """P-Net on a level [N, 3, h, w]: heads [N, h', w', 6], logits of no face and of face, and four offsets."""
        x = image
        for conv, prelu, pool in self._scan_layers:
            # Bias, PReLU and pooling in one pass: three of torch's would each read and write the whole level.
            x = self._activate(functional.conv2d(x, conv.weight), conv.bias, prelu.weight, pool)
        return self._heads(x).permute(0, 2, 3, 1).contiguous()

    def _activate(self, x: Tensor, bias: Tensor, slope: Tensor, pool: int) -> Tensor:
        """max over pool x pool of PReLU(x + bias), in ceil mode; x and the result are channels last."""
        x = x.contiguous(memory_format=torch.channels_last)
        n, channels, height, width = x.shape
        out_height, out_width = -(-height // pool), -(-width // pool)
        out = torch.empty((n, out_height, out_width, channels), dtype=x.dtype, device=self.device)
        grid = (min(-(-out.numel() // _BLOCK), 1 << 16),)
        self._launcher()(
            self._kernel("activate", "bias_prelu_pool"),
            grid,
            _BLOCK,
            x,
            bias,
            slope,
            n,
            height,
            width,
            channels,
            pool,
            pool,
            out_height,
            out_width,
            out,
        )
        return out.permute(0, 3, 1, 2)

    def _rescore(
        self,
        frames: DeviceFrames,
        plan: _Plan,
        count: Tensor,
        capacity: int,
        score: Tensor,
        offsets: Tensor,
        tie: Tensor,
    ) -> None:
        """Replace scores and offsets of the cells that the scan points at by those that float32 gives."""
        places = torch.arange(capacity, device=self.device)[None] < count[:, None]
        items = places.flatten().nonzero()[:, 0]
        net = self._pnet
        for i in range(0, len(items), _CHUNK):
            part = items[i : i + _CHUNK]
            row, cell = part // (capacity * len(plan.sizes)), tie[part]
            patches = torch.empty((len(part), 12, 12, 3), device=self.device)
            self._launcher()(
                self._kernel("pyramid", "cells", output="float32", depth=frames.depth),
                (min(-(-len(part) * 144 // _BLOCK), 1 << 16),),
                _BLOCK,
                frames.samples,
                self._geometry_of(frames),
                plan.heights,
                plan.widths,
                row,
                cell,
                len(part),
                patches,
            )
            x = net.prelu1(net.conv1(patches.permute(0, 3, 1, 2)))
            # The last pooling window of a level of odd size holds one column (row) only; see ceil_mode.
            level, place = (cell >> 26) & 63, cell & ((1 << 26) - 1)
            width, height = plan.widths[level], plan.heights[level]
            per_row = (width - 1) // 2 - 4
            beyond_x, beyond_y = 2 * (place % per_row) + 9 >= width - 2, 2 * (place // per_row) + 9 >= height - 2
            x[:, :, :, 9].masked_fill_(beyond_x[:, None, None], float("-inf"))
            x[:, :, 9, :].masked_fill_(beyond_y[:, None, None], float("-inf"))
            x = net.prelu3(net.conv3(net.prelu2(net.conv2(net.pool1(x)))))
            logits = net.conv4_1(x).flatten(1)
            score[part] = torch.sigmoid(logits[:, 1] - logits[:, 0])
            offsets[part] = net.conv4_2(x).flatten(1)

    def _run(self, net: Any, frames: DeviceFrames, row: Tensor, rects: Tensor, size: int) -> tuple[Tensor, ...]:
        parts = []
        for i in range(0, len(row), _CHUNK):
            crops = self.crop_area(frames, row[i : i + _CHUNK], rects[i : i + _CHUNK], size)
            parts.append(net(crops))
        return tuple(torch.cat(p).float() if len(p) > 1 else p[0].float() for p in zip(*parts, strict=True))

    def _scores(self, logits: Tensor, rects: Tensor) -> Tensor:
        """Probability of a face; 0 where there was nothing to look at."""
        return torch.where(geometry.not_empty(rects), torch.sigmoid(logits[:, 1] - logits[:, 0]), 0.0)

    def _refine(
        self, frames: DeviceFrames, row: Tensor, box: Tensor, start: Tensor, largest: int
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """R-Net: rows [M], square boxes [M, 4], starts [N + 1], the most boxes in one frame."""
        rects = geometry.pixel_rects(box, frames.height, frames.width)
        offsets, logits = self._run(self._rnet, frames, row, rects, 24)
        tie = torch.arange(len(row), dtype=torch.int32, device=self.device)
        kept, row, start, largest = self._suppress(
            row,
            box,
            self._scores(logits, rects),
            tie,
            start,
            least=self.settings.thresholds[1],
            threshold=0.7,
            largest=largest,
        )
        return row, geometry.square(geometry.refine(box[kept], offsets[kept], inclusive=True)), start, largest

    def _decide(
        self, frames: DeviceFrames, row: Tensor, box: Tensor, start: Tensor, largest: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """O-Net: rows [M], boxes [M, 4], scores [M], landmarks [M, 5, 2]."""
        rects = geometry.pixel_rects(box, frames.height, frames.width)
        offsets, points, logits = self._run(self._onet, frames, row, rects, 48)
        score = self._scores(logits, rects)
        landmarks = geometry.place_landmarks(points, box)
        refined = geometry.refine(box, offsets, inclusive=True)
        tie = torch.arange(len(row), dtype=torch.int32, device=self.device)
        kept, row, _, _ = self._suppress(
            row,
            refined,
            score,
            tie,
            start,
            least=self.settings.thresholds[2],
            threshold=0.7,
            minimum=True,
            largest=largest,
        )
        return row, refined[kept], score[kept], landmarks[kept]
