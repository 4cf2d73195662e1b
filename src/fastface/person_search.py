"""Where somebody appears: from photographs to spans of videos, or of timelines made before."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastface.errors import InputValidationError
from fastface.gallery import Gallery
from fastface.match.identify import MIN_LEGIBILITY
from fastface.match.naming import similarity_threshold as threshold_for
from fastface.match.remember import check_same_model, directions, model_of
from fastface.pipeline import Pipeline
from fastface.timeline import Identity, Timeline
from fastface.timeline.edit import spans_of_tracks


@dataclass(frozen=True)
class FoundSpan:
    """A stretch of time in which the person is on screen; half open.

    Attributes:
        start, end: seconds from the first frame shown.
        start_frame, end_frame: frame numbers.
        similarity: the highest cosine of a track within it with the photographs.
    """

    start: float
    end: float
    start_frame: int
    end_frame: int
    similarity: float


@dataclass(frozen=True)
class Found:
    """Somebody in one video who is taken for the person.

    Attributes:
        path: of the video.
        identity: whom the timeline has there; None: a track that the timeline could not give to anybody.
        similarity: cosine of that person's faces with the photographs.
        threshold: the least that was asked for.
        spans: when, in order.
    """

    path: str
    identity: Identity | None
    similarity: float
    threshold: float
    spans: tuple[FoundSpan, ...]


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        found: the most similar first.
        compared: people, and tracks that are nobody's, that were looked at.
        threshold: cosine that was asked for.
        far: the chance that anybody found is a stranger; None: not known, a cosine was given.
        warnings: what else to know.
        timelines: those that were searched, in the order given.
    """

    found: tuple[Found, ...]
    compared: int
    threshold: float
    far: float | None
    warnings: tuple[str, ...]
    timelines: tuple[Timeline, ...]


def search(
    photographs: Any,
    videos: Iterable[Timeline | str | os.PathLike[str]] | Timeline | str | os.PathLike[str],
    *,
    far: float | None = None,
    similarity_threshold: float | None = None,
    pipeline: Pipeline | None = None,
    embedder: str = "auto",
    device: str = "auto",
) -> SearchResult:
    """Find a person of whom there are photographs.

    Timelines, and files of them (.json), are searched by their embeddings, without the video; anything else is taken
    for a video and processed.

    Args:
        photographs: paths or [H, W, 3] uint8 RGB arrays, one or several, of one person.
        videos: one or several.
        far: in (0, 1), the chance that anybody who is found is a stranger; None: 1e-3 where the embedder is calibrated.
            The threshold rises with how many people are looked at.
        similarity_threshold: a cosine in place of `far`.
        pipeline: whose models and settings are used; without one, one is made for this call with `embedder` ("auto":
            that of the first timeline, if there is one) and `device`.

    Raises:
        GalleryError: not one photograph shows one clear face, or a timeline is of another embedder.
        InputValidationError: a timeline has no embeddings, a setting is out of its range, or there is nothing to
            search.
        VideoProcessingError: not one frame of a video can be decoded.
    """
    sources = [videos] if isinstance(videos, (Timeline, str, os.PathLike)) else list(videos)
    if not sources:
        raise InputValidationError("there is nothing to search: give videos or timelines")
    read = [_timeline_of(source) for source in sources]
    if pipeline is None:
        model = next((model_of(t) for t in read if t is not None), embedder)
        with Pipeline(embedder=model if embedder == "auto" else embedder, device=device) as made:
            return _search(photographs, sources, read, far, similarity_threshold, made)
    return _search(photographs, sources, read, far, similarity_threshold, pipeline)


def _timeline_of(source: Timeline | str | os.PathLike[str]) -> Timeline | None:
    """The timeline, or None where the source is a video."""
    if isinstance(source, Timeline):
        return source
    return Timeline.from_json(Path(source)) if Path(source).suffix.lower() == ".json" else None


def _search(
    photographs: Any,
    sources: Sequence[Any],
    read: Sequence[Timeline | None],
    far: float | None,
    fixed: float | None,
    pipeline: Pipeline,
) -> SearchResult:
    spec = pipeline.executor.spec
    wanted = Gallery(spec.name)
    single = isinstance(photographs, (str, os.PathLike, np.ndarray))
    wanted.add("the person", [photographs] if single else photographs, pipeline=pipeline)
    query = wanted.centroid("the person")
    for timeline in read:
        if timeline is not None:
            check_same_model(timeline, wanted)
            directions(timeline)  # said before the work on videos, if embeddings are missing
    timelines = [pipeline.process(s) if t is None else t for s, t in zip(sources, read, strict=True)]
    entries = [entry for timeline in timelines for entry in _people(timeline)]
    threshold, rate, uncalibrated = threshold_for(spec, len(entries), far=far, fixed=fixed)
    found = [
        Found(str(timeline.video["path"]), who, float(vector @ query), threshold, _spans(timeline, tracks, query))
        for timeline, who, vector, tracks in entries
        if float(vector @ query) >= threshold
    ]
    return SearchResult(
        found=tuple(sorted(found, key=lambda f: (-f.similarity, f.path))),
        compared=len(entries),
        threshold=threshold,
        far=rate,
        warnings=(*wanted.warnings, *([uncalibrated] if uncalibrated else [])),
        timelines=tuple(timelines),
    )


def _people(timeline: Timeline) -> list[tuple[Timeline, Identity | None, np.ndarray, list[int]]]:
    """Whom to compare with: people, and legible tracks that are nobody's, with their unit vectors and tracks."""
    vectors, legible = directions(timeline)
    out: list[tuple[Timeline, Identity | None, np.ndarray, list[int]]] = []
    for person, vector, detail in zip(timeline.identities, vectors, legible.tolist(), strict=True):
        if detail >= MIN_LEGIBILITY:
            out.append((timeline, person, vector, [t.id for t in timeline.tracks if t.identity == person.id]))
    embeddings = timeline.embeddings
    assert embeddings is not None  # directions() has looked
    nobodys = {t.id for t in timeline.tracks if t.identity is None}
    for track, mean, detail in zip(
        embeddings.track.tolist(), embeddings.mean, embeddings.legibility.tolist(), strict=True
    ):
        if track in nobodys and detail >= MIN_LEGIBILITY:
            out.append((timeline, None, mean / max(float(np.linalg.norm(mean)), 1e-12), [track]))
    return out


def _spans(timeline: Timeline, tracks: list[int], query: np.ndarray) -> tuple[FoundSpan, ...]:
    """When these tracks are on screen, and how similar each stretch is."""
    embeddings = timeline.embeddings
    assert embeddings is not None
    norm = np.maximum(np.linalg.norm(embeddings.mean, axis=1), 1e-12)
    cosine = dict(zip(embeddings.track.tolist(), (embeddings.mean @ query / norm).tolist(), strict=True))
    mine = [t for t in timeline.tracks if t.id in set(tracks)]
    out = []
    for span in spans_of_tracks(timeline, mine):
        inside = [t.id for t in mine if span.start_frame <= t.start_frame < span.end_frame]
        best = max((cosine[t] for t in inside if t in cosine), default=-1.0)
        out.append(FoundSpan(span.start, span.end, span.start_frame, span.end_frame, round(float(best), 4)))
    return tuple(out)
