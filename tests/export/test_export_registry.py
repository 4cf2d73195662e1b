"""Which format a name means, what the writers share, and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastface.cli import main
from fastface.errors import InputValidationError
from fastface.export import FORMATS, format_of, read_table
from fastface.timeline import Timeline
from timelines import hostile_timeline


@pytest.mark.parametrize(
    ("name", "meant"),
    [("a.json", "json"), ("a.rekognition.json", "rekognition"), ("A.JSON", "json"), ("a.spans.csv", "csv-spans"),
     ("a.faces.csv", "csv-faces"), ("a.chapters.vtt", "vtt-chapters"), ("a.metadata.vtt", "vtt-metadata"),
     ("a.b.edl", "edl"), ("a.otio", "otio"), ("a.txt", "mot"), ("a.parquet", "parquet")],
)  # fmt: skip
def test_endings_that_mean_one_format(name: str, meant: str) -> None:
    assert format_of(name).name == meant
    assert format_of("x/" + name).name == meant


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.csv", r"'csv-spans' or 'csv-faces', or let the name end in \.spans\.csv or \.faces\.csv"),
     ("a.vtt", r"'vtt-chapters' or 'vtt-metadata'"),
     ("a.xml", r"'a\.xml' ends like no format.*json, csv-spans"), ("json", "ends like no format")],
)  # fmt: skip
def test_endings_that_do_not(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputValidationError, match=message):
        hostile_timeline().export(tmp_path / name if name != "a.xml" else name)
    assert not list(tmp_path.iterdir())


def test_a_format_that_is_given_counts(tmp_path: Path) -> None:
    hostile_timeline().export(tmp_path / "a.csv", "csv-faces")
    hostile_timeline().export(tmp_path / "b.csv", "vtt-chapters")
    assert (tmp_path / "a.csv").read_text().startswith(('"frame"', "frame"))
    assert (tmp_path / "b.csv").read_text().startswith("WEBVTT")
    with pytest.raises(InputValidationError, match="format is 'xls', must be one of json, csv-spans"):
        hostile_timeline().export(tmp_path / "a.csv", "xls")


@pytest.mark.parametrize("form", FORMATS, ids=lambda f: f.name)
class TestEach:
    def test_replaces_only_when_all_is_written(self, form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        target = tmp_path / f"a{form.ending}"
        target.write_text("before")
        seen: list[list[str]] = []
        replace = os.replace

        def look(source, destination):
            seen.append(sorted(p.name for p in tmp_path.iterdir()))
            assert target.read_text() == "before"
            replace(source, destination)

        monkeypatch.setattr(os, "replace", look)
        hostile_timeline().export(target)
        assert len(seen) == 1
        assert len(seen[0]) == 2
        assert [p.name for p in tmp_path.iterdir()] == [target.name]
        assert target.stat().st_size > 100

    def test_a_folder_that_is_not_there(self, form, tmp_path: Path) -> None:
        with pytest.raises(InputValidationError, match=r"gone.*does not exist"):
            hostile_timeline().export(tmp_path / "gone" / f"a{form.ending}")

    def test_without_people_and_faces(self, form, tmp_path: Path) -> None:
        from timelines import make_timeline

        target = tmp_path / f"a{form.ending}"
        make_timeline([]).export(target)
        assert target.is_file()
        if form.reader:
            assert len(read_table(target)) == 0

    def test_options_only_where_they_mean_something(self, form, tmp_path: Path) -> None:
        target = tmp_path / f"a{form.ending}"
        for option, value in (("rate", 25), ("start_timecode", "10:00:00:00")):
            if option in form.options:
                hostile_timeline().export(target, **{option: value})
                assert target.is_file()
            else:
                with pytest.raises(InputValidationError, match=f"{option} is .*{form.name} takes none.*: edl, otio"):
                    hostile_timeline().export(target, **{option: value})
                assert not target.exists()


class TestReading:
    def test_formats_without_a_way_back(self, tmp_path: Path) -> None:
        with pytest.raises(InputValidationError, match=r"'edl', but only these .*csv-spans, csv-faces, parquet, mot"):
            read_table(tmp_path / "a.edl")

    @pytest.mark.parametrize("ending", [f.ending for f in FORMATS if f.reader])
    def test_files_that_are_not_there_or_something_else(self, ending: str, tmp_path: Path) -> None:
        with pytest.raises(InputValidationError, match=r"cannot read .*a"):
            read_table(tmp_path / f"a{ending}")
        (tmp_path / f"a{ending}").write_text("one,two\nx,y\n")
        with pytest.raises(InputValidationError, match=r"is no .* file of fastface"):
            read_table(tmp_path / f"a{ending}")


class TestCommand:
    def test_writes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        hostile_timeline().to_json(tmp_path / "t.json")
        assert main(["export", str(tmp_path / "t.json"), "-o", str(tmp_path / "a.edl"), "--rate", "25"]) == 0
        assert capsys.readouterr().out == f"written: {tmp_path / 'a.edl'} (edl)\n"
        assert "NON-DROP" in (tmp_path / "a.edl").read_text()
        assert main(["export", str(tmp_path / "t.json"), "-o", str(tmp_path / "a.csv"), "--format", "csv-spans"]) == 0
        assert len(read_table(tmp_path / "a.csv", "csv-spans")) == 6

    def test_says_what_is_wrong_before_it_reads(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["export", str(tmp_path / "gone.json"), "-o", "a.vtt"]) == 3
        assert "'vtt-chapters' or 'vtt-metadata'" in capsys.readouterr().err
        assert main(["export", str(tmp_path / "gone.json"), "-o", "a.edl"]) == 3
        assert "gone.json" in capsys.readouterr().err

    def test_help_names_every_format(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["export", "--help"])
        shown = capsys.readouterr().out
        assert all(f"  {f.name} " in shown and f.ending in shown for f in FORMATS)


def test_json_is_the_timeline(tmp_path: Path) -> None:
    timeline = hostile_timeline()
    timeline.export(tmp_path / "a.json")
    again = Timeline.from_json(tmp_path / "a.json")
    assert again.to_dict() == timeline.to_dict()
    assert [p.name for p in again.identities] == [p.name for p in timeline.identities]
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["schema"] == "fastface.timeline/1"


def test_text_formats_load_neither_pandas_nor_torch(tmp_path: Path) -> None:
    """An export on a machine that only keeps timelines."""
    hostile_timeline().to_json(tmp_path / "t.json")
    code = f"""
import sys
from fastface import Timeline
timeline = Timeline.from_json({str(tmp_path / "t.json")!r})
for ending in (".edl", ".chapters.vtt", ".metadata.vtt", ".txt", ".rekognition.json"):
    timeline.export({str(tmp_path / "a")!r} + ending)
print([m for m in ("torch", "pandas", "pyarrow", "av", "fastface._core") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
