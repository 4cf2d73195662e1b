"""The folder that a service keeps everything in.

jobs.sqlite     the jobs
uploads/        what was sent, until its job is over
results/        timelines, one per job that is done: ID-TOKEN.json
work/           checkpoints of jobs that run
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from fastface.errors import InputValidationError
from fastface.service.jobs import Claim, Job, JobRequest, Jobs
from fastface.validation import inside

_RESULT = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}\.json")


class Place:
    """The folder of a service.

    Args:
        folder: it is made where there is none, for this user only.
        root: the folder that paths of jobs are relative to, and may not leave; None: no job may name a path.

    Raises:
        InputValidationError: the folder cannot be made, or the root is none.
    """

    def __init__(self, folder: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> None:
        self.folder = Path(folder).resolve()
        if root is not None and not Path(root).is_dir():
            raise InputValidationError(f"root is {os.fspath(root)!r}, must be a folder that exists")
        self.root = None if root is None else Path(root).resolve()
        self.uploads, self.results, self.work = (self.folder / name for name in ("uploads", "results", "work"))
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in (self.uploads, self.results, self.work):
                path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise InputValidationError(f"the folder {str(self.folder)!r} cannot be made: {error.strerror}") from error
        if self.root is not None and self.folder.is_relative_to(self.root):
            raise InputValidationError(
                f"the service's folder {str(self.folder)!r} is inside root {str(self.root)!r}, where jobs may read"
            )

    @property
    def database(self) -> Path:
        return self.folder / "jobs.sqlite"

    def video(self, request: JobRequest) -> tuple[Path, Path]:
        """The file of a request, symbolic links resolved, and the folder that it may not leave.

        Raises:
            InputValidationError: it leads out of its folder, or paths are not allowed.
        """
        base = self.uploads if request.place == "upload" else self.root
        if base is None:
            raise InputValidationError("this service takes no paths; send the video")
        return inside(base, request.path), base

    def result_name(self, claim: Claim) -> str:
        """Of another attempt's result the name is another, so that none replaces one that counts."""
        return f"{claim.job.id}-{claim.token}.json"

    def result(self, name: str) -> Path:
        """The file of a result.

        Raises:
            InputValidationError: it is no such name.
        """
        if not _RESULT.fullmatch(name):
            raise InputValidationError(f"there is no result {name!r}")
        return self.results / name

    def checkpoint(self, job: Job) -> Path:
        return self.work / f"{job.id}.checkpoint"

    def tidy(self, job: Job) -> None:
        """Remove what a job that is over needs no more."""
        self.checkpoint(job).unlink(missing_ok=True)
        for pattern in (f"{job.id}-*", f".{job.id}-*"):  # of attempts that were killed
            for path in self.results.glob(pattern):
                if path.name != job.result:
                    path.unlink(missing_ok=True)
        if job.request.place == "upload":
            path, _ = self.video(job.request)
            path.unlink(missing_ok=True)

    def sweep(self, jobs: Jobs, seconds: float = 3600.0) -> int:
        """Remove what no job needs and nobody touched for that long: of workers that were killed, and of uploads that
        broke off. Gives how many files that were."""
        now, removed = time.time(), 0
        found = [path for folder in (self.uploads, self.results, self.work) for path in folder.iterdir()]
        needed = jobs.files()  # asked after the folders: what is made from here on is not among `found`
        for path in found:
            with contextlib.suppress(OSError):
                if path.name not in needed and now - path.stat().st_mtime > seconds:
                    path.unlink()
                    removed += 1
        return removed

    def told(self, message: str, request: JobRequest) -> str:
        """A message for whoever asked: without where the service keeps things."""
        for base in (self.uploads, self.root):
            if base is not None:
                full = base / request.path
                message = message.replace(str(full), request.name)
                if request.place == "upload":
                    message = message.replace(request.path, request.name)
        for base in (self.folder, self.root):
            if base is not None:
                message = message.replace(str(base), "[root]" if base == self.root else "[service]")
        return message
