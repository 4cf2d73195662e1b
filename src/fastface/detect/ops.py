"""The three operations of the cascade that are not networks, for any device.

CPU tensors go to the C++ core; others take the plain torch form below, which is also what tests compare with.
Frames are [N, H, W, 3] uint8 RGB.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def scale(x: Tensor) -> Tensor:
    """[0, 255] to MTCNN's input range, (x - 127.5) / 128."""
    return (x - 127.5) * 0.0078125


def resize_area(frames: Tensor, height: int, width: int) -> Tensor:
    """All frames to height x width: [N, 3, height, width] float32, scaled for MTCNN."""
    if frames.device.type == "cpu":
        from fastface import _core

        return torch.from_numpy(_core.resize_area(frames.numpy(), height, width, torch.get_num_threads()))
    return resize_area_reference(frames, height, width)


def resize_area_reference(frames: Tensor, height: int, width: int) -> Tensor:
    """:func:`resize_area` in plain torch."""
    return scale(interpolate(frames.permute(0, 3, 1, 2).float(), size=(height, width), mode="area"))


def crop_area(frames: Tensor, row: Tensor, rect: Tensor, size: int) -> Tensor:
    """Rectangles to size x size by area resampling: [M, 3, size, size] float32, scaled for MTCNN.

    Args:
        row: [M] int64, which frame.
        rect: [M, 4] int32, x1, y1, x2, y2, half open, inside the frame, not empty.
    """
    if frames.device.type == "cpu":
        from fastface import _core

        return torch.from_numpy(
            _core.crop_area(frames.numpy(), row.numpy(), rect.numpy(), size, torch.get_num_threads())
        )
    return crop_area_reference(frames, row, rect, size)


def crop_area_reference(frames: Tensor, row: Tensor, rect: Tensor, size: int) -> Tensor:
    """:func:`crop_area` in plain torch, one box at a time."""
    out = torch.empty((len(row), 3, size, size), device=frames.device)
    for i, (r, (x1, y1, x2, y2)) in enumerate(zip(row.tolist(), rect.tolist(), strict=True)):
        part = frames[r, y1:y2, x1:x2].permute(2, 0, 1)[None].float()
        out[i] = interpolate(part, size=(size, size), mode="area")[0]
    return scale(out)


def nms(boxes: Tensor, scores: Tensor, group: Tensor, threshold: float, *, minimum: bool = False) -> Tensor:
    """Greedy suppression within each group.

    Args:
        boxes: [M, 4] float32, xyxy.
        scores: [M] float32.
        group: [M] int64; boxes of different groups do not see each other.
        threshold: a box goes where its overlap with a kept one is above.
        minimum: overlap is intersection over the smaller box, sides + 1 (MTCNN's last stage), not over the union.

    Returns:
        [K] int64, kept, ordered by group, then by score (highest first), then by index.
    """
    if boxes.device.type == "cpu":
        from fastface import _core

        return torch.from_numpy(_core.nms(boxes.numpy(), scores.numpy(), group.numpy(), threshold, minimum))
    return nms_reference(boxes, scores, group, threshold, minimum=minimum)


def nms_reference(boxes: Tensor, scores: Tensor, group: Tensor, threshold: float, *, minimum: bool = False) -> Tensor:
    """:func:`nms` in plain torch, one group at a time."""
    extra = 1.0 if minimum else 0.0
    kept = []
    for g in torch.unique(group).tolist():
        left = torch.nonzero(group == g)[:, 0]
        left = left[torch.sort(scores[left], descending=True, stable=True).indices]
        while len(left):
            first, left = left[0], left[1:]
            kept.append(first)
            a, b = boxes[first], boxes[left]
            sides = (torch.minimum(a[2:], b[:, 2:]) - torch.maximum(a[:2], b[:, :2]) + extra).clamp(min=0)
            inter = sides[:, 0] * sides[:, 1]
            area_a = (a[2:] - a[:2] + extra).prod()
            area_b = (b[:, 2:] - b[:, :2] + extra).prod(1)
            whole = torch.minimum(area_a, area_b) if minimum else area_a + area_b - inter
            left = left[~(inter / whole > threshold)]
    return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.int64, device=boxes.device)
