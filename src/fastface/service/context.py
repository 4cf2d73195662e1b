"""What the paths of the interface share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastface.service.gate import Refused
from fastface.service.jobs import OVER, Job, Jobs, Kind
from fastface.service.metrics import Metrics
from fastface.service.monitor import Monitor
from fastface.service.place import Place
from fastface.service.settings import ServiceSettings
from fastface.service.uploads import Uploads
from fastface.service.workers import Crew

if TYPE_CHECKING:
    from fastface.timeline import Timeline


@dataclass(frozen=True)
class Context:
    """Attributes:
    settings: see :class:`ServiceSettings`.
    place: where files are.
    jobs: what keeps the jobs.
    workers: who does the jobs; None: nobody that this process knows of.
    uploads: what makes jobs of requests.
    metrics: figures.
    monitor: how busy the machine and the service are.
    """

    settings: ServiceSettings
    place: Place
    jobs: Jobs
    workers: Crew | None
    uploads: Uploads
    metrics: Metrics
    monitor: Monitor

    def remove(self, id: str, owner: str) -> Job:
        """Cancel a job that is not over; remove one that is, with its result. Gives it as it was, or as it is now.

        Raises:
            UnknownJob: there is none.
        """
        before = self.jobs.get(id, owner)
        if before.state not in OVER:
            job = self.jobs.cancel(id, owner)
            if job.state in OVER:  # it waited: no worker will tidy up
                self.place.tidy(job)
            return job
        with self.place.locked("job", id):  # somebody may be naming its people
            result = self.jobs.remove(id, owner)
            self.place.tidy(before, keep_upload=before.request.path in self.jobs.files())  # a clip may need it
            if result is not None:
                self.place.remove_result(result)
        return before

    def done(self, id: str, owner: str, kind: Kind) -> tuple[Job, str]:
        """A job of this kind that is done, and its result.

        Raises:
            UnknownJob: there is none.
            Refused: it is of another kind, or not done.
        """
        job = self.jobs.get(id, owner)
        if job.request.kind != kind:
            raise Refused(409, "wrong_kind", f"the job is of kind {job.request.kind}, must be {kind}")
        if job.result is None:
            raise Refused(409, "not_done", f"the job is {job.state}; it has no result", state=job.state)
        return job, job.result

    def timeline(self, result: str) -> Timeline:
        """The timeline of a result.

        Raises:
            Refused: it was removed meanwhile.
        """
        try:
            return self.place.timeline(result)
        except FileNotFoundError as error:
            raise Refused(404, "not_found", "the job was removed") from error
