"""What the paths of the interface share."""

from __future__ import annotations

from dataclasses import dataclass

from fastface.service.jobs import Jobs
from fastface.service.metrics import Metrics
from fastface.service.monitor import Monitor
from fastface.service.place import Place
from fastface.service.settings import ServiceSettings
from fastface.service.uploads import Uploads
from fastface.service.workers import Workers


@dataclass(frozen=True)
class Context:
    """Attributes:
    settings: see :class:`ServiceSettings`.
    place: where files are.
    jobs: what keeps the jobs.
    workers: those that this process starts; None: it starts none.
    uploads: what makes jobs of requests.
    metrics: figures.
    monitor: how busy the machine and the service are.
    """

    settings: ServiceSettings
    place: Place
    jobs: Jobs
    workers: Workers | None
    uploads: Uploads
    metrics: Metrics
    monitor: Monitor
