"""Amazon's own client for Python takes the document for an answer of GetFaceSearch."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path

import botocore.session
import numpy as np
import pytest
from botocore.stub import Stubber

from fastface.errors import InputValidationError
from timelines import HOSTILE, hostile_timeline


@pytest.fixture
def timeline():
    return hostile_timeline()


@pytest.fixture
def document(timeline, tmp_path: Path):
    timeline.export(tmp_path / "a.rekognition.json")
    return json.loads((tmp_path / "a.rekognition.json").read_text())


def test_amazons_model_of_the_service_knows_every_field(document) -> None:
    """The stub refuses fields that the service does not have, and values of other types."""
    client = botocore.session.get_session().create_client(
        "rekognition", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    with Stubber(client) as stub:
        stub.add_response("get_face_search", document, {"JobId": "1"})
        answer = client.get_face_search(JobId="1")
    assert answer["JobStatus"] == "SUCCEEDED"
    assert "NextToken" not in answer
    assert len(answer["Persons"]) == len(document["Persons"]) > 0


def test_video(document) -> None:
    assert document["VideoMetadata"] == {"Codec": "h264", "DurationMillis": 2002, "FrameRate": 29.97,
                                         "FrameHeight": 360, "FrameWidth": 640}  # fmt: skip


def test_faces(timeline, document) -> None:
    faces, persons = timeline.faces, document["Persons"]
    assert len(persons) == len(faces)
    assert [p["Timestamp"] for p in persons] == [round(float(t) * 1000) for t in np.round(faces.time, 6)]
    assert all(type(p["Timestamp"]) is int for p in persons)
    size = np.array([640, 360])
    for i, person in enumerate(persons):
        face = person["Person"]["Face"]
        box = face["BoundingBox"]
        corner = np.array([box["Left"], box["Top"]]) * size
        np.testing.assert_allclose(corner, faces.box[i, :2], atol=0.0051)
        np.testing.assert_allclose(
            corner + np.array([box["Width"], box["Height"]]) * size, faces.box[i, 2:], atol=0.0051
        )
        kinds = [mark["Type"] for mark in face["Landmarks"]]
        assert kinds == ["eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight"]
        points = np.array([[mark["X"], mark["Y"]] for mark in face["Landmarks"]]) * size
        np.testing.assert_allclose(points, faces.landmarks[i], atol=0.0051)
        assert face["Confidence"] == pytest.approx(100 * faces.score[i], abs=1e-3)


def test_who(timeline, document) -> None:
    for who, track, person in zip(timeline.faces.identity, timeline.faces.track, document["Persons"], strict=True):
        matches = person["FaceMatches"]
        if who in (-1, 3):  # nobody, and somebody whom no gallery knows
            assert matches == []
            assert person["Person"]["Index"] == (4 + track if who < 0 else 3)
        else:
            assert person["Person"]["Index"] == who
            (match,) = matches
            assert match["Face"]["ExternalImageId"] == HOSTILE[who]
            assert match["Similarity"] == pytest.approx(50 + who)
            uuid.UUID(match["Face"]["FaceId"])
    ids = {m["Face"]["ExternalImageId"]: m["Face"]["FaceId"] for p in document["Persons"] for m in p["FaceMatches"]}
    assert len(set(ids.values())) == len(ids) == 3


def matches_of(timeline, path: Path):
    timeline.export(path)
    return json.loads(path.read_text())["Persons"][0]["FaceMatches"]


def test_ids_are_the_same_in_every_video(timeline, document, tmp_path: Path) -> None:
    (match,) = document["Persons"][0]["FaceMatches"]
    other = timeline.rename(0, "somebody").rename(3, HOSTILE[0])
    other.export(tmp_path / "b.rekognition.json")
    last = json.loads((tmp_path / "b.rekognition.json").read_text())["Persons"][-1]
    assert last["FaceMatches"][0]["Face"] == match["Face"]
    assert last["FaceMatches"][0]["Similarity"] == 100, "said by hand"


def test_the_gallerys_id_where_there_is_no_name(timeline, tmp_path: Path) -> None:
    first, *others = timeline.identities
    unknown = replace(first, name=None, gallery_id="unknown-7", similarity=-0.2)
    (match,) = matches_of(replace(timeline, identities=(unknown, *others)), tmp_path / "a.rekognition.json")
    assert (match["Face"]["ExternalImageId"], match["Similarity"]) == ("unknown-7", 0)


def test_without_a_size_there_are_no_ratios(tmp_path: Path) -> None:
    timeline = hostile_timeline()
    video = {k: v for k, v in timeline.video.items() if k != "width"}
    with pytest.raises(InputValidationError, match="width and height"):
        replace(timeline, video=video).export(tmp_path / "a.rekognition.json")
