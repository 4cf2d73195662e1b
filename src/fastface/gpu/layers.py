"""What the embedder does between its convolutions: kernels of ours in half precision on a GPU, torch elsewhere.

torch's own passes take each a trip to memory of their own, and its pooling writes where each maximum was as well.
Tensors of images are channels last; channels come in multiples of eight.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fastface.embed.scaling import IMAGE_SIZE, scale_input
from fastface.gpu.kernels import kernel, launch
from fastface.models.registry import Scaling

CHUNK = 8
"""Channels that are 16 bytes, of which tensors have a multiple; and colours of the network's input."""

_THREADS, _COPIES, _CHUNKS_A_THREAD = 256, 3, 4


def by_kernels(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether tensors of `dtype` on `device` are our kernels' (and cuDNN's, with what follows a convolution)."""
    return device.type == "cuda" and dtype == torch.float16


def colours(device: torch.device, dtype: torch.dtype) -> int:
    """Channels of the network's input: three, and for our kernels zeros up to :data:`CHUNK`."""
    return CHUNK if by_kernels(device, dtype) else 3


def empty(like: Tensor, channels: int, rows: int | None = None, columns: int | None = None) -> Tensor:
    """A tensor of as many images as `like`, and of its rows and columns unless told otherwise."""
    n, _, h, w = like.shape
    return torch.empty(
        (n, channels, rows or h, columns or w), dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )


def scale_faces(crops: Tensor, scaling: Scaling, dtype: torch.dtype) -> Tensor:
    """Faces as the network takes them.

    Args:
        crops: [n, 3, 160, 160] uint8, contiguous.
        scaling: see :func:`fastface.embed.scaling.scale_input`.

    Returns:
        [n, :func:`colours`, 160, 160] of `dtype`.
    """
    if not by_kernels(crops.device, dtype):
        return scale_input(crops, scaling).to(dtype).contiguous(memory_format=torch.channels_last)
    moments = None
    if scaling == "standardize":
        moments = torch.empty((len(crops), 2), dtype=torch.float32, device=crops.device)
        _launch(crops, "faces", "face_moments", (len(crops),), crops, moments)
    out = torch.empty(
        (len(crops), CHUNK, IMAGE_SIZE, IMAGE_SIZE), dtype=dtype, device=crops.device,
        memory_format=torch.channels_last,
    )  # fmt: skip
    _launch(crops, "faces", "scale_faces", (IMAGE_SIZE**2 // _THREADS, len(crops)), crops, moments, out)
    return out


def max_pool(x: Tensor, out: Tensor | None = None) -> Tensor:
    """The largest of 3 x 3, 2 apart.

    Args:
        x: [n, c, h, w].
        out: [n, c, (h - 1) // 2, (w - 1) // 2], or these channels of a tensor that has more.

    Returns:
        out.
    """
    n, c, h, w = x.shape
    if out is None:
        out = empty(x, c, (h - 1) // 2, (w - 1) // 2)
    if not by_kernels(x.device, x.dtype):
        return out.copy_(functional.max_pool2d(x, 3, 2))
    chunks = c // CHUNK
    grid = (-(-out.shape[2] * out.shape[3] * chunks // _THREADS), n)
    _launch(x, "pool", "max_pool", grid, x, h, w, chunks, out, _apart(out))
    return out


def copy_channels(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Copy each first to its second.

    Args:
        pairs: one to three, [n, c, h, w] each, of the same n, h and w: tensors, or channels of tensors that have more.
    """
    source = pairs[0][0]
    if not by_kernels(source.device, source.dtype):
        for one, other in pairs:
            other.copy_(one)
        return
    n, _, h, w = source.shape
    most = max(one.shape[1] for one, _ in pairs) // CHUNK
    arguments: list[Tensor | int | None] = [n * h * w]
    for one, other in pairs:
        arguments += [one, other, _apart(one), _apart(other), one.shape[1] // CHUNK]
    arguments += [None, None, 0, 0, 0] * (_COPIES - len(pairs))
    grid = (-(-n * h * w * most // (_THREADS * _CHUNKS_A_THREAD)), len(pairs))
    _launch(source, "channels", "copy_channels", grid, *arguments)


def _apart(x: Tensor) -> int:
    """How many times eight channels the pixels of a tensor are apart."""
    assert x.stride(1) == 1 or x.shape[1] == 1
    assert x.stride(3) % CHUNK == 0
    assert x.stride(2) == x.stride(3) * x.shape[3]
    return x.stride(3) // CHUNK


def _launch(on: Tensor, file: str, function: str, grid: tuple[int, ...], *arguments: object) -> None:
    device = on.device
    stream = torch.cuda.current_stream(device).cuda_stream
    launch(stream, device.index, kernel(file, function, device=device.index), grid, _THREADS, *arguments)
