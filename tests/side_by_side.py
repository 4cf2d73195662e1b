"""A plugin of pytest for tests in several processes side by side, as scripts/test runs the suite (pytest-xdist with
`--dist loadfile`): which process takes which tests, and how a test has the machine to itself."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ALONE = "alone"
"""The marker of tests that need the machine for themselves, and the unit that they are."""

_LIST = "alone.json"


def pytest_configure(config: pytest.Config) -> None:
    why = "measures seconds, or takes a GPU's memory; no other process runs a test meanwhile"
    config.addinivalue_line("markers", f"{ALONE}: {why}")


def folder_of_all(config: pytest.Config) -> Path | None:
    """The folder that the run's processes share, in each of them; None where there is but one process."""
    if not hasattr(config, "workerinput"):
        return None
    return Path(config._tmp_path_factory.getbasetemp()).parent  # type: ignore[attr-defined]


@contextlib.contextmanager
def locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a lock of all processes of the run."""
    with path.open("w") as file:
        fcntl.flock(file, how)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # said, since a process that the test forked may have the file open, too


@contextlib.contextmanager
def turn(folder: Path, alone: bool) -> Iterator[None]:
    """Run a test beside those of other processes, or while none of them runs.

    Args:
        folder: of the whole run.
        alone: whether no other may run.
    """
    with contextlib.ExitStack() as held:
        # Who waits to be alone has the gate, so that no other begins in the meantime.
        with locked(folder / "gate.lock"):
            held.enter_context(locked(folder / "turn.lock", fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Where others run at the same time, each test waits for its turn; that does not count for its time limit."""
    if (folder := folder_of_all(item.config)) is None:
        return (yield)
    with turn(folder, item.get_closest_marker(ALONE) is not None):
        return (yield)


@pytest.hookimpl(trylast=True)  # of those that are left by -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the service's tests first, which wait for other processes most of the time, so that one process of the run
    has them while others compute; and those that need the machine for themselves last, when there are no others."""

    def place(item: pytest.Item) -> int:
        return 2 if item.get_closest_marker(ALONE) else int(unit(item.nodeid) != "service")

    if (folder := folder_of_all(config)) is not None:
        items.sort(key=place)
        # For the scheduler, which knows no markers. Each process writes the same.
        alone = [item.nodeid for item in items if item.get_closest_marker(ALONE)]
        (folder / _LIST).write_text(json.dumps(alone), encoding="utf-8")


def unit(nodeid: str) -> str:
    """What one process runs: a file, or the service's tests, which share servers and the one browser that the machine
    can bear."""
    path = nodeid.partition("::")[0]
    return "service" if path.startswith("tests/service/") or path.endswith("_browser.py") else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives units to processes in the order in which they were put; tests that run alone are a unit, too."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    folder = Path(config._tmp_path_factory.getbasetemp())  # type: ignore[attr-defined]

    class Units(LoadScopeScheduling):
        @functools.cached_property
        def alone(self) -> set[str]:
            return set(json.loads((folder / _LIST).read_text(encoding="utf-8")))

        def _split_scope(self, nodeid: str) -> str:
            return ALONE if nodeid in self.alone else unit(nodeid)

    config.option.loadscopereorder = False
    return Units(config, log)
