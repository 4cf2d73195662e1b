#!/usr/bin/env python3
"""Videos through the service and through `fastface.process_many`, on the same GPUs. Writes results/service-gpu.json.

    python3 benchmarks/service_gpu.py --media DIR [--videos 32] [--frames 1500] [--rounds 2] [--out DIR]

Both end with a timeline of each video as a file. Each is warm: it has done one video before, so that models are loaded
and kernels compiled. The videos are crowd.mp4 again and again, without encoding it anew.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "decode"))

MODEL = "facenet-msceleb1m"
LOOK = 0.05  # seconds between two looks at the jobs


def through_the_service(folder: Path, videos: list[Path], warm: Path, device: str | None, rounds: int) -> list[float]:
    """Seconds of each round."""
    command = [sys.executable, "-m", "fastface", "serve", str(folder / "service"), "--root", str(folder / "videos"),
               "--port", "0", "--rate", "1000000", "--max-jobs", "1000", "--embedder", MODEL]  # fmt: skip
    server = subprocess.Popen([*command, *(["--device", device] if device else [])], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[2]
        with httpx.Client(base_url=url, timeout=60) as web:

            def done(paths: list[Path]) -> float:
                begin = time.perf_counter()
                answer = web.post("/v1/jobs", json={"paths": [p.name for p in paths]})
                answer.raise_for_status()
                left = {job["id"] for job in answer.json()["jobs"]}
                while left:
                    time.sleep(LOOK)
                    for job in web.get("/v1/jobs", params={"limit": 100}).raise_for_status().json()["jobs"]:
                        if job["state"] in ("failed", "cancelled"):
                            raise RuntimeError(job)
                        if job["state"] == "done":
                            left.discard(job["id"])
                return time.perf_counter() - begin

            done([warm])
            return [done(videos) for _ in range(rounds)]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


def directly(folder: Path, videos: list[Path], warm: Path, device: str | None, rounds: int) -> list[float]:
    """Seconds of each round."""
    import fastface

    def done(paths: list[Path]) -> float:
        begin = time.perf_counter()
        devices: Any = [device] if device else "all"
        for result in fastface.process_many(paths, devices=devices, embedder=MODEL):
            if result.timeline is None:
                raise RuntimeError(f"{result.path}: {result.error}")
            result.timeline.to_json(folder / f"{Path(result.path).stem}.json")
        return time.perf_counter() - begin

    done([warm])
    return [done(videos) for _ in range(rounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--media", type=Path, default=os.environ.get("FASTFACE_MEDIA"), help="has crowd.mp4")
    parser.add_argument("--videos", type=int, default=32)
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=2, help="of which the faster counts")
    parser.add_argument("--device", help="default: every GPU")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    if args.media is None:
        parser.error("--media is missing (or FASTFACE_MEDIA)")
    from decode_clips import loop

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "videos").mkdir()
        first = folder / "videos" / "video-0.mp4"
        frames = loop(Path(args.media) / "crowd.mp4", first, args.frames)
        videos = [first]
        for i in range(1, args.videos):
            videos.append(folder / "videos" / f"video-{i}.mp4")
            os.link(first, videos[-1])
        served = through_the_service(folder, videos, first, args.device, args.rounds)
        direct = directly(folder, videos, first, args.device, args.rounds)
    import torch

    total = args.videos * frames
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout
    out: dict[str, Any] = {
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu",
        "commit": os.environ.get("FASTFACE_COMMIT") or commit.strip(),
        "command": "python3 benchmarks/service_gpu.py",
        "videos": args.videos,
        "frames_each": frames,
        "service": {"seconds": [round(s, 2) for s in served], "fps": round(total / min(served))},
        "process_many": {"seconds": [round(s, 2) for s in direct], "fps": round(total / min(direct))},
        "ratio": round(min(direct) / min(served), 3),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "service-gpu.json").write_text(json.dumps(out, indent=1) + "\n")
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
