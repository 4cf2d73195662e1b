"""The document: there and back, its schema, its errors, its tables, and files that are never half written."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import fastface
from fastface.errors import InputValidationError
from fastface.timeline import Identity, Span, Timeline, Track
from fastface.types import Faces


def make(rng: np.random.Generator) -> Timeline:
    """Twelve faces of three tracks, two people, the third track nobody's."""
    frame = np.repeat(np.arange(6), 2)
    corner = rng.uniform(-10, 500, (12, 2))
    faces = Faces(
        frame=frame,
        time=frame * 1001 / 30000,
        box=np.concatenate([corner, corner + rng.uniform(20, 90, (12, 2))], 1).astype(np.float32),
        score=rng.uniform(0.7, 1, 12).astype(np.float32),
        landmarks=rng.uniform(0, 600, (12, 5, 2)).astype(np.float32),
        track=np.array([0, 1] * 4 + [0, 2] * 2),
        identity=np.array([0, 1] * 4 + [0, -1] * 2),
    )
    video = {"path": "Ä \"b\".mp4", "width": 640, "height": 360, "rotation": 90, "codec": "h264",
             "duration": 0.2002, "frame_count": 6, "average_rate": None}  # fmt: skip
    run = {"version": "1", "device": "cpu", "decoder": {"name": "libav", "every": 1}, "detector": {"name": "mtcnn"},
           "embedder": {"name": "facenet"}, "frames_decoded": 6, "frames_skipped": 0, "warnings": ["été"],
           "seconds": 1.5}  # fmt: skip
    people = (
        Identity(0, "Žofie", 0.73456, 0.4, 0.2002, (Span(0.0, 0.2002, 0, 6),)),
        Identity(1, None, None, None, 0.1334667, (Span(0.0, 0.0667333, 0, 2), Span(0.0667333, 0.1334667, 2, 4))),
    )
    return Timeline(video, run, people, (Track(0, 0, 0, 6), Track(1, 1, 0, 4), Track(2, None, 4, 6)), faces)


@pytest.fixture
def timeline(rng: np.random.Generator) -> Timeline:
    return make(rng)


@pytest.fixture
def document(timeline: Timeline) -> dict[str, Any]:
    return timeline.to_dict()


class TestThereAndBack:
    @pytest.mark.parametrize("indent", [None, 2])
    def test_text_is_exact(self, timeline: Timeline, indent: int | None) -> None:
        """Reading what was written and writing it again gives the same bytes."""
        text = timeline.to_json(indent=indent)
        again = Timeline.from_json(text)
        assert again.to_json(indent=indent) == text
        assert "Žofie" in text
        assert text.endswith("}\n")

    def test_values_are_as_near_as_the_document_is_fine(self, timeline: Timeline) -> None:
        again = Timeline.from_dict(timeline.to_dict())
        for name, atol in (("frame", 0), ("time", 5e-7), ("box", 0.0051), ("score", 5.1e-6), ("landmarks", 0.0051),
                           ("track", 0), ("identity", 0)):  # fmt: skip
            a, b = getattr(timeline.faces, name), getattr(again.faces, name)
            assert a.dtype == b.dtype
            np.testing.assert_allclose(b, a, atol=atol, rtol=0)
        assert again.tracks == timeline.tracks
        assert (again.video, again.run) == (timeline.video, timeline.run)
        for a, b in zip(timeline.identities, again.identities, strict=True):
            assert (a.id, a.name, a.instances[0].end_frame) == (b.id, b.name, b.instances[0].end_frame)
            assert b.screen_time == pytest.approx(a.screen_time, abs=5e-7)

    def test_file(self, timeline: Timeline, tmp_path: Path) -> None:
        text = timeline.to_json(tmp_path / "a.json")
        assert (tmp_path / "a.json").read_text("utf-8") == text
        assert Timeline.from_json(tmp_path / "a.json").to_json() == text
        assert Timeline.from_json(str(tmp_path / "a.json")).to_json() == text

    def test_a_path_that_is_no_utf_8(self, timeline: Timeline, tmp_path: Path) -> None:
        """Python has half a surrogate pair for such a byte; the document escapes it."""
        odd = replace(timeline, video={**timeline.video, "path": os.fsdecode(b"\xff.mp4")})
        odd.to_json(tmp_path / "a.json")
        assert Timeline.from_json(tmp_path / "a.json").video["path"] == odd.video["path"]
        odd.to_parquet(tmp_path / "a.parquet")

    def test_without_faces(self, timeline: Timeline) -> None:
        empty = Timeline(timeline.video, timeline.run, (), (), Faces.empty())
        again = Timeline.from_json(empty.to_json())
        assert len(again.faces) == 0
        assert again.faces.landmarks.shape == (0, 5, 2)
        assert again.to_json() == empty.to_json()

    def test_plain_values_only(self, document: dict[str, Any]) -> None:
        def walk(value: Any) -> None:
            assert type(value) in (dict, list, str, int, float, bool, type(None)), type(value)
            for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
                walk(part)

        walk(document)

    def test_faces_make_a_dataframe_as_they_are(self, document: dict[str, Any]) -> None:
        frame = pd.DataFrame(document["faces"])
        assert list(frame.columns) == ["frame", "time", "box", "score", "landmarks", "track", "identity"]
        assert len(frame) == 12


