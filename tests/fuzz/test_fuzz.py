"""Damaged videos, timelines and galleries give a result or an error of fastface: see docs/reliability.md.

FASTFACE_FUZZ=5000 runs as many cases of each kind; FASTFACE_FUZZ_FIRST=10000 begins with another seed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cases import KINDS, make_sources

import fuzz

SHORT = {"video": 250, "timeline": 400, "gallery": 400}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    make_sources(folder)
    return folder


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_damaged(kind: str, sources: Path) -> None:
    """No crash, no hang, no other exception, no leak."""
    count = int(os.environ.get("FASTFACE_FUZZ", SHORT[kind]))
    report = fuzz.run(kind, int(os.environ.get("FASTFACE_FUZZ_FIRST", 0)), count, sources)
    print(report)
    assert not report.failures, "\n".join(report.failures)
    assert report.cases == count
    assert len(report.outcomes) >= 2, f"all cases ended alike: {report.outcomes}"


@pytest.mark.gpu
@pytest.mark.alone
@pytest.mark.timeout(1200)
def test_damaged_through_nvdec(sources: Path) -> None:
    """The same with a GPU's own decoder."""
    count = int(os.environ.get("FASTFACE_FUZZ_NVDEC", 40))
    report = fuzz.run("nvdec", int(os.environ.get("FASTFACE_FUZZ_FIRST", 0)), count, sources)
    print(report)
    assert not report.failures, "\n".join(report.failures)
    assert report.cases == count
    decoded = sum(n for how, n in report.outcomes.items() if how.startswith("decoding: decoded"))
    assert decoded > count // 8, report.outcomes


def test_the_same_seed_does_the_same(sources: Path, tmp_path: Path) -> None:
    """Else no failure could be replayed."""
    for kind in KINDS:
        for seed in range(10):
            files = []
            for name in "ab":
                folder = tmp_path / name
                folder.mkdir(exist_ok=True)
                told = fuzz.run_case(kind, seed, sources, folder)
                files.append((told, {p.name: p.read_bytes() for p in folder.iterdir()}))
            assert files[0][0] == files[1][0]
            assert files[0][1].keys() == files[1][1].keys()
            # Reading is part of a case, and what it writes may hold the folder's name; the damaged file must not.
            damaged = {"video": "case", "timeline": "timeline.json", "gallery": "people.gallery"}[kind]
            assert files[0][1].get(damaged) == files[1][1].get(damaged)


class TestTheRunner:
    """What it is for is found: a worker that dies, hangs, raises or leaks."""

    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
        def run(statement: str, count: int = 12) -> fuzz.Report:
            """Run workers whose case 5 is this."""
            program = tmp_path / "program.py"
            program.write_text(
                "import os, random, sys, threading, time\n"
                f"sys.path.insert(0, {str(Path(fuzz.__file__).parent)!r})\n"
                "import fuzz, cases\n"
                "kept = []\n"
                "def case(rng, sources, folder):\n"
                "    seed = case.seed\n"
                f"    {statement}\n"
                "    return [], ['fine']\n"
                "def run_case(kind, seed, sources, folder):\n"
                "    case.seed = seed\n"
                "    return case(None, sources, folder)\n"
                "fuzz.run_case = run_case\n"
                "fuzz.main()\n"
            )
            monkeypatch.setattr(fuzz, "PROGRAM", str(program))
            monkeypatch.setattr(fuzz, "HANG", 1.0)
            return fuzz.run("video", 0, count, tmp_path)

        return run

    @pytest.mark.parametrize(
        ("statement", "what"),
        [
            ("if seed == 5: os.abort()", "the process ended with -6"),
            ("if seed == 5: time.sleep(30)", "hangs"),
            ("if seed == 5: raise KeyError('x')", "KeyError: 'x'"),
        ],
        ids=["crash", "hang", "exception"],
    )
    def test_one_bad_case(self, run: object, statement: str, what: str) -> None:
        report = run(statement)  # type: ignore[operator]
        assert len(report.failures) == 1
        assert report.failures[0].startswith("video:5: ")
        assert what in report.failures[0]
        assert "--replay video:5" in report.failures[0]
        assert report.outcomes == {"fine": 11}

    @pytest.mark.parametrize(
        ("statement", "what"),
        [
            ("kept.append(bytearray(os.urandom(4 << 20)))", "memory grew"),
            ("kept.append(open(os.devnull))", "files grew"),
            ("threading.Thread(target=time.sleep, args=(9,), daemon=True).start()", "threads grew"),
        ],
        ids=["memory", "files", "threads"],
    )
    def test_leaks(self, run: object, statement: str, what: str) -> None:
        report = run(statement)  # type: ignore[operator]
        assert len(report.failures) == 1
        assert what in report.failures[0]

    def test_replay(self) -> None:
        command = [sys.executable, fuzz.__file__, "--replay", "gallery:3"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "damage:" in done.stdout
        assert "outcome:" in done.stdout
