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


def frontality(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far a face looks at the camera, from its landmarks.

    The nose of a frontal face lies halfway between the eyes; turned to profile, it moves over one of them.

    Args:
        landmarks: [M, 5, 2] float32, pixels, as in :class:`fastface.types.Detections`.

    Returns:
        [M] float32 in [0, 1]: 1 frontal, 0 profile.
    """
    left, right, nose = landmarks[:, 0], landmarks[:, 1], landmarks[:, 2]
    across = right - left
    width = np.maximum(np.linalg.norm(across, axis=1), 1e-3)
    # Where along the line of the eyes the nose stands: 0.5 in the middle.
    place = ((nose - left) * across).sum(1) / width**2
    out: NDArray[np.float32] = np.clip(1.0 - 2.0 * np.abs(place - 0.5), 0.0, 1.0).astype(np.float32)
    return out


def resolution(box: NDArray[np.float32], sharpness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels of detail that a face really has, whatever its size: of a sharp one its side, of a blurred one that of the
    sharp face which would look the same.

    Laplacian energy falls with the square of the blur's width, so its root says how many of the 64 pixels at which it
    is measured are left.

    Args:
        box: [M, 4] float32, xyxy in pixels.
        sharpness: [M] float32, see :class:`fastface.types.Detections`.

    Returns:
        [M] float32 in (0, 64], pixels.
    """
    sides = np.maximum(box[:, 2:] - box[:, :2], 1.0)
    size = np.minimum(np.sqrt(sides.prod(1)), MEASURED_AT)
    out: NDArray[np.float32] = np.maximum(size * np.sqrt(np.clip(sharpness / SHARP, 0.0, 1.0)), 1e-3).astype(np.float32)
    return out


def legibility(detections: Detections) -> NDArray[np.float32]:
    """How much of a face's similarity to the same person's sharp face is left at its :func:`resolution`, whatever its
    pose: [M] float32 in (0, 1].

    Measured with facenet-msceleb1m on photographs that were made small and blurred (docs/identities.md); 0.09 at 10
    pixels, 0.47 at 16, 0.82 at 28, 0.97 at 48.
    """
    left = 1.0 - np.exp(-(resolution(detections.box, detections.sharpness) - ILLEGIBLE) / FADES)
    out: NDArray[np.float32] = np.maximum(left, 1e-3).astype(np.float32)
    return out


def _detail(detections: Detections) -> NDArray[np.float32]:
    """Which of a track's faces shows more: [M] float32 in (0, 1]. Unlike legibility it goes on rising with the size."""
    sides = np.maximum(detections.box[:, 2:] - detections.box[:, :2], 1.0)
    size = np.minimum(np.sqrt(sides.prod(1)) / FULL_SIZE, 1.0)
    sharp = detections.sharpness / (detections.sharpness + HALF_SHARP)
    out: NDArray[np.float32] = np.maximum(size * (0.3 + 0.7 * sharp), 1e-3).astype(np.float32)
    return out


def face_quality(detections: Detections, width: int, height: int) -> NDArray[np.float32]:
    """One figure per face: larger, sharper, more frontal, surer and wholly visible is better.

    Args:
        detections: M faces.
        width, height: pixels of the picture.

    Returns:
        [M] float32 in (0, 1].
    """
    box = detections.box
    sides = np.maximum(box[:, 2:] - box[:, :2], 1.0)
    limit = np.array([width, height], np.float32)
    seen = np.clip(np.minimum(box[:, 2:], limit) - np.maximum(box[:, :2], 0), 0, None).prod(1) / sides.prod(1)
    quality = _detail(detections) * (0.3 + 0.7 * frontality(detections.landmarks)) * seen**2
    out: NDArray[np.float32] = np.maximum(quality * detections.score, 1e-3).astype(np.float32)
    return out
