"""Moments of a video as one file."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastface.clip.spans import Interval, merged, padded
from fastface.errors import InputValidationError
from fastface.service.jobs import UnknownJob
from fastface.service.tasks.work import Work
from fastface.timeline.edit import with_identity
from fastface.validation import check_file
from fastface.watch import check, stage

if TYPE_CHECKING:
    from fastface.timeline import Span, Timeline


def run(work: Work) -> None:
    """Cut the clip out of the video of the job's source, by that one's timeline."""
    video, limits = work.source()
    check_file(work.job.request.path, limits)  # as it is now: since the job was made it may have become another
    timeline, result = _source(work), work.path
    settings = dict(work.job.request.settings)
    timeline = within(timeline, settings)
    folder = work.place.scratch(work.claim)

    def progress(done: int, total: int) -> None:
        work.progress(done, total)
        check()

    stage("frames")
    try:
        (clip,) = timeline.clips(
            video,
            settings.get("person"),
            folder=folder,
            join=settings.get("condense") is None,
            max_gap=settings.get("max_gap", 0.0),
            pad=settings.get("pad", 0.0),
            condense=settings.get("condense"),
            fast=settings.get("fast", False),
            follow=_pair(settings.get("follow")),
            split=_pair(settings.get("split")),
            workers=work.options.threads,
            progress=progress,
        )
        os.replace(clip.path, result)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    work.place.keep(result)


def within(timeline: Timeline, settings: Mapping[str, Any]) -> Timeline:
    """A timeline whose people, those of the clip, are there only between its start and its end.

    Raises:
        InputValidationError: there is no such person, or they are not there then.
    """
    start, end = settings.get("start", 0.0), settings.get("end", float("inf"))
    if "start" not in settings and "end" not in settings:
        return timeline
    people = settings.get("split") or [settings.get("person")]
    found = False
    for who in people:
        person = timeline.identity(who)
        spans = tuple(_cut(s, start, end) for s in person.instances if s.start < end and s.end > start)
        found = found or bool(spans)
        timeline = with_identity(timeline, person.id, instances=spans)
    if not found:
        raise InputValidationError(f"nobody of {people} is there between {start:g} and {end:g} s")
    return timeline


def moments(timeline: Timeline, settings: Mapping[str, Any]) -> list[Interval]:
    """The moments of a clip's people, one for each file where they are not joined: start and end in seconds, without
    what is added around them."""
    people = [timeline.identity(who) for who in settings.get("split") or [settings.get("person")]]
    spans = merged(((s.start, s.end) for p in people for s in p.instances), settings.get("max_gap", 0.0))
    out: list[Interval] = []
    for around in padded(spans, settings.get("pad", 0.0), float(timeline.video["duration"])):
        mine = [s for s in spans if s[0] >= around[0] and s[1] <= around[1]]
        if mine:
            out.append((mine[0][0], mine[-1][1]))
    return out


def _cut(span: Span, start: float, end: float) -> Span:
    from fastface.timeline import Span

    return Span(max(span.start, start), min(span.end, end), span.start_frame, span.end_frame)


def _pair(value: Any) -> Any:
    return None if value is None else tuple(value)


def _source(work: Work) -> Timeline:
    """The timeline of the job that the clip is of.

    Raises:
        InputValidationError: that job was removed.
    """
    with contextlib.suppress(UnknownJob, FileNotFoundError):
        result = work.jobs.get(work.job.request.source or "", work.job.owner).result
        if result is not None:
            return work.place.timeline(result)
    raise InputValidationError("the job whose video this clip is of was removed")
