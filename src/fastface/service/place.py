"""The folder that a service keeps everything in.

jobs.sqlite     the jobs
uploads/        what was sent: photographs until their job is over, videos for some time longer, to cut clips from
results/        one per job that is done: ID-TOKEN.json (a timeline, or a photograph's faces), ID-TOKEN.mp4 (a clip);
                with a timeline ID-TOKEN.faces.zip, a picture of each person
galleries/      OWNER/NAME.gallery
work/           checkpoints of jobs that run, clips that are being made, exports
locks/          empty files, which whoever changes a timeline or a gallery locks
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fastface.errors import GalleryError, InputValidationError
from fastface.service.jobs import Claim, Job, JobRequest, Jobs
from fastface.service.names import GALLERY_ENDING, checked_gallery, gallery_file, gallery_name
from fastface.validation import inside

if TYPE_CHECKING:
    from fastface.gallery import Gallery
    from fastface.timeline import Timeline

_RESULT = re.compile(r"([0-9a-f]{32}-[0-9a-f]{32})\.(?:json|mp4)")
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ENDINGS = {"process": ".json", "clip": ".mp4", "photo": ".json"}
_LOCKS = 64


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
        self.uploads, self.results, self.work, self.galleries, self.locks = (
            self.folder / name for name in ("uploads", "results", "work", "galleries", "locks")
        )
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in (self.uploads, self.results, self.work, self.galleries, self.locks):
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

    # Every file that is read is asked for by `near`, every one that was written is told to `keep`.

    def near(self, path: Path) -> Path:
        """A file of the folder, as it is now.

        Raises:
            FileNotFoundError: there is none.
        """
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path.name!r}")
        return path

    def keep(self, path: Path) -> None:
        """A file of the folder was written, and is to be found by others."""

    def remove(self, path: Path) -> None:
        """Remove a file of the folder; nothing happens where there is none."""
        path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self, what: Literal["job", "gallery"], *names: str) -> Iterator[None]:
        """Within the block, nobody else changes this job's timeline or this gallery, in whatever process.

        Of both, the job's is locked first, so that no two wait for each other.
        """
        number = int.from_bytes(hashlib.sha256("\0".join(names).encode()).digest()[:4], "big") % _LOCKS
        with (self.locks / f"{what}-{number:02d}").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
            yield

    # Results

    def result_name(self, claim: Claim) -> str:
        """Of another attempt's result the name is another, so that none replaces one that counts."""
        return f"{claim.job.id}-{claim.token}{_ENDINGS[claim.job.request.kind]}"

    def result(self, name: str) -> Path:
        """The file of a result.

        Raises:
            InputValidationError: it is no such name.
        """
        if not _RESULT.fullmatch(name):
            raise InputValidationError(f"there is no result {name!r}")
        return self.results / name

    def faces(self, result: str) -> Path:
        """The pictures of people that belong to a timeline; see :meth:`result`."""
        path = self.result(result)
        return path.with_name(f"{path.stem}.faces.zip")

    def remove_result(self, name: str) -> None:
        """Remove a result, and what belongs to it."""
        self.remove(self.result(name))
        self.remove(self.faces(name))

    def timeline(self, name: str) -> Timeline:
        """The timeline of a result.

        Raises:
            FileNotFoundError: it was removed.
        """
        from fastface.timeline import Timeline

        path = self.near(self.result(name))
        try:
            return Timeline.from_json(path)
        except InputValidationError as error:  # nobody's fault who asks, and its message has a path of ours
            raise (OSError if path.exists() else FileNotFoundError)(str(error)) from error

    def save_timeline(self, name: str, timeline: Timeline) -> None:
        """Write a timeline in place of the one that was there, at once."""
        path = self.result(name)
        timeline.to_json(path, embeddings="inside")
        self.keep(path)

    def picture(self, result: str, person: int) -> bytes | None:
        """The picture of a person of a timeline as JPEG; None: there is none."""
        with contextlib.suppress(FileNotFoundError), zipfile.ZipFile(self.near(self.faces(result))) as pictures:
            if f"{person}.jpg" in pictures.namelist():
                return pictures.read(f"{person}.jpg")
        return None

    def pictured(self, result: str) -> set[int]:
        """Ids of those people of a timeline of whom there are pictures."""
        with contextlib.suppress(FileNotFoundError), zipfile.ZipFile(self.near(self.faces(result))) as pictures:
            return {int(name.removesuffix(".jpg")) for name in pictures.namelist()}
        return set()

    # Galleries

    def gallery_names(self, owner: str) -> list[str]:
        """Names of an owner's galleries, in order."""
        folder = self._galleries(owner)
        files = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(gallery_name(file) for file in files if file.endswith(GALLERY_ENDING) and file[0] != ".")

    def gallery(self, owner: str, name: str) -> Gallery:
        """A gallery.

        Raises:
            FileNotFoundError: there is none of this name.
            GalleryError: its file is damaged.
        """
        from fastface.gallery import Gallery

        path = self.near(self._gallery(owner, name))
        try:
            return Gallery.load(path)
        except GalleryError as error:
            if not path.exists():
                raise FileNotFoundError(f"there is no gallery {name!r}") from error
            raise GalleryError(str(error).replace(str(path), name)) from error

    def save_gallery(self, owner: str, name: str, gallery: Gallery) -> None:
        """Write a gallery in place of what was there, at once."""
        path = self._gallery(owner, name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        gallery.save(path)
        self.keep(path)

    def remove_gallery(self, owner: str, name: str) -> None:
        """Forget a gallery.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        self.remove(self.near(self._gallery(owner, name)))

    def _galleries(self, owner: str) -> Path:
        if not _OWNER.fullmatch(owner):
            raise InputValidationError(f"there is no owner {owner!r}")
        return self.galleries / owner

    def _gallery(self, owner: str, name: str) -> Path:
        try:
            return self._galleries(owner) / gallery_file(checked_gallery(name))
        except InputValidationError as error:
            raise FileNotFoundError(f"there is no gallery {name!r}") from error

    # What is not needed any more

    def checkpoint(self, job: Job) -> Path:
        return self.work / f"{job.id}.checkpoint"

    def scratch(self, claim: Claim) -> Path:
        """A folder for what a worker makes on its way; it is there, and empty."""
        path = self.work / f"{claim.job.id}-{claim.token}"
        path.mkdir(mode=0o700)
        return path

    def tidy(self, job: Job, *, keep_upload: bool = False) -> None:
        """Remove what a job that is over needs no more; `keep_upload`: except the video that was sent for it."""
        self.remove(self.checkpoint(job))
        for pattern in (f"{job.id}-*", f".{job.id}-*"):  # of attempts that were killed
            for path in self.work.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)
            for path in self.results.glob(pattern):
                if job.result is None or _stem(path.name) != _stem(job.result):
                    self.remove(path)
        if job.request.place == "upload" and job.request.kind != "clip" and not keep_upload:
            path, _ = self.video(job.request)
            self.remove(path)

    def sweep(self, jobs: Jobs, seconds: float = 3600.0, *, keep_uploads: float = 0.0) -> int:
        """Remove what no job needs and nobody touched for that long: of workers that were killed, and of uploads that
        broke off. Videos that were sent go `keep_uploads` seconds after their job. Gives how many files that were."""
        now, removed = time.time(), 0
        found = [path for folder in (self.uploads, self.results, self.work) for path in folder.iterdir()]
        known = jobs.files(math.inf)  # asked after the folders: what is made from here on is not among `found`
        needed = {_stem(name) for name in jobs.files(keep_uploads)}
        for path in found:
            with contextlib.suppress(OSError):
                late = path.name in known  # a job's, and not needed any more
                if _stem(path.name) not in needed and (late or now - path.stat().st_mtime > seconds):
                    if path.is_dir():
                        shutil.rmtree(path)
                    else:
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


def _stem(name: str) -> str:
    """What the files of one result have in common; of other files the name."""
    return name.removesuffix(".faces.zip").removesuffix(".json").removesuffix(".mp4") if name[32:33] == "-" else name
