#!/usr/bin/env python3
"""Runs benchmarks/test_gpu.py and writes what it measured, with device, commit and ratios, to OUT/gpu-DEVICE.json.

    python3 benchmarks/gpu.py [--out DIR] [PYTEST_OPTION...]

Then compares it with what benchmarks/results holds of the same kind of GPU, and fails where a tenth was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

RATIOS = {
    "end to end / decode alone": ("end_to_end", "decode_all_sessions"),
    "end to end, embed every / decode alone": ("end_to_end_every", "decode_all_sessions"),
    "end to end / facenet-pytorch + OpenCV": ("end_to_end", "end_to_end_facenet_pytorch"),
    "detect / facenet-pytorch": ("detect", "detect_facenet_pytorch"),
    "embed / facenet-pytorch": ("embed", "embed_facenet_pytorch"),
    "decode / OpenCV": ("decode_all_sessions", "decode_opencv"),
    **{
        f"end to end / decode alone, {what}": (f"end_to_end_of[{name}]", f"decode_of[{name}]")
        for name, what in (("hevc", "HEVC"), ("720p", "720p"), ("2160p", "2160p"), ("one_gop", "one group of pictures"))
    },
}


STORED = ROOT / "benchmarks" / "results"
LOSS = 0.1
"""Part of a figure that may be lost against the stored one: hosts differ, and what else they do."""

_OTHERS = ("facenet_pytorch", "opencv")
"""Figures of others, which say nothing about us."""


def losses(stored: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    """What became worse by more than :data:`LOSS`: rates, ratios, memory, seconds of ours to the first result."""
    pairs: list[tuple[str, float, float, bool]] = []  # name, before, now, whether more is better
    for name, figure in stored["figures"].items():
        if name in measured["figures"] and not name.endswith(_OTHERS):
            unit = next(iter(figure))
            pairs.append((f"{name} ({unit})", figure[unit], measured["figures"][name][unit], True))
    pairs += [(n, r, measured["ratios"][n], True) for n, r in stored["ratios"].items() if n in measured["ratios"]]
    before, now = stored.get("fresh_process", {}), measured.get("fresh_process", {})
    for what, key in (("start", "ours"), ("memory", "peak_mib"), ("memory-long", "peak_mib")):
        if what in before and what in now:
            pairs.append((f"{what} ({key})", before[what][key], now[what][key], False))
    return [
        f"{name}: {then:g} before, {here:g} now"
        for name, then, here, more in pairs
        if (here < then * (1 - LOSS) if more else here > then * (1 + LOSS))
    ]


def _output(*command: str) -> str:
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return out.stdout.strip().splitlines()[0] if out.stdout.strip() else "unknown"


def _figure(entry: dict[str, Any]) -> dict[str, Any]:
    info, stats = entry["extra_info"], entry["stats"]
    rest = {k: v for k, v in info.items() if k not in ("unit", "count")}
    seconds = [round(s, 4) for s in stats["data"]]
    return {info["unit"]: round(info["count"] / stats["median"], 1), "count": info["count"], "seconds": seconds, **rest}


def _fresh() -> dict[str, Any]:
    """What benchmarks/fresh.py measures in processes of its own."""
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        # Bytecode is kept, as an installation has it; the first start writes it, and is not counted: caches are warm.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for what in ("start", "start", "memory", "memory-long"):
            command = [sys.executable, str(ROOT / "benchmarks" / "fresh.py"), what]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                sys.exit(f"benchmarks/fresh.py {what} failed: {done.stderr}")
            out[what] = json.loads(done.stdout.splitlines()[-1])
    return out


def device_facts() -> dict[str, Any]:
    """Where a result comes from."""
    import torch

    return {
        "device": torch.cuda.get_device_name(0),
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "processors": os.cpu_count(),
        "commit": os.environ.get("FASTFACE_COMMIT") or _output("git", "describe", "--always", "--dirty"),
    }


def file_name(kind: str, device: str) -> str:
    return f"{kind}-" + re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") + ".json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results"))
    args, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", str(ROOT / "benchmarks" / "test_gpu.py"), "-q", "--benchmark-quiet"]
        done = subprocess.run([*command, f"--benchmark-json={report}", "--benchmark-disable-gc", *options], cwd=ROOT)
        if not report.is_file():
            sys.exit(done.returncode or 1)
        measured = json.loads(report.read_text())
    figures = {e["name"].removeprefix("test_"): _figure(e) for e in measured["benchmarks"]}
    rate = {name: next(iter(f.values())) for name, f in figures.items()}
    result = {
        **device_facts(),
        "command": " ".join(["python3", "benchmarks/gpu.py", *options]),
        "video": "crowd.mp4, 1080p H.264, looped",
        "figures": figures,  # rates at the median of the rounds
        "ratios": {k: round(rate[a] / rate[b], 3) for k, (a, b) in RATIOS.items() if a in rate and b in rate},
    }
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    name = file_name("gpu", result["device"])
    file, stored = out / name, STORED / name
    before = json.loads(stored.read_text()) if stored.is_file() else None
    file.write_text(json.dumps(result, indent=1) + "\n")  # what is there is kept, whatever comes next
    result["fresh_process"] = _fresh()
    file.write_text(json.dumps(result, indent=1) + "\n")
    for name, figure in figures.items():
        print(f"{name:32} {json.dumps({k: v for k, v in figure.items() if k != 'seconds'})}")
    print(json.dumps({"ratios": result["ratios"], "fresh_process": result["fresh_process"]}, indent=1))
    if before is None:
        print(f"nothing is stored of this kind of GPU in {STORED}")
    elif lost := losses(before, result):
        print(f"over {LOSS:.0%} worse than in {stored} (commit {before['commit']}):", *lost, sep="\n  ")
        sys.exit(1)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
