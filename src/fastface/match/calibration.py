"""How similar two people may be by chance: the false-accept rate of each cosine, measured per embedder."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InputValidationError, ModelError
from fastface.files import replacing

SCHEMA = "fastface.calibration/1"

DEFAULT_FAR = 1e-3
"""Chance that a stranger is given any name of the gallery, unless another is asked for."""

LEAST_PAIRS = 10
"""Pairs of people who must be mistaken for one another for a rate to count as measured; rarer ones are extrapolated."""


@dataclass(frozen=True)
class Calibration:
    """False-accept rates of one embedder: P(cosine of two different people's faces >= similarity) = far.

    Attributes:
        model: name of the embedder.
        far: [K] float64 in (0, 1), descending.
        similarity: [K] float64 in (-1, 1), ascending.
        pairs: pairs of faces of different people that were compared.
        people: how many people there were.
        source: which faces these were.
    """

    model: str
    far: NDArray[np.float64]
    similarity: NDArray[np.float64]
    pairs: int
    people: int
    source: str

    def __post_init__(self) -> None:
        far, similarity = self.far, self.similarity
        good = (
            len(far) == len(similarity) >= 2
            and ((far > 0) & (far < 1)).all()
            and (np.abs(similarity) < 1).all()
            and (np.diff(far) < 0).all()
            and (np.diff(similarity) > 0).all()
        )
        if not good:
            raise InputValidationError(
                f"the calibration of {self.model!r} must hold two or more rates in (0, 1), descending, and as many "
                f"cosines in (-1, 1), ascending; it holds {far.tolist()} and {similarity.tolist()}"
            )

    @property
    def measured_far(self) -> float:
        """The smallest rate that was measured; smaller ones are extrapolated."""
        return float(self.far[-1])

    def threshold(self, far: float, comparisons: int = 1) -> float:
        """The cosine at which the chance of one or more false accepts in so many comparisons is `far`.

        Between the measured rates, and beyond them with the slope of the last decade, the cosine is linear in the
        normal quantile of the rate: exactly so where cosines of strangers are normally distributed.

        Args:
            far: in (0, 1).
            comparisons: with how many people somebody is compared, at least 1.

        Returns:
            In [-1, 1].

        Raises:
            InputValidationError: `far` or `comparisons` is out of its range.
        """
        check_far(far)
        if comparisons < 1:
            raise InputValidationError(f"comparisons is {comparisons}, must be at least 1")
        each = -math.expm1(math.log1p(-far) / comparisons)  # 1 - (1 - far) ** (1 / n), exact for small rates
        return min(max(self._line(_quantile(each), self._quantiles(), self.similarity), -1.0), 1.0)

    def rate(self, similarity: float) -> float:
        """The false-accept rate of a cosine; see :meth:`threshold`."""
        return 0.5 * math.erfc(self._line(similarity, self.similarity, self._quantiles()) / math.sqrt(2))

    def _quantiles(self) -> NDArray[np.float64]:
        """[K], ascending: how many standard deviations from the mean a normal variable is with each rate."""
        return np.array([_quantile(f) for f in self.far])

    def _line(self, x: float, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> float:
        """y at x on the line through the points, both ascending, which goes straight on beyond either end."""
        if xs[0] <= x <= xs[-1]:
            return float(np.interp(x, xs, ys))
        # From the end through the point a decade of rates away, or the middle where less was measured.
        decades = np.abs(np.log10(self.far) - np.log10(self.far[-1] if x > xs[-1] else self.far[0]))
        reach = min(1.0, float(decades.max()) / 2)
        end, other = (-1, np.flatnonzero(decades >= reach - 1e-9)[-1]) if x > xs[-1] else (0, 1)
        return float(ys[end] + (x - xs[end]) * (ys[end] - ys[other]) / (xs[end] - xs[other]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON.

        Raises:
            InputValidationError: `path` cannot be written.
        """
        document = {
            "schema": SCHEMA,
            "model": self.model,
            "source": self.source,
            "people": self.people,
            "pairs": self.pairs,
            "far": [float(f"{f:.4g}") for f in self.far],
            "similarity": [round(float(s), 4) for s in self.similarity],
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Calibration:
        """Read what :meth:`save` wrote.

        Raises:
            ModelError: it cannot be read, or is no calibration.
        """
        try:
            document: Any = json.loads(Path(path).read_text(encoding="utf-8"))
            if document["schema"] != SCHEMA:
                raise ValueError(f"its schema is {document['schema']!r}, must be {SCHEMA!r}")
            return cls(
                str(document["model"]),
                np.array(document["far"], np.float64),
                np.array(document["similarity"], np.float64),
                int(document["pairs"]),
                int(document["people"]),
                str(document["source"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"the calibration {os.fspath(path)!r} cannot be used: {error}") from error


def check_far(far: float) -> float:
    """`far` itself.

    Raises:
        InputValidationError: it is not in (0, 1).
    """
    if isinstance(far, bool) or not isinstance(far, (int, float)) or not 0 < far < 1:
        raise InputValidationError(f"far is {far!r}, must be a number between 0 and 1, such as 1e-4")
    return float(far)


@dataclass(frozen=True)
class LabelledFaces:
    """N faces, and what is known of whose they are.

    Attributes:
        vector: [N, dim] float32 unit vectors.
        source: [N] int64, which collection of photographs or video each is from; nobody is in two of them.
        person: [N] int64, whose face it is within its source. Of photographs it must be right; of a video it may be a
            guess, and only counts how many people there are.
        frame: [N] int64, in which frame of a video it was, two faces in one frame being two people; -1: a photograph.
    """

    vector: NDArray[np.float32]
    source: NDArray[np.int64]
    person: NDArray[np.int64]
    frame: NDArray[np.int64]

    def __getitem__(self, rows: NDArray[Any]) -> LabelledFaces:
        return LabelledFaces(self.vector[rows], self.source[rows], self.person[rows], self.frame[rows])

    def impostors(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """All pairs of faces that are known to be of different people.

        Returns:
            [pairs] float64, their cosines, and [pairs] int64, which pair of people each is of.
        """
        a, b = np.triu_indices(len(self.source), 1)
        apart = self.source[a] != self.source[b]
        in_video = (self.frame[a] >= 0) | (self.frame[b] >= 0)
        named = ~in_video & (self.person[a] != self.person[b])
        seen = in_video & (self.frame[a] == self.frame[b])
        vector = self.vector.astype(np.float64)
        cosine = (vector @ vector.T)[a, b]
        _, who = np.unique(np.stack([self.source, self.person], 1), axis=0, return_inverse=True)
        low, high = np.minimum(who[a], who[b]), np.maximum(who[a], who[b])
        keep = apart | named | seen
        return cosine[keep], (low * (int(who.max()) + 1) + high)[keep].astype(np.int64)


def measure(model: str, cosines: NDArray[np.float64], pair: NDArray[np.int64], people: int, source: str) -> Calibration:
    """The calibration that cosines of different people give.

    Rates go in steps of a third of a decade from 1e-1 down to the last one at which ten or more pairs of people are
    mistaken for one another: a thousand pairs of faces of two people who look alike say no more than one of them.

    Args:
        model: name of the embedder.
        cosines: [pairs] of pairs of faces.
        pair: [pairs] int64, which pair of people each is of.
        people: how many people there are.
        source: which faces these are.

    Raises:
        InputValidationError: there are too few people to measure two such rates.
    """
    order = np.argsort(-cosines, kind="stable")
    ordered = cosines[order]
    _, first = np.unique(pair[order], return_index=True)
    first = np.sort(first)  # where a pair of people is met for the first time
    far: list[float] = []
    similarity: list[float] = []
    for rate in 10.0 ** (-np.arange(3, 31) / 3):
        count = int(rate * len(cosines) + 0.5)
        if not 0 < count < len(cosines) or int(np.searchsorted(first, count)) < LEAST_PAIRS:
            break
        between = float(ordered[count - 1] + ordered[count]) / 2
        if not similarity or between > similarity[-1]:
            far.append(float(rate))
            similarity.append(between)
    if len(far) < 2:
        raise InputValidationError(
            f"{people} people, {len(cosines)} pairs of their faces, are too few to measure false-accept rates: "
            f"{LEAST_PAIRS} pairs of people must be more similar than 95% of all are"
        )
    return Calibration(model, np.array(far), np.array(similarity), len(cosines), people, source)


def _quantile(rate: float) -> float:
    """How many standard deviations above the mean a normal variable is with this chance."""
    return -NormalDist().inv_cdf(rate)


def packaged_folder() -> Path:
    """Where the calibrations are that come with fastface."""
    return Path(__file__).parent / "calibrations"


def user_folder() -> Path:
    """Where `fastface calibrate` puts the user's own, which go before the others."""
    from fastface.models import cache

    return cache.folder().parent / "calibrations"


def find(model: str) -> Calibration | None:
    """The calibration of an embedder: the user's, else the one that comes with fastface; None: there is none.

    Raises:
        ModelError: it cannot be read, or is another model's.
    """
    for folder in (user_folder(), packaged_folder()):
        path = folder / f"{model}.json"
        if path.is_file():
            calibration = Calibration.load(path)
            if calibration.model != model:
                raise ModelError(f"the calibration {str(path)!r} is of {calibration.model!r}, must be of {model!r}")
            return calibration
    return None
