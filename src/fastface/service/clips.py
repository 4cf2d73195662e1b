"""From what is asked for to the jobs that cut clips."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fastface.errors import InputValidationError
from fastface.service.context import Context
from fastface.service.gate import Refused
from fastface.service.jobs import Job, JobRequest, checked_clip
from fastface.service.uploads import plain_name

if TYPE_CHECKING:
    from fastface.timeline import Timeline

MAX_MOMENTS = 100


def clip_requests(context: Context, id: str, owner: str, asked: dict[str, Any]) -> list[JobRequest]:
    """The jobs to make: one, or one for each moment where these are not joined.

    Args:
        context: see :class:`Context`.
        id: of the job whose video is cut.
        owner: whose it is.
        asked: some of :data:`fastface.service.jobs.CLIP_SETTINGS`.

    Raises:
        UnknownJob, Refused: there is no such timeline, or its video is gone.
        InputValidationError: there are no such people, there is nothing to cut, or a value is out of its range.
    """
    from fastface.clip import Wishes
    from fastface.service.tasks.clip import moments, within

    settings = checked_clip(asked)
    job, result = context.done(id, owner, "process")
    timeline = context.timeline(result)
    split = settings.get("split")
    wishes = Wishes(condense=settings.get("condense"), split=None if split is None else (split[0], split[1]),
                    follow=settings.get("follow"))  # fmt: skip
    people = wishes.people(timeline, settings.get("person"))
    # By their ids: names may be others when a worker comes to it.
    if split is not None:
        settings["split"] = [p.id for p in people]
    elif people:
        settings["person"] = people[0].id
    if ("start" in settings or "end" in settings) and not people:
        raise InputValidationError("start and end are of people's moments: give a person or split")
    timeline = within(timeline, settings)
    _must_be_there(context, job)
    name = _name(job, timeline, [p.id for p in people])
    if settings.get("join", True) or "condense" in settings:
        return [_request(job, name, settings)]
    parts = moments(timeline, settings)
    if not 1 <= len(parts) <= MAX_MOMENTS:
        raise InputValidationError(f"there are {len(parts)} moments, must be 1 to {MAX_MOMENTS}; join makes them one")
    return [
        _request(job, f"{name} {number}", {**settings, "start": start, "end": end})
        for number, (start, end) in enumerate(parts, 1)
    ]


def _must_be_there(context: Context, job: Job) -> None:
    try:
        context.uploads.look(job.request)
    except InputValidationError as error:
        if job.request.place == "upload":
            raise Refused(409, "video_gone", "the video that was sent for this job is not kept any more") from error
        raise


def _name(job: Job, timeline: Timeline, people: list[int]) -> str:
    stem = os.path.splitext(job.request.name)[0]
    labels = [timeline.identity(who).label for who in people]
    return ", ".join([stem, *labels]) if labels else f"{stem}, condensed"


def _request(job: Job, name: str, settings: dict[str, Any]) -> JobRequest:
    source = job.request
    return JobRequest(source.place, source.path, plain_name(f"{name[:240]}.mp4"), settings, kind="clip", source=job.id)
