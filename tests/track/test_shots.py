"""Hard cuts, and what must not be taken for one; and the tracker's Python side."""

from __future__ import annotations

import numpy as np
import pytest

from fastface.track import FaceTracker, ShotDetector
from fastface.track.tracker import MAX_GAP
from fastface.types import Detections

S = 18 * 32 * 3


def to_bytes(x: np.ndarray) -> np.ndarray:
    """Thumbnails in [0, 1] as the detector takes them."""
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)


def film(rng: np.random.Generator, *lengths: int, noise: float = 0.002, drift: float = 0.0) -> np.ndarray:
    """[n, S] uint8 thumbnails: shots of these lengths, each of one picture with noise and a slow drift."""
    out = []
    for length in lengths:
        picture, away = rng.uniform(0.2, 0.8, S), rng.normal(size=S)
        out += [picture + drift * i * away + noise * rng.normal(size=S) for i in range(length)]
    return to_bytes(np.array(out))


def cuts(signatures: np.ndarray, batches: int = 1000) -> list[int]:
    detector = ShotDetector()
    found = [detector.update(signatures[i : i + batches]) for i in range(0, len(signatures), batches)]
    assert all(f.dtype == np.uint8 for f in found)
    return np.flatnonzero(np.concatenate(found)).tolist()


def test_the_first_frame_begins_a_shot_and_a_still_has_no_cut(rng: np.random.Generator) -> None:
    assert cuts(film(rng, 50)) == [0]
    assert cuts(film(rng, 50, noise=0.0)) == [0]


def test_hard_cuts_are_found(rng: np.random.Generator) -> None:
    assert cuts(film(rng, 20, 9, 30, 25)) == [0, 20, 29, 59]


@pytest.mark.parametrize(
    "length",
    [
        1,
        2,
        3,
    ],
)  # fmt: skip
def test_short_shots(rng: np.random.Generator, length: int) -> None:
    """Both of their cuts must be found."""
    assert cuts(film(rng, 20, length, 20)) == [0, 20, 20 + length]


@pytest.mark.parametrize("batch", [1, 2, 7, 20])
def test_where_one_batch_ends_does_not_matter(rng: np.random.Generator, batch: int) -> None:
    signatures = film(rng, 20, 9, 30, 25, noise=0.01)
    assert cuts(signatures, batch) == cuts(signatures)


def test_a_face_exchanged_in_a_still_picture_is_a_cut(rng: np.random.Generator) -> None:
    """A twelfth of the picture becomes another face, the rest stays: the cut that would chain two people."""
    signatures = film(rng, 30, noise=0.0005)
    part = rng.choice(S, S // 12, replace=False)
    signatures[15:, part] = to_bytes(rng.uniform(0.1, 0.9, len(part)))
    assert cuts(signatures) == [0, 15]


def late(signatures: np.ndarray) -> list[int]:
    """Cuts but for those of the first two frames: with nothing to compare with, the second may count as one."""
    return [i for i in cuts(signatures) if i > 1]


def test_motion_fades_and_noise_are_no_cuts(rng: np.random.Generator) -> None:
    assert late(film(rng, 60, drift=0.01)) == [], "a pan"
    assert late(film(rng, 60, drift=0.03)) == [], "a fast pan"
    assert late(film(rng, 60, noise=0.03)) == [], "a noisy camera"
    a, b = film(rng, 1, 1)
    fade = np.clip(np.linspace(-0.4, 1.4, 45), 0, 1)[:, None]
    assert late(to_bytes((a + (b.astype(float) - a) * fade) / 255)) == [], "a fade"


def test_a_cut_in_a_restless_video_is_found(rng: np.random.Generator) -> None:
    assert late(film(rng, 30, 30, noise=0.03)) == [30]


def test_a_change_of_everything_is_a_cut_even_in_a_row(rng: np.random.Generator) -> None:
    dark, light = to_bytes(np.full((1, S), 0.1)), to_bytes(np.full((1, S), 0.9))
    assert cuts(np.concatenate([dark, light] * 4)) == list(range(8))


def face(x: float, look: int = 0, row: int = 0) -> Detections:
    appearance = np.zeros((1, 64), np.float32)
    appearance[0, [2 * look, 2 * look + 1]] = (0.5**0.5, -(0.5**0.5))
    return Detections(
        row=np.array([row]),
        box=np.array([[x, 10, x + 50, 60]], np.float32),
        score=np.ones(1, np.float32),
        landmarks=np.zeros((1, 5, 2), np.float32),
        sharpness=np.ones(1, np.float32),
        appearance=appearance,
    )


def follow(frames: list[tuple[float, Detections]], pictures: np.ndarray, interval: float) -> list[int]:
    tracker, out = FaceTracker(interval), []
    for (time, found), picture in zip(frames, pictures, strict=True):
        out += tracker.update(np.array([time]), picture[None], found).tolist()
    return out


def test_tracks_end_at_cuts(rng: np.random.Generator) -> None:
    """The same person at the same place before and after: matching will join them, the tracker must not."""
    frames = [(i / 25, face(100)) for i in range(20)]
    assert follow(frames, film(rng, 12, 8), 0.04) == [0] * 12 + [1] * 8


def test_a_gap_may_last_as_long_as_three_frames_that_are_looked_at(rng: np.random.Generator) -> None:
    """Looked at once a second, a track must outlive a missed face; at 25 fps it waits MAX_GAP seconds."""
    seen = [0.0, 1.0, 2.0, 5.0, 9.0]
    assert follow([(t, face(100)) for t in seen], film(rng, 5), 1.0) == [0, 0, 0, 0, 1]
    late = 0.04 + MAX_GAP
    assert follow([(0.0, face(100)), (0.04, face(100)), (late, face(100))], film(rng, 3), 0.04) == [0, 0, 0]
    assert follow([(0.0, face(100)), (0.04, face(100)), (late + 0.04, face(100))], film(rng, 3), 0.04) == [0, 0, 1]


def test_somebody_else_at_the_same_place_is_another_track(rng: np.random.Generator) -> None:
    frames = [(i / 25, face(100, look=i // 5)) for i in range(10)]
    assert follow(frames, film(rng, 10), 0.04) == [0] * 5 + [1] * 5
