"""What every task is given."""

from __future__ import annotations

import contextlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastface.service.jobs import Claim, Job, Jobs
from fastface.service.place import Place
from fastface.validation import Limits

if TYPE_CHECKING:
    from fastface.pipeline import Pipeline
    from fastface.service.worker import WorkerOptions

_KEPT = 2  # pipelines with other settings each; on a GPU one


@dataclass(frozen=True)
class Work:
    """A job to do.

    Attributes:
        claim: the job, as a worker holds it.
        jobs: where other jobs are found.
        place: where files are.
        options: see :class:`WorkerOptions`.
        pipelines: with their models.
        progress: called with the frames done and the frames there are (or None).
        free_device: called where neither the device nor the pipelines are needed any more: the next job has them while
            this one comes to its end. What does not call it has them until then.
    """

    claim: Claim
    jobs: Jobs
    place: Place
    options: WorkerOptions
    pipelines: Pipelines
    progress: Callable[[int, int | None], None]
    free_device: Callable[[], None]

    @property
    def job(self) -> Job:
        return self.claim.job

    @property
    def path(self) -> Path:
        """Where the result goes."""
        return self.place.result(self.place.result_name(self.claim))

    def source(self) -> tuple[Path, Limits]:
        """The file that the job is of, and what it may be.

        Raises:
            InputValidationError: it leads out of its folder.
            StorageError: it cannot be fetched.
        """
        path, base = self.place.video(self.job.request)
        if self.job.request.place == "upload":
            with contextlib.suppress(FileNotFoundError):  # what is done with it tells that it is not there
                self.place.near(path)
        options = self.options
        return path, Limits(options.max_bytes, options.max_seconds, options.max_pixels, base)


class Pipelines:
    """Pipelines that are kept for the next job with the same settings.

    Args:
        device: see :class:`fastface.Pipeline`.
        embedder: name of a model, or "auto".
    """

    def __init__(self, device: str, embedder: str) -> None:
        self._device, self._embedder = device, embedder
        self._kept: OrderedDict[str, Pipeline] = OrderedDict()

    def get(self, settings: dict[str, Any], limits: Limits) -> Pipeline:
        """The pipeline with these settings."""
        from fastface.pipeline import Pipeline

        key = json.dumps([settings, str(limits.root)], sort_keys=True)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        while len(self._kept) >= (_KEPT if self._device == "cpu" else 1):
            self._kept.popitem(last=False)[1].close()
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        made = Pipeline(device=self._device, embedder=self._embedder, limits=limits, **values)
        self._kept[key] = made
        return made

    def any(self, limits: Limits) -> Pipeline:
        """The pipeline that was used last, for what no setting matters to; if there is none, a new one."""
        return next(reversed(self._kept.values())) if self._kept else self.get({}, limits)

    def close(self) -> None:
        while self._kept:
            with contextlib.suppress(Exception):
                self._kept.popitem()[1].close()
