"""The GPU's memory taken away at each stage, by a plain allocation: the run ends with the same timeline.

Each in a process of its own: what it takes away must be missing nowhere else.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.media, pytest.mark.alone]

EMBEDDER = "facenet-msceleb1m"

STAGES = {
    "decode": ("fastface.decode.nvdec", "Ring", "__init__", 900),
    "detect": ("fastface.detect.cuda", "CudaMTCNN", "_buffers_for", 200),
    "crop": ("fastface.gpu.crops", "DeviceCrops", "take", 150),
    "embed": ("fastface.gpu.embedder", "CudaEmbedder", "embed", 120),
}
"""Where the memory goes when it is first come to, and the MiB that are left."""


def before_first(holder: Any, name: str, work: Callable[[], None]) -> None:
    original, done = getattr(holder, name), []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not done:
            done.append(1)
            work()
        return original(*args, **kwargs)

    setattr(holder, name, wrapped)


def run(video: str, stage: str) -> None:
    import importlib

    import torch
    from taking import all_but

    import fastface

    with fastface.Pipeline(device="cuda", embedder=EMBEDDER) as pipeline:
        wanted = pipeline.process(video)
    torch.cuda.empty_cache()
    hog = []

    def take_away(left: int) -> None:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        hog.append(all_but(left))

    if stage == "nothing left":
        with fastface.Pipeline(device="cuda", embedder=EMBEDDER, cpu_fallback=True, every=8) as pipeline:
            take_away(8)
            got = pipeline.process(video)
        del hog[:]
        with fastface.Pipeline(device="cpu", embedder=EMBEDDER, every=8) as pipeline:
            wanted = pipeline.process(video)
        assert any("on the CPU was used" in w for w in got.run["warnings"]), got.run["warnings"]
    else:
        module, holder, name, left = STAGES[stage]
        before_first(getattr(importlib.import_module(module), holder), name, lambda: take_away(left))
        with fastface.Pipeline(device="cuda", embedder=EMBEDDER) as pipeline:
            got = pipeline.process(video)
            assert hog, "nothing was taken away"
            assert got.run["decoder"]["name"] == "nvdec"
            print(stage, got.run["warnings"], got.run["gpu_memory_peak"] >> 20)
            del hog[:]
            torch.cuda.empty_cache()
            again = pipeline.process(video)  # and with memory again
            np.testing.assert_array_equal(again.faces.identity, wanted.faces.identity)
    for column in ("frame", "track", "identity"):
        np.testing.assert_array_equal(getattr(got.faces, column), getattr(wanted.faces, column), err_msg=column)
    np.testing.assert_allclose(got.faces.box, wanted.faces.box, atol=0.01)


def test_memory_is_the_same_after_every_video(media: Path) -> None:
    import gc

    import torch

    import fastface

    used = []
    with fastface.Pipeline(device="cuda", embedder=EMBEDDER) as pipeline:
        gc.disable()  # what a run held must go with it
        try:
            for _ in range(4):
                pipeline.process(media / "crowd.mp4")
                free, total = torch.cuda.mem_get_info()
                used.append((total - free) >> 20)
        finally:
            gc.enable()
    assert max(used[1:]) - min(used[1:]) <= 64, used


@pytest.mark.parametrize("stage", [*STAGES, "nothing left"])
def test_memory_that_goes(media: Path, stage: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_memory as t; "
    code += f"t.run({str(media / 'crowd.mp4')!r}, {stage!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=140)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
