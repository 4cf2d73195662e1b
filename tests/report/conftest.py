"""The film of the report's tests, its page, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium: Playwright's own, else one on the PATH."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        names = ("chromium", "chromium-browser", "google-chrome")
        found = str(own) if own.exists() else next(filter(None, map(shutil.which, names)), None)
        if found is None:
            pytest.skip("no Chromium: neither Playwright's own nor one on the PATH")
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()
