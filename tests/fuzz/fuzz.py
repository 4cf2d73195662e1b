"""Runs damaged files in processes of their own: a crash, a hang or a leak is found, and told by its seed.

python tests/fuzz/fuzz.py --count 5000 --json fuzz.json      # everything
python tests/fuzz/fuzz.py --replay video:123                 # one case, here
python tests/fuzz/fuzz.py --replay video:123 --keep FOLDER   # the same, and leave the file there
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import ctypes
import gc
import json
import os
import queue
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

HANG = 10.0
"""Seconds that a case may take."""

FLAT = 0.05
"""Part by which memory may grow from warm-up to the end."""

SLACK = 4 << 20
"""Bytes by which memory may grow besides: a few hundred cases are too few to have met every codec, whose tables stay.
In a run of thousands it is nothing against what a leak of 1 kB a case gives."""

ARENAS = {"MALLOC_ARENA_MAX": "1"}
"""Of a worker: else malloc makes an arena for each thread that is there at once, up to eight a core, each with free
pages in it that stay resident; how many there are is a matter of scheduling, not of what is in use."""

WARM = 0.25
"""Part of the cases, at most 500, after which memory is measured first: codecs, pandas and arenas are there by then."""

ADDRESS_SPACE = 8 << 30
"""What a worker may map, so that a size that a damaged file claims is an error and not the end of the machine."""


MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where the damaged files are: on a disk that is busy a case may take long, and nobody's fault."""

PROGRAM = __file__
"""What a worker runs."""


def _release() -> None:
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free goes back, what is left is in use


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 of glibc's malloc.h."""

    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = tuple((name, ctypes.c_size_t) for name in _names)


def _heap() -> int:
    """Bytes in use of malloc; 0 where it cannot say."""
    try:
        mallinfo = ctypes.CDLL("libc.so.6").mallinfo2
    except (OSError, AttributeError):
        return 0
    mallinfo.restype = _Mallinfo
    told = mallinfo()
    return int(told.uordblks + told.hblkhd)


def _state() -> dict[str, int]:
    """Resident bytes, bytes in use of malloc, open files and threads of this process; bytes in use on the GPU, by
    all."""
    _release()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    threads = len(os.listdir("/proc/self/task"))
    resident = pages * os.sysconf("SC_PAGE_SIZE")
    state = {"rss": resident, "heap": _heap(), "files": len(os.listdir("/proc/self/fd")), "threads": threads}
    if "cupy" in sys.modules:
        free, total = sys.modules["cupy"].cuda.runtime.memGetInfo()
        state["gpu"] = total - free
    return state


def run_case(kind: str, seed: int, sources: Path, folder: Path) -> tuple[list[str], list[str]]:
    import numpy as np
    from cases import RUN

    for old in folder.iterdir():
        old.unlink()
    with np.errstate(all="ignore"):  # damaged numbers overflow
        return RUN[kind](random.Random(f"{kind}:{seed}"), sources, folder)


def _worker(kind: str, first: int, count: int, warm: int, sources: Path, folder: Path) -> None:
    """Cases one after the other; a line before and after each."""
    import cases

    if kind not in cases.GPU_KINDS:  # CUDA maps more than there is
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def say(*words: object) -> None:
        print(json.dumps(words), flush=True)

    cases.prepare(kind, sources)
    for seed in range(first, first + count):
        if seed == first + warm:
            say("state", "warm", _state())
        say("begin", seed)
        begin = time.perf_counter()
        try:
            _, outcome = run_case(kind, seed, sources, folder)
            say("end", seed, outcome, time.perf_counter() - begin)
        except BaseException:
            say("wrong", seed, traceback.format_exc())
    say("state", "end", _state())


@dataclass
class Report:
    """What a run of one kind found.

    Attributes:
        kind, first, cases: what was run.
        outcomes: how many cases ended how.
        failures: seed and what happened.
        seconds: in all; slowest: case.
        before, after: resident bytes, bytes in use of malloc, open files and threads of the (last) worker, and bytes
            in use on the GPU, after warm-up and at the end.
    """

    kind: str
    first: int
    cases: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    slowest: float = 0.0
    slowest_seed: int = -1
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)

    def fail(self, seed: int, what: str) -> None:
        self.failures.append(f"{self.kind}:{seed}: {what}\n  python tests/fuzz/fuzz.py --replay {self.kind}:{seed}")

    def check_leaks(self) -> None:
        """Note what is more at the end than after warm-up."""
        if not (self.before and self.after):
            return
        for name, what in (("rss", "memory"), ("gpu", "the GPU's memory")):
            was, is_ = self.before.get(name, 0), self.after.get(name, 0)
            if is_ > was * (1 + FLAT) + SLACK:
                self.failures.append(f"{self.kind}: {what} grew from {was / 1e6:.1f} to {is_ / 1e6:.1f} MB")
        for name in ("files", "threads"):
            if self.after[name] > self.before[name]:
                self.failures.append(f"{self.kind}: {name} grew from {self.before[name]} to {self.after[name]}")


