"""The embedder against facenet-pytorch's own network with the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1
from PIL import Image

from fastface import models
from fastface.demo.scene import Photo, load_rgb
from fastface.embed.embedder import Embedder
from fastface.models import EmbedderSpec


@pytest.fixture(scope="module")
def crops(photos: dict[str, list[Photo]]) -> dict[str, np.ndarray]:
    """Seven faces of each person: [7, 3, 160, 160]."""
    out = {}
    for name, all_of in photos.items():
        best = sorted(all_of, key=lambda p: p.box[1] - p.box[3])[:7]
        faces = [load_rgb(p.image).crop(tuple(map(int, p.box))).resize((160, 160), Image.Resampling.BILINEAR)
                 for p in best]  # fmt: skip
        out[name] = np.stack([np.asarray(f).transpose(2, 0, 1) for f in faces])
    return out


@pytest.fixture(scope="module")
def every(crops: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate(list(crops.values()))


@torch.no_grad()
def test_vectors_are_facenet_pytorchs(embedder: Embedder, every: np.ndarray, embedder_spec: EmbedderSpec) -> None:
    """The unfolded network, in float64, one face a call, with the scaling written out."""
    from safetensors.torch import load_file

    state = load_file(models.path(embedder_spec.name))
    theirs = InceptionResnetV1(pretrained=None)
    theirs.last_linear = torch.nn.Linear(1792, 128, bias=False)
    theirs.last_bn = torch.nn.BatchNorm1d(128, eps=0.001)
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not [k for k in missing if "logits" not in k and "num_batches_tracked" not in k]
    assert not unexpected
    theirs = theirs.double().eval()
    got = embedder.embed(every)
    for vector, crop in zip(got[::3], every[::3], strict=True):
        x = torch.from_numpy(crop).double()
        x = (x - x.mean()) / max(float(x.std(unbiased=False)), x.numel() ** -0.5)
        want = theirs(x[None])[0].numpy()
        assert vector @ want / np.linalg.norm(want) >= 0.99999
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("size", [1, 5, 9, 33])
def test_the_batch_does_not_matter(embedder: Embedder, every: np.ndarray, size: int) -> None:
    every = every[:: 1 if size > 5 else 2]
    whole = embedder.embed(every)
    parts = np.concatenate([embedder.embed(every[i : i + size]) for i in range(0, len(every), size)])
    np.testing.assert_allclose(parts, whole, atol=5e-6)


def test_people_are_told_apart(embedder: Embedder, crops: dict[str, np.ndarray]) -> None:
    """A mixed-up channel order or scaling would leave vectors of norm 1 that tell nobody apart."""
    vectors = {name: embedder.embed(c) for name, c in crops.items()}
    names = list(vectors)
    for i, a in enumerate(names):
        same = vectors[a] @ vectors[a].T
        assert same[np.triu_indices(len(same), 1)].mean() > 0.4
        for b in names[:i]:
            assert (vectors[a] @ vectors[b].T).mean() < 0.15


def test_nobody(embedder: Embedder) -> None:
    assert embedder.embed(np.zeros((0, 3, 160, 160), np.uint8)).shape == (0, 128)
    assert embedder.dim == 128


@pytest.mark.parametrize(
    "crops",
    [np.zeros((1, 3, 160, 160), np.float32), np.zeros((3, 160, 160), np.uint8), np.zeros((1, 160, 160, 3), np.uint8)],
    ids=["dtype", "no batch", "channels last"],
)
def test_other_arrays_are_refused(embedder: Embedder, crops: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be uint8 of shape \[M, 3, 160, 160\]"):
        embedder.embed(crops)
