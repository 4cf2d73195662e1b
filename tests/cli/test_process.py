"""`fastface process`: what it prints, what it writes, and what it refuses before any work."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fastface
from fastface.cli import main, process
from fastface.cli.progress import frames_bar
from fastface.timeline import Timeline
from timelines import make_timeline


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """What fastface.process was asked for; it gives two people in a second."""
    calls: list[tuple[Any, dict[str, Any]]] = []
    people = [("Ann", [(0, 5), (10, 12), (14, 16), (18, 20), (22, 23), (24, 25), (26, 27), (28, 29)]), (None, [(3, 9)])]

    def done(path: Any, **options: Any) -> Timeline:
        calls.append((path, options))
        timeline = make_timeline(people, frames=30, rate=25.0, nobody=[(0, 2)])
        return replace(timeline, run={**timeline.run, "warnings": ["device: a [CPU]"], "seconds": 0.5})

    monkeypatch.setattr(fastface, "process", done)
    return calls


def test_the_table(calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["process", "video.mp4"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "video.mp4: 640x360 h264, 0:01.2, 30 frames in 0.5 s (60 fps) on cpu"
    assert out[1].split() == ["person", "screen", "time", "similarity", "when"]
    assert out[2].split("  ")[0] == "Ann"
    assert "0.6 s" in out[2]
    assert "0.50 (>= 0.25)" in out[2]
    assert "0:00.0-0:00.2, 0:00.4-0:00.5" in " ".join(out[2:])
    assert "and 2 more" in " ".join(out[2:])
    assert any(line.startswith("person 2") for line in out)
    assert out[-2] == "23 faces in 10 tracks, 2 of them too short or too poor to tell; embedder facenet"
    assert out[-1] == "warning: device: a [CPU]"


def test_nobody(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(fastface, "process", lambda path, **options: make_timeline([]).with_run(seconds=0))
    assert main(["process", "video.mp4"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["nobody on screen", "0 faces in 0 tracks; embedder facenet"]


def test_options_reach_the_run_under_their_names(calls: list[Any], tmp_path: Path) -> None:
    assert main(["process", "v.mp4", "--quiet"]) == 0
    out = str(tmp_path / "t.json")
    told = ["--device", "cpu", "--gallery", "g.gallery", "--min-face-size", "41", "--thresholds", "0.5", "0.6", "0.8",
            "--factor", "0.8", "--embedder", "facenet-casia", "--embed", "every", "--every", "3", "--min-track-score",
            "0.9", "--far", "1e-5", "--similarity-threshold", "0.4", "--linkage-threshold", "0.3", "--cpu-fallback",
            "--strict", "--resume", "--checkpoint-seconds", "7", "-o", out, "--quiet"]  # fmt: skip
    assert main(["process", "v.mp4", *told]) == 0
    (_, usual), (_, asked) = calls
    assert usual == {
        "device": "auto", "gallery": None, "min_face_size": 20, "thresholds": (0.6, 0.7, 0.7), "factor": 0.709,
        "embedder": "auto", "embed": "track", "every": 1, "min_track_score": 0.95, "far": None,
        "similarity_threshold": None, "linkage_threshold": None, "cpu_fallback": False, "strict": False,
        "checkpoint": None, "checkpoint_seconds": 30.0, "progress": None}  # fmt: skip
    assert asked == {
        "device": "cpu", "gallery": "g.gallery", "min_face_size": 41, "thresholds": (0.5, 0.6, 0.8), "factor": 0.8,
        "embedder": "facenet-casia", "embed": "every", "every": 3, "min_track_score": 0.9, "far": 1e-5,
        "similarity_threshold": 0.4, "linkage_threshold": 0.3, "cpu_fallback": True, "strict": True,
        "checkpoint": f"{out}.checkpoint", "checkpoint_seconds": 7.0, "progress": None}  # fmt: skip


@pytest.mark.parametrize("ending", ["json", "csv", "parquet"])
def test_what_is_written(calls: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    out = tmp_path / f"t.{ending}"
    assert main(["process", "v.mp4", "-o", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"written: {out}"
    from fastface.export import read_table

    if ending == "json":
        assert [p.label for p in Timeline.from_json(out).identities] == ["Ann", "person 2"]
    else:
        assert len(read_table(out, "csv-faces" if ending == "csv" else None)) == 23


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["-o", "t.txt"], "--output is 't.txt', must end in .json, .csv, .parquet"),
     (["-o", "nowhere/t.json"], "--output is 'nowhere/t.json', but its folder does not exist"),
     (["--resume"], "--resume needs --output OUT")],
)  # fmt: skip
def test_what_is_refused_before_any_work(
    calls: list[Any], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["process", "v.mp4", *arguments]) == 3
    assert message in capsys.readouterr().err
    assert calls == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text says how far it is; a container may claim fewer frames than there are, or none."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with process._progress(True) as progress:
        assert progress is not None
        progress(3, None)
        progress(40, 100)
        progress(120, 100)
    with frames_bar(False) as frames:
        assert frames is not None
        frames(7, 0)
        frames(20, 50)
    assert "frames" in screen.getvalue()


def test_no_bar_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with frames_bar(False) as frames, process._progress(False) as progress:
        assert frames is None
        assert progress is None
