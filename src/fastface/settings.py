"""What a run can be told, validated once."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal, TypeGuard

from fastface.errors import InputValidationError
from fastface.validation import Limits

Device = str
"""As :class:`fastface.Pipeline` takes it."""
Precision = Literal["fp16", "fp32"]
EmbedMode = Literal["track", "every"]


def _require(good: bool, name: str, value: object, allowed: str) -> None:
    if not good:
        raise InputValidationError(f"{name} is {value!r}, must be {allowed}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a finite number."""
    # Whole numbers of JSON may be too large for a float; NaN compares as False.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


@dataclass(frozen=True)
class DetectorSettings:
    """MTCNN's settings, with facenet-pytorch's names and defaults.

    Attributes:
        min_face_size: pixels, the smallest face that is looked for, at least 12.
        thresholds: scores in [0, 1] that P-, R- and O-Net ask for.
        factor: in (0, 1), from one level of the pyramid to the next.
    """

    min_face_size: int = 20
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    factor: float = 0.709

    def __post_init__(self) -> None:
        size, factor = self.min_face_size, self.factor
        _require(_is_whole(size) and 12 <= size <= 4096, "min_face_size", size, "a whole number from 12 to 4096")
        try:
            thresholds = tuple(self.thresholds)
        except TypeError:
            thresholds = ()
        good = len(thresholds) == 3 and all(is_number(t) and 0 <= t <= 1 for t in thresholds)
        _require(good, "thresholds", self.thresholds, "three numbers from 0 to 1")
        object.__setattr__(self, "thresholds", tuple(float(t) for t in thresholds))
        _require(is_number(factor) and 0.05 <= factor <= 0.98, "factor", factor, "a number from 0.05 to 0.98")


@dataclass(frozen=True)
class Settings:
    """Settings of a :class:`fastface.Pipeline`.

    Attributes:
        detector: see :class:`DetectorSettings`.
        embedder: name of a model (see `fastface models list`), or "auto".
        embed: "track" embeds the best faces of each track, "every" embeds every face.
        faces_per_track: how many faces a track is embedded from, in "track" mode.
        every: look for faces in every n-th frame.
        min_track_score: in [0, 1], mean score of a track's best faces under which the track is dismissed as the
            detector's error; 0 keeps everything.
        far: in (0, 1), the chance that a stranger is taken for anybody in the gallery; None: 1e-3 where the embedder is
            calibrated. The cosine that this asks for rises with the people in the gallery.
        similarity_threshold: cosine in (-1, 1) from which a person is taken for one of the gallery's, in place of
            `far`.
        linkage_threshold: average cosine in (-1, 1) from which tracks are one person; None takes the model's.
        batch_size: frames a batch; None chooses by the size of the picture.
        precision: "fp16" or "fp32", of the networks on a GPU; the CPU always computes in float32.
        cpu_fallback: where the GPU's memory does not suffice, the CPU goes on.
        strict: a packet or frame that cannot be decoded is an error, not counted and left out.
        limits: what a video may be at most; None: :class:`fastface.Limits` as it comes.
    """

    detector: DetectorSettings = DetectorSettings()
    embedder: str = "auto"
    embed: EmbedMode = "track"
    faces_per_track: int = 5
    every: int = 1
    min_track_score: float = 0.95
    far: float | None = None
    similarity_threshold: float | None = None
    linkage_threshold: float | None = None
    batch_size: int | None = None
    precision: Precision = "fp16"
    cpu_fallback: bool = False
    strict: bool = False
    limits: Limits | None = None

    def __post_init__(self) -> None:
        for name in ("strict", "cpu_fallback"):
            _require(isinstance(getattr(self, name), bool), name, getattr(self, name), "True or False")
        good = self.limits is None or isinstance(self.limits, Limits)
        _require(good, "limits", self.limits, "None or fastface.Limits(...)")
        _require(self.embed in ("track", "every"), "embed", self.embed, "'track' or 'every'")
        faces, every, batch = self.faces_per_track, self.every, self.batch_size
        _require(_is_whole(faces) and 1 <= faces <= 64, "faces_per_track", faces, "a whole number from 1 to 64")
        _require(_is_whole(every) and every >= 1, "every", every, "a whole number from 1")
        _require(
            batch is None or (_is_whole(batch) and 1 <= batch <= 1024),
            "batch_size",
            batch,
            "None or a whole number from 1 to 1024",
        )
        _require(self.precision in ("fp16", "fp32"), "precision", self.precision, "'fp16' or 'fp32'")
        score = self.min_track_score
        _require(is_number(score) and 0 <= score <= 1, "min_track_score", score, "a number from 0 to 1")
        far = self.far
        _require(
            far is None or (is_number(far) and 0 < far < 1),
            "far",
            far,
            "None or a number between 0 and 1, such as 1e-4",
        )
        for name in ("similarity_threshold", "linkage_threshold"):
            value = getattr(self, name)
            _require(
                value is None or (is_number(value) and -1 < value < 1),
                name,
                value,
                "None or a number between -1 and 1",
            )