class TestSchema:
    @pytest.fixture
    def validator(self) -> jsonschema.Draft202012Validator:
        schema = fastface.timeline_schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        return jsonschema.Draft202012Validator(schema)

    def test_documents_are_valid(self, timeline: Timeline, validator: jsonschema.Draft202012Validator) -> None:
        validator.validate(timeline.to_dict())
        validator.validate(Timeline(timeline.video, timeline.run, (), (), Faces.empty()).to_dict())

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda d: d.pop("tracks"),
            lambda d: d.update(schema="fastface.timeline/2"),
            lambda d: d["video"].update(rotation=45),
            lambda d: d["identities"][0].update(extra=1),
            lambda d: d["faces"]["box"][0].pop(),
            lambda d: d["faces"].pop("score"),
            lambda d: d["identities"][0]["instances"][0].update(start=-1),
        ],
    )
    def test_others_are_not(self, document: dict[str, Any], validator: Any, spoil: Callable[[Any], Any]) -> None:
        spoil(document)
        assert not validator.is_valid(document)


def deep(levels: int) -> list[Any]:
    out: list[Any] = []
    for _ in range(levels - 1):
        out = [out]
    return out


# What is done to the document, and the place that the error must name.
SPOILT: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda d: d.pop("schema"), r"document lacks 'schema'"),
    (lambda d: d.update(schema="fastface.timeline/2"), r"schema is 'fastface.timeline/2', this version reads"),
    (lambda d: d.pop("identities"), r"document lacks 'identities'"),
    (lambda d: d.pop("faces"), r"document lacks 'faces'"),
    (lambda d: d.update(video=[]), r"document\.video must be an object, is list"),
    (lambda d: d.update(run=None), r"document\.run must be an object, is NoneType"),
    (lambda d: d.update(identities={}), r"document\.identities must be a list, is dict"),
    (lambda d: d.update(identities="ann"), r"document\.identities must be a list, is str"),
    (lambda d: d["video"].update(path=3), r"document\.video\.path must be a string, is 3"),
    (lambda d: d["video"].update(codec="h264", x=math.nan), r"document\.video\.x must be a finite number, is nan"),
    (lambda d: d["video"].pop("frame_count"), r"document\.video lacks 'frame_count'"),
    (
        lambda d: d["video"].update(duration=1e31),
        r"document\.video\.duration must be seconds in \[0, 1e\+30\], is 1e\+31",
    ),
    (lambda d: d["video"].update(rotation=45), r"document\.video\.rotation must be 0, 90, 180 or 270, is 45"),
    (lambda d: d["video"].update({3: 4}), r"document\.video must have strings for keys, has 3"),
    (lambda d: d["run"].update(x=deep(33)), r"document\.run\.x\[0\].* is nested more than 32 deep"),
    (lambda d: d["run"].update(x=b"1"), r"document\.run\.x must be what JSON can hold, is bytes"),
    (lambda d: d["run"].update(embedder=[]), r"document\.run\.embedder must be an object, is list"),
    (lambda d: d["run"].update(warnings=[None]), r"document\.run\.warnings\[0\] must be a string, is None"),
    (
        lambda d: d["identities"][1].update(id=2**53),
        r"identities\[1\]\.id must be a whole number <= 9007199254740991, is",
    ),
    (lambda d: d["identities"][1].update(name="\ud800"), r"identities\[1\]\.name must be text that can be written"),
    (lambda d: d["identities"][1].update(screen_time=-1), r"identities\[1\]\.screen_time must be seconds in \[0"),
    (lambda d: d["faces"]["time"].reverse(), r"faces\.time must be seconds in \[0, 1e\+30\] in ascending order"),
    (lambda d: d["identities"][1].update(name=3), r"identities\[1\]\.name must be a string or null, is 3"),
    (lambda d: d["identities"][1].update(id=-1), r"identities\[1\]\.id must be a whole number >= 0, is -1"),
    (lambda d: d["identities"][1].update(id=True), r"identities\[1\]\.id must be a whole number"),
    (lambda d: d["identities"][1].update(id=1.0), r"identities\[1\]\.id must be a whole number"),
    (lambda d: d["identities"][1].update(id=0), r"identities holds an id twice"),
    (lambda d: d["identities"][0].update(similarity=math.nan), r"identities\[0\]\.similarity must be a finite number"),
    (lambda d: d["identities"][0].pop("threshold"), r"identities\[0\] lacks 'threshold'"),
    (lambda d: d["identities"][0].update(screen_time="1"), r"identities\[0\]\.screen_time must be a finite number"),
    (lambda d: d["identities"][1]["instances"][1].update(start_frame=1), r"instances\[1\] overlaps the instance"),
    (lambda d: d["identities"][1]["instances"][0].update(end=-1), r"instances\[0\] must have 0 <= start <= end"),
    (lambda d: d["identities"][1]["instances"][0].update(end_frame=0), r"instances\[0\] must have .*start_frame < end"),
    (lambda d: d["tracks"][0].update(identity=9), r"tracks\[0\]\.identity names a person that is not in .*: 9"),
    (lambda d: d["tracks"][2].update(id=1), r"tracks holds an id twice"),
    (lambda d: d["tracks"][2].update(end_frame=4), r"tracks\[2\] must have start_frame < end_frame"),
    (lambda d: d["tracks"].append(7), r"tracks\[3\] must be an object, is int"),
    (lambda d: d["faces"].pop("landmarks"), r"document\.faces lacks 'landmarks'"),
    (lambda d: d["faces"]["score"].pop(), r"faces must have columns of one length, has .*'score': 11"),
    (lambda d: d["faces"]["box"][3].pop(), r"faces\.box must be a list of lists of shape \[4\] of numbers"),
    (lambda d: d["faces"].update(box=[[1, 2, 3]] * 12), r"faces\.box must be a list of lists of shape \[4\]"),
    (lambda d: d["faces"]["landmarks"][3].pop(), r"faces\.landmarks must be a list of lists of shape \[5, 2\]"),
    (lambda d: d["faces"]["score"].__setitem__(0, "high"), r"faces\.score must be a list of numbers"),
    (lambda d: d["faces"]["score"].__setitem__(0, None), r"faces\.score must be a list of numbers"),
    (lambda d: d["faces"]["score"].__setitem__(0, math.inf), r"faces\.score must hold finite numbers only"),
    (lambda d: d["faces"]["frame"].__setitem__(0, 0.5), r"faces\.frame must be a list of whole numbers"),
    (lambda d: d["faces"]["frame"].__setitem__(0, 2**70), r"faces\.frame must be a list of whole numbers"),
    (lambda d: d["faces"]["frame"].reverse(), r"faces\.frame must be in ascending order from 0"),
    (lambda d: d["faces"]["frame"].__setitem__(0, -1), r"faces\.frame must be in ascending order from 0"),
    (lambda d: d["faces"]["track"].__setitem__(0, 8), r"faces\.track names a track that is not in tracks"),
    (lambda d: d["faces"]["identity"].__setitem__(0, 8), r"faces\.identity names a person that is not in identities"),
    (lambda d: d["faces"].update(identity=None), r"faces\.identity must be a list, is NoneType"),
    (lambda d: d["faces"].update(frame="0"), r"faces\.frame must be a list, is str"),
]


