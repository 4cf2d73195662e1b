#!/usr/bin/env python3
"""Two or more source trees end to end on one machine, by turns: hosts and hours differ by more than most changes do.

    python3 benchmarks/by_turns.py [--codec hevc] [--embed every] [--frames N] [--rounds N] FOLDER FOLDER...

A FOLDER is a checkout whose extension is built (as by scripts/gpu-environment). Prints frames a second of each run, and
the medians. Needs crowd.mp4 in FASTFACE_MEDIA.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "decode")]

RUNS = 3
"""Of a process, after one on a short video."""

_ONE = """
import json, sys, time
import fastface
short, video, embed, device, runs = sys.argv[1:6]
rates = []
with fastface.Pipeline(device=device, embedder="facenet-msceleb1m", embed=embed) as pipeline:
    pipeline.process(short)
    for _ in range(int(runs)):
        begin = time.perf_counter()
        timeline = pipeline.process(video)
        rates.append(timeline.run["frames_decoded"] / (time.perf_counter() - begin))
print(json.dumps(rates))
"""


def rates(folder: Path, short: Path, video: Path, embed: str, device: str) -> list[float]:
    """Frames a second of RUNS runs of a process."""
    path = os.pathsep.join(filter(None, [str(folder.resolve() / "src"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", _ONE, str(short), str(video), embed, device, str(RUNS)],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{folder}: {done.stderr}")
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--codec", choices=["h264", "hevc"], default="h264")
    parser.add_argument("--embed", choices=["track", "every"], default="track")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--frames", type=int, default=7000)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    from decode_clips import loop
    from test_gpu import encode

    crowd = Path(os.environ.get("FASTFACE_MEDIA", HERE.parents[1] / "shared" / "media")) / "crowd.mp4"
    with tempfile.TemporaryDirectory() as folder:
        source, video = crowd, Path(folder) / "loop.mp4"
        if args.codec == "hevc":
            source = Path(folder) / "once.mp4"
            encode(crowd, source, "libx265", 1080, 1)
        loop(source, video, args.frames)
        found: dict[Path, list[float]] = {tree: [] for tree in args.folders}
        for _ in range(args.rounds):
            for tree, all_of in found.items():
                all_of += rates(tree, source, video, args.embed, args.device)
                print(f"{tree}: {', '.join(f'{rate:.0f}' for rate in all_of)}", flush=True)
    for tree, all_of in found.items():
        print(f"{tree}: median {statistics.median(all_of):.0f} fps of {len(all_of)} runs")


if __name__ == "__main__":
    main()
