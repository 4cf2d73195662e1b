"""InceptionResnetV1 for a GPU: the network of :mod:`fastface.embed.network` in about a third of the kernels.

The layers are those of facenet-pytorch's module, from its state: batch norms and the blocks' scales are folded into the
convolutions; convolutions of one size that see the same input are one; bias, activation and the residual's addition
happen where cuDNN writes a convolution's result, not in passes of their own over memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fastface.errors import ModelError
from fastface.gpu.layers import by_kernels, colours, copy_channels, empty, max_pool

_EPS = 0.001  # of the batch norms


@dataclass(frozen=True)
class _Conv:
    """A convolution with bias: weight [out, in, rows, columns]."""

    weight: Tensor
    bias: Tensor
    stride: int
    padding: tuple[int, int]

    def __call__(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding)

    def relu(self, x: Tensor) -> Tensor:
        if by_kernels(x.device, x.dtype):
            stride = (self.stride, self.stride)
            return torch.cudnn_convolution_relu(x, self.weight, self.bias, stride, self.padding, (1, 1), 1)
        return self(x).relu_()

    def add_relu(self, x: Tensor, z: Tensor) -> Tensor:
        """relu(convolution + z)"""
        if by_kernels(x.device, x.dtype):
            stride = (self.stride, self.stride)
            return torch.cudnn_convolution_add_relu(x, self.weight, z, 1.0, self.bias, stride, self.padding, (1, 1), 1)
        return self(x).add_(z).relu_()


class _State:
    """A network's state, from which layers are taken, each once."""

    def __init__(self, state: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> None:
        self._state = dict(state)
        self._device, self._dtype = device, dtype

    def _take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        value = self._state.pop(name, None)
        if value is None or tuple(value.shape) != shape:
            found = "missing" if value is None else f"of shape {list(value.shape)}"
            raise ModelError(f"the embedder's {name} is {found}, must be of shape {list(shape)}")
        return value.double()

    def _norm(self, name: str, channels: int) -> tuple[Tensor, Tensor]:
        weight, bias, mean, variance = (
            self._take(f"{name}.{part}", (channels,)) for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight / torch.sqrt(variance + _EPS)
        return scale, bias - mean * scale

    def _conv(self, weight: Tensor, bias: Tensor, stride: int = 1, padding: tuple[int, int] = (0, 0)) -> _Conv:
        return _Conv(
            weight.to(self._device, self._dtype).contiguous(memory_format=torch.channels_last),
            bias.to(self._device, self._dtype),
            stride,
            padding,
        )

    def conv(
        self,
        name: str | Sequence[str],
        inputs: int,
        outputs: int,
        size: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        padded: int | None = None,
    ) -> _Conv:
        """A convolution with its batch norm; of several names, all of them side by side. `padded`: how many inputs it
        gets, of which it sees the first."""
        rows, columns = (size, size) if isinstance(size, int) else size
        weights, biases = [], []
        for one in (name,) if isinstance(name, str) else name:
            weight = self._take(f"{one}.conv.weight", (outputs, inputs, rows, columns))
            scale, bias = self._norm(f"{one}.bn", outputs)
            weights.append(weight * scale[:, None, None, None])
            biases.append(bias)
        pad = (padding, padding) if isinstance(padding, int) else padding
        weight = functional.pad(torch.cat(weights), (0, 0, 0, 0, 0, (padded or inputs) - inputs))
        return self._conv(weight, torch.cat(biases), stride, pad)

    def last(self, name: str, inputs: int, outputs: int, scale: float) -> _Conv:
        """A residual's last convolution, with its scale."""
        weight, bias = self._take(f"{name}.weight", (outputs, inputs, 1, 1)), self._take(f"{name}.bias", (outputs,))
        return self._conv(weight * scale, bias * scale)

    def linear(self, name: str, norm: str, inputs: int, outputs: int) -> _Conv:
        """A linear layer with its batch norm, as a convolution: cuBLAS would be loaded for this one layer alone."""
        weight = self._take(f"{name}.weight", (outputs, inputs))
        scale, bias = self._norm(norm, outputs)
        return self._conv((weight * scale[:, None])[:, :, None, None], bias)

    def finish(self) -> None:
        left = [name for name in self._state if not name.endswith("num_batches_tracked")]
        if left:
            raise ModelError(f"the embedder has {len(left)} tensors that the network does not have, such as {left[0]}")


class _Residual:
    """Block35, Block17 or Block8: branches that each begin with a 1 x 1 convolution to `width` channels."""

    def __init__(
        self, state: _State, name: str, channels: int, width: int, branches: Sequence[Sequence[tuple[int, int]]],
        scale: float, *, relu: bool = True,
    ) -> None:  # fmt: skip
        # A branch of one convolution is the module itself, of several a sequence of them.
        names = [[f"{name}.branch{i}.{j}" for j in range(1 + len(b))] if b else [f"{name}.branch{i}"]
                 for i, b in enumerate(branches)]  # fmt: skip
        self._first = state.conv([n[0] for n in names], channels, width)
        self._rest = [
            [state.conv(n, width, width, size, padding=(size[0] // 2, size[1] // 2))
             for n, size in zip(mine[1:], sizes, strict=True)]
            for mine, sizes in zip(names, branches, strict=True)
        ]  # fmt: skip
        self._width, self._relu = width, relu
        self._last = state.last(f"{name}.conv2d", width * len(branches), channels, scale)

    def __call__(self, x: Tensor) -> Tensor:
        first, joined = self._first.relu(x), empty(x, self._width * len(self._rest))
        places = joined.split(self._width, 1)
        inputs = [empty(x, self._width) if rest else place for rest, place in zip(self._rest, places, strict=True)]
        _spread(first, inputs)
        copy_channels([(_chain(rest, one), place)
                       for rest, one, place in zip(self._rest, inputs, places, strict=True) if rest])  # fmt: skip
        return self._last.add_relu(joined, x) if self._relu else self._last(joined).add_(x)


class FusedNetwork:
    """Scaled faces [n, c, 160, 160] of `dtype`, channels last, to [n, dim] float32 unit vectors; c as
    :func:`fastface.gpu.layers.colours` has it.

    Args:
        state: of facenet-pytorch's InceptionResnetV1, see :mod:`fastface.models.convert`.
        dim: length of the vectors.
        device, dtype: of the weights, and so of the input.

    Raises:
        ModelError: this is another network's state.
    """

    def __init__(self, state: Mapping[str, Tensor], dim: int, device: torch.device, dtype: torch.dtype) -> None:
        s = _State(state, device, dtype)
        self._stem = (
            s.conv("conv2d_1a", 3, 32, 3, stride=2, padded=colours(device, dtype)),
            s.conv("conv2d_2a", 32, 32, 3),
            s.conv("conv2d_2b", 32, 64, 3, padding=1),
        )
        self._stem_2 = (
            s.conv("conv2d_3b", 64, 80),
            s.conv("conv2d_4a", 80, 192, 3),
            s.conv("conv2d_4b", 192, 256, 3, stride=2),
        )
        b35, b17, b8 = ([(), ((3, 3),), ((3, 3), (3, 3))], [(), ((1, 7), (7, 1))], [(), ((1, 3), (3, 1))])
        self._repeat_1 = [_Residual(s, f"repeat_1.{i}", 256, 32, b35, 0.17) for i in range(5)]
        self._mixed_6a = (
            [s.conv("mixed_6a.branch0", 256, 384, 3, stride=2)],
            [
                s.conv("mixed_6a.branch1.0", 256, 192),
                s.conv("mixed_6a.branch1.1", 192, 192, 3, padding=1),
                s.conv("mixed_6a.branch1.2", 192, 256, 3, stride=2),
            ],
        )
        self._repeat_2 = [_Residual(s, f"repeat_2.{i}", 896, 128, b17, 0.10) for i in range(10)]
        self._mixed_7a_first = s.conv([f"mixed_7a.branch{i}.0" for i in range(3)], 896, 256)
        self._mixed_7a = (
            [s.conv("mixed_7a.branch0.1", 256, 384, 3, stride=2)],
            [s.conv("mixed_7a.branch1.1", 256, 256, 3, stride=2)],
            [
                s.conv("mixed_7a.branch2.1", 256, 256, 3, padding=1),
                s.conv("mixed_7a.branch2.2", 256, 256, 3, stride=2),
            ],
        )
        self._repeat_3 = [_Residual(s, f"repeat_3.{i}", 1792, 192, b8, 0.20) for i in range(5)]
        self._block8 = _Residual(s, "block8", 1792, 192, b8, 1.0, relu=False)
        self._linear = s.linear("last_linear", "last_bn", 1792, dim)
        s.finish()

    def __call__(self, x: Tensor) -> Tensor:
        return self.end(self.begin(x))

    def begin(self, x: Tensor) -> Tensor:
        """The layers that take the most memory, 1.5 MB a face in half precision: [n, 256, 17, 17], which is 0.15 MB."""
        return _chain(self._stem_2, max_pool(_chain(self._stem, x)))

    def end(self, x: Tensor) -> Tensor:
        """What is left to do after :meth:`begin`."""
        x = _chain(self._repeat_1, x)
        x = _reduced(x, [_chain(branch, x) for branch in self._mixed_6a])
        x = _chain(self._repeat_2, x)
        inputs = [empty(x, 256) for _ in self._mixed_7a]
        _spread(self._mixed_7a_first.relu(x), inputs)
        x = _reduced(x, [_chain(branch, one) for branch, one in zip(self._mixed_7a, inputs, strict=True)])
        x = self._block8(_chain(self._repeat_3, x))
        x = self._linear(x.mean((2, 3), keepdim=True)).flatten(1)
        return functional.normalize(x.float(), p=2.0, dim=1)


def _spread(x: Tensor, to: Sequence[Tensor]) -> None:
    """Equal parts of x's channels to a tensor each."""
    copy_channels(list(zip(x.split(x.shape[1] // len(to), 1), to, strict=True)))


def _reduced(x: Tensor, branches: Sequence[Tensor]) -> Tensor:
    """What branches made of x, whose sides they halved, and x pooled, side by side."""
    channels = [branch.shape[1] for branch in branches]
    joined = empty(x, sum(channels) + x.shape[1], *branches[0].shape[2:])
    *places, last = joined.split([*channels, x.shape[1]], 1)
    copy_channels(list(zip(branches, places, strict=True)))
    max_pool(x, last)
    return joined


def _chain(layers: Sequence[_Conv | _Residual], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer.relu(x) if isinstance(layer, _Conv) else layer(x)
    return x
