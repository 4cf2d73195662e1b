"""A long video, and a pipeline that is quick."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aio_settings import QUICK
from started import remember

import fastface
from film import Film

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "decode"))


@pytest.fixture(autouse=True)
def threads_of_others() -> None:
    remember()


@pytest.fixture(scope="session")
def long_film(film: Film, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The film again and again: minutes of work."""
    from decode_clips import loop

    path = tmp_path_factory.mktemp("long") / "long.mp4"
    loop(film.path, path, 6000)
    return path


@pytest.fixture(scope="session")
def quick(embedder_spec: object) -> Iterator[fastface.Pipeline]:
    with fastface.Pipeline(device="cpu", **QUICK) as pipeline:
        yield pipeline
