"""What a finished run comes to: who its tracks are, and the timeline with what was run and how."""

from __future__ import annotations

import time as clock
from dataclasses import asdict
from typing import Any

import numpy as np

from fastface.gallery import Gallery
from fastface.match import identify
from fastface.match.credible import credible_faces
from fastface.match.naming import similarity_threshold
from fastface.run import Run
from fastface.timeline import Timeline
from fastface.timeline.build import build_timeline
from fastface.version import __version__


def outcome(run: Run, decoder: Any, gallery: Gallery | None, warnings: list[str], begin: float) -> Timeline:
    """Who the tracks of a finished run are, and the result.

    Args:
        run: what grew.
        decoder: what decoded, or what stands for it: name, info, stats.
        gallery: known people; None without.
        warnings: for the result, before those of the executor and the decoder.
        begin: `time.perf_counter()` when the run began.
    """
    executor, settings = run.executor, run.settings
    info, stats, interval = decoder.info, decoder.stats, run.interval
    found = run.faces()
    faces, certain = credible_faces(found, run.tracker.overlaps(), settings.min_track_score, interval)
    embeddings = run.embeddings
    embeddings = embeddings[np.isin(embeddings.track, list(certain))]
    spec = executor.spec
    linkage = settings.linkage_threshold
    linkage = spec.linkage_threshold if linkage is None else linkage
    similarity, far, uncalibrated = similarity_threshold(
        spec, len(gallery or ()), far=settings.far, fixed=settings.similarity_threshold
    )
    if gallery and uncalibrated:
        warnings = [*warnings, uncalibrated]
    may_be_person = np.array([certain[int(t)] for t in embeddings.track], bool)
    people = identify(
        embeddings,
        may_be_person,
        run.tracker.conflicts(),
        linkage_threshold=linkage,
        gallery=gallery,
        similarity_threshold=similarity,
    )
    facts = {
        "version": __version__,
        "device": executor.device,
        "decoder": {"name": decoder.name, "every": settings.every},
        "detector": {"name": "mtcnn", **asdict(settings.detector)},
        "embedder": {
            "name": spec.name,
            "dim": spec.dim,
            "embed": settings.embed,
            "faces_per_track": settings.faces_per_track if settings.embed == "track" else None,
            "faces_embedded": int(embeddings.count.sum()),
            "min_track_score": settings.min_track_score,
            "linkage_threshold": linkage,
            "similarity_threshold": round(similarity, 4),
            "far": far,
        },
        "gpu_memory_peak": run.memory,
        "host_memory_peak": run.host_memory,
        "faces_dismissed": len(found) - len(faces),
        "frames_decoded": stats.frames,
        "frames_skipped": stats.skipped,
        "warnings": [*warnings, *executor.shortages(), *stats.warnings],
        "seconds": round(clock.perf_counter() - begin, 3),
        "seconds_spent": {stage: round(seconds, 3) for stage, seconds in run.spent.seconds.items()},
    }
    facts["detector"]["thresholds"] = list(facts["detector"]["thresholds"])
    return build_timeline(info, stats.times, stats.end, facts, faces, people, settings.every, embeddings)
