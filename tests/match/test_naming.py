"""Who gets which name, and from which cosine on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastface import models
from fastface.errors import InputValidationError
from fastface.gallery import Gallery
from fastface.match import calibration
from fastface.match.naming import Named, name_people, similarity_threshold

ANN, BOB = np.eye(8, dtype=np.float32)[:2]


def like(person: np.ndarray, cosine: float, other: int = 7) -> np.ndarray:
    """A unit vector of this cosine with a person's."""
    away = np.eye(8, dtype=np.float32)[other]
    return (cosine * person + (1 - cosine**2) ** 0.5 * away).astype(np.float32)


@pytest.fixture
def gallery() -> Gallery:
    return Gallery("m", {"Ann": ANN[None], "Bob": BOB[None]})


def named(directions: list[np.ndarray], gallery: Gallery | None, threshold: float = 0.5,
          apart: set[tuple[int, int]] = frozenset()) -> list[Named]:  # fmt: skip
    return name_people(np.array(directions, np.float32).reshape(-1, 8), lambda a, b: (min(a, b), max(a, b)) in apart,
                       gallery, threshold)  # fmt: skip


def test_everybody_once_the_most_similar_first(gallery: Gallery) -> None:
    found = named([like(BOB, 0.6), like(ANN, 0.4), like(ANN, 0.9)], gallery)
    assert [(n.members, n.person) for n in found] == [((2,), "Ann"), ((0,), "Bob"), ((1,), None)]
    assert [n.similarity for n in found] == [pytest.approx(0.9), pytest.approx(0.6), None]
    assert [n.threshold for n in found] == [0.5, 0.5, None]


def test_the_threshold_itself_is_enough(gallery: Gallery) -> None:
    assert named([ANN], gallery, 1.0)[0].person == "Ann"
    assert named([like(ANN, 0.75)], gallery, 0.7500001)[0].person is None


def test_two_who_are_one_of_the_gallery_are_one_with_the_higher_similarity(gallery: Gallery) -> None:
    (both,) = named([like(ANN, 0.6), like(ANN, 0.8, 6)], gallery)
    assert (both.members, both.person, both.threshold) == ((1, 0), "Ann", 0.5)
    assert both.similarity == pytest.approx(0.8)


def test_nobody_is_at_two_places_at_once(gallery: Gallery) -> None:
    """The one who is less like Ann stays without a name; a third, who was seen apart from neither, is Ann too."""
    people = [like(ANN, 0.9), like(ANN, 0.8), like(ANN, 0.7)]
    found = named(people, gallery, apart={(0, 1)})
    assert [(n.members, n.person) for n in found] == [((0, 2), "Ann"), ((1,), None)]
    found = named(people, gallery, apart={(0, 1), (1, 2), (0, 2)})
    assert [(n.members, n.person) for n in found] == [((0,), "Ann"), ((1,), None), ((2,), None)]
    found = named(people, gallery, apart={(1, 2)})
    assert [(n.members, n.person) for n in found] == [((0, 1), "Ann"), ((2,), None)], "every member counts"


@pytest.mark.parametrize("gallery", [None, Gallery("m")], ids=["no gallery", "an empty one"])
def test_without_anybody_to_be(gallery: Gallery | None) -> None:
    assert named([ANN, BOB], gallery) == [Named((0,), None), Named((1,), None)]
    assert named([], gallery) == []


def test_no_people(gallery: Gallery) -> None:
    assert named([], gallery) == []


class TestThreshold:
    known = models.get("facenet-msceleb1m")
    unknown = replace(known, name="another", similarity_threshold=0.42)

    def test_the_rate_asked_for_among_so_many(self) -> None:
        curve = calibration.find(self.known.name)
        assert curve is not None
        assert similarity_threshold(self.known, 7, far=1e-4, fixed=None) == (curve.threshold(1e-4, 7), 1e-4, None)
        assert similarity_threshold(self.known, 7, far=None, fixed=None) == (curve.threshold(1e-3, 7), 1e-3, None)
        assert similarity_threshold(self.known, 0, far=None, fixed=None) == (curve.threshold(1e-3, 1), 1e-3, None)

    @pytest.mark.parametrize("spec", [known, unknown])
    @pytest.mark.parametrize("far", [None, 1e-4])
    def test_a_fixed_cosine_is_taken_as_it_is(self, spec: models.EmbedderSpec, far: float | None) -> None:
        assert similarity_threshold(spec, 7, far=far, fixed=0.3) == (0.3, None, None)

    def test_without_a_calibration_the_embedders_own_and_it_is_said(self) -> None:
        threshold, far, note = similarity_threshold(self.unknown, 7, far=None, fixed=None)
        assert (threshold, far) == (0.42, None)
        assert note is not None
        assert note.startswith("another is not calibrated: names are given from a cosine of 0.42 on")
        assert note.endswith("(`fastface calibrate` measures it)")

    def test_a_rate_without_a_calibration_is_refused(self) -> None:
        wanted = r"^far is 0.0001, but another is not calibrated: `fastface calibrate FOLDER --embedder another` does"
        with pytest.raises(InputValidationError, match=wanted):
            similarity_threshold(self.unknown, 7, far=1e-4, fixed=None)
