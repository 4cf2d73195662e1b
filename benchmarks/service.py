#!/usr/bin/env python3
"""The service under load: many clients send tiny videos at once, and keep asking how their jobs are.

Counts jobs that were lost, doubled or wrong, and measures how long GET /v1/jobs takes meanwhile, as a process of its
own sees it (the clients, all in one, wait for each other), and the memory of the service and its worker. Writes
benchmarks/results/service.json.

    python3 benchmarks/service.py --media DIR [--clients 50] [--jobs 1000] [--out DIR]

Server, worker and clients share the machine; the load of others is noted.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

import fastface
from fastface.service.keys import Keys
from fastface.service.place import Place

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

SETTINGS = {"min_face_size": 60, "every": 5}
LOOK = 0.5  # seconds between two looks of a client at its jobs
PROBE = 0.03  # seconds between two looks whose time is measured, by a process that does nothing else
AGAIN = 10  # every so many jobs one is sent twice, with the same idempotency key
MODEL = "facenet-msceleb1m"


class Load:
    """What was seen."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.doubled = self.refused = 0
        self.done: dict[str, str] = {}


async def client(url: str, key: str, number: int, jobs: int, video: bytes, load: Load) -> None:
    """Send all jobs, and look until each is over."""
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as web:
        query = {"name": "tiny.mp4", "settings": json.dumps(SETTINGS)}

        async def send(i: int) -> str:
            while True:
                answer = await web.post("/v1/jobs", params=query, content=video, headers={
                    "content-type": "video/mp4", "idempotency-key": f"{number}-{i}"})  # fmt: skip
                if answer.status_code != 429:
                    answer.raise_for_status()
                    return str(answer.json()["jobs"][0]["id"])
                load.refused += 1
                await asyncio.sleep(float(answer.headers["retry-after"]))

        async def look() -> list[dict[str, Any]]:
            answer = await web.get("/v1/jobs", params={"limit": 50})
            answer.raise_for_status()
            return list(answer.json()["jobs"])

        async def send_all() -> None:
            for i in range(jobs):
                id = await send(i)
                load.ids.add(id)
                if i % AGAIN == 0 and await send(i) != id:
                    load.doubled += 1

        sending = asyncio.create_task(send_all())
        over = 0
        while not (sending.done() and over == jobs):
            await asyncio.sleep(LOOK)
            page = await look()
            over = sum(job["state"] in ("done", "failed", "cancelled") for job in page)
        await sending
        for job in page:
            load.done[job["id"]] = job["state"]


def probe(url: str, key: str) -> None:
    """Ask for the jobs again and again until standard input ends; then print how long each answer took, in seconds."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    seconds = []
    while not over.wait(PROBE):
        begin = time.perf_counter()
        connection.request("GET", "/v1/jobs?limit=50", headers={"authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        content = answer.read()
        seconds.append(time.perf_counter() - begin)
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {content[:200]!r}")
    print(json.dumps(seconds))


def memory(pid: int) -> dict[str, int]:
    """Bytes of the service's process and of its workers."""
    process = psutil.Process(pid)
    workers = [c for c in process.children(recursive=True) if "fastface.service.worker" in " ".join(c.cmdline())]
    return {"service": process.memory_info().rss, "worker": sum(c.memory_info().rss for c in workers)}


async def watch(pid: int, folder: Path, samples: list[dict[str, Any]]) -> None:
    begin = time.monotonic()
    while True:
        results = sum(1 for _ in (folder / "results").glob("*.json"))
        samples.append({"seconds": time.monotonic() - begin, "results": results, **memory(pid)})
        await asyncio.sleep(1)


def content(timeline: fastface.Timeline) -> Any:
    """What must be equal in two runs."""
    document = timeline.to_dict()
    return document["identities"], document["faces"]


async def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from film import shrunk

    tiny = folder / "tiny.mp4"
    shrunk(args.media / "hamilton.mp4", tiny, 10)
    place = Place(folder / "service")
    names = [Keys(place.folder / "keys.json").add(f"client-{i}") for i in range(args.clients)]
    command = [sys.executable, "-m", "fastface", "serve", str(place.folder), "--port", "0", "--device", "cpu",
               "--rate", "1000000", "--embedder", MODEL]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    samples: list[dict[str, Any]] = []
    load = Load()
    try:
        assert server.stdout is not None
        line = await asyncio.to_thread(server.stdout.readline)
        url = line.split()[2]
        prober = subprocess.Popen([sys.executable, __file__, "--probe", url, names[0]], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)  # fmt: skip
        watching = asyncio.create_task(watch(server.pid, place.folder, samples))
        begin = time.monotonic()
        each = args.jobs // args.clients
        await asyncio.gather(
            *(client(url, key, i, each, tiny.read_bytes(), load) for i, key in enumerate(names))
        )
        seconds = time.monotonic() - begin
        watching.cancel()
        latencies = np.array(json.loads(prober.communicate()[0])) * 1000
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
    wanted = fastface.process(tiny, device="cpu", embedder=MODEL, **SETTINGS)
    results = sorted((place.folder / "results").glob("*.json"))
    wrong = sum(content(fastface.Timeline.from_json(path)) != content(wanted) for path in results)
    jobs = each * args.clients
    steady = [s for s in samples if s["results"] >= jobs // 10]
    return {
        "clients": args.clients,
        "jobs": jobs,
        "sent_twice": sum(-(-each // AGAIN) for _ in names),
        "lost": jobs - len(results),
        "doubled": load.doubled + len(results) - len(set(load.ids)),
        "not_done": sum(state != "done" for state in load.done.values()),
        "wrong": wrong,
        "told_to_wait": load.refused,
        "seconds": round(seconds, 1),
        "jobs_a_second": round(jobs / seconds, 1),
        "get_jobs_ms": {
            "requests": len(latencies),
            **{name: round(float(np.percentile(latencies, q)), 1) for name, q in (("p50", 50), ("p99", 99))},
            "most": round(float(latencies.max()), 1),
        },
        "memory_mib": {
            who: {"at_a_tenth": round(steady[0][who] / 2**20), "at_the_end": round(steady[-1][who] / 2**20),
                  "most": round(max(s[who] for s in steady) / 2**20)}
            for who in ("service", "worker")
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--media", type=Path, default=os.environ.get("FASTFACE_MEDIA"), help="has hamilton.mp4")
    parser.add_argument("--probe", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    if args.probe:
        probe(*args.probe)
        return
    if args.media is None:
        parser.error("--media is missing (or FASTFACE_MEDIA)")
    args.media = Path(args.media)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        seen = asyncio.run(run(args, Path(folder)))
    out = {"machine": platform.machine(), "cores": os.cpu_count(), "load_before": round(before, 1),
           "python": platform.python_version(), "when": time.strftime("%Y-%m-%d"), **seen}  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "service.json").write_text(json.dumps(out, indent=1) + "\n")
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
