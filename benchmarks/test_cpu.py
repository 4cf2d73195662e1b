"""End to end on the CPU, against facenet-pytorch + OpenCV doing the same in the same run.

    python -m pytest benchmarks/test_cpu.py --benchmark-only

Results go to benchmarks/results/cpu.json when FASTFACE_RESULTS is set to 1.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from pathlib import Path

import pytest
from baseline import facenet_pytorch_opencv

import fastface
from fastface.pipeline import Pipeline

RESULTS = Path(__file__).parent / "results" / "cpu.json"
AT_LEAST = 1.5


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    out = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return out.stdout.strip() or "unknown"


def test_end_to_end_against_facenet_pytorch(benchmark, video):
    """Both detect every frame and embed every face; alternately, so that a busy moment hits both."""
    import torch

    with Pipeline(device="cpu", embedder="facenet-msceleb1m", embed="every", min_track_score=0.0) as pipeline:
        seconds: dict[str, list[float]] = {"fastface": [], "facenet-pytorch": []}
        facts: dict[str, object] = {}

        def ours() -> fastface.Timeline:
            begin = time.perf_counter()
            timeline = pipeline.process(video)
            seconds["fastface"].append(time.perf_counter() - begin)
            return timeline

        def theirs() -> tuple[int, int]:
            begin = time.perf_counter()
            result = facenet_pytorch_opencv(video)
            seconds["facenet-pytorch"].append(time.perf_counter() - begin)
            return result

        timeline = ours()
        frames, faces = theirs()
        benchmark.pedantic(ours, rounds=1, warmup_rounds=0)
        theirs()
    assert timeline.run["frames_decoded"] == frames
    # Colours differ in a bit here and there (OpenCV takes every video for BT.601), and so may a doubtful face.
    assert len(timeline.faces) == pytest.approx(faces, rel=0.02)
    with Pipeline(device="cpu", embedder="facenet-msceleb1m") as pipeline:
        begin = time.perf_counter()
        pipeline.process(video)
        default = time.perf_counter() - begin
    best = {name: min(values) for name, values in seconds.items()}
    ratio = best["facenet-pytorch"] / best["fastface"]
    facts = {
        "video": video.name,
        "frames": frames,
        "faces": faces,
        "seconds": {name: [round(v, 3) for v in values] for name, values in seconds.items()},
        "fps": {name: round(frames / v, 2) for name, v in best.items()},
        "fps_default_settings": round(frames / default, 2),
        "ratio": round(ratio, 3),
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "commit": _commit(),
        "command": "python -m pytest benchmarks/test_cpu.py",
    }
    benchmark.extra_info.update(facts)
    print(json.dumps(facts))
    if os.environ.get("FASTFACE_RESULTS") == "1":
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(facts, indent=1) + "\n")
    assert ratio >= AT_LEAST, f"{ratio:.2f} times as fast as facenet-pytorch + OpenCV, must be {AT_LEAST}"
