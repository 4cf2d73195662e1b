"""Settings: what is allowed, and errors that say the value and what is."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest

import fastface
from fastface.errors import InputValidationError
from fastface.settings import DetectorSettings, Settings


def test_defaults_are_facenet_pytorchs() -> None:
    from facenet_pytorch import MTCNN

    theirs = inspect.signature(MTCNN.__init__).parameters
    ours = DetectorSettings()
    assert ours.min_face_size == theirs["min_face_size"].default
    assert list(ours.thresholds) == theirs["thresholds"].default
    assert ours.factor == theirs["factor"].default


def test_defaults_are_the_same_everywhere() -> None:
    """process(), Pipeline() and Settings: one set of names, one set of defaults."""
    process = inspect.signature(fastface.process).parameters
    pipeline = inspect.signature(fastface.Pipeline.__init__).parameters
    of_one_video = {"path", "gallery", "progress", "checkpoint", "checkpoint_seconds"}
    assert set(pipeline) - {"self"} == set(process) - of_one_video
    for name in set(pipeline) - {"self"}:
        assert process[name].default == pipeline[name].default
        assert process[name].kind == pipeline[name].kind == inspect.Parameter.KEYWORD_ONLY
    fields = {f.name: f.default for kind in (Settings, DetectorSettings) for f in dataclasses.fields(kind)}
    assert set(fields) - {"detector"} == set(pipeline) - {"self", "device"}
    for name in set(pipeline) - {"self", "device"}:
        assert fields[name] == pipeline[name].default


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("min_face_size", (11, 4097, 20.0, True, None, "20"), "a whole number from 12 to 4096"),
        ("thresholds", ((0.6, 0.7), (0.6, 0.7, 1.1), (0.6, -0.1, 0.7), 0.6, None, "abc", (0.6, 0.7, float("nan"))),
         "three numbers from 0 to 1"),
        ("factor", (0.0, 1.0, 0.99, float("nan"), "0.7", True), "a number from 0.05 to 0.98"),
    ],
)  # fmt: skip
def test_detector(name: str, values: tuple[Any, ...], allowed: str) -> None:
    for value in values:
        with pytest.raises(InputValidationError, match=f"^{name} is {re.escape(repr(value))}, must be {allowed}$"):
            DetectorSettings(**{name: value})


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("embed", ("all", None, 1), "'track' or 'every'"),
        ("faces_per_track", (0, 65, 2.0, True, None), "a whole number from 1 to 64"),
        ("every", (0, -1, 1.0, True, None), "a whole number from 1"),
        ("batch_size", (0, 1025, 8.0, True), "None or a whole number from 1 to 1024"),
        ("min_track_score", (-0.1, 1.1, None, float("nan")), "a number from 0 to 1"),
        ("similarity_threshold", (-1, 1, 1.0, float("inf"), "0.5"), "None or a number between -1 and 1"),
        ("linkage_threshold", (-1, 1, 1.0, float("nan"), True), "None or a number between -1 and 1"),
    ],
)
def test_settings(name: str, values: tuple[Any, ...], allowed: str) -> None:
    for value in values:
        with pytest.raises(InputValidationError, match=f"^{name} is {re.escape(repr(value))}, must be {allowed}$"):
            Settings(**{name: value})


def test_what_is_at_the_edge_is_allowed() -> None:
    DetectorSettings(12, (0, 1, 0.5), 0.05)
    DetectorSettings(4096, [1.0, 0.0, 1], 0.98)  # type: ignore[arg-type]
    Settings(embed="every", faces_per_track=64, every=10**6, batch_size=1024, min_track_score=0,
             similarity_threshold=0.99, linkage_threshold=-0.99)  # fmt: skip
    assert DetectorSettings(thresholds=[0, 1, 1]).thresholds == (0.0, 1.0, 1.0)  # type: ignore[arg-type]


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().every = 2  # type: ignore[misc]


def test_a_pipeline_refuses_them_before_it_loads_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastface import models

    monkeypatch.setattr(models, "resolve", lambda name: pytest.fail("a model was looked for"))
    for arguments in ({"every": 0}, {"factor": 2}, {"device": "tpu"}):
        with pytest.raises(InputValidationError, match=next(iter(arguments))):
            fastface.Pipeline(**arguments)  # type: ignore[arg-type]
