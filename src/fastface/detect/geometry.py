"""MTCNN's arithmetic on boxes, in torch, on any device. Boxes are [M, 4] float32, xyxy, pixels."""

from __future__ import annotations

import torch
from torch import Tensor


def pyramid_scales(height: int, width: int, min_face_size: int, factor: float) -> list[float]:
    """Scales of the image pyramid, largest first; empty where the picture is smaller than the smallest face."""
    scales = []
    scale = 12.0 / min_face_size
    side = min(height, width) * scale
    while side >= 12:
        scales.append(scale)
        scale *= factor
        side *= factor
    return scales


def level_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width of a pyramid level."""
    return int(height * scale + 1), int(width * scale + 1)


def cell_boxes(cells: Tensor, scale: float) -> Tensor:
    """Boxes of P-Net's cells (12 pixels wide, 2 apart at this scale); cells [M, 2] = (y, x)."""
    xy = cells.flip(1).float()
    # The order of operations is facenet-pytorch's: another one rounds to other pixels.
    return torch.cat([((2 * xy + 1) / scale).floor(), ((2 * xy + 12) / scale).floor()], dim=1)


def square(boxes: Tensor) -> Tensor:
    """Each box to the square around its centre with its longer side."""
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.max(1, keepdim=True).values
    corner = boxes[:, :2] + sides * 0.5 - side * 0.5
    return torch.cat([corner, corner + side], dim=1)


def refine(boxes: Tensor, offsets: Tensor, *, inclusive: bool) -> Tensor:
    """Move the corners by offsets [M, 4] in box sizes; `inclusive` sides count both end pixels (R- and O-Net)."""
    sides = boxes[:, 2:] - boxes[:, :2] + (1.0 if inclusive else 0.0)
    return boxes + offsets * torch.cat([sides, sides], dim=1)


def pixel_rects(boxes: Tensor, height: int, width: int) -> Tensor:
    """The pixels that facenet-pytorch crops for a box: [M, 4] int32, half open, cut to the picture; may be empty."""
    whole = boxes.trunc().to(torch.int32)
    low = whole[:, :2].clamp(min=1) - 1
    limit = torch.tensor([width, height], dtype=torch.int32, device=boxes.device)
    return torch.cat([low, torch.minimum(whole[:, 2:], limit)], dim=1)


def not_empty(rects: Tensor) -> Tensor:
    """[M] bool: the rectangle holds at least one pixel."""
    return (rects[:, 2:] > rects[:, :2]).all(1)


def place_landmarks(points: Tensor, boxes: Tensor) -> Tensor:
    """O-Net's landmarks [M, 10] (x1..x5, y1..y5 in box sizes) in pixels: [M, 5, 2]; boxes are those it looked at."""
    sides = (boxes[:, 2:] - boxes[:, :2] + 1.0)[:, None]  # both end pixels count
    return points.view(-1, 2, 5).transpose(1, 2) * sides + boxes[:, None, :2] - 1.0
