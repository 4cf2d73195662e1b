"""The folder that a service keeps everything in.

jobs.sqlite     the jobs
uploads/        what was sent, until its job is over
results/        timelines, one per job that is done: ID-TOKEN.json
work/           checkpoints of jobs that run

With a storage, what is in these folders is a copy: the storage has the files that count, under the same names.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from fastface.errors import InputValidationError
from fastface.service.jobs import Claim, Job, JobRequest, Jobs
from fastface.service.storage import Storage
from fastface.validation import inside

_RESULT = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}\.json")


class Place:
    """The folder of a service.

    Args:
        folder: it is made where there is none, for this user only.
        root: the folder that paths of jobs are relative to, and may not leave; None: no job may name a path.
        storage: where the files are that count; None: in the folder.

    Raises:
        InputValidationError: the folder cannot be made, or the root is none.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        root: str | os.PathLike[str] | None = None,
        storage: Storage | None = None,
    ) -> None:
        self.storage = storage
        self._marks: dict[str, str] = {}  # of the copies that this process made
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

    def near(self, path: Path) -> Path:
        """A file of the folder, as it is now: fetched, where a storage has it and the copy is not the same.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it cannot be fetched.
        """
        if self.storage is None:
            return path
        name = self._name(path)
        mark = self.storage.mark(name)
        if mark is None or mark != self._marks.get(name) or not path.exists():
            self._marks.pop(name, None)
            try:
                self._marks[name] = self.storage.get(name, path)
            except FileNotFoundError:
                path.unlink(missing_ok=True)
                raise
        return path

    def keep(self, path: Path, *, here: bool = True) -> None:
        """A file of the folder was written, and is to be found by others; `here`: also in this folder.

        Raises:
            StorageError: it cannot be stored.
        """
        if self.storage is not None:
            self._marks[self._name(path)] = self.storage.put(path, self._name(path))
            if not here:
                self.forget(path)

    def remove(self, path: Path) -> None:
        """Remove a file of the folder, wherever it is; nothing happens where there is none.

        Raises:
            StorageError: it cannot be removed.
        """
        if self.storage is not None:
            self.storage.remove(self._name(path))
            self._marks.pop(self._name(path), None)
        path.unlink(missing_ok=True)

    def forget(self, path: Path) -> None:
        """Remove the copy of a file that a storage has."""
        if self.storage is not None:
            self._marks.pop(self._name(path), None)
            path.unlink(missing_ok=True)

    def leave(self, job: Job) -> None:
        """Remove the copies of a job's files: the next that has to do with it may be on another machine."""
        self.forget(self.checkpoint(job))
        if job.request.place == "upload":
            self.forget(self.video(job.request)[0])

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

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
        self.remove(self.checkpoint(job))
        for pattern in (f"{job.id}-*", f".{job.id}-*"):  # of attempts that were killed
            for path in self.results.glob(pattern):
                if path.name != job.result:
                    path.unlink(missing_ok=True)
        if job.request.place == "upload":
            path, _ = self.video(job.request)
            self.remove(path)

    def sweep(self, jobs: Jobs, seconds: float = 3600.0) -> int:
        """Remove what no job needs and nobody touched for that long: of workers that were killed, and of uploads that
        broke off. Gives how many files that were."""
        now, removed = time.time(), 0
        folders = (self.uploads, self.results, self.work)
        found = [path for folder in folders for path in folder.iterdir()]
        stored = (
            {}
            if self.storage is None
            else {folder / name: at for folder in folders for name, at in self.storage.all(folder.name).items()}
        )
        needed = jobs.files()  # asked after the folders: what is made from here on is not among `found`
        for path in found:
            with contextlib.suppress(OSError):
                status = path.stat()
                # A copy has the time of the stored file, and says by its other time since when it is here.
                touched = status.st_mtime if self.storage is None else status.st_ctime
                if (self.storage is not None or path.name not in needed) and now - touched > seconds:
                    path.unlink()
                    removed += path not in stored
        for path, at in stored.items():
            if path.name not in needed and now - at > seconds:
                self.remove(path)
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
