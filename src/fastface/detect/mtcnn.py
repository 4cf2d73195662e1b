"""The cascade: P-Net over a pyramid proposes, R-Net refines, O-Net decides and finds the landmarks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastface.detect import geometry, ops
from fastface.settings import DetectorSettings
from fastface.types import SIGNATURE_SIZE, Detections
from fastface.watch import check

# Crops a network sees at once. Few sizes, because oneDNN compiles kernels for each new one (tens of milliseconds);
# the largest bounds memory where a frame is full of candidates.
_CHUNKS = (64, 16, 8)

# Pixels that P-Net sees at once on the CPU: its widest activation (10 floats a pixel) then stays in the cache, and is
# small enough for malloc to use again instead of asking the system for fresh pages each time.
_CPU_SCAN_PIXELS = 1 << 18
_GPU_SCAN_PIXELS = 1 << 25


def _facenet() -> Any:
    try:
        from facenet_pytorch.models import mtcnn
    except (ImportError, RuntimeError, AttributeError) as error:
        from fastface.doctor import explain_torch_mismatch

        raise explain_torch_mismatch(error) from error
    return mtcnn


def _oracle_order(row: Tensor, scores: Tensor) -> Tensor:
    """The order in which facenet-pytorch's last suppression takes the faces of each frame: [M] int64.

    It is NumPy's argsort, read backwards. Saturated scores do tie, and which of equals comes first is for that sort to
    say (it is not a stable one): any rule of ours would pick another box now and then.

    Args:
        row: [M] int64, frames, ascending.
        scores: [M] float32.
    """
    values, counts = scores.cpu().numpy(), torch.unique_consecutive(row, return_counts=True)[1].tolist()
    order, begin = [np.zeros(0, np.int64)], 0
    for count in counts:
        order.append(begin + np.argsort(values[begin : begin + count])[::-1])
        begin += count
    return torch.from_numpy(np.concatenate(order)).to(row.device)


def load_nets(device: torch.device, dtype: torch.dtype) -> list[Any]:
    """P-, R- and O-Net with the weights in facenet-pytorch's package, ready to run, channels last."""
    nets = _facenet()
    return [
        getattr(nets, name)().to(device, dtype).eval().requires_grad_(False).to(memory_format=torch.channels_last)
        for name in ("PNet", "RNet", "ONet")
    ]


