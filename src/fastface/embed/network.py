"""InceptionResnetV1 made ready to run: weights from the model cache, batch norms folded, channels last.

Figures (ms a face, two cores of an AMD EPYC with AVX-512, fp32): eager 42.8, 26.5 and 25.8 at batches of 1, 8
and 32, as loaded here 30.2, 16.2 and 16.0. docs/models.md has the rest.
"""

from __future__ import annotations

import copy

import torch
from facenet_pytorch.models.inception_resnet_v1 import (
    BasicConv2d,
    Block8,
    Block17,
    Block35,
    InceptionResnetV1,
)
from torch import Tensor, nn
from torch.nn import functional

from fastface import models
from fastface.errors import InputValidationError
from fastface.models import convert
from fastface.models.registry import EmbedderSpec


def _folded(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | nn.BatchNorm1d) -> nn.Conv2d | nn.Linear:
    """`layer` followed by `norm` in evaluation, as one layer. In float64: one rounding, at the end."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = norm.bias.double() - norm.running_mean.double() * scale
    if layer.bias is not None:
        bias += layer.bias.double() * scale
    folded = copy.deepcopy(layer)
    weight = layer.weight.double() * scale.reshape(-1, *(1,) * (layer.weight.ndim - 1))
    folded.weight = nn.Parameter(weight.to(layer.weight.dtype), requires_grad=False)
    folded.bias = nn.Parameter(bias.to(layer.weight.dtype), requires_grad=False)
    return folded


class _ConvReLU(nn.Module):
    """BasicConv2d with its batch norm folded: [n, c, h, w] to [n, c', h', w']."""

    def __init__(self, block: BasicConv2d) -> None:
        super().__init__()
        self.conv = _folded(block.conv, block.bn)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y.relu_()


class _Residual(nn.Module):
    """Block35, Block17 or Block8, its scale folded into the last convolution: [n, c, h, w] to the same."""

    def __init__(self, block: Block35 | Block17 | Block8) -> None:
        super().__init__()
        self.branches = nn.ModuleList(getattr(block, f"branch{i}") for i in range(3) if hasattr(block, f"branch{i}"))
        self.conv2d = copy.deepcopy(block.conv2d)
        assert self.conv2d.bias is not None
        self.conv2d.weight.mul_(block.scale)
        self.conv2d.bias.mul_(block.scale)
        self.relu = not getattr(block, "noReLU", False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2d(torch.cat([branch(x) for branch in self.branches], 1))
        y = y.add_(x)
        return y.relu_() if self.relu else y


def _replace(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        _replace(child)  # the branches of a block before the block itself
        if isinstance(child, BasicConv2d):
            setattr(module, name, _ConvReLU(child))
        elif isinstance(child, Block35 | Block17 | Block8):
            setattr(module, name, _Residual(child))


class FoldedNetwork(nn.Module):
    """InceptionResnetV1 without a batch norm: [n, 3, 160, 160] scaled faces to [n, dim] float32 unit vectors.

    The input may have any floating dtype that the weights have; the norm is taken in float32 whatever that
    is.
    """

    def __init__(self, network: InceptionResnetV1) -> None:
        super().__init__()
        n = network
        self.body = nn.Sequential(
            n.conv2d_1a,
            n.conv2d_2a,
            n.conv2d_2b,
            n.maxpool_3a,
            n.conv2d_3b,
            n.conv2d_4a,
            n.conv2d_4b,
            n.repeat_1,
            n.mixed_6a,
            n.repeat_2,
            n.mixed_7a,
            n.repeat_3,
            n.block8,
            n.avgpool_1a,
            nn.Flatten(),
            _folded(n.last_linear, n.last_bn),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.body(x).float(), p=2.0, dim=1)


@torch.no_grad()
def fold_batch_norms(module: nn.Module, *, channels_last: bool = True) -> nn.Module:
    """A copy of an InceptionResnetV1 in evaluation with every batch norm, and every block's scale, folded in.

    Args:
        module: facenet-pytorch's InceptionResnetV1; left as it is.
        channels_last: keep the weights channels last, which makes the convolutions run so whatever the input
            is.

    Returns:
        A module in evaluation mode that gives the same embeddings up to rounding, always float32.

    Raises:
        InputValidationError: the module is another one, or in training mode (its batch norms then depend on
            the batch).
    """
    if not isinstance(module, InceptionResnetV1) or module.classify:
        kind = type(module).__name__
        raise InputValidationError(f"module is a {kind}, must be an InceptionResnetV1 that gives embeddings")
    if module.training:
        raise InputValidationError("module is in training mode, must be in evaluation mode: call .eval()")
    network = copy.deepcopy(module)
    _replace(network)
    folded = FoldedNetwork(network).eval().requires_grad_(False)
    if channels_last:
        folded = folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return folded


def load_network(
    spec: EmbedderSpec,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    fold: bool = True,
    channels_last: bool = True,
) -> nn.Module:
    """The network of an embedder, from the model cache, ready to run.

    Args:
        spec: which embedder; it must be in the cache (`fastface.models.resolve` sees to that).
        device: where to put it.
        dtype: of its weights, and so of its input: float32, float16 or bfloat16.
        fold: fold batch norms, see `fold_batch_norms`; False gives facenet-pytorch's own module, whose
            embeddings have the dtype of the weights.
        channels_last: keep the weights channels last.

    Returns:
        A module in evaluation mode, without gradients: [n, 3, 160, 160] faces scaled by `scale_input` (of
        `dtype`) to [n, spec.dim] unit vectors.

    Raises:
        ModelError: the weights are missing (the message names the command), damaged, or not this network's.
        InputValidationError: dtype is not one of those.
    """
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        allowed = "torch.float32, torch.float16 or torch.bfloat16"
        raise InputValidationError(f"dtype is {dtype}, must be {allowed}")
    state = models.load_state(spec)
    convert.check_state(state, spec.dim, models.path(spec.name).name)
    network: nn.Module = convert.empty_network(spec.dim)
    for name, buffer in network.named_buffers():
        if name not in state:  # num_batches_tracked, which evaluation does not read
            state[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)
    network.load_state_dict(state, strict=True, assign=True)
    network.requires_grad_(False)
    if fold:
        network = fold_batch_norms(network, channels_last=False)  # in float32, before dtype rounds
    network = network.to(device=device, dtype=dtype)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval()
