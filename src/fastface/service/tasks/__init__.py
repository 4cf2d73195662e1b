"""What a worker does for a job, a file for each kind. Each takes a :class:`Work`; its result is at `work.path` then."""

from __future__ import annotations

from fastface.service.tasks.work import Pipelines, Work

__all__ = ["Pipelines", "Work", "do_task"]


def do_task(work: Work) -> None:
    """Do what the job asks for; its result is at `work.path` then.

    Raises:
        FastFaceError: it cannot be done.
        Cancelled: it was ended from outside.
    """
    from fastface.service.tasks import clip, photo, process

    tasks = {"process": process.run, "clip": clip.run, "photo": photo.run}
    tasks[work.job.request.kind](work)
