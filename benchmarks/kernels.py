#!/usr/bin/env python3
"""What each kernel costs on an NVIDIA GPU, as a profiler sees it: the detector's on 16 frames of crowd.mp4 (NV12,
1080p), the embedder's on 256 faces, one batch after the other so that none shares the GPU.

Writes OUT/kernels-DEVICE.json.

    python3 benchmarks/kernels.py [--out DIR]

Needs crowd.mp4 in FASTFACE_MEDIA.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

FRAMES, FACES, TIMES = 16, 256, 20
LARGEST = 25
"""Kernels of the embedder that are listed, most of which are cuDNN's."""


def nv12(path: Path) -> np.ndarray:
    """The first frames of a video: [FRAMES, height * 3 / 2, width] uint8."""
    import av

    with av.open(str(path)) as container:
        frames = itertools.islice(container.decode(video=0), FRAMES)
        return np.stack([frame.to_ndarray(format="nv12") for frame in frames])


def microseconds(work: Callable[[], Any]) -> dict[str, float]:
    """Time of each kernel, by name, in the mean of TIMES calls."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    work()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as trace:
        for _ in range(TIMES):
            work()
            torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        trace.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(folder, "trace.json").read_text())["traceEvents"]
    found: dict[str, float] = {}
    for event in events:
        if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset"):
            found[event["name"]] = found.get(event["name"], 0.0) + event["dur"] / TIMES
    if not found:
        sys.exit("the profiler saw no kernel")
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    import torch

    import fastface
    from gpu import device_facts, file_name

    crowd = Path(os.environ.get("FASTFACE_MEDIA", ROOT.parent / "shared" / "media")) / "crowd.mp4"
    pixels = torch.from_numpy(nv12(crowd)).cuda()
    with fastface.Pipeline(device="cuda", embedder="facenet-msceleb1m") as pipeline:
        executor = pipeline.executor
        batch = executor.given(pixels, np.arange(FRAMES), np.arange(float(FRAMES)), "bt709", False)
        faces = len(executor.detect(batch))
        detector = microseconds(lambda: executor.detect(batch))
        crops = torch.randint(0, 256, (FACES, 3, 160, 160), dtype=torch.uint8, device="cuda")
        places = torch.arange(FACES, device="cuda")
        embedder = microseconds(lambda: executor._embedder.embed(crops, places))
    largest = dict(list(embedder.items())[:LARGEST])
    result = {
        **device_facts(),
        "command": "python3 benchmarks/kernels.py",
        "frames": FRAMES,
        "faces": faces,
        "detector_us_a_frame": {name: round(us / FRAMES, 2) for name, us in detector.items()},
        "detector_sum": round(sum(detector.values()) / FRAMES, 1),
        "embedder_us_a_face": {name[:100]: round(us / FACES, 3) for name, us in largest.items()},
        "embedder_sum": round(sum(embedder.values()) / FACES, 2),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1) + "\n"
    (args.out / file_name("kernels", result["device"])).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
