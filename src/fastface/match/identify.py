"""Which tracks are the same person, and who that is.

Tracks that are surely the same are joined as they come, by the C++ matcher (newest seen first, early exit). When the
video is over, what is left is joined by average linkage, which looks at all pairs and so does not chain people through
one doubtful face. Two tracks that were seen apart in the same frame are never joined.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastface.match.naming import name_people
from fastface.types import Embeddings

if TYPE_CHECKING:
    from fastface.gallery import Gallery

SURE = 0.8
"""Cosine of two tracks' means from which they are the same person without a look at the others. Of two photographs of
different people it never came above 0.4."""

SURE_LEGIBILITY = 0.8
"""Of tracks under it a cosine alone says nothing for sure: poor faces resemble each other."""

DOUBT = 0.2
"""How much more similar than the linkage threshold a track must be that is too short or too uncertain to be a person
by itself: blurred faces resemble each other, whoever they are."""

CONFLICT_FRAMES = 2
"""Frames in which two tracks must be seen apart to count as two people; one may be a detector's slip."""

MIN_LEGIBILITY = 0.4
"""Of a track under it nobody can tell whose face it is: it founds no person, and nobody gets a name by it. 0.4 is left
at about 15 pixels of detail, where half of the faces are under the threshold of their own person's photographs."""

CERTAIN_SCORE = 0.98
"""Score of a track's best faces under which it founds no person: of 230 tracks of faces in composed videos and ten in
hamilton.mp4 the lowest scored 0.985, of four that show no face the highest 0.976."""

CERTAIN_FACES = 3


@dataclass(frozen=True)
class Person:
    """A person of the video.

    Attributes:
        tracks: ids of the tracks, ascending.
        name, similarity, threshold, gallery_id: see :class:`fastface.timeline.Identity`.
    """

    tracks: tuple[int, ...]
    name: str | None
    similarity: float | None
    threshold: float | None
    gallery_id: str | None = None


def long_enough(faces: int, frame_interval: float) -> bool:
    """Whether a track has faces enough to become a person by itself: three, fewer where frames are looked at rarely.

    Args:
        faces: how many the track has.
        frame_interval: seconds between the frames that were looked at.
    """
    return faces >= (CERTAIN_FACES if frame_interval <= 0.1 else 2 if frame_interval <= 0.5 else 1)


def discounted(embeddings: Embeddings) -> Embeddings:
    """Shrink the means of faces of little detail, so that their similarities count for less.

    Small and blurred faces resemble each other whoever they are: two strangers of 10 pixels have a cosine of 0.58 in
    the mean, of 14 pixels up to 0.81. Times their legibilities that is 0.005 and 0.11.
    """
    return replace(embeddings, mean=embeddings.mean * embeddings.legibility[:, None])


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    out: NDArray[np.float32] = (vectors / np.maximum(norm, 1e-12)).astype(np.float32)
    return out


