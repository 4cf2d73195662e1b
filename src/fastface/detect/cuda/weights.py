"""MTCNN's weights as the kernels in csrc/cuda hold them: each function packs a kernel's struct."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastface.errors import ModelError

Array = NDArray[Any]


def stored_net(name: str) -> Any:
    """The parameters of facenet-pytorch's "pnet", "rnet" or "onet": `.conv1.weight` and so on, on the CPU.

    From the package's files, because to import it takes seconds: it brings torchvision along.

    Raises:
        ModelError: the package or its file is missing.
    """
    package = importlib.util.find_spec("facenet_pytorch")
    folders = list(package.submodule_search_locations or ()) if package else []
    file = Path(folders[0]) / "data" / f"{name}.pt" if folders else None
    if file is None or not file.is_file():
        raise ModelError(f"facenet-pytorch's {name}.pt is not installed; install facenet-pytorch again")
    layers: dict[str, SimpleNamespace] = {}
    for key, value in torch.load(file, map_location="cpu", weights_only=True).items():
        layer, parameter = key.split(".")
        setattr(layers.setdefault(layer, SimpleNamespace()), parameter, value)
    return SimpleNamespace(**layers)


def _array(tensor: Any) -> Array:
    out: Array = tensor.detach().cpu().float().numpy()
    return out


def _bytes(*parts: Array) -> Array:
    return np.concatenate([np.ascontiguousarray(p).view(np.uint8).ravel() for p in parts])


def fragment(b: Array) -> Array:
    """B of mma.m16n8k16 as the 32 lanes hold it.

    Args:
        b: [..., 16, 8], inputs by outputs.

    Returns:
        [..., 32, 4] float16: lane 4 g + t holds rows 2 t, 2 t + 1, 2 t + 8 and 2 t + 9 of column g.
    """
    lane = np.arange(32)
    rows = 2 * (lane % 4)[:, None] + np.array([0, 1, 8, 9])
    out: Array = b[..., rows, (lane // 4)[:, None]].astype(np.float16)
    return out


def scan_weights(net: Any) -> Array:
    """ScanWeights of scan.cu, from facenet-pytorch's PNet: bytes."""
    w2, w3 = (_array(c.weight) for c in (net.conv2, net.conv3))
    first = _first_layer(net)
    second = np.zeros((3, 32, 16), np.float32)  # [ky][kx * 10 + input][channel]
    second[:, :30] = w2.transpose(2, 3, 1, 0).reshape(3, 30, 16)
    third = w3.transpose(2, 3, 1, 0).reshape(9, 16, 32)
    head, bias = _array(net.conv4_1.weight)[:, :, 0, 0], _array(net.conv4_1.bias)
    return _bytes(
        fragment(first[..., :8].reshape(2, 3, 16, 8)),
        fragment(_channels_8_and_9(first).reshape(4, 16, 8)),
        fragment(second.reshape(3, 2, 16, 2, 8).transpose(0, 1, 3, 2, 4)),
        fragment(third.reshape(9, 16, 4, 8).transpose(0, 2, 1, 3)),
        *_biases(net, (1, 2, 3)),
        head[1] - head[0],
        np.array([bias[1] - bias[0], 0, 0, 0], np.float32),
    )


def rscan_weights(net: Any) -> Array:
    """RScanWeights of rscan.cu, from facenet-pytorch's RNet: bytes."""
    w2, w3 = (_array(c.weight) for c in (net.conv2, net.conv3))
    second = np.zeros((9, 32, 48), np.float32)
    second[:, :28] = w2.transpose(2, 3, 1, 0).reshape(9, 28, 48)
    third = w3.transpose(2, 3, 1, 0).reshape(4, 48, 64)
    # facenet-pytorch flattens in the order (column, row, channel), the kernel in (row, column, channel).
    dense = _array(net.dense4.weight).reshape(128, 3, 3, 64).transpose(2, 1, 3, 0).reshape(576, 128)
    head, bias = _array(net.dense5_1.weight), _array(net.dense5_1.bias)
    return _bytes(
        fragment(_first_layer(net).reshape(2, 3, 16, 4, 8).transpose(0, 1, 3, 2, 4)),
        fragment(second.reshape(9, 2, 16, 6, 8).transpose(0, 1, 3, 2, 4)),
        fragment(third.reshape(4, 3, 16, 8, 8).transpose(0, 1, 3, 2, 4)),
        fragment(dense.reshape(36, 16, 16, 8).transpose(0, 2, 1, 3)),
        *_wide(net),
        *_biases(net, (2, 3)),
        _array(net.dense4.bias),
        _array(net.prelu4.weight),
        head[1] - head[0],
        np.array([bias[1] - bias[0], 0, 0, 0], np.float32),
    )


def _biases(net: Any, layers: tuple[int, ...]) -> list[Array]:
    """Bias and slope of convolutions by turns."""
    return [_array(t) for i in layers for t in (getattr(net, f"conv{i}").bias, getattr(net, f"prelu{i}").weight)]


