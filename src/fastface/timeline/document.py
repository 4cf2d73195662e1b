"""Timeline to document (schema "fastface.timeline/1") and back."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InputValidationError, shown
from fastface.files import replacing
from fastface.timeline import vectors
from fastface.timeline.timeline import Identity, Span, Timeline, Track
from fastface.types import Faces

SCHEMA = "fastface.timeline/1"

# Digits after the point: a hundredth of a pixel and a microsecond are finer than anything measured here.
_PIXEL_DIGITS, _TIME_DIGITS, _SCORE_DIGITS = 2, 6, 5

MAX_INTEGER = 2**53 - 1
"""Larger whole numbers are not read as they were written by all readers of JSON."""

MAX_SECONDS = 1e30
"""No stream can have a time stamp as large."""

MAX_DEPTH = 32


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the document."""
    text = (Path(__file__).parent / "timeline.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _rounded(values: NDArray[Any], digits: int) -> list[Any]:
    out: list[Any] = np.round(values.astype(np.float64), digits).tolist()
    return out


def _optional(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def to_document(timeline: Timeline, embeddings: str = "no") -> dict[str, Any]:
    """See :meth:`Timeline.to_dict`; embeddings: "beside", "inside" or "no"."""
    faces = timeline.faces
    told = {}
    if embeddings != "no" and timeline.embeddings is not None:
        embedder = timeline.run.get("embedder")
        model = embedder.get("name") if isinstance(embedder, Mapping) else None
        packed = vectors.pack(timeline.embeddings)
        told = {"embeddings": vectors.entry(timeline.embeddings, model, packed, embeddings)}
    return {
        "schema": SCHEMA,
        "video": dict(timeline.video),
        "run": dict(timeline.run),
        "identities": [
            {
                "id": p.id,
                "name": p.name,
                "gallery_id": p.gallery_id,
                "similarity": _optional(p.similarity),
                "threshold": _optional(p.threshold),
                "screen_time": round(p.screen_time, _TIME_DIGITS),
                "instances": [
                    {
                        "start": round(s.start, _TIME_DIGITS),
                        "end": round(s.end, _TIME_DIGITS),
                        "start_frame": s.start_frame,
                        "end_frame": s.end_frame,
                    }
                    for s in p.instances
                ],
            }
            for p in timeline.identities
        ],
        "tracks": [
            {"id": t.id, "identity": t.identity, "start_frame": t.start_frame, "end_frame": t.end_frame}
            for t in timeline.tracks
        ],
        "faces": {
            "frame": faces.frame.tolist(),
            "time": _rounded(faces.time, _TIME_DIGITS),
            "box": _rounded(faces.box, _PIXEL_DIGITS),
            "score": _rounded(faces.score, _SCORE_DIGITS),
            "landmarks": _rounded(faces.landmarks, _PIXEL_DIGITS),
            "track": faces.track.tolist(),
            "identity": [None if i < 0 else i for i in faces.identity.tolist()],
        },
        **told,
    }


def is_text(value: str) -> bool:
    """Whether it can be written as UTF-8, which half a surrogate pair cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def dump_json(
    timeline: Timeline, path: str | os.PathLike[str] | None, *, indent: int | None, embeddings: str | None = None
) -> str:
    """See :meth:`Timeline.to_json`."""
    where = embeddings if embeddings is not None else "no" if path is None else "beside"
    if where not in ("beside", "inside", "no"):
        raise InputValidationError(f"embeddings is {embeddings!r}, must be 'beside', 'inside', 'no' or None")
    if where == "beside" and path is None:
        raise InputValidationError("embeddings is 'beside', but there is no path beside which they could be")
    document = to_document(timeline, where)
    text = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    if not is_text(text):  # a path need not be UTF-8
        text = json.dumps(document, indent=indent, allow_nan=False) + "\n"
    if path is not None:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
            if where == "beside" and timeline.embeddings is not None:
                # First: whoever finds the document finds them. With an old document they are known not to be its own.
                with replacing(vectors.beside(Path(path))) as file:
                    file.write_bytes(vectors.pack(timeline.embeddings))
    return text


def load_json(source: str | os.PathLike[str]) -> Timeline:
    """See :meth:`Timeline.from_json`."""
    path = None
    if isinstance(source, str) and source.lstrip().startswith("{"):
        text, name = source, "the text"
    else:
        name, path = str(source), Path(source)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputValidationError(f"cannot read the timeline {name!r}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputValidationError(f"{name!r} is not a timeline: it is not UTF-8 text") from error
        except ValueError as error:  # a zero byte in the name
            raise InputValidationError(f"cannot read the timeline {name!r}: {error}") from error
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, or a number of more than 4300 digits
        raise InputValidationError(f"{name!r} is not a timeline: not JSON ({error})") from error
    return from_document(document, path)


class _Reader:
    """Takes values out of a document by path, checking each; every error says where and what."""

    def __init__(self, value: Any, where: str) -> None:
        self.value, self.where = value, where

    def fail(self, what: str) -> InputValidationError:
        return InputValidationError(f"not a {SCHEMA} document: {self.where} {what}")

    def mapping(self) -> Mapping[str, Any]:
        if not isinstance(self.value, Mapping):
            raise self.fail(f"must be an object, is {type(self.value).__name__}")
        return self.value

    def __getitem__(self, key: str) -> _Reader:
        mapping = self.mapping()
        if key not in mapping:
            raise self.fail(f"lacks {key!r}")
        return _Reader(mapping[key], f"{self.where}.{key}")

    def items(self) -> list[_Reader]:
        if not isinstance(self.value, Sequence) or isinstance(self.value, str):
            raise self.fail(f"must be a list, is {type(self.value).__name__}")
        return [_Reader(v, f"{self.where}[{i}]") for i, v in enumerate(self.value)]

    def integer(self, low: int = 0) -> int:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise self.fail(f"must be a whole number >= {low}, is {shown(value)}")
        if value > MAX_INTEGER:
            raise self.fail(f"must be a whole number <= {MAX_INTEGER}, is {shown(value)}")
        return value

    def number(self) -> float:
        value = self.value
        # Whole numbers of JSON may be too large for a float.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
            raise self.fail(f"must be a finite number, is {shown(value)}")
        return float(value)

    def seconds(self) -> float:
        value = self.number()
        if not 0 <= value <= MAX_SECONDS:
            raise self.fail(f"must be seconds in [0, {MAX_SECONDS:g}], is {value!r}")
        return value

    def text(self) -> str | None:
        value = self.value
        if value is not None and not isinstance(value, str):
            raise self.fail(f"must be a string or null, is {shown(value)}")
        if value is not None and not is_text(value):
            raise self.fail(f"must be text that can be written as UTF-8, is {shown(value)}")
        return value

    def string(self) -> str:
        if not isinstance(self.value, str):
            raise self.fail(f"must be a string, is {shown(self.value)}")
        return self.value

    def facts(self) -> dict[str, Any]:
        """An object of anything that JSON can hold, as a copy."""
        self.mapping()
        facts: dict[str, Any] = self._plain(MAX_DEPTH)
        return facts

    def _plain(self, depth: int) -> Any:
        value = self.value
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, int):
            self.number()
            return value
        if isinstance(value, float):
            return self.number()
        if not depth:
            raise self.fail(f"is nested more than {MAX_DEPTH} deep")
        if isinstance(value, Mapping):
            if wrong := [key for key in value if not isinstance(key, str)]:
                raise self.fail(f"must have strings for keys, has {shown(wrong[0])}")
            return {key: self[key]._plain(depth - 1) for key in value}
        if isinstance(value, (list, tuple)):
            return [item._plain(depth - 1) for item in self.items()]
        raise self.fail(f"must be what JSON can hold, is {type(value).__name__}")

    def column(self, dtype: type, *shape: int) -> NDArray[Any]:
        """A list of numbers (shape: of each entry) as an array [n, *shape]."""
        if not isinstance(self.value, list):
            raise self.fail(f"must be a list, is {type(self.value).__name__}")
        try:
            array = np.asarray(self.value) if self.value else np.zeros((0, *shape))
            good = array.shape[1:] == shape and array.dtype.kind in ("iu" if dtype is np.int64 else "iuf")
            if not good and self.value:
                raise ValueError
            array = array.astype(dtype)
        except (ValueError, TypeError, OverflowError):
            kind = "whole numbers" if dtype is np.int64 else "numbers"
            each = f"lists of shape {list(shape)} of {kind}" if shape else kind
            raise self.fail(f"must be a list of {each}") from None
        if not np.isfinite(array).all():
            raise self.fail("must hold finite numbers only")
        return array


def _identity(reader: _Reader) -> Identity:
    def optional(key: str) -> float | None:
        return None if reader[key].value is None else reader[key].number()

    spans: list[Span] = []
    for item in reader["instances"].items():
        span = Span(
            item["start"].number(), item["end"].number(), item["start_frame"].integer(), item["end_frame"].integer()
        )
        if not (0 <= span.start <= span.end <= MAX_SECONDS and span.start_frame < span.end_frame):
            raise item.fail(
                f"must have 0 <= start <= end <= {MAX_SECONDS:g} and start_frame < end_frame, is {shown(item.value)}"
            )
        if spans and span.start_frame < spans[-1].end_frame:
            raise item.fail("overlaps the instance before it")
        spans.append(span)
    return Identity(
        reader["id"].integer(),
        reader["name"].text(),
        optional("similarity"),
        optional("threshold"),
        reader["screen_time"].seconds(),
        tuple(spans),
        # Documents of the first version have none.
        reader["gallery_id"].text() if "gallery_id" in reader.mapping() else None,
    )


def _check_video(reader: _Reader) -> None:
    """What is there must be as the schema says; what edits build on must be there."""
    there = reader.mapping()
    for key in ("path", "codec"):
        if key in there:
            reader[key].string()
    for key in ("width", "height"):
        if key in there:
            reader[key].integer(1)
    if there.get("rotation", 0) not in (0, 90, 180, 270):
        raise reader["rotation"].fail(f"must be 0, 90, 180 or 270, is {shown(there['rotation'])}")
    if there.get("average_rate") is not None:
        reader["average_rate"].number()
    reader["duration"].seconds()
    reader["frame_count"].integer()


def _check_run(reader: _Reader) -> None:
    """What is there must be as the schema says."""
    there = reader.mapping()
    for key in ("version", "device"):
        if key in there:
            reader[key].string()
    for key in ("decoder", "detector", "embedder"):
        if key in there:
            reader[key]["name"].string()
    for key in ("frames_decoded", "frames_skipped"):
        if key in there:
            reader[key].integer()
    for item in reader["warnings"].items() if "warnings" in there else ():
        item.string()
    if "seconds" in there:
        reader["seconds"].seconds()


def _unique(ids: list[int], where: str) -> set[int]:
    if len(set(ids)) != len(ids):
        raise InputValidationError(f"not a {SCHEMA} document: {where} holds an id twice")
    return set(ids)


def from_document(document: Any, path: Path | None = None) -> Timeline:
    """See :meth:`Timeline.from_dict`; path: of the file that it was read from."""
    root = _Reader(document, "document")
    schema = root["schema"].value
    if schema != SCHEMA:
        raise InputValidationError(f"the document's schema is {shown(schema)}, this version reads {SCHEMA!r}")
    identities = tuple(_identity(item) for item in root["identities"].items())
    people = _unique([p.id for p in identities], "identities")
    tracks = []
    for item in root["tracks"].items():
        identity = None if item["identity"].value is None else item["identity"].integer()
        if identity is not None and identity not in people:
            raise item["identity"].fail(f"names a person that is not in identities: {identity}")
        track = Track(item["id"].integer(), identity, item["start_frame"].integer(), item["end_frame"].integer())
        if track.start_frame >= track.end_frame:
            raise item.fail(f"must have start_frame < end_frame, is {shown(item.value)}")
        tracks.append(track)
    track_ids = _unique([t.id for t in tracks], "tracks")

    columns = root["faces"]
    ids = columns["identity"]
    if not isinstance(ids.value, list):
        raise ids.fail(f"must be a list, is {type(ids.value).__name__}")
    identity_column = _Reader([-1 if i is None else i for i in ids.value], ids.where).column(np.int64)
    arrays = {
        "frame": columns["frame"].column(np.int64),
        "time": columns["time"].column(np.float64),
        "box": columns["box"].column(np.float32, 4),
        "score": columns["score"].column(np.float32),
        "landmarks": columns["landmarks"].column(np.float32, 5, 2),
        "track": columns["track"].column(np.int64),
        "identity": identity_column,
    }
    lengths = {name: len(a) for name, a in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise columns.fail(f"must have columns of one length, has {lengths}")
    if not set(np.unique(identity_column[identity_column != -1]).tolist()) <= people:
        raise ids.fail("names a person that is not in identities")
    if not set(np.unique(arrays["track"]).tolist()) <= track_ids:
        raise columns["track"].fail("names a track that is not in tracks")
    if (np.diff(arrays["frame"]) < 0).any() or (arrays["frame"] < 0).any():
        raise columns["frame"].fail("must be in ascending order from 0")
    time = arrays["time"]
    if len(time) and not (0 <= time[0] <= time[-1] <= MAX_SECONDS and (np.diff(time) >= 0).all()):
        raise columns["time"].fail(f"must be seconds in [0, {MAX_SECONDS:g}] in ascending order")
    embeddings, missing = vectors.read(root.mapping().get("embeddings"), path)
    if embeddings is not None:
        root["run"]["embedder"]["name"].string()  # vectors say nothing unless it is known what made them
    if embeddings is not None and not set(embeddings.track.tolist()) <= track_ids:
        raise root["embeddings"].fail("are of a track that is not in tracks")
    video, run = root["video"].facts(), root["run"].facts()
    _check_video(root["video"])
    _check_run(root["run"])
    return Timeline(
        video, run, identities, tuple(tracks), Faces(**arrays), embeddings, missing or "it was made without"
    )