def _lines(process: subprocess.Popen[str]) -> Iterator[list | None]:
    """The worker's lines as they come; None where it hangs."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    limit = 120.0  # for the imports
    while True:
        try:
            line = lines.get(timeout=limit)
        except queue.Empty:
            yield None
            return
        limit = HANG
        if line is None:
            return
        if line.startswith("["):  # codecs may print as well
            with contextlib.suppress(ValueError):
                yield json.loads(line)


def run(kind: str, first: int, count: int, sources: Path, *, most_failures: int = 20) -> Report:
    """Run cases `first` to `first + count` of a kind."""
    report = Report(kind, first)
    begin = time.perf_counter()
    outcomes: collections.Counter[str] = collections.Counter()
    seed, end = first, first + count
    warm = min(500, int(WARM * count))
    while seed < end and len(report.failures) < most_failures:
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=MEMORY) as folder, tempfile.TemporaryFile() as errors:
            # After a crash or a hang the rest is run by a new worker, which warms up anew.
            words = [str(x) for x in (kind, seed, end - seed, min(warm, end - seed - 1), sources, folder)]
            process = subprocess.Popen(
                [sys.executable, PROGRAM, "--worker", *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **ARENAS},
            )
            at, inside = seed, False
            for line in _lines(process):
                if line is None:
                    process.kill()
                    report.fail(at, f"hangs: more than {HANG:.0f} s")
                    seed = at + 1
                    break
                if line[0] == "begin":
                    at, inside = line[1], True
                elif line[0] in ("end", "wrong"):
                    seed, inside = line[1] + 1, False
                    report.cases += 1
                    if line[0] == "wrong":
                        report.fail(at, line[2])
                    else:
                        outcomes.update(line[2])
                        if line[3] > report.slowest:
                            report.slowest, report.slowest_seed = line[3], at
                elif line[1] == "warm":
                    report.before = line[2]
                else:
                    report.after = line[2]
            code = process.wait()
            if code and seed < end and seed == at:
                errors.seek(max(0, errors.seek(0, 2) - 2000))
                said = errors.read().decode(errors="replace")
                report.fail(at, f"the process ended with {code}{'' if inside else ' between two cases'}\n{said}")
                seed = at + 1
            if process.stdout:
                process.stdout.close()
    report.outcomes = dict(sorted(outcomes.items()))
    report.seconds = time.perf_counter() - begin
    report.check_leaks()
    return report


def _replay(what: str, keep: Path | None) -> None:
    from cases import make_sources

    kind, seed = what.split(":")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        sources, folder = Path(name) / "sources", keep or Path(name) / "case"
        make_sources(sources)
        folder.mkdir(parents=True, exist_ok=True)
        if keep is not None and any(keep.iterdir()):
            raise SystemExit(f"{str(keep)!r} must be empty")
        done, outcome = run_case(kind, int(seed), sources, folder)
        print("damage: ", "; ".join(done))
        print("outcome:", "; ".join(outcome))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("video", "timeline", "gallery", "nvdec"), action="append",
                        help="nvdec needs an NVIDIA GPU (default: the others)")  # fmt: skip
    parser.add_argument("--count", type=int, default=300, help="cases of each kind")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--replay", metavar="KIND:SEED", help="run one case in this process")
    parser.add_argument("--keep", type=Path, help="with --replay: an empty folder for the damaged file")
    parser.add_argument("--worker", nargs=6, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        kind, first, count, warm, sources, folder = arguments.worker
        _worker(kind, int(first), int(count), int(warm), Path(sources), Path(folder))
        return 0
    if arguments.replay:
        _replay(arguments.replay, arguments.keep)
        return 0
    reports = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as sources:
        from cases import make_sources

        make_sources(Path(sources))
        for kind in arguments.kind or ("video", "timeline", "gallery"):
            report = run(kind, arguments.first, arguments.count, Path(sources))
            reports.append(report)
            print(json.dumps({**asdict(report), "failures": len(report.failures)}), flush=True)
            for failure in report.failures:
                print(failure)
    if arguments.json:
        figures = {r.kind: {k: v for k, v in asdict(r).items() if k != "kind"} for r in reports}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(any(r.failures for r in reports))


if __name__ == "__main__":
    sys.exit(main())
