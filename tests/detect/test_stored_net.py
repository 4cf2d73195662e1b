"""The detector's weights read from facenet-pytorch's files are those of its modules."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from fastface.detect.cuda.weights import stored_net
from fastface.detect.mtcnn import load_nets
from fastface.errors import ModelError


def test_the_same_parameters() -> None:
    for name, module in zip(("pnet", "rnet", "onet"), load_nets(torch.device("cpu"), torch.float32), strict=True):
        ours = stored_net(name)
        state = module.state_dict()
        assert len(state) > 10
        for key, value in state.items():
            layer, parameter = key.split(".")
            torch.testing.assert_close(getattr(getattr(ours, layer), parameter), value, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "layers"), [("pnet", 2), ("rnet", 2), ("onet", 3)])
def test_what_is_split_is_far_from_half_precisions_limit(name: str, layers: int) -> None:
    """What any picture can make of the layers whose output csrc/cuda/split.cuh splits."""
    net, bound = stored_net(name), torch.ones(3)
    for i in range(1, layers + 1):
        conv, slope = getattr(net, f"conv{i}"), getattr(net, f"prelu{i}").weight
        bound = (conv.weight.abs() * bound[:, None, None]).sum((1, 2, 3)) + conv.bias.abs()
        bound *= slope.abs().clamp(min=1)
    assert float(bound.max()) < 1000


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pnet\.pt is not installed"):
        stored_net("pnet")
