"""Tests in several processes: who may run beside whom."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import side_by_side
from side_by_side import turn, unit


def test_others_run_side_by_side(tmp_path: Path) -> None:
    meet = threading.Barrier(3, timeout=30)

    def run() -> None:
        with turn(tmp_path, alone=False):
            meet.wait()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    meet.wait()
    for thread in threads:
        thread.join()


def test_alone_is_alone(tmp_path: Path) -> None:
    now: list[bool] = []
    wrong: list[list[bool]] = []

    def run(alone: bool) -> None:
        for _ in range(30):
            with turn(tmp_path, alone):
                now.append(alone)
                time.sleep(0.001)
                if any(seen := list(now)) and len(seen) > 1:
                    wrong.append(seen)
                now.remove(alone)

    threads = [threading.Thread(target=run, args=(alone,)) for alone in (True, True, False, False, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_who_waits_to_be_alone_is_not_overtaken(tmp_path: Path) -> None:
    order: list[str] = []

    def run(name: str, alone: bool) -> None:
        with turn(tmp_path, alone):
            order.append(name)

    def waits() -> bool:
        with (tmp_path / "gate.lock").open() as gate, contextlib.suppress(BlockingIOError):
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        return True

    with turn(tmp_path, alone=False):
        first = threading.Thread(target=run, args=("alone", True))
        first.start()
        end = time.monotonic() + 30
        while not waits():
            assert time.monotonic() < end
        second = threading.Thread(target=run, args=("beside others", False))
        second.start()
        time.sleep(0.1)
        assert order == []
    first.join()
    second.join()
    assert order == ["alone", "beside others"]


@pytest.mark.parametrize(
    ("nodeid", "wanted"),
    [("tests/service/test_jobs.py::test_a", "service"), ("tests/report/test_report_browser.py::test_a[1]", "service"),
     ("tests/core/test_nms.py::TestA::test_b[x::y]", "tests/core/test_nms.py")],
)  # fmt: skip
def test_who_takes_what(nodeid: str, wanted: str) -> None:
    assert unit(nodeid) == wanted


def test_two_processes(tmp_path: Path) -> None:
    """A run of pytest: files stay together, those that are alone come last and meet nobody."""
    body = """
        import json, os, time
        from pathlib import Path
        import pytest

        @pytest.fixture(autouse=True)
        def told(request):
            begin = time.monotonic()
            yield
            alone = request.node.get_closest_marker("alone") is not None
            with Path("told").open("a") as file:
                file.write(json.dumps([request.node.path.name, alone, os.getpid(), begin, time.monotonic()]) + "\\n")

        @pytest.mark.alone
        def test_alone(): time.sleep(0.2)
        def test_one(): time.sleep(0.4)
        def test_two(): time.sleep(0.4)
        def test_three(): time.sleep(0.4)
    """
    for name in "abc":
        (tmp_path / f"test_{name}.py").write_text(textwrap.dedent(body))
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    command = [sys.executable, "-m", "pytest", "-p", "side_by_side", "-n", "2", "--dist", "loadfile"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(Path(side_by_side.__file__).parent)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tests = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert len(tests) == 12
    others = [test for test in tests if not test[1]]
    assert len({test[2] for test in others}) == 2
    for name in {test[0] for test in others}:
        assert len({test[2] for test in others if test[0] == name}) == 1
    for _, _, _, begin, end in (test for test in tests if test[1]):
        assert sum(start < end and begin < stop for *_, start, stop in tests) == 1  # itself
        assert sum(stop <= begin for *_, start, stop in others) >= 6
    assert any(a[3] < b[4] and b[3] < a[4] for a in others for b in others if a is not b)