def _places(values: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the two of each pair are in ascending values; without pairs of which one is not there."""
    if not len(values):
        return np.zeros((0, 2), np.int64)
    place = np.minimum(np.searchsorted(values, pairs), len(values) - 1)
    found: NDArray[np.int64] = place[(values[place] == pairs).all(1)]
    return found


def _foes(apart: NDArray[np.int64]) -> dict[int, set[int]]:
    """By row, the rows that it was seen apart from."""
    foes: dict[int, set[int]] = {}
    for a, b in apart.tolist():
        foes.setdefault(a, set()).add(b)
        foes.setdefault(b, set()).add(a)
    return foes


def _join_sure(embeddings: Embeddings, apart: NDArray[np.int64]) -> list[list[int]]:
    """Groups of rows that are surely one person."""
    from fastface import _core

    dim = embeddings.mean.shape[1]
    matcher = _core.Matcher(dim)
    groups: list[list[int]] = []
    foes = _foes(apart)
    for row, vector in enumerate(_unit(embeddings.mean)):
        if embeddings.legibility[row] < SURE_LEGIBILITY:
            groups.append([row])
            continue
        group, _, _ = matcher.match(vector, threshold=SURE, sure=SURE)
        if group >= 0 and not foes.get(row, set()).isdisjoint(groups[group]):
            group = -1
        if group < 0:
            group = len(groups)
            groups.append([])
        groups[group].append(row)
        matcher.add(vector, group)
    return groups


def _cluster(
    embeddings: Embeddings, apart: NDArray[np.int64], threshold: float
) -> list[tuple[list[int], float | None]]:
    """Rows of each person, and the lowest similarity at which they were joined."""
    from fastface import _core

    groups = _join_sure(embeddings, apart)
    group_of = np.zeros(len(embeddings), np.int64)
    for g, rows in enumerate(groups):
        group_of[rows] = g
    between = np.sort(group_of[apart], axis=1)
    between = between[between[:, 0] < between[:, 1]]
    pairs = np.stack(np.divmod(np.unique(between @ [len(groups), 1]), len(groups)), 1)
    weighted = embeddings.mean * embeddings.weight[:, None]
    label, weakest = _core.average_linkage(
        np.array([weighted[rows].sum(0) for rows in groups], np.float32).reshape(len(groups), -1),
        np.array([embeddings.weight[rows].sum() for rows in groups], np.float32),
        pairs,
        threshold,
    )
    people: list[tuple[list[int], float | None]] = []
    for person in range(len(weakest)):
        mine = np.flatnonzero(label == person)
        rows = sorted(row for g in mine for row in groups[g])
        joined = min(float(weakest[person]), SURE if any(len(groups[g]) > 1 for g in mine) else 2.0)
        people.append((rows, joined if joined <= 1.0 else None))
    return people


def identify(
    embeddings: Embeddings,
    certain: NDArray[np.bool_],
    conflicts: NDArray[np.int64],
    *,
    linkage_threshold: float,
    gallery: Gallery | None = None,
    similarity_threshold: float = 1.0,
) -> list[Person]:
    """Join tracks to people and name those whom the gallery knows.

    Args:
        embeddings: of E tracks.
        certain: [E] bool, tracks that may become a person; the others may only join one.
        conflicts: [P, 3] int64: two track ids and in how many frames they were seen apart.
        linkage_threshold: average similarity from which tracks are joined.
        gallery: known people, of the same model.
        similarity_threshold: from which a person is taken for one of the gallery's.

    Returns:
        The people, in the order of their first tracks; tracks that are in none are too poor to tell.
    """
    certain = certain & (embeddings.legibility >= MIN_LEGIBILITY)
    embeddings = discounted(embeddings)
    apart = _places(embeddings.track, conflicts[conflicts[:, 2] >= CONFLICT_FRAMES, :2])
    sure_rows = np.flatnonzero(certain)
    if not len(sure_rows):
        return []
    foes = _foes(apart)
    clusters = [
        ([int(sure_rows[r]) for r in rows], s)
        for rows, s in _cluster(embeddings[sure_rows], _places(sure_rows, apart), linkage_threshold)
    ]

    def mean_of(rows: list[int]) -> NDArray[np.float32]:
        weight = embeddings.weight[rows]
        out: NDArray[np.float32] = (embeddings.mean[rows] * weight[:, None]).sum(0) / weight.sum()
        return out

    def clash(row: int, rows: list[int]) -> bool:
        return not foes.get(row, frozenset()).isdisjoint(rows)

    # Doubtful tracks join the person they resemble most, the most similar first, so that their order does not matter.
    centres = np.array([mean_of(rows) for rows, _ in clusters])
    everyone = [list(rows) for rows, _ in clusters]
    doubtful = np.flatnonzero(~certain)
    similarity = embeddings.mean[doubtful] @ centres.T
    placed: set[int] = set()
    for pair in np.argsort(-similarity, axis=None, kind="stable"):
        i, person = divmod(int(pair), len(clusters))
        if similarity[i, person] < linkage_threshold + DOUBT:
            break
        row = int(doubtful[i])
        if row not in placed and not clash(row, everyone[person]):
            placed.add(row)
            everyone[person].append(row)

    def together(a: int, b: int) -> bool:
        """Whether two clusters were seen at once: doubtful tracks do not decide who somebody is, but a name must not
        bring those together who were seen apart."""
        return any(clash(row, everyone[b]) for row in everyone[a])

    out = []
    for named in name_people(_unit(centres), together, gallery, similarity_threshold):
        rows = sorted(r for m in named.members for r in everyone[m])
        similarity_, threshold = named.similarity, named.threshold
        if named.person is None:
            similarity_ = clusters[named.members[0]][1]
            threshold = None if similarity_ is None else linkage_threshold
        name = None if named.person is None or gallery is None else gallery.name_of(named.person)
        out.append(Person(tuple(int(embeddings.track[r]) for r in rows), name, similarity_, threshold, named.person))
    return sorted(out, key=lambda p: p.tracks)
