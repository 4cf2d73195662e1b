"""A timeline's people against a gallery, after the video is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastface import models
from fastface.errors import GalleryError, InputValidationError
from fastface.match.identify import CONFLICT_FRAMES, MIN_LEGIBILITY
from fastface.match.naming import name_people, similarity_threshold
from fastface.timeline.edit import with_identity

if TYPE_CHECKING:
    from fastface.gallery import Gallery
    from fastface.timeline import Timeline


def directions(timeline: Timeline) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What each person of a timeline looks like: [P, dim] float32 unit vectors (0 where no face was embedded), and [P]
    float32, the legibility of their best track.

    Raises:
        InputValidationError: the timeline has no embeddings.
    """
    embeddings = timeline.embeddings
    if embeddings is None:
        raise InputValidationError(
            f"the timeline of {timeline.video.get('path')!r} has no embeddings: {timeline.embeddings_missing}"
        )
    person_of = {t.id: t.identity for t in timeline.tracks}
    who = np.array([-1 if person_of.get(t) is None else person_of[t] for t in embeddings.track.tolist()], np.int64)
    out = np.zeros((len(timeline.identities), embeddings.mean.shape[1]), np.float32)
    legible = np.zeros(len(out), np.float32)
    weight = (embeddings.weight * embeddings.legibility).astype(np.float64)
    for i, person in enumerate(timeline.identities):
        mine = who == person.id
        total = (embeddings.mean[mine] * weight[mine, None]).sum(0)
        norm = float(np.linalg.norm(total))
        if norm > 0:
            out[i] = total / norm
            legible[i] = embeddings.legibility[mine].max()
    return out, legible


def seen_apart(timeline: Timeline) -> set[tuple[int, int]]:
    """Pairs of places in `timeline.identities` (a < b) of people who were seen in the same frames."""
    place = {p.id: i for i, p in enumerate(timeline.identities)}
    frames: list[set[int]] = [set() for _ in place]
    for frame, identity in zip(timeline.faces.frame.tolist(), timeline.faces.identity.tolist(), strict=True):
        if identity >= 0:
            frames[place[identity]].add(frame)
    return {
        (a, b)
        for a in range(len(frames))
        for b in range(a + 1, len(frames))
        if len(frames[a] & frames[b]) >= CONFLICT_FRAMES
    }


def model_of(timeline: Timeline) -> str:
    """Name of the embedder that a timeline was made with.

    Raises:
        InputValidationError: it does not say.
    """
    embedder = timeline.run.get("embedder")
    name = embedder.get("name") if isinstance(embedder, Mapping) else None
    if not isinstance(name, str):
        raise InputValidationError(
            f"the timeline of {timeline.video.get('path')!r} does not say which embedder it was made with"
        )
    return name


def check_same_model(timeline: Timeline, gallery: Gallery) -> None:
    """Raise unless both are of one embedder.

    Raises:
        GalleryError: they are not.
    """
    model = model_of(timeline)
    if model != gallery.model:
        raise GalleryError(
            f"the vectors to compare with are of {gallery.model!r}, those of the timeline of "
            f"{timeline.video.get('path')!r} of {model!r}: vectors of different models cannot be compared"
        )


def recognise(timeline: Timeline, gallery: Gallery, *, far: float | None, fixed: float | None) -> Timeline:
    """See :meth:`fastface.Timeline.recognise`."""
    return _against(timeline, gallery, far, fixed)[0]


def remember(gallery: Gallery, timeline: Timeline, *, far: float | None, fixed: float | None) -> Timeline:
    """See :meth:`fastface.Gallery.update`."""
    timeline, vectors, legible = _against(timeline, gallery, far, fixed)
    for i, person in enumerate(timeline.identities):
        if person.gallery_id is not None and person.name is None:
            gallery.seen_again(person.gallery_id, vectors[i])
        elif person.gallery_id is None and legible[i] >= MIN_LEGIBILITY:
            timeline = with_identity(timeline, person.id, gallery_id=gallery.add_unknown(vectors[i]))
    return timeline


def _against(
    timeline: Timeline, gallery: Gallery, far: float | None, fixed: float | None
) -> tuple[Timeline, NDArray[np.float32], NDArray[np.float32]]:
    """The timeline with the gallery's names, and :func:`directions` of it."""
    vectors, legible = directions(timeline)
    check_same_model(timeline, gallery)
    threshold, _, _ = similarity_threshold(models.get(gallery.model), len(gallery), far=far, fixed=fixed)
    apart = seen_apart(timeline)
    tell = np.flatnonzero(legible >= MIN_LEGIBILITY)
    found = name_people(
        vectors[tell], lambda a, b: (min(tell[a], tell[b]), max(tell[a], tell[b])) in apart, gallery, threshold
    )
    ids = [p.id for p in timeline.identities]
    for named in found:
        if named.person is None:
            continue
        members = sorted(ids[tell[m]] for m in named.members)
        if len(members) > 1:
            timeline = timeline.merge(*members)
        timeline = with_identity(
            timeline,
            members[0],
            name=gallery.name_of(named.person),
            gallery_id=named.person,
            similarity=named.similarity,
            threshold=named.threshold,
        )
    return timeline, *directions(timeline)
