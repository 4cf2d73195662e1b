"""From faces and people to the Timeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.match import Person
from fastface.timeline.timeline import Identity, Span, Timeline, Track
from fastface.types import Embeddings, Faces, VideoInfo


def build_timeline(
    info: VideoInfo,
    times: Sequence[float],
    end: float,
    run: dict[str, Any],
    faces: Faces,
    people: Sequence[Person],
    every: int,
    embeddings: Embeddings | None = None,
) -> Timeline:
    """Put the result together.

    Args:
        info: of the video.
        times: seconds of each decoded frame.
        end: seconds at which the last frame ends.
        run: what was run and how.
        faces: every face, ordered by frame, without identities.
        people: who has which tracks.
        every: frames from one that was looked at to the next; a face counts for that long.
        embeddings: of the tracks.

    Returns:
        The timeline, tracks and identities numbered from 0 in the order of first appearance.
    """
    ids, first, last = _extents(faces)
    number = {int(t): i for i, t in enumerate(ids)}
    people = sorted(people, key=lambda p: min(p.tracks))
    identity_of = {number[t]: i for i, p in enumerate(people) for t in p.tracks}
    tracks = tuple(
        Track(i, identity_of.get(i), int(a), min(int(b) + every, len(times)))
        for i, (a, b) in enumerate(zip(first, last, strict=True))
    )
    extent = {t: (tracks[i].start_frame, tracks[i].end_frame) for t, i in number.items()}

    def seconds(frame: int) -> float:
        return times[frame] if frame < len(times) else end

    identities = []
    for i, person in enumerate(people):
        spans = tuple(Span(seconds(a), seconds(b), a, b) for a, b in union(sorted(extent[t] for t in person.tracks)))
        identities.append(
            Identity(
                id=i,
                name=person.name,
                similarity=person.similarity,
                threshold=person.threshold,
                screen_time=float(sum(s.end - s.start for s in spans)),
                instances=spans,
                gallery_id=person.gallery_id,
            )
        )
    track = np.searchsorted(ids, faces.track)
    identity = np.array([identity_of.get(i, -1) for i in range(len(ids))], np.int64)[track]
    video = {
        "path": info.path,
        "width": info.width,
        "height": info.height,
        "rotation": info.rotation,
        "codec": info.codec,
        "duration": round(end, 6),
        "frame_count": len(times),
        "average_rate": info.average_rate,
    }
    if embeddings is not None:
        mine = np.searchsorted(ids, embeddings.track)
        embeddings = replace(embeddings, track=mine)[np.argsort(mine)]
    return Timeline(video, run, tuple(identities), tracks, replace(faces, track=track, identity=identity), embeddings)


def _extents(faces: Faces) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Ids of the tracks, ascending, and the first and last frame of each."""
    last = np.full(int(faces.track.max(initial=-1)) + 1, -1, np.int64)
    first = np.full(len(last), np.iinfo(np.int64).max)
    np.minimum.at(first, faces.track, faces.frame)
    np.maximum.at(last, faces.track, faces.frame)
    ids = np.flatnonzero(last >= 0)
    return ids, first[ids], last[ids]


def union(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Half-open frame spans, sorted, with those that touch or overlap joined."""
    out: list[tuple[int, int]] = []
    for a, b in spans:
        if out and a <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], b))
        else:
            out.append((a, b))
    return out
