"""The examples of docs/gpu-pipelines.md, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface.decode import LibavDecoder

pytestmark = pytest.mark.media

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gpu-pipelines.md"
EXAMPLES = dict(re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))


def run(example: str, device: str = "cuda", **given: Any) -> dict[str, Any]:
    scope = dict(given)
    source = EXAMPLES[example].replace('device="cuda"', f"device={device!r}")
    exec(compile(source, f"{PAGE.name}: {example}", "exec"), scope)
    return scope


@pytest.fixture(scope="module")
def batches(media: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    with LibavDecoder(media / "crowd.mp4", batch_size=8, every=10) as decoder:
        return [(batch.pixels, batch.time) for batch in decoder]


def test_every_example_is_tested():
    assert set(EXAMPLES) == {"torch", "cupy", "frames"}
    assert PAGE.read_text(encoding="utf-8").count("```python") == len(EXAMPLES)


@pytest.mark.gpu
def test_torch_loop(batches):
    import torch

    scope = run("torch", batches=[torch.from_numpy(pixels).cuda() for pixels, _ in batches])
    assert scope["sure"] > 30  # five to seven people in each of eleven frames


def best_on_the_cpu(batches):
    """What the cupy example finds: the similarity of the first face to the one most like it."""
    import fastface

    with fastface.Pipeline(device="cpu") as pipeline:
        found = [(pipeline.detect(pixels), pixels) for pixels, _ in batches]
        vectors = np.concatenate(
            [pipeline.embed(pixels, faces.box)[np.arange(faces.box.shape[1]) < faces.count[:, None]]
             for faces, pixels in found]
        )  # fmt: skip
    return float((vectors[1:] @ vectors[0]).max())


@pytest.mark.gpu
def test_cupy_loop(batches):
    import cupy

    scope = run("cupy", batches=[cupy.asarray(pixels) for pixels, _ in batches])
    assert scope["first"].shape == (scope["pipeline"].executor.spec.dim,)
    assert float(scope["best"]) == pytest.approx(best_on_the_cpu(batches), abs=0.02)


@pytest.mark.gpu
def test_frames_to_a_timeline(batches):
    import torch

    scope = run("frames", timed=[(torch.from_numpy(pixels).cuda(), time) for pixels, time in batches])
    assert len(scope["timeline"].faces) > 30


def test_frames_to_a_timeline_without_a_gpu(batches):
    scope = run("frames", device="cpu", timed=batches[:4])
    assert len(scope["timeline"].faces) > 12
