#!/usr/bin/env python3
"""What the GPU path does, against decoding alone and against facenet-pytorch + OpenCV, all in one run.

    python3 benchmarks/gpu.py [--media DIR] [--frames N] [--out DIR]

Writes OUT/gpu-DEVICE.json: device, driver, commit, command, figures and ratios. Needs crowd.mp4 in the media folder
(FASTFACE_MEDIA), which is looped by remuxing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests" / "decode")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from baseline import facenet_pytorch_opencv  # noqa: E402
from decode_clips import loop  # noqa: E402

import fastface  # noqa: E402
from fastface.decode.nvdec import NvdecDecoder  # noqa: E402
from fastface.types import FrameBatch  # noqa: E402

EMBEDDER = "facenet-msceleb1m"


def timed(work: Callable[[], Any], rounds: int) -> tuple[list[float], Any]:
    """Wall-clock seconds of each round, the device synchronised before and after, and the last result."""
    seconds, result = [], None
    for _ in range(rounds):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        result = work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return seconds, result


def decode_alone(path: Path, sessions: int | None) -> int:
    stream = torch.cuda.current_stream().cuda_stream
    frames = 0
    with NvdecDecoder(path, sessions=sessions) as decoder:
        for batch in decoder:
            frames += len(batch)
            batch.release(stream)
    return frames


def detect_alone(pipeline: fastface.Pipeline, path: Path) -> tuple[list[float], int]:
    """One batch again and again, out of the ring."""
    executor = pipeline.executor
    with executor.open(path) as decoder:
        batch = next(iter(decoder))
        executor.detect(batch)
        seconds, _ = timed(lambda: sum(1 for _ in executor.ahead([batch] * 30)), 3)
        frames = 30 * len(batch)
        executor.release(batch)
    return seconds, frames


def embed_alone(pipeline: fastface.Pipeline) -> tuple[list[float], int]:
    """256 crops again and again."""
    executor = pipeline.executor
    noise = np.random.default_rng(1).integers(0, 256, (1, 720, 1280, 3), np.uint8)
    batch = FrameBatch(np.zeros(1, np.int64), np.zeros(1), noise)
    box = np.tile(np.array([[100, 100, 300, 320]], np.float32), (256, 1))
    crops = executor.crop(batch, np.zeros(256, np.int64), box)
    executor.embed(crops).result()
    seconds, _ = timed(lambda: [v.result() for v in [executor.embed(crops) for _ in range(20)]], 3)
    executor.release(batch)
    return seconds, 20 * 256


def commit() -> str:
    out = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return out.stdout.strip() or os.environ.get("FASTFACE_COMMIT", "unknown")


def driver() -> str:
    out = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
    )
    return out.stdout.strip().splitlines()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", default=os.environ.get("FASTFACE_MEDIA", str(ROOT.parent / "shared" / "media")))
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results"))
    args = parser.parse_args()
    source = Path(args.media) / "crowd.mp4"
    figures: dict[str, Any] = {}

    def note(name: str, seconds: list[float], count: int, unit: str = "fps") -> float:
        rate = count / min(seconds)
        figures[name] = {unit: round(rate, 1), "seconds": [round(s, 4) for s in seconds], "count": count}
        print(name, figures[name], flush=True)
        return rate

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "loop.mp4"
        loop(source, path, args.frames)
        for name, sessions in (("decode, 1 session", 1), ("decode, all sessions", None)):
            seconds, frames = timed(lambda sessions=sessions: decode_alone(path, sessions), 3)
            note(name, seconds, frames)
        torch.cuda.reset_peak_memory_stats()
        with fastface.Pipeline(device="cuda", embedder=EMBEDDER) as pipeline:
            pipeline.process(source)  # compiles the kernels
            note("detect", *detect_alone(pipeline, source))
            note("embed", *embed_alone(pipeline), unit="faces_per_s")
            seconds, timeline = timed(lambda: pipeline.process(path), 3)
            note("end to end", seconds, timeline.run["frames_decoded"])
            figures["end to end"]["faces"] = len(timeline.faces)
            figures["end to end"]["torch_peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        with fastface.Pipeline(device="cuda", embedder=EMBEDDER, embed="every") as pipeline:
            pipeline.process(source)
            seconds, timeline = timed(lambda: pipeline.process(path), 2)
            note("end to end, embed every", seconds, timeline.run["frames_decoded"])
        facenet_pytorch_opencv(source, "cuda")
        seconds, (frames, faces) = timed(lambda: facenet_pytorch_opencv(source, "cuda"), 2)
        note("facenet-pytorch + OpenCV", seconds, frames)
        figures["facenet-pytorch + OpenCV"]["faces"] = faces

    def fps(name: str) -> float:
        return float(figures[name]["fps"])

    result = {
        "device": torch.cuda.get_device_name(0),
        "driver": driver(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "processors": os.cpu_count(),
        "commit": commit(),
        "command": " ".join(["python3", *sys.argv]),
        "video": {"name": source.name, "looped_to": args.frames},
        "figures": figures,
        "ratios": {
            "end to end / decode alone": round(fps("end to end") / fps("decode, all sessions"), 3),
            "end to end, embed every / decode alone": round(
                fps("end to end, embed every") / fps("decode, all sessions"), 3
            ),
            "end to end / facenet-pytorch + OpenCV": round(fps("end to end") / fps("facenet-pytorch + OpenCV"), 1),
        },
    }
    name = re.sub(r"[^a-z0-9]+", "-", result["device"].lower()).strip("-")
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"gpu-{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["ratios"]))


if __name__ == "__main__":
    main()
