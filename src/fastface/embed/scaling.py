"""Faces as the networks were trained to see them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastface.errors import InputValidationError
from fastface.models.registry import Scaling

IMAGE_SIZE = 160


def scale_input(x: Tensor, scaling: Scaling) -> Tensor:
    """Scale faces the way a network was trained.

    Args:
        x: [n, 3, 160, 160], RGB in [0, 255], uint8 or floating point; left as it is.
        scaling: "fixed", (x - 127.5) / 128, or "standardize", (x - mean) / max(std, 1 / sqrt(3 * 160 * 160))
            with the mean and (population) standard deviation of each image.

    Returns:
        [n, 3, 160, 160] float32, on the same device and in the same memory format.

    Raises:
        InputValidationError: another shape, or another scaling.
    """
    if x.ndim != 4 or tuple(x.shape[1:]) != (3, IMAGE_SIZE, IMAGE_SIZE):
        shape = list(x.shape)
        raise InputValidationError(f"faces have shape {shape}, must be [n, 3, {IMAGE_SIZE}, {IMAGE_SIZE}]")
    values = x.to(torch.float32)
    if scaling == "fixed":
        return (values - 127.5).mul_(1 / 128)
    if scaling == "standardize":
        if len(values) == 0:  # of which torch would warn
            return values
        deviation, mean = torch.std_mean(values, dim=(1, 2, 3), correction=0, keepdim=True)
        return (values - mean).div_(deviation.clamp_(min=1 / math.sqrt(3 * IMAGE_SIZE * IMAGE_SIZE)))
    raise InputValidationError(f"scaling is {scaling!r}, must be 'fixed' or 'standardize'")
