"""The embedder's kernels against torch: on a GPU, and compiled for the CPU (see tests/simulated)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))
from fastface import models
from fastface.embed.scaling import scale_input
from fastface.gpu import layers, network
from fastface.models.registry import EmbedderSpec
from simulated.device import SimulatedGPU, install


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return SimulatedGPU(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(params=["first to last", "last to first", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request, simulated, monkeypatch):
    """Where the kernels run."""
    if request.param == "gpu":
        return torch.device("cuda")
    simulated.order = request.param == "last to first"
    fake = install(simulated, monkeypatch)
    monkeypatch.setattr(layers, "torch", fake)
    monkeypatch.setattr(layers, "kernel", simulated.kernel)
    for module in (layers, network):
        monkeypatch.setattr(module, "by_kernels", lambda device, dtype: dtype == torch.float16)
    return torch.device("cpu")


def images(seed: int, n: int, channels: int, height: int, width: int) -> torch.Tensor:
    x = torch.randn(n, channels, height, width, generator=torch.Generator().manual_seed(seed))
    return x.half().contiguous(memory_format=torch.channels_last)


def faces(n: int) -> torch.Tensor:
    """Crops with much, little and no contrast, dark and bright."""
    x = torch.randint(0, 256, (n, 3, 160, 160), generator=torch.Generator().manual_seed(n), dtype=torch.uint8)
    x[1] = 255
    x[2] = x[2] // 64 + 190
    x[3] = 0
    x[3, 1, 80, 80] = 1
    return x


@pytest.mark.parametrize("scaling", ["fixed", "standardize"])
def test_faces_are_scaled_as_by_torch(device, scaling):
    crops = faces(5)
    got = layers.scale_faces(crops.to(device), scaling, torch.float16).cpu()
    assert got.shape == (5, 8, 160, 160)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert not got[:, 3:].any()
    torch.testing.assert_close(got[:, :3], scale_input(crops.double(), scaling).half(), atol=2e-6, rtol=1e-3)


@pytest.mark.parametrize("shape", [(3, 64, 77, 77), (2, 256, 17, 17), (1, 896, 8, 8), (5, 8, 5, 8)])
def test_pooling_equals_torchs(device, shape):
    x = images(1, *shape)
    wanted = functional.max_pool2d(x.float(), 3, 2)
    got = layers.max_pool(x.to(device))
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got.float().cpu(), wanted, atol=0, rtol=0)
    # Into the last channels of a tensor, the others of which stay.
    joined = torch.full((shape[0], shape[1] + 24, *wanted.shape[2:]), 7.0, dtype=torch.float16, device=device)
    joined = joined.contiguous(memory_format=torch.channels_last)
    layers.max_pool(x.to(device), joined[:, 24:])
    torch.testing.assert_close(joined[:, 24:].float().cpu(), wanted, atol=0, rtol=0)
    assert (joined[:, :24] == 7).all()


@pytest.mark.parametrize("widths", [[32], [128, 128], [384, 256, 8]])
def test_channels_are_copied(device, widths):
    x, y = images(2, 3, sum(widths) + 16, 9, 7).to(device), images(3, 3, sum(widths) + 40, 9, 7).to(device)
    # The last one comes first.
    begins = [sum(widths[:i]) for i in range(len(widths))]
    pairs = [(8 + a, 24 + sum(widths) - a - width) for a, width in zip(begins, widths, strict=True)]
    wanted = y.clone()
    for (a, b), width in zip(pairs, widths, strict=True):
        wanted[:, b : b + width] = x[:, a : a + width]
    layers.copy_channels([(x[:, a : a + w], y[:, b : b + w]) for (a, b), w in zip(pairs, widths, strict=True)])
    assert torch.equal(y, wanted)


def test_the_network_by_kernels_is_the_same(device, embedder_spec: EmbedderSpec, monkeypatch):
    """In half precision with what lies between its convolutions by kernels, and in float32 by torch alone."""
    if device.type == "cpu":  # cuDNN's part
        def relu(x, weight, bias, stride, padding, dilation, groups, z=0.0):
            return functional.conv2d(x.float(), weight.float(), bias.float(), stride, padding).add(z).relu().half()

        monkeypatch.setattr(torch, "cudnn_convolution_relu", relu)
        monkeypatch.setattr(torch, "cudnn_convolution_add_relu",
                            lambda x, w, z, alpha, *rest: relu(x, w, *rest, z=z.float()))  # fmt: skip
    crops, state, dim = faces(4 if device.type == "cpu" else 40), models.load_state(embedder_spec), embedder_spec.dim
    with torch.inference_mode():
        half = network.FusedNetwork(state, dim, device, torch.float16)
        ours = half(layers.scale_faces(crops.to(device), embedder_spec.scaling, torch.float16)).cpu()
        exact = network.FusedNetwork(state, dim, torch.device("cpu"), torch.float32)
        theirs = exact(scale_input(crops, embedder_spec.scaling))
    assert ours.shape == theirs.shape
    assert ((ours * theirs).sum(1) > 0.9995).all()
