#!/usr/bin/env python3
"""Videos over one GPU and over all: `fastface.process_many`. Writes results/devices.json.

    python3 benchmarks/devices.py --media DIR [--videos 16] [--frames 3000] [--out DIR]

Rates are of the steady part: from the time when as many videos are done as there are GPUs, for by then the models are
loaded and the kernels compiled on each. The videos are crowd.mp4 again and again, without encoding it anew.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "decode"))

MODEL = "facenet-msceleb1m"


def measured(videos: list[Path], devices: list[str]) -> dict[str, Any]:
    """Frames a second once every device is at work, and seconds in all."""
    import fastface

    begin, ends, frames = time.perf_counter(), list[float](), list[int]()
    for result in fastface.BatchProcessor(devices=devices, embedder=MODEL).run(videos):
        if result.timeline is None:
            raise RuntimeError(f"{result.path}: {result.error}")
        ends.append(time.perf_counter() - begin)
        frames.append(result.timeline.run["frames_decoded"])
    first = len(devices)
    fps = sum(frames[first:]) / (ends[-1] - ends[first - 1])
    return {"devices": devices, "videos": len(videos), "fps": round(fps), "seconds": round(ends[-1], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--media", type=Path, default=os.environ.get("FASTFACE_MEDIA"), help="has crowd.mp4")
    parser.add_argument("--videos", type=int, default=16, help="of one GPU; of several, as many times as there are")
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    if args.media is None:
        parser.error("--media is missing (or FASTFACE_MEDIA)")
    import torch
    from decode_clips import loop

    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if len(gpus) < 2:
        parser.error(f"there are {len(gpus)} GPUs, must be 2 at least")
    with tempfile.TemporaryDirectory() as name:
        videos = [Path(name) / f"video-{i}.mp4" for i in range(args.videos * len(gpus))]
        frames = loop(Path(args.media) / "crowd.mp4", videos[0], args.frames)
        for path in videos[1:]:
            os.link(videos[0], path)
        runs = [measured(videos[: args.videos], gpus[:1]), measured(videos, gpus)]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout
    out = {
        "device": f"{len(gpus)} x {torch.cuda.get_device_name(0)}",
        "processors": os.cpu_count(),
        "commit": os.environ.get("FASTFACE_COMMIT") or commit.strip(),
        "command": "python3 benchmarks/devices.py",
        "frames_each": frames,
        "runs": runs,
        "ratio": round(runs[1]["fps"] / runs[0]["fps"], 3),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "devices.json").write_text(json.dumps(out, indent=1) + "\n")
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
