#!/usr/bin/env python3
"""What only a process of its own can show; prints JSON.

    python3 benchmarks/fresh.py start          seconds from the process's start to the first batch's result
    python3 benchmarks/fresh.py memory         the GPU's memory at the peak, FASTFACE_BENCH_FRAMES frames of crowd.mp4,
                                               and how busy NVDEC is
    python3 benchmarks/fresh.py memory-long    the same for a video 10 times longer
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FRAMES = int(os.environ.get("FASTFACE_BENCH_FRAMES", "12000"))


class _First(Exception):
    pass


def _age() -> float:
    """Seconds since this process began, to a hundredth. Linux: the start is told in ticks since the machine began."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def start(crowd: Path) -> dict[str, Any]:
    begin = time.time() - _age()
    marks = {"interpreter": time.time()}
    import torch

    marks["import torch"] = time.time()
    torch.zeros(1, device="cuda")
    torch.cuda.synchronize()
    marks["CUDA context"] = time.time()
    import fastface

    marks["import fastface"] = time.time()
    pipeline = fastface.Pipeline(device="cuda", embedder="facenet-msceleb1m")
    marks["models"] = time.time()

    def progress(done: int, total: int | None) -> None:
        marks["first result"] = time.time()
        raise _First

    with contextlib.suppress(_First):
        pipeline.process(crowd, progress=progress)
    steps, before = {}, begin
    for name, at in marks.items():
        steps[name], before = round(at - before, 3), at
    ours = sum(steps[name] for name in ("import fastface", "models", "first result"))
    return {"seconds": round(before - begin, 3), "ours": round(ours, 3), "steps": steps}


def memory(crowd: Path, frames: int) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT / "tests" / "decode"))
    import torch
    from decode_clips import loop
    from decoder_use import decoder_use

    import fastface

    free, total = torch.cuda.mem_get_info()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "loop.mp4"
        loop(crowd, path, frames)
        run, percent = decoder_use(lambda: fastface.process(path, device="cuda", embedder="facenet-msceleb1m").run)
    return {
        "frames": run["frames_decoded"],
        "before_mib": (total - free) >> 20,
        "peak_mib": run["gpu_memory_peak"] >> 20,
        "torch_mib": torch.cuda.max_memory_reserved() >> 20,
        "host_peak_mib": run["host_memory_peak"] >> 20,
        "decoder_percent": percent,
    }


def main() -> None:
    crowd = Path(os.environ.get("FASTFACE_MEDIA", ROOT.parent / "shared" / "media")) / "crowd.mp4"
    what = sys.argv[1] if len(sys.argv) == 2 else ""
    if what not in ("start", "memory", "memory-long"):
        sys.exit(__doc__)
    result = start(crowd) if what == "start" else memory(crowd, FRAMES * (10 if what == "memory-long" else 1))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
