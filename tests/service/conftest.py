"""A tiny video, a folder for a service, and workers that are quick."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastface.service.embedded import EmbeddedJobs
from fastface.service.place import Place
from fastface.service.worker import WorkerOptions
from film import MODEL, Film, shrunk


@pytest.fixture(scope="session")
def root(film: Film, embedder_spec: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that jobs may read: the film, its first ten frames, and the film again and again."""
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "decode"))
    from decode_clips import loop

    folder = tmp_path_factory.mktemp("root")
    (folder / "sub").mkdir()
    (folder / "film.mp4").write_bytes(film.path.read_bytes())
    shrunk(film.path, folder / "sub" / "tiny.mp4", 10)
    loop(film.path, folder / "long.mp4", 6000)
    (folder / "text.mp4").write_text("no video at all")
    return folder


@pytest.fixture
def place(root: Path, tmp_path: Path) -> Place:
    return Place(tmp_path / "service", root)


@pytest.fixture
def options(root: Path) -> WorkerOptions:
    return WorkerOptions(root=str(root), embedder=MODEL, lease=3.0, checkpoint=0.3, progress=0.3, max_attempts=100,
                         threads=1)  # fmt: skip


@pytest.fixture(params=["embedded"])
def jobs(request: pytest.FixtureRequest, place: Place) -> Iterator[Any]:
    """Each keeper of jobs: tests that take this hold for all of them."""
    keeper = EmbeddedJobs(place.database, max_attempts=3)
    yield keeper
    keeper.close()