class TestMalformed:
    @pytest.mark.parametrize(("spoil", "message"), SPOILT, ids=[m for _, m in SPOILT])
    def test_the_error_says_where(self, document: dict[str, Any], spoil: Callable[[Any], Any], message: str) -> None:
        before = repr(document)
        spoil(document)
        assert repr(document) != before
        with pytest.raises(InputValidationError, match=message):
            Timeline.from_dict(document)

    @pytest.mark.parametrize("value", [None, [], 3, "x", {}])
    def test_something_else_entirely(self, value: Any) -> None:
        with pytest.raises(InputValidationError, match="document"):
            Timeline.from_dict(value)

    def test_every_value_may_be_anything(self, document: dict[str, Any]) -> None:
        """Whatever stands anywhere, it is read or refused with our error: no TypeError from within."""
        places: list[tuple[Any, Any]] = []

        def walk(value: Any) -> None:
            for key in value if isinstance(value, dict) else range(min(len(value), 2)):
                places.append((value, key))
                if isinstance(value[key], (dict, list)):
                    walk(value[key])

        walk(document)
        assert len(places) > 80
        for holder, key in places:
            kept = holder[key]
            for wrong in (None, True, -1, 0.5, math.nan, 10**400, "x", [], {}, [[]], [None], {"a": 1}):
                holder[key] = wrong
                try:
                    Timeline.from_dict(document)
                except InputValidationError:
                    pass
                except Exception as error:
                    raise AssertionError(f"{key!r} = {wrong!r}: {error!r}") from error
            holder[key] = kept
        Timeline.from_dict(document)

    def test_values_that_cannot_be_shown(self, document: dict[str, Any]) -> None:
        """Python refuses to write such a number, and to write as deep a list."""
        for value, message in ((10**5000, "is int too long to show"), (deep(5000), r"is \[\[\[")):
            document["identities"][1]["id"] = value
            with pytest.raises(InputValidationError, match=r"identities\[1\]\.id must be a whole number .*" + message):
                Timeline.from_dict(document)

    def test_texts_that_are_too_much(self, document: dict[str, Any]) -> None:
        for text in ('{"a": ' + "9" * 5000 + "}", '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"):
            with pytest.raises(InputValidationError, match="'the text' is not a timeline: not JSON"):
                Timeline.from_json(text)
        with pytest.raises(InputValidationError, match=r"cannot read the timeline .*null byte"):
            Timeline.from_json("a\0b")

    def test_an_instance_without_a_face_of_its_person(self, document: dict[str, Any]) -> None:
        """A track may say who it is of while its faces do not."""
        document["faces"]["identity"] = [None] * 12
        read = Timeline.from_dict(document)
        assert read.at(0.1) == ()
        assert Timeline.from_json(read.merge(0, 1).to_json()).at(0.1) == ()

    def test_tracks_beyond_the_end_of_the_video(self, document: dict[str, Any]) -> None:
        """Edits give spans that can be read again."""
        document["video"].update(frame_count=1, duration=0.001)
        merged = Timeline.from_dict(document).merge(1, 0)
        assert Timeline.from_json(merged.to_json()).to_json() == merged.to_json()

    def test_files(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_bytes(b"\xff\xfe")
        (tmp_path / "b.json").write_text("{'a': 1}")
        (tmp_path / "c.json").write_text("")
        for name, message in (("a.json", "not UTF-8"), ("b.json", "not JSON"), ("c.json", "not JSON"),
                              ("d.json", "cannot read the timeline .*No such file"), ("", "cannot read")):  # fmt: skip
            with pytest.raises(InputValidationError, match=message):
                Timeline.from_json(tmp_path / name)
        with pytest.raises(InputValidationError, match="'the text' is not a timeline: not JSON"):
            Timeline.from_json('{"schema": ')


class TestTables:
    def check(self, timeline: Timeline, frame: pd.DataFrame) -> None:
        document = timeline.to_dict()["faces"]
        assert list(frame.columns) == [
            "frame", "time", "x1", "y1", "x2", "y2", "score", "left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y",
            "nose_x", "nose_y", "mouth_left_x", "mouth_left_y", "mouth_right_x", "mouth_right_y", "track", "identity",
            "name"]  # fmt: skip
        np.testing.assert_array_equal(frame[["x1", "y1", "x2", "y2"]], np.reshape(document["box"], (-1, 4)))
        points = frame.iloc[:, 7:17].to_numpy().reshape(-1, 5, 2)
        np.testing.assert_array_equal(points, np.reshape(document["landmarks"], (-1, 5, 2)))
        for column in ("frame", "time", "score", "track"):
            assert frame[column].tolist() == document[column]
        assert [None if pd.isna(i) else int(i) for i in frame["identity"]] == document["identity"]
        names = {0: "Žofie"}
        assert [None if pd.isna(n) else n for n in frame["name"]] == [names.get(i) for i in document["identity"]]

    def test_dataframe(self, timeline: Timeline) -> None:
        frame = timeline.to_dataframe()
        self.check(timeline, frame)
        assert str(frame["identity"].dtype) == "Int64"

    def test_csv(self, timeline: Timeline, tmp_path: Path) -> None:
        timeline.to_csv(tmp_path / "a.csv")
        self.check(timeline, pd.read_csv(tmp_path / "a.csv"))

    def test_parquet(self, timeline: Timeline, tmp_path: Path) -> None:
        timeline.to_parquet(tmp_path / "a.parquet")
        self.check(timeline, pd.read_parquet(tmp_path / "a.parquet"))
        rest = json.loads(pq.read_metadata(tmp_path / "a.parquet").metadata[b"fastface.timeline"])
        assert rest == {k: v for k, v in timeline.to_dict().items() if k != "faces"}

    def test_without_faces(self, timeline: Timeline, tmp_path: Path) -> None:
        empty = Timeline(timeline.video, timeline.run, (), (), Faces.empty())
        self.check(empty, empty.to_dataframe())
        empty.to_csv(tmp_path / "a.csv")
        empty.to_parquet(tmp_path / "a.parquet")
        assert len(pd.read_parquet(tmp_path / "a.parquet")) == len(pd.read_csv(tmp_path / "a.csv")) == 0

    def test_types_of_columns_do_not_depend_on_the_faces(self, timeline: Timeline, tmp_path: Path) -> None:
        """Else the files of many videos cannot be read as one table."""
        empty = Timeline(timeline.video, timeline.run, (), (), Faces.empty())
        timeline.to_parquet(tmp_path / "a.parquet")
        empty.to_parquet(tmp_path / "b.parquet")
        assert pq.read_schema(tmp_path / "b.parquet").equals(pq.read_schema(tmp_path / "a.parquet"))


WRITERS = {"a.json": Timeline.to_json, "a.csv": Timeline.to_csv, "a.parquet": Timeline.to_parquet}


@pytest.mark.parametrize("name", list(WRITERS))
class TestAtomicWriting:
    def test_a_failing_write_leaves_the_old_file_and_nothing_else(
        self, timeline: Timeline, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / name).write_text("old")

        def fail(*args: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            WRITERS[name](timeline, tmp_path / name)
        assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "old")]

    def test_the_old_file_is_replaced(self, timeline: Timeline, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("old")
        WRITERS[name](timeline, tmp_path / name)
        assert [p.name for p in tmp_path.iterdir()] == [name]
        assert (tmp_path / name).stat().st_size > 100

    def test_rights_are_those_of_any_new_file(self, timeline: Timeline, tmp_path: Path, name: str) -> None:
        (tmp_path / "other").write_text("")
        WRITERS[name](timeline, tmp_path / name)
        modes = {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
        assert len(modes) == 1

    def test_no_such_folder(self, timeline: Timeline, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputValidationError, match=r"cannot write .*the folder .* does not exist"):
            WRITERS[name](timeline, tmp_path / "no" / name)
        (tmp_path / name).mkdir()
        with pytest.raises(InputValidationError, match=r"cannot write .*it is a folder"):
            WRITERS[name](timeline, tmp_path / name)


def test_text_may_begin_with_white_space() -> None:
    from timelines import make_timeline

    timeline = make_timeline([("Ann", [(0, 3)])])
    assert Timeline.from_json(f"\n  {timeline.to_json()}").to_json() == timeline.to_json()


def test_a_document_need_not_say_everything_of_its_video() -> None:
    """As others write them: only what edits build on must be there."""
    from timelines import make_timeline

    document = make_timeline([("Ann", [(0, 3)])]).to_dict()
    document["video"] = {"duration": 2.0, "frame_count": 60}
    assert dict(Timeline.from_dict(document).video) == {"duration": 2.0, "frame_count": 60}


@pytest.mark.parametrize("key", ["version", "device"])
def test_facts_of_the_run_must_be_what_the_schema_says(key: str) -> None:
    from timelines import make_timeline

    document = make_timeline([("Ann", [(0, 3)])]).to_dict()
    document["run"][key] = 3
    with pytest.raises(InputValidationError, match=rf"document\.run\.{key} must be a string, is 3"):
        Timeline.from_dict(document)


def test_indent() -> None:
    from timelines import make_timeline

    timeline = make_timeline([("Ann", [(0, 3)])])
    assert timeline.to_json().count("\n") == 1
    assert timeline.to_json(indent=2).startswith('{\n  "schema": "fastface.timeline/1",\n  "video": {\n    "path"')