def _wide(net: Any) -> list[Array]:
    """Bias and slope of R-Net's first layer, 28 channels, padded to 32."""
    return [np.pad(part, (0, 32 - len(part))) for part in _biases(net, (1,))]


def cell_weights(net: Any) -> Array:
    """CellWeights of cells.cu, from facenet-pytorch's PNet: bytes."""
    first = _first_layer(net)
    rest = _channels_8_and_9(first)
    second = np.zeros((9, 16, 16), np.float32)
    second[:, :10] = _array(net.conv2.weight).transpose(2, 3, 1, 0).reshape(9, 10, 16)
    third = _array(net.conv3.weight).transpose(2, 3, 1, 0).reshape(9, 16, 32)
    return _bytes(
        *_split_layers(np.concatenate([first[..., :8].reshape(6, 16, 8), rest.reshape(4, 16, 8)]), second, third),
        *_biases(net, (1, 2, 3)),
        *(_array(c.weight)[:, :, 0, 0] for c in (net.conv4_1, net.conv4_2)),
        _array(net.conv4_1.bias),
        _array(net.conv4_2.bias),
        np.zeros(2, np.float32),
    )


def split_fragment(b: Array) -> tuple[Array, float]:
    """B of mma.m16n8k16 in two parts of half precision, scaled so that both are normal numbers.

    Args:
        b: [..., 16, 8], inputs by outputs.

    Returns:
        [..., 32, 8] float16, each lane's four of the high parts and four of what these leave over; and the factor, a
        power of two, by which sums become those of `b`.
    """
    scale = 2.0 ** np.floor(np.log2(128 / np.abs(b).max()))
    scaled = b.astype(np.float64) * scale
    high = scaled.astype(np.float16)
    low = (scaled - high).astype(np.float16)
    return np.concatenate([fragment(high), fragment(low)], -1), float(1 / scale)


def _split_layers(*layers: Array) -> list[Array]:
    """Layers [steps, 16 inputs, outputs], as R- and O-Net's kernels take them, and their factors, four."""
    split = [split_fragment(w.reshape(-1, 16, w.shape[-1] // 8, 8).transpose(0, 2, 1, 3)) for w in layers]
    factors = np.ones(4, np.float32)
    factors[: len(split)] = [factor for _, factor in split]
    return [*(parts for parts, _ in split), factors]


def _first_layer(net: Any) -> Array:
    """conv1 as it sees 4 pixels of 4 colours side by side, the first or the last three: [dx, ky, pixel, colour, 32]."""
    w = _array(net.conv1.weight).transpose(2, 3, 1, 0)
    out = np.zeros((2, 3, 4, 4, 32), np.float32)
    for dx in range(2):
        out[dx, :, dx : dx + 3, :3, : w.shape[-1]] = w
    return out


def _channels_8_and_9(first: Array) -> Array:
    """What P-Net's conv1 (:func:`_first_layer`) has for channels 8 and 9 of the four pixels of a pool, which see four
    rows: [row, pixel, colour, (dy * 2 + dx) * 2 + channel - 8]."""
    out = np.zeros((4, 4, 4, 8), np.float32)
    for dx in range(2):
        for dy in range(2):
            at = 2 * (2 * dy + dx)
            out[dy : dy + 3, ..., at : at + 2] = first[dx, ..., 8:10]
    return out


def rnet_weights(net: Any) -> Array:
    """RNetWeights of rnet.cu, from facenet-pytorch's RNet: bytes."""
    second = np.zeros((3, 3, 32, 48), np.float32)
    second[:, :, :28] = _array(net.conv2.weight).transpose(2, 3, 1, 0)
    third = _array(net.conv3.weight).transpose(2, 3, 1, 0)
    return _bytes(*_split_layers(_first_layer(net), second, third), *_wide(net), *_biases(net, (2, 3)))


def onet_weights(net: Any) -> Array:
    """ONetWeights of onet.cu, from facenet-pytorch's ONet: bytes."""
    rest = (_array(getattr(net, f"conv{i}").weight).transpose(2, 3, 1, 0) for i in (2, 3, 4))
    return _bytes(*_split_layers(_first_layer(net), *rest), *_biases(net, (1, 2, 3, 4)))


def dense_weights(hidden: Any, prelu: Any, heads: tuple[Any, ...]) -> Array:
    """DenseWeights of dense.cu, from the fully connected layer, its activation and those that follow it: bytes."""
    w = _array(hidden.weight)
    # facenet-pytorch flattens [channel, row, column] in the order (column, row, channel).
    outputs, inputs = w.shape
    w = w.reshape(outputs, 3, 3, inputs // 9).transpose(3, 2, 1, 0).reshape(inputs, outputs)
    return _bytes(
        w,
        _array(hidden.bias),
        _array(prelu.weight),
        *(_array(h.weight) for h in heads),
        *(_array(h.bias) for h in heads),
    )
