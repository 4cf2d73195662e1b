"""Whom of a gallery people are, and from which cosine on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InputValidationError
from fastface.match import calibration

if TYPE_CHECKING:
    from fastface.gallery import Gallery
    from fastface.models.registry import EmbedderSpec


@dataclass(frozen=True)
class Named:
    """One person of a video, and whom of the gallery they are.

    Attributes:
        members: who of the video this is; several who were taken for different people may be one person of the gallery.
        person: name or id in the gallery; None: nobody there.
        similarity: the highest cosine of a member with the person's centroid; None where person is.
        threshold: the cosine that was asked for; None where person is.
    """

    members: tuple[int, ...]
    person: str | None
    similarity: float | None = None
    threshold: float | None = None


def name_people(
    directions: NDArray[np.float32],
    apart: Callable[[int, int], bool],
    gallery: Gallery | None,
    threshold: float,
) -> list[Named]:
    """Give names; nobody is at two places at once.

    Args:
        directions: [P, dim] float32 unit vectors, of each person of the video.
        apart: whether two of them were seen in one frame.
        gallery: whom they may be.
        threshold: cosine with a centroid from which they are.

    Returns:
        Everybody once, in the order of similarity, highest first.
    """
    if gallery is None or not len(gallery) or not len(directions):
        return [Named((i,), None) for i in range(len(directions))]
    names, cosines = gallery.nearest(directions)
    out: list[Named] = []
    place: dict[str, int] = {}
    for i in sorted(range(len(names)), key=lambda i: (-cosines[i], i)):
        person = names[i]
        if cosines[i] < threshold:
            out.append(Named((i,), None))
        elif person not in place:
            place[person] = len(out)
            out.append(Named((i,), person, float(cosines[i]), threshold))
        elif any(apart(i, member) for member in out[place[person]].members):
            out.append(Named((i,), None))
        else:
            first = out[place[person]]
            out[place[person]] = Named((*first.members, i), person, first.similarity, threshold)
    return out


def similarity_threshold(
    spec: EmbedderSpec, people: int, *, far: float | None, fixed: float | None
) -> tuple[float, float | None, str | None]:
    """The cosine from which somebody is taken for one of so many people.

    Args:
        spec: the embedder.
        people: how many there are to be taken for.
        far: chance that a stranger is taken for any of them; None: 1e-3 where the embedder is calibrated.
        fixed: a cosine that is taken as it is, whatever `far`.

    Returns:
        The cosine, the rate that it stands for (None: not known), and a sentence where the embedder is not calibrated.

    Raises:
        InputValidationError: a rate is asked for, and the embedder is not calibrated.
    """
    known = calibration.find(spec.name)
    if fixed is not None:
        return fixed, None, None
    if known is not None:
        wanted = calibration.DEFAULT_FAR if far is None else far
        return known.threshold(wanted, max(people, 1)), wanted, None
    if far is not None:
        raise InputValidationError(
            f"far is {far}, but {spec.name} is not calibrated: `fastface calibrate FOLDER --embedder {spec.name}` does "
            "that with photographs of many people, or give a similarity_threshold"
        )
    return (
        spec.similarity_threshold,
        None,
        f"{spec.name} is not calibrated: names are given from a cosine of {spec.similarity_threshold} on, whatever "
        "false-accept rate that is (`fastface calibrate` measures it)",
    )
