"""The figure by which a track's best faces are chosen: each of its parts alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastface.embed.quality import face_quality, frontality, legibility, resolution
from fastface.types import Detections

FRONTAL = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float32)


def faces(n: int = 1) -> Detections:
    """n frontal, sharp faces of 100 pixels in the middle of the picture."""
    return Detections(
        row=np.arange(n),
        box=np.tile(np.array([[200, 200, 300, 300]], np.float32), (n, 1)),
        score=np.full(n, 0.99, np.float32),
        landmarks=np.tile(FRONTAL + 200, (n, 1, 1)),
        sharpness=np.full(n, 0.05, np.float32),
        appearance=np.zeros((n, 64), np.float32),
    )


def quality(found: Detections) -> np.ndarray:
    out, legible = face_quality(found, 640, 480)
    np.testing.assert_array_equal(legible, legibility(resolution(found)))
    assert out.dtype == np.float32
    assert ((out > 0) & (out <= 1)).all()
    return out


def looking(landmarks: np.ndarray) -> Detections:
    return replace(faces(len(landmarks)), landmarks=landmarks)


def falls(found: Detections) -> bool:
    return bool((np.diff(quality(found)) < 0).all())


def test_larger_is_better_up_to_what_the_embedder_can_use() -> None:
    sizes = np.array([400, 112, 100, 60, 30, 15], np.float32)
    box = np.stack([np.full(6, 20), np.full(6, 20), 20 + sizes, 20 + sizes], 1).astype(np.float32)
    found = quality(replace(faces(6), box=box))
    assert found[0] == pytest.approx(found[1])
    assert (np.diff(found[1:]) < 0).all()


def test_sharper_is_better() -> None:
    assert falls(replace(faces(4), sharpness=np.array([0.2, 0.05, 0.01, 0.0], np.float32)))


def test_surer_is_better() -> None:
    assert falls(replace(faces(3), score=np.array([1.0, 0.9, 0.7], np.float32)))


def test_wholly_visible_is_better() -> None:
    box = np.array([[0, 200, 100, 300], [-30, 200, 70, 300], [-60, 200, 40, 300], [-99, 200, 1, 300]], np.float32)
    assert falls(replace(faces(4), box=box))
    for beyond in ([590, 200, 690, 300], [200, -50, 300, 50], [200, 430, 300, 530]):
        half = replace(faces(2), box=np.array([[200, 200, 300, 300], beyond], np.float32))
        assert quality(half)[1] == pytest.approx(quality(half)[0] / 4, rel=1e-4)


def test_a_box_outside_the_picture_is_worth_next_to_nothing() -> None:
    assert quality(replace(faces(), box=np.array([[-300, -300, -200, -200]], np.float32)))[0] == np.float32(1e-3)


@pytest.mark.parametrize("angle", [0, 30, 90, 180, -45])
@pytest.mark.parametrize("size", [0.2, 1.0, 5.0])
def test_frontality_does_not_depend_on_place_size_or_tilt(angle: float, size: float) -> None:
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turned = (size * FRONTAL @ np.array([[c, s], [-s, c]]) + [300, -20]).astype(np.float32)
    assert frontality(looking(turned[None]))[0] == pytest.approx(1, abs=1e-3)


def test_frontality_falls_as_the_nose_moves_to_an_eye() -> None:
    points = np.tile(FRONTAL, (6, 1, 1))
    points[:, 2, 0] = [50, 55, 60, 65, 70, 90]
    got = frontality(looking(points))
    np.testing.assert_allclose(got, [1, 0.75, 0.5, 0.25, 0, 0], atol=1e-5)
    points[:, 2, 0] = 100 - points[:, 2, 0]
    np.testing.assert_allclose(frontality(looking(points)), got, atol=1e-5)
    assert falls(replace(faces(5), landmarks=points[:5] + 200))


def test_eyes_in_one_place_do_not_divide_by_zero() -> None:
    assert np.isfinite(frontality(looking(np.zeros((1, 5, 2), np.float32)))).all()


def test_legibility_is_of_size_and_sharpness_alone() -> None:
    base = faces(2)
    box, points = base.box.copy(), base.landmarks.copy()
    box[1] -= 250  # half out of the picture
    points[1, 2] += 20  # turned away
    same = legibility(resolution(replace(base, box=box, landmarks=points, score=np.array([1, 0.7], np.float32))))
    assert same[0] == same[1]
    small, blurred = base.box.copy(), np.array([0.05, 0.005], np.float32)
    small[1, 2:] -= 50
    for worse in (replace(base, box=small), replace(base, sharpness=blurred)):
        good, bad = legibility(resolution(worse))
        assert 0 < bad < good <= 1


def test_nobody() -> None:
    assert [a.shape for a in face_quality(Detections.empty(), 640, 480)] == [(0,), (0,)]
