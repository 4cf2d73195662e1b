"""Embeddings beside a document and inside it: exactly as they were, or known not to be there."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from test_timeline import INFO, faces_of, person

import fastface
from fastface.errors import InputValidationError
from fastface.timeline import Timeline, vectors
from fastface.timeline.build import build_timeline
from fastface.types import Embeddings

RUN = {
    "version": "1", "device": "cpu", "decoder": {"name": "libav"}, "detector": {"name": "mtcnn"},
    "embedder": {"name": "m"}, "frames_decoded": 100, "frames_skipped": 0, "warnings": [], "seconds": 1.0,
}  # fmt: skip


@pytest.fixture
def timeline(rng: np.random.Generator) -> Timeline:
    embeddings = Embeddings(
        track=np.array([3, 9]),
        mean=rng.normal(size=(2, 128)).astype(np.float32),
        weight=np.array([2, 0.5], np.float32),
        legibility=np.array([0.9, 0.3], np.float32),
        count=np.array([5, 1]),
    )
    times = [i / 25 for i in range(100)]
    faces = faces_of((0, 3), (1, 3), (2, 7), (5, 9))
    return build_timeline(INFO, times, 4.0, RUN, faces, [person(3), person(7)], 1, embeddings)


def test_rows_follow_the_numbers_of_the_tracks(timeline: Timeline) -> None:
    """Tracks 3, 7 and 9 of the tracker are 0, 1 and 2 of the timeline; 7 was not embedded."""
    assert timeline.embeddings is not None
    assert timeline.embeddings.track.tolist() == [0, 2]
    assert timeline.embeddings.count.tolist() == [5, 1]


def same(a: Embeddings | None, b: Embeddings | None) -> None:
    assert a is not None
    assert b is not None
    for f in fields(Embeddings):
        np.testing.assert_array_equal(getattr(a, f.name), getattr(b, f.name))


@pytest.mark.parametrize("stored", ["beside", "inside", None])
def test_there_and_back(timeline: Timeline, tmp_path: Path, stored: Any) -> None:
    path = tmp_path / "a.json"
    text = timeline.to_json(path, embeddings=stored)
    assert sorted(p.name for p in tmp_path.iterdir()) == (["a.json"] if stored == "inside" else ["a.json", "a.npz"])
    same(Timeline.from_json(path).embeddings, timeline.embeddings)
    jsonschema.Draft202012Validator(fastface.timeline_schema()).validate(json.loads(text))
    assert timeline.to_json(path, embeddings=stored) == text, "the same timeline gives the same bytes"


def test_left_out(timeline: Timeline, tmp_path: Path) -> None:
    timeline.to_json(tmp_path / "a.json", embeddings="no")
    again = Timeline.from_json(tmp_path / "a.json")
    assert again.embeddings is None
    assert again.embeddings_missing == "its document was written without"
    assert "embeddings" not in json.loads(timeline.to_json())
    assert "embeddings" not in timeline.to_dict()
    same(Timeline.from_dict(timeline.to_dict(embeddings=True)).embeddings, timeline.embeddings)


def test_a_file_that_is_gone_or_of_another_timeline(timeline: Timeline, tmp_path: Path) -> None:
    """The document is still read; whoever needs the embeddings is told why they are not there."""
    path = tmp_path / "a.json"
    text = timeline.to_json(path)
    (tmp_path / "a.npz").rename(tmp_path / "b.npz")
    again = Timeline.from_json(path)
    assert again.embeddings is None
    assert "a.npz' cannot be read (No such file" in again.embeddings_missing
    assert "not read from a file" in Timeline.from_json(text).embeddings_missing
    assert timeline.embeddings is not None
    other = replace(timeline.embeddings, mean=-timeline.embeddings.mean)
    replace(timeline, embeddings=other).to_json(tmp_path / "b.json")
    (tmp_path / "b.npz").rename(tmp_path / "a.npz")
    assert "belongs to another timeline" in Timeline.from_json(path).embeddings_missing


def spoilt(timeline: Timeline, **columns: Any) -> bytes:
    assert timeline.embeddings is not None
    arrays = {f.name: getattr(timeline.embeddings, f.name) for f in fields(Embeddings)} | columns
    out = io.BytesIO()
    np.savez(out, **{k: v for k, v in arrays.items() if v is not None})
    return out.getvalue()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"mean": None}, "holds no embeddings"),
        ({"mean": np.zeros((3, 128), np.float32)}, "holds no embeddings"),
        ({"mean": np.full((2, 128), np.nan, np.float32)}, "must be finite"),
        ({"track": np.array([2, 0])}, "tracks ascend"),
        ({"track": np.array([0, 99])}, "a track that is not in tracks"),
        ({"weight": np.array([None, None])}, "holds no embeddings"),
    ],
)
def test_embeddings_that_are_none(timeline: Timeline, tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.json"
    document = json.loads(timeline.to_json(path))
    content = spoilt(timeline, **columns)
    (tmp_path / "a.npz").write_bytes(content)
    document["embeddings"]["sha256"] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(document))
    with pytest.raises(InputValidationError, match=message):
        Timeline.from_json(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"'shape': (", b"'shape': [("),  # NumPy raises tokenize.TokenError
        (b"'shape': (", b"'shape': (99999999999999, "),
        (b"\x93NUMPY", b"\x93MUMPY"),
        (b"'<f4'", b"'|O'"),
        (b"PK\x03\x04", b"PK\x03\x05"),
    ],
)
def test_archives_that_are_broken(timeline: Timeline, old: bytes, new: bytes) -> None:
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(vectors.pack(timeline.embeddings))) as archive,
        zipfile.ZipFile(content, "w") as out,
    ):
        for name in archive.namelist():
            data = archive.read(name)
            out.writestr(name, data[:128].replace(old, new)[:128].ljust(128) + data[128:])
    broken = content.getvalue() if old != b"PK\x03\x04" else content.getvalue().replace(old, new)
    with pytest.raises(InputValidationError, match=r"there holds no embeddings: ."):
        vectors.unpack(broken, "there")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (7, "must hold stored"),
        ({"stored": "elsewhere", "sha256": "0" * 64}, "must hold stored"),
        ({"stored": "inside", "sha256": "0" * 64, "npz": "!"}, "is not base64"),
        ({"stored": "inside", "sha256": "0" * 64, "npz": "QUJD"}, "is damaged"),
        ({"stored": "inside", "sha256": "0" * 64}, "is damaged"),
        ({"stored": "beside", "sha256": 1}, "must hold stored"),
    ],
)
def test_entries_that_are_none(timeline: Timeline, entry: Any, message: str) -> None:
    with pytest.raises(InputValidationError, match=message):
        Timeline.from_dict({**timeline.to_dict(), "embeddings": entry})


def test_where_else_is_refused(timeline: Timeline, tmp_path: Path) -> None:
    with pytest.raises(InputValidationError, match="embeddings is 'there', must be"):
        timeline.to_json(tmp_path / "a.json", embeddings="there")  # type: ignore[arg-type]
    with pytest.raises(InputValidationError, match="no path beside which"):
        timeline.to_json(embeddings="beside")
    assert list(tmp_path.iterdir()) == []


def test_a_timeline_without_them_writes_none(timeline: Timeline, tmp_path: Path) -> None:
    replace(timeline, embeddings=None).to_json(tmp_path / "a.json")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_the_error_shows_the_entry() -> None:
    with pytest.raises(InputValidationError, match=r"^document.embeddings must hold stored .* sha256, is .*nowhere"):
        vectors.read({"stored": "nowhere", "sha256": "0"}, None)
