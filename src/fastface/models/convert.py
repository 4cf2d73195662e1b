"""From the published files to one form: the state of facenet-pytorch's InceptionResnetV1 as safetensors.

Neither reader runs code from the file: the .pt is read with weights_only, the .h5 by h5py as plain arrays.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import safetensors.torch
import torch
from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1
from torch import Tensor, nn

from fastface.errors import ModelError
from fastface.models import CONVERTER_VERSION, cache
from fastface.models.registry import EmbedderSpec

METADATA_KEY = "fastface"
_BATCHES = "num_batches_tracked"  # counted in training only


def empty_network(dim: int) -> nn.Module:
    """InceptionResnetV1 with `dim` outputs, on the meta device: shapes without memory or values."""
    with torch.device("meta"):
        network = InceptionResnetV1(pretrained=None)
        network.last_linear = nn.Linear(1792, dim, bias=False)
        network.last_bn = nn.BatchNorm1d(dim, eps=0.001, momentum=0.1)
    network.eval()
    assert isinstance(network, nn.Module)
    return network


def expected_shapes(dim: int) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter and running statistic of the network with `dim` outputs, by its name."""
    state = empty_network(dim).state_dict()
    return {key: tuple(value.shape) for key, value in state.items() if not key.endswith(_BATCHES)}


def keras_layers() -> dict[str, str]:
    """Where each layer of the .h5 belongs: name there (TensorFlow's) to the path of facenet-pytorch's module.

    A path to a module with a convolution and its batch norm stands for both; the batch norm of layer X is
    X_BatchNorm in the .h5.
    """
    names = {
        f"Conv2d_{part}": f"conv2d_{part.split('_')[0]}"
        for part in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3", "4b_3x3")
    }

    def block(layer: str, module: str, branches: tuple[tuple[str, ...], ...]) -> None:
        for i, convolutions in enumerate(branches):
            for j, convolution in enumerate(convolutions):
                place = f"branch{i}" if len(convolutions) == 1 else f"branch{i}.{j}"
                names[f"{layer}_Branch_{i}_{convolution}"] = f"{module}.{place}"

    one = ("Conv2d_1x1",)
    for i in range(5):
        block(
            f"Block35_{i + 1}",
            f"repeat_1.{i}",
            (one, ("Conv2d_0a_1x1", "Conv2d_0b_3x3"), ("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_0c_3x3")),
        )
        names[f"Block35_{i + 1}_Conv2d_1x1"] = f"repeat_1.{i}.conv2d"
    block("Mixed_6a", "mixed_6a", (("Conv2d_1a_3x3",), ("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_1a_3x3")))
    for i in range(10):
        block(f"Block17_{i + 1}", f"repeat_2.{i}", (one, ("Conv2d_0a_1x1", "Conv2d_0b_1x7", "Conv2d_0c_7x1")))
        names[f"Block17_{i + 1}_Conv2d_1x1"] = f"repeat_2.{i}.conv2d"
    block(
        "Mixed_7a",
        "mixed_7a",
        (
            ("Conv2d_0a_1x1", "Conv2d_1a_3x3"),
            ("Conv2d_0a_1x1", "Conv2d_1a_3x3"),
            ("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_1a_3x3"),
        ),
    )
    for i in range(6):
        module = f"repeat_3.{i}" if i < 5 else "block8"
        block(f"Block8_{i + 1}", module, (one, ("Conv2d_0a_1x1", "Conv2d_0b_1x3", "Conv2d_0c_3x1")))
        names[f"Block8_{i + 1}_Conv2d_1x1"] = f"{module}.conv2d"
    names["Bottleneck"] = "last_linear"
    return names


