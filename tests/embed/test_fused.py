"""The GPU's form of the embedder, computed on the CPU; test_layers.py has what differs on a GPU."""

from __future__ import annotations

import pytest
import torch

from fastface import models
from fastface.embed.network import load_network
from fastface.errors import ModelError
from fastface.gpu.network import FusedNetwork
from fastface.models.registry import EmbedderSpec

CPU = torch.device("cpu")


def test_it_is_the_same_network(embedder_spec: EmbedderSpec) -> None:
    x = torch.randn(3, 3, 160, 160, generator=torch.Generator().manual_seed(3))
    fused = FusedNetwork(models.load_state(embedder_spec), embedder_spec.dim, CPU, torch.float32)
    with torch.inference_mode():
        ours, theirs = fused(x), load_network(embedder_spec, fold=False)(x)
    assert ours.shape == (3, embedder_spec.dim)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("repeat_2.3.branch1.1.conv.weight"), "branch1.1.conv.weight is missing"),
        (lambda s: s.update({"last_linear.weight": torch.zeros(3, 1792)}), r"of shape \[3, 1792\], must be"),
        (lambda s: s.update({"logits.weight": torch.zeros(1)}), "1 tensors that the network does not have"),
    ],
)
def test_another_networks_state(embedder_spec: EmbedderSpec, change, message: str) -> None:
    state = models.load_state(embedder_spec)
    change(state)
    with pytest.raises(ModelError, match=message):
        FusedNetwork(state, embedder_spec.dim, CPU, torch.float32)