class MTCNN:
    """facenet-pytorch's detector, batched, with equal results for every batch size.

    Args:
        settings: see :class:`fastface.settings.DetectorSettings`.
        device: where the networks run.
    """

    name = "mtcnn"

    def __init__(self, settings: DetectorSettings, device: str | torch.device = "cpu") -> None:
        self.settings = settings
        self.device = torch.device(device)
        self._scan_pixels = _CPU_SCAN_PIXELS if self.device.type == "cpu" else _GPU_SCAN_PIXELS
        self._pnet, self._rnet, self._onet = load_nets(self.device, torch.float32)

    @torch.inference_mode()
    def detect(self, pixels: NDArray[np.uint8] | Tensor) -> Detections:
        """Find the faces.

        Args:
            pixels: [N, H, W, 3] uint8, RGB.

        Returns:
            The faces, ordered by frame, then by score; without any, `Detections.empty()`.
        """
        frames = torch.as_tensor(pixels, device=self.device)
        row, boxes = self._propose(frames)
        row, boxes = self._refine(frames, row, boxes)
        row, boxes, scores, landmarks = self._decide(frames, row, boxes)
        if not len(row):
            return Detections.empty()
        appearance, sharpness = self._describe(frames, row, boxes)
        return Detections(
            row=row.cpu().numpy(),
            box=boxes.cpu().numpy(),
            score=scores.cpu().numpy(),
            landmarks=landmarks.cpu().numpy(),
            sharpness=sharpness,
            appearance=appearance,
        )

    def _propose(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """P-Net on every level: rows [M], square boxes [M, 4]."""
        height, width = frames.shape[1:3]
        settings = self.settings
        found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for scale in geometry.pyramid_scales(height, width, settings.min_face_size, settings.factor):
            check()
            level = ops.resize_area(frames, *geometry.level_size(height, width, scale))
            offsets, face = self._scan(level)
            cells = (face >= settings.thresholds[0]).nonzero()
            if not len(cells):
                continue
            row, y, x = cells.unbind(1)
            boxes, scores = geometry.cell_boxes(cells[:, 1:], scale), face[row, y, x]
            kept = ops.nms(boxes, scores, row, 0.5)
            found.append((row[kept], boxes[kept], scores[kept], offsets[row, :, y, x][kept]))
        if not found:
            empty = frames.new_zeros(0, dtype=torch.int64)
            return empty, frames.new_zeros((0, 4), dtype=torch.float32)
        row, boxes, scores, offsets = (torch.cat(parts) for parts in zip(*found, strict=True))
        kept = ops.nms(boxes, scores, row, 0.7)
        return row[kept], geometry.square(geometry.refine(boxes[kept], offsets[kept], inclusive=False))

    def _scan(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """P-Net over a level [N, 3, h, w]: offsets [N, 4, h', w'] and probabilities of a face [N, h', w']."""
        step = max(1, self._scan_pixels // (level.shape[2] * level.shape[3]))
        parts = []
        for i in range(0, len(level), step):
            check()
            offsets, probability = self._pnet(level[i : i + step].contiguous(memory_format=torch.channels_last))
            parts.append((offsets, probability[:, 1]))
        offsets, faces = (torch.cat(p) for p in zip(*parts, strict=True))
        return offsets, faces

    def _refine(self, frames: Tensor, row: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """R-Net: rows [M], square boxes [M, 4]."""
        row, boxes, rects = self._croppable(frames, row, boxes)
        if not len(row):
            return row, boxes
        offsets, probability = self._run(self._rnet, frames, row, rects, 24)
        scores = probability[:, 1]
        good = scores > self.settings.thresholds[1]
        row, boxes, scores, offsets = row[good], boxes[good], scores[good], offsets[good]
        kept = ops.nms(boxes, scores, row, 0.7)
        boxes = geometry.refine(boxes[kept], offsets[kept], inclusive=True)
        return row[kept], geometry.square(boxes)

    def _decide(self, frames: Tensor, row: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """O-Net: rows [M], boxes [M, 4], scores [M], landmarks [M, 5, 2]."""
        row, boxes, rects = self._croppable(frames, row, boxes)
        if not len(row):
            return row, boxes, boxes.new_zeros(0), boxes.new_zeros((0, 5, 2))
        offsets, points, probability = self._run(self._onet, frames, row, rects, 48)
        scores = probability[:, 1]
        good = scores > self.settings.thresholds[2]
        row, boxes, scores, offsets, points = row[good], boxes[good], scores[good], offsets[good], points[good]
        landmarks = geometry.place_landmarks(points, boxes)
        boxes = geometry.refine(boxes, offsets, inclusive=True)
        order = _oracle_order(row, scores)
        kept = order[ops.nms(boxes[order], scores[order], row[order], 0.7, minimum=True)]
        return row[kept], boxes[kept], scores[kept], landmarks[kept]

    @staticmethod
    def _croppable(frames: Tensor, row: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Drop the boxes that lie outside the picture: there is nothing to look at."""
        rects = geometry.pixel_rects(boxes, frames.shape[1], frames.shape[2])
        good = geometry.not_empty(rects)
        return row[good], boxes[good], rects[good]

    @staticmethod
    def _run(net: torch.nn.Module, frames: Tensor, row: Tensor, rects: Tensor, size: int) -> tuple[Tensor, ...]:
        crops = ops.crop_area(frames, row, rects.contiguous(), size)
        parts, done = [], 0
        while done < len(row):
            check()
            chunk = next((c for c in _CHUNKS if c <= len(row) - done), _CHUNKS[-1])
            batch = crops.new_zeros((chunk, 3, size, size)).contiguous(memory_format=torch.channels_last)
            count = min(chunk, len(row) - done)
            batch[:count] = crops[done : done + count]
            parts.append(tuple(out[:count] for out in net(batch)))
            done += count
        return tuple(torch.cat(p) for p in zip(*parts, strict=True))

    @staticmethod
    def _describe(frames: Tensor, row: Tensor, boxes: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        from fastface import _core

        appearance = np.zeros((len(row), SIGNATURE_SIZE), np.float32)
        sharpness = np.zeros(len(row), np.float32)
        rects = geometry.pixel_rects(boxes, frames.shape[1], frames.shape[2])
        good = geometry.not_empty(rects)
        where = good.cpu().numpy()
        appearance[where], sharpness[where] = _core.describe_faces(
            frames.cpu().numpy(), row[good].cpu().numpy(), rects[good].cpu().numpy(), torch.get_num_threads()
        )
        return appearance, sharpness
