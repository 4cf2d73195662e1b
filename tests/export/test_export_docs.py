"""The examples of docs/exports.md and docs/report.md, run as they stand there, and what they say there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface.demo.compose import compose_shots
from fastface.demo.scene import Actor, Photo, Shot
from fastface.export import FORMATS
from timelines import make_timeline

DOCS = Path(__file__).resolve().parents[2] / "docs"


def run(page: str) -> dict[str, Any]:
    """What the one example of a page leaves behind."""
    text = (DOCS / page).read_text(encoding="utf-8")
    ((name, source),) = re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", text, re.DOTALL)
    assert text.count("```python") == 1
    scope: dict[str, Any] = {}
    exec(compile(source, f"{page}: {name}", "exec"), scope)
    return scope


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With timeline.json and video.mp4 of it; the working directory."""
    face = Photo(np.full((100, 80, 3), 90, np.uint8), (20, 30, 50, 70))
    shots = [Shot(1.0, [Actor(face, "Ann", (100, 80), (110, 80), 90)])]
    compose_shots(tmp_path / "video.mp4", shots, size=(320, 240), fps=20)
    people = [("Ann", [(0, 8), (12, 20)]), (None, [(4, 6)])]
    timeline = make_timeline(people, times=[i / 20 for i in range(21)], rate=20, size=(320, 240))
    timeline.to_json(tmp_path / "timeline.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_exports(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("exports.md")
    written = {path.name for path in folder.iterdir()}
    assert written == {"video.mp4", "timeline.json", "people.spans.csv", "people.vtt", "markers.edl"}
    assert re.search(r"Ann +0\.8\nperson 2 +0\.1\n", capsys.readouterr().out)


def test_report(folder: Path) -> None:
    scope = run("report.md")
    assert (folder / "report.html").stat().st_size > 20_000
    assert {who: face.shape for who, face in scope["faces"].items()} == {0: (96, 96, 3), 1: (96, 96, 3)}


def test_the_table_names_every_format() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| `([\w.]+)` \|", (DOCS / "exports.md").read_text("utf-8"), re.MULTILINE)
    assert rows == [(f.name, f.ending) for f in FORMATS]
