"""The matcher against NumPy and faiss, and its early exit on a stream of faces against its own exact search.

    pip install faiss-cpu
    python benchmarks/matcher.py            # all cells; 1,000,000 vectors of 512 take 8 GB of memory
    python benchmarks/matcher.py --small    # without the galleries of 1,000,000; writes nothing

All on one thread. The ways take turns, so that a busy moment hits all of them, and what counts is the median of the
ratios of each turn. Writes benchmarks/results/matcher.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import faiss  # noqa: E402
import numpy as np  # noqa: E402

from fastface import _core  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "matcher.json"
SURE, THRESHOLD = 0.8, 0.4
FPS = 25


def unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    x = rng.standard_normal((n, dim), dtype=np.float32)
    for part in np.array_split(x, max(n // 100_000, 1)):
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return x


def in_turn(ways: dict[str, Callable[[], Any]], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of one call of each way, for each round; a round repeats short calls for about `seconds` each."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    repeats = {}
    for name, way in ways.items():
        way()
        begin = time.perf_counter()
        way()
        repeats[name] = max(1, int(seconds / (time.perf_counter() - begin)))
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.perf_counter()
            for _ in range(repeats[name]):
                way()
            times[name].append((time.perf_counter() - begin) / repeats[name])
    return times


def ratio(times: dict[str, list[float]], name: str, over: str) -> float:
    """How many times as long `name` takes as `over`: median of the rounds."""
    return round(float(np.median(np.array(times[name]) / np.array(times[over]))), 2)


def differ_from_float64(queries: np.ndarray, vectors: np.ndarray, ids: np.ndarray) -> int:
    """Queries whose best is another one in float64, by more than float32 can tell."""
    best = np.full(len(queries), -np.inf)
    exact = queries.astype(np.float64)
    for part in np.array_split(vectors, max(len(vectors) // 50_000, 1)):
        best = np.maximum(best, (exact @ part.astype(np.float64).T).max(1))
    mine = (exact * vectors[ids].astype(np.float64)).sum(1)
    return int((best - mine > 2 * _core.rounding_bound(vectors.shape[1], 1.0)).sum())


def cell(vectors: np.ndarray, matcher: Any, flat: Any, queries: np.ndarray) -> dict[str, object]:
    one = queries[0]
    ways: dict[str, Callable[[], Any]] = {
        "fastface": lambda: matcher.search(queries),
        "faiss": lambda: flat.search(queries, 1),
        "numpy": (lambda: (vectors @ one).argmax()) if len(queries) == 1 else (lambda: (queries @ vectors.T).argmax(1)),
    }
    products = vectors.size * len(queries)
    times = in_turn(ways, 5 if products > 1e10 else 11, 0.03)
    best = min(times["fastface"])
    facts: dict[str, object] = {
        "vectors": len(vectors),
        "dim": vectors.shape[1],
        "queries": len(queries),
        "faiss / fastface": ratio(times, "faiss", "fastface"),
        "numpy / fastface": ratio(times, "numpy", "fastface"),
        "best ms": {name: round(min(t) * 1e3, 4) for name, t in times.items()},
        "GFLOP/s": round(2 * products / best / 1e9, 1),
        "GB/s": round(vectors.nbytes / best / 1e9, 1),
        "differ from float64": differ_from_float64(queries, vectors, matcher.search(queries)[0][:, 0]),
    }
    print(json.dumps(facts), flush=True)
    return facts


def stream(rng: np.random.Generator, centre: np.ndarray, minutes: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces as a video shows them: who [n], track [n], embeddings [n, dim] at a cosine of about 0.9 to the identity.

    A cast of forty, shots of two to six seconds, four to eight people in each, every face of every frame.
    """
    cast = rng.choice(len(centre), 40, replace=False)
    who, track, tracks = [], [], 0
    for _ in range(int(minutes * 15)):
        people = rng.choice(cast, int(rng.integers(4, 9)), replace=False)
        frames = int(rng.uniform(2, 6) * FPS)
        who.append(np.tile(people, frames))
        track.append(np.tile(tracks + np.arange(len(people)), frames))
        tracks += len(people)
    all_who, all_track = np.concatenate(who), np.concatenate(track)
    faces = centre[all_who] + np.float32(np.tan(np.arccos(0.9))) * unit(rng, len(all_who), centre.shape[1])
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    return all_who, all_track, faces


def early_exit(rng: np.random.Generator, people: int, dim: int) -> dict[str, object]:
    centre = unit(rng, people, dim)
    who, track, faces = stream(rng, centre, 2)
    tracks = {"newest first": [-1] * len(faces), "with tracks": track.tolist()}
    few = faces[:: max(len(faces) // 1000, 1)]  # exact search takes as long for each; no need to wait for all
    found: dict[str, list[tuple[int, float, int]]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in (*tracks, "exact")}
    for _ in range(5):
        for name in tracks:
            matcher = _core.Matcher(dim)  # in which nobody was seen yet
            matcher.add(centre, np.arange(people))
            begin = time.perf_counter()
            found[name] = [
                matcher.match(f, threshold=THRESHOLD, sure=SURE, track=t)
                for f, t in zip(faces, tracks[name], strict=True)
            ]
            seconds[name].append((time.perf_counter() - begin) / len(faces))
        begin = time.perf_counter()
        for f in few:
            matcher.search(f[None])
        seconds["exact"].append((time.perf_counter() - begin) / len(few))
    facts: dict[str, object] = {"identities": people, "dim": dim, "faces": len(faces)}
    for name, results in found.items():
        facts[name] = {
            "exact search / this": ratio(seconds, "exact", name),
            "best us a face": round(min(seconds[name]) * 1e6, 2),
            "vectors compared, mean": round(float(np.mean([r[2] for r in results])), 2),
            "looked at all": sum(r[2] >= people for r in results),
            "wrong": int(sum(r[0] != w for r, w in zip(results, who.tolist(), strict=True))),
        }
    facts["exact search, best us a face"] = round(min(seconds["exact"]) * 1e6, 2)
    print(json.dumps(facts), flush=True)
    return facts


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    out = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return out.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="no gallery of 1,000,000; writes nothing")
    small = parser.parse_args().small
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(20261122)
    cells = []
    for n in (100, 10_000) if small else (100, 10_000, 1_000_000):
        for dim in (128, 512):
            vectors = unit(rng, n, dim)
            matcher, flat = _core.Matcher(dim), faiss.IndexFlatIP(dim)
            matcher.add(vectors, np.arange(n))
            flat.add(vectors)
            cells += [cell(vectors, matcher, flat, unit(rng, m, dim)) for m in (1, 256)]
            del vectors, matcher, flat
    streams = [early_exit(rng, 10_000, dim) for dim in (128, 512)]
    facts = {
        "cells": cells,
        "early exit": streams,
        "simd": _core.simd_level(),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "numpy": np.__version__,
        "faiss": f"{faiss.__version__} ({faiss.get_compile_options().strip()})",
        "commit": _commit(),
        "command": "python benchmarks/matcher.py",
    }
    if not small:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
