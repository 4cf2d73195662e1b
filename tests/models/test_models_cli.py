"""`fastface models`."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from fastface.cli import models as command


def call(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="fastface")
    command.add_parser(parser.add_subparsers(dest="command", required=True))
    return command.run(parser.parse_args(["models", *words]))


def test_list_says_what_is_in_the_cache(converted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    rows = {line.split()[0]: line.split() for line in lines[1:]}
    assert rows["facenet-msceleb1m"][1:4] == ["128", "yes", "90"]
    assert rows["facenet-vggface2"][1:3] == ["512", "no"]
    assert "not pinned" in lines[2]


def test_path_verify_and_pull_of_what_is_there(converted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("path", "facenet-msceleb1m") == 0
    assert capsys.readouterr().out == f"{converted}\n"
    assert call("pull", "facenet-msceleb1m") == 0
    assert call("pull") == 0
    assert capsys.readouterr().out == f"{converted}\n" * 2
    assert call("verify") == 0
    assert "facenet-msceleb1m: ok, sha256 " in capsys.readouterr().out


def test_what_is_missing_is_exit_code_4(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTFACE_OFFLINE", "1")
    for words in (
        ["path", "facenet-casia"],
        ["verify", "facenet-casia"],
        ["pull", "facenet-casia"],
        ["pull"],
    ):
        assert call(*words) == 4
        out, err = capsys.readouterr()
        assert out == ""
        assert "fastface models pull" in err
    assert call("verify") == 0
    assert "no model in the cache" in capsys.readouterr().err


def test_a_wrong_name_is_exit_code_2(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("pull", "facenet-casia", "arcface") == 2
    assert "'arcface', must be one of" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        call()
    assert caught.value.code == 2
