"""`fastface render` as a command."""

from __future__ import annotations

import argparse

import av
import pytest
from render_clips import timeline_of

from fastface.cli import render as command


@pytest.fixture
def parse():
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return lambda *arguments: parser.parse_args(["render", *map(str, arguments)])


def test_video_and_picture(clip, tmp_path, parse, capsys):
    path, truth = clip
    timeline_of(truth, path).with_run().to_json(tmp_path / "t.json")
    for name in ("out.mp4", "out.png"):
        assert command.run(parse(path, tmp_path / "t.json", "-o", tmp_path / name)) == 0
        assert capsys.readouterr().out.strip() == str(tmp_path / name)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].frames == 40
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_errors_are_sentences_with_exit_codes(clip, tmp_path, parse, capsys):
    path, truth = clip
    assert command.run(parse(path, tmp_path / "gone.json", "-o", tmp_path / "out.mp4")) == 3
    assert "gone.json" in capsys.readouterr().err
    timeline_of(truth, path).to_json(tmp_path / "t.json")
    assert command.run(parse(path, tmp_path / "t.json", "-o", tmp_path / "out.gif")) == 3
    error = capsys.readouterr().err
    assert error.startswith("fastface render: ")
    assert ".mp4" in error
    assert not (tmp_path / "out.gif").exists()