def _read_keras(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Arrays of the .h5: by layer, then "kernel", "bias", "beta", "moving_mean" or "moving_variance"."""
    layers: dict[str, dict[str, np.ndarray]] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            _, layer, parameter = name.rsplit("/", 2)
            layers.setdefault(layer, {})[parameter.split(":")[0]] = np.asarray(item[()], np.float32)

    try:
        with h5py.File(path, "r") as file:
            file.get("model_weights", file).visititems(visit)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{str(path)!r} cannot be read as a Keras model: {error}") from error
    return layers


def state_from_keras(path: Path) -> dict[str, Tensor]:
    """Read the Keras model of facenet-msceleb1m.

    Convolution kernels are [h, w, in, out] there and [out, in, h, w] here; its batch norms have no scale, so
    ours is 1.

    Returns:
        float32 tensors by the names of facenet-pytorch's InceptionResnetV1.

    Raises:
        ModelError: the file cannot be read, or a layer or an array is missing or left over.
    """
    layers = _read_keras(path)
    state: dict[str, Tensor] = {}

    def take(layer: str, parameters: tuple[str, ...]) -> list[np.ndarray]:
        found = layers.pop(layer, {})
        if set(found) != set(parameters):
            has = sorted(found) or "nothing"
            raise ModelError(f"{str(path)!r}: layer {layer!r} has {has}, must have {sorted(parameters)}")
        return [found[p] for p in parameters]

    def put_batch_norm(layer: str, module: str) -> None:
        beta, mean, variance = take(layer, ("beta", "moving_mean", "moving_variance"))
        for key, value in (("bias", beta), ("running_mean", mean), ("running_var", variance)):
            state[f"{module}.{key}"] = torch.from_numpy(value)
        state[f"{module}.weight"] = torch.ones(len(beta))

    for layer, module in keras_layers().items():
        if layer == "Bottleneck":
            (kernel,) = take(layer, ("kernel",))
            state[f"{module}.weight"] = torch.from_numpy(kernel.T.copy())
            put_batch_norm("Bottleneck_BatchNorm", "last_bn")
        elif module.endswith("conv2d"):  # the last of a block: a bias, no batch norm
            kernel, bias = take(layer, ("kernel", "bias"))
            state[f"{module}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
            state[f"{module}.bias"] = torch.from_numpy(bias)
        else:
            (kernel,) = take(layer, ("kernel",))
            state[f"{module}.conv.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
            put_batch_norm(f"{layer}_BatchNorm", f"{module}.bn")
    if layers:
        raise ModelError(f"{str(path)!r}: layers without a place in the network: {', '.join(sorted(layers))}")
    return state


def state_from_pt(path: Path) -> dict[str, Tensor]:
    """Read a state that facenet-pytorch published, and drop the classifier that only its training needed.

    Returns:
        float32 tensors by the names of facenet-pytorch's InceptionResnetV1.

    Raises:
        ModelError: the file is not a dictionary of tensors.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ModelError(f"{str(path)!r} cannot be read as a PyTorch state: {error}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ModelError(f"{str(path)!r} is not a dictionary of tensors")
    return {
        key: value.to(torch.float32)
        for key, value in loaded.items()
        if not key.endswith(_BATCHES) and not key.startswith("logits.")
    }


def check_state(state: dict[str, Tensor], dim: int, origin: str) -> None:
    """Check that every parameter of the network is there, in its shape, finite, and nothing else.

    Raises:
        ModelError: otherwise, naming the first few.
    """
    shapes = expected_shapes(dim)
    missing, extra = sorted(set(shapes) - set(state)), sorted(set(state) - set(shapes))
    if missing or extra:
        raise ModelError(
            f"{origin} is not this network with {dim} outputs: missing {missing[:5] or 'nothing'}, "
            f"left over {extra[:5] or 'nothing'}"
        )
    for key, value in state.items():
        if tuple(value.shape) != shapes[key]:
            raise ModelError(f"{origin}: {key} has shape {list(value.shape)}, must be {list(shapes[key])}")
        if not bool(torch.isfinite(value).all()):
            raise ModelError(f"{origin}: {key} has values that are not finite")


def convert(spec: EmbedderSpec, source: Path, target: Path, *, source_sha256: str) -> str:
    """Convert a published file (.pt or .h5) to safetensors.

    The same source always gives the same bytes.

    Args:
        spec: which embedder it is.
        source: the published file, or the member of the published archive.
        target: the .safetensors, which appears complete or not at all.
        source_sha256: of what was downloaded, for the metadata.

    Returns:
        sha256 of the file written.

    Raises:
        ModelError: the source is not this network, or the target cannot be written.
    """
    state = state_from_keras(source) if source.suffix == ".h5" else state_from_pt(source)
    check_state(state, spec.dim, source.name)
    facts = {"name": spec.name, "source_sha256": source_sha256, "converter": CONVERTER_VERSION}
    # One key only: safetensors writes several in an order that changes from run to run.
    metadata = {METADATA_KEY: json.dumps(facts, sort_keys=True)}
    tensors = {key: state[key].contiguous() for key in sorted(state)}
    with cache.writing(target) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, metadata=metadata))
        return cache.sha256_of(temporary)
