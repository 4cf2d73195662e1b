"""Thresholds from false-accept rates: exact where strangers are normal, safe with many people, honest with few."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from fastface import models
from fastface.errors import InputValidationError, ModelError
from fastface.match import calibration
from fastface.match.calibration import Calibration, LabelledFaces, measure
from fastface.match.naming import similarity_threshold

MODEL = "facenet-msceleb1m"


def faces(rng: np.random.Generator, people: int, each: int = 1, dim: int = 64) -> LabelledFaces:
    person = np.repeat(np.arange(people), each)
    vector = rng.normal(size=(people, dim))[person] + 0.5 * rng.normal(size=(len(person), dim))
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    nowhere = np.zeros(len(person), np.int64)
    return LabelledFaces(vector.astype(np.float32), nowhere, person, nowhere - 1)


@pytest.fixture(scope="module")
def curve() -> Calibration:
    return measure("m", *faces(np.random.default_rng(3), 1500).impostors(), 1500, "random directions")


def test_the_rate_asked_for_is_the_rate_got(curve: Calibration, rng: np.random.Generator) -> None:
    """On people who were not measured, with room for chance."""
    others, _ = faces(rng, 1500).impostors()
    for far in (1e-1, 1e-2, 1e-3, 1e-4):
        got = float((others >= curve.threshold(far)).mean())
        assert far / 2 < got < 2 * far, far
        assert curve.rate(curve.threshold(far)) == pytest.approx(far, rel=1e-6)


def test_beyond_what_was_measured_it_goes_on_as_the_normal_distribution_does(rng: np.random.Generator) -> None:
    cosines = rng.normal(0.02, 0.13, 400_000)
    curve = measure("m", cosines, np.arange(len(cosines)), 900, "numbers")
    assert 2e-5 < curve.measured_far < 6e-5
    for far in (1e-5, 1e-6, 1e-8):
        assert curve.threshold(far) == pytest.approx(NormalDist(0.02, 0.13).inv_cdf(1 - far), abs=0.03)


def test_the_threshold_rises_with_those_one_may_be_taken_for(curve: Calibration, rng: np.random.Generator) -> None:
    """The chance that a stranger is like any of fifty stays what was asked for."""
    assert curve.threshold(1e-2, 50) == pytest.approx(curve.threshold(1 - (1 - 1e-2) ** (1 / 50)))
    thresholds = [curve.threshold(1e-3, n) for n in (1, 2, 10, 100, 10_000)]
    assert thresholds == sorted(thresholds)
    assert len(set(thresholds)) == 5
    known, strangers = faces(rng, 50).vector, faces(rng, 4000).vector
    taken = ((strangers @ known.T).max(1) >= curve.threshold(1e-2, 50)).mean()
    assert 0.005 < taken < 0.02


def test_two_people_who_look_alike_are_one_pair_however_often_they_were_photographed(rng: np.random.Generator) -> None:
    """Rates at which fewer than ten pairs of people are mistaken count as not measured."""
    few = faces(rng, 30, each=20)
    cosines, pair = few.impostors()
    assert len(np.unique(pair)) == 30 * 29 // 2
    curve = measure("m", cosines, pair, 30, "x")
    accepted = pair[cosines >= curve.similarity[-1]]
    assert len(np.unique(accepted)) >= calibration.LEAST_PAIRS
    assert curve.measured_far > 5e-4
    assert measure("m", cosines, np.arange(len(cosines)), 30, "x").measured_far < curve.measured_far


def test_too_few_people(rng: np.random.Generator) -> None:
    with pytest.raises(InputValidationError, match="6 people, 15 pairs of their faces, are too few"):
        measure("m", *faces(rng, 6).impostors(), 6, "x")


def test_which_pairs_are_of_different_people() -> None:
    """Photographs by person; in a video only who is seen at once; never across what is known to be one person."""
    found = LabelledFaces(
        vector=np.eye(6, dtype=np.float32),
        source=np.array([0, 0, 0, 1, 1, 1]),
        person=np.array([0, 0, 1, 0, 1, 2]),
        frame=np.array([-1, -1, -1, 5, 5, 6]),
    )
    cosines, pair = found.impostors()
    # 0-2, 1-2 by name; each of three photographs with each of three faces of the video; 3-4 in one frame
    assert len(cosines) == 2 + 9 + 1
    assert len(np.unique(pair)) == 1 + 6 + 1


def test_file(curve: Calibration, tmp_path: Path) -> None:
    curve.save(tmp_path / "m.json")
    again = Calibration.load(tmp_path / "m.json")
    assert (again.model, again.people, again.pairs, again.source) == (curve.model, 1500, curve.pairs, curve.source)
    assert again.threshold(1e-3) == pytest.approx(curve.threshold(1e-3), abs=2e-4)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("far"),
        lambda d: d.update(schema="x"),
        lambda d: d["far"].reverse(),
        lambda d: d["similarity"].pop(),
        lambda d: d.update(far=[0.1], similarity=[0.2]),
        lambda d: d["similarity"].__setitem__(0, 2.0),
    ],
)
def test_a_file_that_is_none(curve: Calibration, tmp_path: Path, spoil: object) -> None:
    curve.save(tmp_path / "m.json")
    document = json.loads((tmp_path / "m.json").read_text())
    spoil(document)  # type: ignore[operator]
    (tmp_path / "m.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"m\.json' cannot be used"):
        Calibration.load(tmp_path / "m.json")


class TestOfAnEmbedder:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("FASTFACE_HOME", str(tmp_path))
        return tmp_path / "calibrations"

    def test_the_default_one_is_calibrated(self) -> None:
        found = calibration.find(MODEL)
        assert found is not None
        assert found.model == MODEL
        cosine, far, problem = similarity_threshold(models.get(MODEL), 5, far=None, fixed=None)
        assert (far, problem) == (calibration.DEFAULT_FAR, None)
        assert cosine == found.threshold(calibration.DEFAULT_FAR, 5)
        assert similarity_threshold(models.get(MODEL), 5, far=1e-6, fixed=None)[0] > cosine

    def test_the_users_own_goes_first(self, home: Path, curve: Calibration) -> None:
        home.mkdir()
        curve.save(home / f"{MODEL}.json")
        with pytest.raises(ModelError, match=f"is of 'm', must be of '{MODEL}'"):
            calibration.find(MODEL)
        Calibration(MODEL, curve.far, curve.similarity, 1, 1, "mine").save(home / f"{MODEL}.json")
        found = calibration.find(MODEL)
        assert found is not None
        assert found.source == "mine"

    def test_one_that_is_not_calibrated_says_so(self) -> None:
        spec = models.get("facenet-casia")
        cosine, far, problem = similarity_threshold(spec, 100, far=None, fixed=None)
        assert (cosine, far) == (spec.similarity_threshold, None)
        assert problem is not None
        assert "facenet-casia is not calibrated" in problem
        with pytest.raises(InputValidationError, match=r"far is 0\.001, but facenet-casia is not calibrated"):
            similarity_threshold(spec, 100, far=1e-3, fixed=None)

    def test_a_fixed_cosine_is_taken_as_it_is(self) -> None:
        assert similarity_threshold(models.get(MODEL), 9, far=None, fixed=0.3) == (0.3, None, None)


@pytest.mark.parametrize("far", [0, 1, -1e-3, True, "often", None])
def test_rates_that_are_none(curve: Calibration, far: object) -> None:
    with pytest.raises(InputValidationError, match="must be a number between 0 and 1"):
        curve.threshold(far)  # type: ignore[arg-type]


def test_comparisons_that_are_none(curve: Calibration) -> None:
    with pytest.raises(InputValidationError, match="comparisons is 0"):
        curve.threshold(1e-3, 0)


def test_faces_are_chosen_by_row(rng: np.random.Generator) -> None:
    all_of_them = LabelledFaces(
        rng.normal(size=(4, 3)).astype(np.float32), np.array([5, 6, 7, 8]), np.arange(4), np.array([-1, 3, 4, -1])
    )
    some = all_of_them[np.array([2, 0])]
    assert (some.source.tolist(), some.person.tolist(), some.frame.tolist()) == ([7, 5], [2, 0], [4, -1])
    np.testing.assert_array_equal(some.vector, all_of_them.vector[[2, 0]])


def test_the_file_is_json_that_people_can_read(tmp_path: Path) -> None:
    far, similarity = np.array([0.1, 0.0123456]), np.array([0.123456, 0.5])
    Calibration("m", far, similarity, 45, 10, "Zo\u00eb's album").save(tmp_path / "m.json")
    text = (tmp_path / "m.json").read_bytes().decode("utf-8")
    assert text.startswith('{\n "schema": "fastface.calibration/1",\n "model": "m",')
    assert text.endswith("}\n")
    assert json.loads(text) == {
        "schema": "fastface.calibration/1", "model": "m", "source": "Zo\u00eb's album", "people": 10, "pairs": 45,
        "far": [0.1, 0.01235], "similarity": [0.1235, 0.5]}  # fmt: skip
    again = Calibration.load(tmp_path / "m.json")
    assert (again.model, again.pairs, again.people, again.source) == ("m", 45, 10, "Zo\u00eb's album")


def test_beyond_the_ends_the_slope_is_that_of_the_decade_before() -> None:
    normal = NormalDist()
    curve = Calibration("m", np.array([1e-1, 1e-2, 1e-3]), np.array([0.1, 0.2, 0.4]), 9, 9, "x")
    a, b, c, beyond = (-normal.inv_cdf(far) for far in (1e-1, 1e-2, 1e-3, 1e-4))
    assert curve.threshold(1e-4) == pytest.approx(0.4 + (beyond - c) * (0.4 - 0.2) / (c - b))
    common = -normal.inv_cdf(0.3)
    assert curve.threshold(0.3) == pytest.approx(0.1 + (common - a) * (0.2 - 0.1) / (b - a))
    assert curve.threshold(1e-300) == 1.0, "never beyond what a cosine can be"
    assert Calibration("m", np.array([0.1, 0.01]), np.array([-0.9, 0.9]), 9, 9, "x").threshold(0.9) == -1.0
