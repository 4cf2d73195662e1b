"""The network that runs: scaling, folding, loading."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1
from torch import nn

from fastface import models
from fastface.embed import network
from fastface.embed.scaling import scale_input
from fastface.errors import InputValidationError, ModelError


@pytest.fixture(scope="module")
def random_network() -> InceptionResnetV1:
    """Random weights, lively batch norms: fresh ones, of mean 0 and variance 1, would test no folding."""
    torch.manual_seed(3)
    net = InceptionResnetV1(pretrained=None).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return net


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return torch.randint(
        0, 256, (3, 3, 160, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(5)
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_scalings_are_their_formulas(faces: torch.Tensor, dtype: torch.dtype) -> None:
    x = faces.to(dtype)
    values = faces.numpy().astype(np.float64)
    fixed = scale_input(x, "fixed")
    np.testing.assert_allclose(fixed, (values - 127.5) / 128, atol=1e-6)
    standard = scale_input(x, "standardize")
    flat = values.reshape(len(values), -1)
    deviation = np.maximum(flat.std(1), 1 / math.sqrt(flat.shape[1]))
    want = (flat - flat.mean(1, keepdims=True)) / deviation[:, None]
    np.testing.assert_allclose(standard.reshape(len(values), -1), want, atol=1e-5)
    assert fixed.dtype == standard.dtype == torch.float32
    assert torch.equal(x, faces.to(dtype))


def test_a_flat_image_is_scaled_to_zero() -> None:
    assert torch.equal(
        scale_input(torch.full((1, 3, 160, 160), 200.0), "standardize"), torch.zeros(1, 3, 160, 160)
    )


def test_scaling_takes_no_faces_and_refuses_other_shapes() -> None:
    for scaling in ("fixed", "standardize"):
        assert scale_input(torch.zeros(0, 3, 160, 160), scaling).shape == (0, 3, 160, 160)
    with pytest.raises(InputValidationError, match=r"\[3, 160, 160\]"):
        scale_input(torch.zeros(3, 160, 160), "fixed")
    with pytest.raises(InputValidationError, match="'none'"):
        scale_input(torch.zeros(1, 3, 160, 160), "none")  # type: ignore[arg-type]


@pytest.mark.parametrize("channels_last", [True, False])
@torch.no_grad()
def test_folding_changes_nothing_but_rounding(
    random_network: InceptionResnetV1, faces: torch.Tensor, channels_last: bool
) -> None:
    before = {key: value.clone() for key, value in random_network.state_dict().items()}
    folded = network.fold_batch_norms(random_network, channels_last=channels_last)
    assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in folded.modules())
    x = scale_input(faces, "fixed")
    kept = x.clone()
    torch.testing.assert_close(folded(x), random_network(x), atol=1e-6, rtol=0)
    assert torch.equal(x, kept), "in-place steps must not reach the input"
    after = random_network.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert not any(parameter.requires_grad for parameter in folded.parameters())


@torch.no_grad()
def test_folding_is_exact_in_float64(random_network: InceptionResnetV1, faces: torch.Tensor) -> None:
    """In double precision what is left is the float32 norm at the end: the algebra itself is right."""
    double = copy.deepcopy(random_network).double()
    x = scale_input(faces[:1], "fixed").double()
    torch.testing.assert_close(network.fold_batch_norms(double)(x), double(x).float(), atol=1e-7, rtol=0)


def test_only_this_network_in_evaluation_can_be_folded() -> None:
    with pytest.raises(InputValidationError, match="Linear"):
        network.fold_batch_norms(nn.Linear(1, 1))
    with torch.device("meta"):
        training = InceptionResnetV1(pretrained=None).train()
    with pytest.raises(InputValidationError, match="training"):
        network.fold_batch_norms(training)


@torch.no_grad()
def test_a_loaded_network_gives_unit_vectors_of_its_length(converted: Path, faces: torch.Tensor) -> None:
    spec = models.get("facenet-msceleb1m")
    net = network.load_network(spec)
    assert not net.training
    x = scale_input(faces, spec.scaling)
    out = net(x)
    assert out.shape == (3, 128)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(net(x.contiguous(memory_format=torch.channels_last)), out, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.cat([net(x[i : i + 1]) for i in range(3)]), out, atol=2e-6, rtol=0)
    half = network.load_network(spec, dtype=torch.bfloat16)(x.bfloat16())
    assert half.dtype == torch.float32
    assert (half * out).sum(1).min() > 0.999


def test_what_cannot_be_loaded(converted: Path, home: Path) -> None:
    spec = models.get("facenet-msceleb1m")
    with pytest.raises(ModelError, match="fastface models pull facenet-msceleb1m"):
        network.load_network(spec)
    with pytest.raises(InputValidationError, match="int32"):
        network.load_network(spec, dtype=torch.int32)


def test_a_damaged_file_is_not_loaded(converted: Path, home: Path) -> None:
    home.mkdir(parents=True)
    data = bytearray(converted.read_bytes())
    data[-1] ^= 1
    (home / converted.name).write_bytes(data)
    (home / "manifest.json").write_bytes((converted.parent / "manifest.json").read_bytes())
    with pytest.raises(ModelError, match="damaged"):
        network.load_network(models.get("facenet-msceleb1m"))
    with pytest.raises(ModelError, match=r"damaged.*pull --force"):
        models.verify("facenet-msceleb1m")
