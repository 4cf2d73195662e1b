"""The film of the report's tests, and its page."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_clips import make_film

import fastface
from fastface.timeline import Timeline


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Timeline]:
    path = tmp_path_factory.mktemp("report") / "film.mp4"
    return path, make_film(path)


@pytest.fixture(scope="session")
def page_file(drawn: tuple[Path, Timeline]) -> Path:
    video, timeline = drawn
    path = video.with_name("report.html")
    assert fastface.report(video, timeline, path) == path
    return path
