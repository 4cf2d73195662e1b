"""The result in the shape in which Amazon Rekognition's GetFaceSearch answers, for programs that read that
(https://docs.aws.amazon.com/rekognition/latest/APIReference/API_GetFaceSearch.html)."""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING, Any

from fastface.errors import InputValidationError
from fastface.files import replacing

if TYPE_CHECKING:
    from fastface.timeline import Identity, Timeline

_LANDMARKS = ("eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight")
_NAMESPACE = uuid.UUID("6d0c1d0e-8a51-4f5e-9b8b-5f0f5c1f7a3e")  # of our own, drawn once


def write(timeline: Timeline, path: str | os.PathLike[str]) -> None:
    """One entry of Persons per detected face, ordered by time, all in one document (no NextToken).

    * Timestamp is in milliseconds; BoundingBox and Landmarks are ratios of the picture's width and height, and may lie
      outside [0, 1] where a face reaches beyond it.
    * Person.Index is the identity's id; faces of nobody get one for each track, after the last identity. The person's
      BoundingBox is the face's: bodies are not looked for.
    * FaceMatches has one entry where the person has a name or a gallery id, else none. ExternalImageId is that name as
      it is, although Amazon allows only letters, digits and "_.-:" there; FaceId is made from it, and so the same in
      every video.
    * Confidence is 100 times the detector's score. Similarity is 100 times the cosine (100 where somebody said by hand
      who this is): thresholds that suit Amazon's figures do not suit these.

    Raises:
        InputValidationError: the timeline does not say how large the picture is.
    """
    video, faces = timeline.video, timeline.to_dict()["faces"]
    if not video.get("width") or not video.get("height"):
        raise InputValidationError("the timeline does not say the video's width and height, of which boxes are ratios")
    width, height = int(video["width"]), int(video["height"])
    people = {person.id: person for person in timeline.identities}
    beyond = max(people, default=-1) + 1
    persons = []
    for i, time in enumerate(faces["time"]):
        who, (x1, y1, x2, y2) = faces["identity"][i], faces["box"][i]
        box = {
            "Width": (x2 - x1) / width,
            "Height": (y2 - y1) / height,
            "Left": x1 / width,
            "Top": y1 / height,
        }
        landmarks = [
            {"Type": kind, "X": x / width, "Y": y / height}
            for kind, (x, y) in zip(_LANDMARKS, faces["landmarks"][i], strict=True)
        ]
        face = {"BoundingBox": box, "Landmarks": landmarks, "Confidence": 100 * faces["score"][i]}
        index = beyond + faces["track"][i] if who is None else who
        person = {"Index": index, "BoundingBox": box, "Face": face}
        matches = [] if who is None else _matches(people[who])
        persons.append({"Timestamp": round(time * 1000), "Person": person, "FaceMatches": matches})
    about = {
        "Codec": video.get("codec"),
        "DurationMillis": round(float(video.get("duration") or 0.0) * 1000),
        "FrameRate": video.get("average_rate"),
        "FrameHeight": height,
        "FrameWidth": width,
    }
    document = {
        "JobStatus": "SUCCEEDED",
        "VideoMetadata": {key: value for key, value in about.items() if value is not None},
        "Persons": persons,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")


def _matches(person: Identity) -> list[dict[str, Any]]:
    name = person.name or person.gallery_id
    if name is None:
        return []
    similarity = 100.0 if person.similarity is None else min(max(100 * person.similarity, 0.0), 100.0)
    face = {"FaceId": str(uuid.uuid5(_NAMESPACE, name)), "ExternalImageId": name}
    return [{"Similarity": round(similarity, 2), "Face": face}]
