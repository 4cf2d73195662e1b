"""From a photograph, or a person of a job, to what somebody looks like."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import anyio.to_thread
from fastapi import Request

from fastface.service.context import Context
from fastface.service.galleries import Look
from fastface.service.gate import Refused
from fastface.service.jobs import OVER, Job
from fastface.service.people import look_of
from fastface.service.tasks.photo import read

_LOOK = 0.1  # seconds between two looks whether a photograph's job is over
_MAX_WAITING = 8  # calls of one owner that wait for a photograph at a time


class Photos:
    """Finds out what somebody looks like.

    Args:
        context: see :class:`Context`.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: Counter[str] = Counter()

    async def sent(self, request: Request) -> Look:
        """By the photograph that is a request's body: a worker looks at it, and it is forgotten.

        Raises:
            Refused: it does not show one clear face; no worker looked at it in time: then `job` of the details says
                which job to give in place of the photograph once it is done.
            FastFaceError: it is no photograph, or too much.
        """
        owner = request.state.owner
        if self._waiting[owner] >= _MAX_WAITING:
            raise Refused(429, "too_many_photographs", f"{_MAX_WAITING} are being looked at already", retry_after=5)
        self._waiting[owner] += 1
        try:
            job = await self._over(await self._context.uploads.photograph(request))
            try:
                return await anyio.to_thread.run_sync(self._look, job)
            finally:
                await anyio.to_thread.run_sync(self._context.remove, job.id, owner)
        finally:
            self._waiting[owner] -= 1
            if not self._waiting[owner]:
                del self._waiting[owner]

    def of(self, id: str, owner: str, person: int | None) -> Look:
        """By a person of a job's video, or by a photograph's job.

        Raises:
            UnknownJob, Refused: there is none, it is not done, or the faces are too poor.
        """
        job = self._context.jobs.get(id, owner)
        if job.request.kind == "photo" and person is None:
            return self._look(job)
        if person is None:
            raise Refused(422, "invalid_request", "give a person of the job's video")
        _, result = self._context.done(id, owner, "process")
        return look_of(self._context.timeline(result), person)

    async def _over(self, job: Job) -> Job:
        seconds = self._context.settings.photo_seconds
        end = time.monotonic() + seconds
        while job.state not in OVER:
            if time.monotonic() > end:
                raise Refused(504, "photograph_waits", f"no worker looked at the photograph within {seconds:g} s; "
                              "ask again with this job in place of the photograph", job=job.id)  # fmt: skip
            await asyncio.sleep(_LOOK)
            job = await anyio.to_thread.run_sync(self._context.jobs.get, job.id, job.owner)
        return job

    def _look(self, job: Job) -> Look:
        if job.error is not None:
            raise Refused(422 if job.error["code"] == "bad_input" else 503, job.error["code"], job.error["message"])
        _, result = self._context.done(job.id, job.owner, "photo")
        try:
            photo = read(self._context.place.near(self._context.place.result(result)))
        except FileNotFoundError as error:
            raise Refused(404, "not_found", "the job was removed") from error
        if photo.vector is None:
            raise Refused(422, "unclear", photo.message or "it does not show one clear face", reason=photo.reason)
        return Look(photo.model, photo.vector)
