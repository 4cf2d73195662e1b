"""How well a face can be recognised, from what detection knows of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastface.types import Detections

FULL_SIZE = 112.0
"""Pixels: a face this large loses nothing that the embedder (160 x 160) could use."""

MEASURED_AT = 64.0
"""Side at which sharpness is measured (csrc/core/resample.h)."""

SHARP = 0.2
"""Laplacian energy over variance of a face whose every pixel is sharp."""

ILLEGIBLE, FADES = 9.0, 11.0
"""Pixels: at the first nothing is left of who a face is; the second is the scale on which it comes back."""

HALF_SHARP = 0.02
"""Laplacian energy over variance at which a face counts as half sharp."""


def _measure(
    detections: Detections, width: float, height: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    from fastface import _core

    d, whole = detections, np.ascontiguousarray
    frontality, resolution, quality = _core.face_quality(
        whole(d.box), whole(d.score), whole(d.landmarks), whole(d.sharpness), width, height,
        full_size=FULL_SIZE, measured_at=MEASURED_AT, sharp=SHARP, half_sharp=HALF_SHARP,
    )  # fmt: skip
    return frontality, resolution, quality


def frontality(detections: Detections) -> NDArray[np.float32]:
    """How far faces look at the camera, from their landmarks: the nose of a frontal face lies halfway between the eyes;
    turned to profile, it moves over one of them. [M] float32 in [0, 1]: 1 frontal, 0 profile.
    """
    return _measure(detections, 1.0, 1.0)[0]


def resolution(detections: Detections) -> NDArray[np.float32]:
    """Pixels of detail that a face really has, whatever its size: of a sharp one its side, of a blurred one that of the
    sharp face which would look the same.

    Laplacian energy falls with the square of the blur's width, so its root says how many of the 64 pixels at which it
    is measured are left. [M] float32 in (0, 64], pixels.
    """
    return _measure(detections, 1.0, 1.0)[1]


def legibility(resolution: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of a face's similarity to the same person's sharp face is left at its :func:`resolution`, whatever its
    pose: [M] float32 in (0, 1].

    Measured with facenet-msceleb1m on photographs that were made small and blurred (docs/identities.md); 0.09 at 10
    pixels, 0.47 at 16, 0.82 at 28, 0.97 at 48.
    """
    left = 1.0 - np.exp(-(resolution - ILLEGIBLE) / FADES)
    out: NDArray[np.float32] = np.maximum(left, 1e-3).astype(np.float32)
    return out


def face_quality(detections: Detections, width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two figures per face: which of a person's faces to take, and how much it can say.

    Args:
        detections: M faces.
        width, height: pixels of the picture.

    Returns:
        quality [M] float32 in (0, 1]: larger, sharper, more frontal, surer and wholly visible is better; and
        :func:`legibility` [M]. Unlike that, quality goes on rising with the size.
    """
    _, detail, quality = _measure(detections, width, height)
    return quality, legibility(detail)
