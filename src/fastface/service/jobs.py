"""What a job is, and the interface that every keeper of jobs has; tests are written against it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from fastface.errors import FastFaceError, InputValidationError, shown

State = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = ("queued", "running", "done", "failed", "cancelled")
OVER: tuple[State, ...] = ("done", "failed", "cancelled")

Kind = Literal["process", "clip", "photo"]
KINDS: tuple[Kind, ...] = ("process", "clip", "photo")

SETTINGS = ("min_face_size", "thresholds", "factor", "embed", "faces_per_track", "every", "min_track_score",
            "linkage_threshold", "strict")  # fmt: skip
"""Settings of :class:`fastface.Pipeline` that a job of kind "process" may have, besides "gallery"; the others are the
operator's."""

CLIP_SETTINGS = ("person", "split", "join", "max_gap", "pad", "condense", "fast", "follow", "start", "end")
"""Settings that a job of kind "clip" may have; see :meth:`fastface.Timeline.clips`. start and end are seconds, and
only what the people have between them is shown."""

MAX_KEY = 200
MAX_PAGE = 200
MAX_CLIP_SECONDS = 10_000_000


class JobError(FastFaceError):
    """A job cannot be had, or not be made."""


class UnknownJob(JobError):
    """There is no such job, or it is somebody else's."""


class KeyConflict(JobError):
    """The idempotency key was used for another request."""


class TooManyJobs(JobError):
    """The owner has as many jobs that are not over as may be."""


@dataclass(frozen=True)
class JobRequest:
    """What is to be done.

    Attributes:
        place: "root": a file under the folder that the operator allows; "upload": one that was sent.
        path: of the video or photograph, relative to that folder.
        name: what people call it; it stands in the result in place of the path.
        settings: as JSON has them: of "process" some of :data:`SETTINGS` and "gallery", see :func:`checked_settings`;
            of "clip" some of :data:`CLIP_SETTINGS`, see :func:`checked_clip`; of "photo" none.
        digest: sha256 of what was sent, in hexadecimal; tells whether a request is the same as one before.
        kind: "process": a video, of which a timeline is made; "clip": moments of a video; "photo": a photograph, whose
            faces are looked for.
        source: id of the job whose video a clip is cut from; None of other kinds.
    """

    place: Literal["root", "upload"]
    path: str
    name: str
    settings: Mapping[str, Any]
    digest: str | None = None
    kind: Kind = "process"
    source: str | None = None


@dataclass(frozen=True)
class Progress:
    """How far a job is; see :class:`fastface.ProcessEvent`."""

    stage: str
    frames_done: int = 0
    frames_total: int | None = None
    fps: float = 0.0
    seconds_left: float | None = None


@dataclass(frozen=True)
class Job:
    """Attributes:
    id: 32 hexadecimal digits that nobody can guess.
    owner: whose it is.
    request: what is to be done.
    state: one of :data:`STATES`.
    cancelling: somebody asked for its end, and it has not ended yet.
    created, started, finished: seconds since 1970, or None; started is of the last attempt.
    attempt: how often it was begun.
    progress: how far it is.
    error: {"code", "message"} where it failed.
    result: name of the file with the timeline, clip or faces, once it is done.
    """

    id: str
    owner: str
    request: JobRequest
    state: State
    cancelling: bool
    created: float
    started: float | None
    finished: float | None
    attempt: int
    progress: Progress
    error: Mapping[str, str] | None
    result: str | None


@dataclass(frozen=True)
class JobEvent:
    """Attributes:
    number: ascends over all events of all jobs.
    kind: "queued", "started", "progress", "retried", "cancelling", "done", "failed" or "cancelled". Of a job's
        "progress" only the newest is kept.
    at: seconds since 1970.
    data: facts of that kind.
    """

    number: int
    kind: str
    at: float
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Page:
    """Attributes:
    jobs: newest first.
    next: what to ask for the next page with; None: this is the last.
    """

    jobs: tuple[Job, ...]
    next: str | None


@dataclass(frozen=True)
class Claim:
    """A job that a worker holds.

    Attributes:
        job: as it was when it was taken.
        token: the worker's proof; when another holds the job, it is worth nothing any more.
    """

    job: Job
    token: str


class Jobs(Protocol):
    """Keeps jobs. All calls may come from several threads and processes at once.

    Those who ask use the first calls, workers those from `claim` on. A job has one result, whatever happens to workers:
    what a worker reports counts only while its token does.
    """

    def submit(
        self, owner: str, requests: Sequence[JobRequest], *, key: str | None = None, at_most: int | None = None
    ) -> tuple[list[Job], bool]:
        """Make jobs, all or none.

        Args:
            owner: whose they are.
            requests: at least one.
            key: the same key with the same requests gives the same jobs again, and makes none.
            at_most: jobs of this owner that may be not over.

        Returns:
            The jobs, and whether they were made now.

        Raises:
            KeyConflict: the key was used for other requests.
            TooManyJobs: they would be more than `at_most`.
        """

    def get(self, id: str, owner: str | None = None) -> Job:
        """A job; with an owner, one of theirs.

        Raises:
            UnknownJob: there is none.
        """

    def list(
        self,
        owner: str | None = None,
        *,
        state: str | None = None,
        source: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Jobs, newest first; `after` is the `next` of the page before; with `source`, the clips of that job.

        Raises:
            InputValidationError: there is no such state or place, or limit is out of its range.
        """

    def cancel(self, id: str, owner: str | None = None) -> Job:
        """End a job: at once if it waits, soon if it runs; nothing happens to one that is over.

        Raises:
            UnknownJob: there is none.
        """

    def remove(self, id: str, owner: str | None = None) -> str | None:
        """Forget a job that is over; gives the name of its result, which the caller removes.

        Raises:
            UnknownJob: there is none.
            JobError: it is not over.
        """

    def events(self, id: str, after: int = 0) -> Sequence[JobEvent]:
        """What happened to a job after the event with that number."""

    def counts(self) -> Mapping[str, int]:
        """Jobs in each state."""

    def files(self, keep_uploads: float = 0.0) -> Collection[str]:
        """Names of files that are needed: uploads and checkpoints of jobs that are not over, results, and the videos
        that were sent for jobs that are done for less than `keep_uploads` seconds (infinity: of all of them)."""

    def claim(self, worker: str, seconds: float) -> Claim | None:
        """Take a job: of the owner with the fewest running, the oldest; also one whose holder was not heard of for its
        `seconds`. None: there is nothing to do."""

    def beat(self, claim: Claim, seconds: float, progress: Progress | None = None) -> Literal["go", "cancel", "lost"]:
        """Say that the worker lives, and for how long that holds.

        Returns:
            Whether to go on; "lost": another has the job, and nothing may be done about it any more.
        """

    def finish(self, claim: Claim, result: str) -> bool:
        """The job is done, and the file with this name its result. False: another holds it, and has or will have a
        result of its own; this one is to be removed."""

    def fail(self, claim: Claim, code: str, message: str, *, again: bool = False) -> bool:
        """The job cannot be done; `again`: not now, and is tried later, unless it was tried too often. False: as
        `finish`."""

    def end(self, claim: Claim) -> bool:
        """The job was cancelled, and has ended."""

    def give_back(self, claim: Claim) -> bool:
        """The worker ends, through no fault of the job: another may take it."""

    def release(self, worker: str) -> int:
        """A worker is dead: its jobs need not wait until its time is over. Gives how many there were."""


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a job may have, and that a pipeline takes.

    Raises:
        InputValidationError: there is no such setting, or a value is out of its range.
    """
    from fastface.service.names import checked_gallery
    from fastface.settings import DetectorSettings, Settings

    for name in settings:
        if name not in SETTINGS and name != "gallery":
            known = ", ".join((*SETTINGS, "gallery"))
            raise InputValidationError(f"there is no setting {shown(name)}; a job may have {known}")
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
    gallery = {"gallery": checked_gallery(values.pop("gallery"))} if "gallery" in values else {}
    detector = {k: values.pop(k) for k in ("min_face_size", "thresholds", "factor") if k in values}
    Settings(detector=DetectorSettings(**detector), **values)
    return json.loads(json.dumps({**settings, **gallery}))  # type: ignore[no-any-return]


def checked_clip(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a clip may have, except whether there are such people.

    Raises:
        InputValidationError: there is no such setting, or a value is out of its range.
    """
    from fastface.clip import Wishes
    from fastface.settings import is_number

    for name in settings:
        if name not in CLIP_SETTINGS:
            raise InputValidationError(f"there is no setting {shown(name)}; a clip may have {', '.join(CLIP_SETTINGS)}")
    given = {name: value for name, value in settings.items() if value is not None}
    for name in ("join", "fast"):
        if not isinstance(given.get(name, False), bool):
            raise InputValidationError(f"{name} is {shown(given[name])}, must be true or false")
    for name in ("max_gap", "pad", "condense", "start", "end"):
        if name in given and not (is_number(given[name]) and 0 <= given[name] <= MAX_CLIP_SECONDS):
            raise InputValidationError(f"{name} is {shown(given[name])}, must be seconds from 0 to {MAX_CLIP_SECONDS}")
    for name, kind in (("follow", "pixels"), ("split", "people")):
        value = given.get(name, [0, 0])
        if not (isinstance(value, list) and len(value) == 2 and all(_is_person(v) for v in value)):
            raise InputValidationError(f"{name} is {shown(value)}, must be a list of two {kind}")
    if "follow" in given and not all(isinstance(v, int) for v in given["follow"]):
        raise InputValidationError(f"follow is {shown(given['follow'])}, must be width and height in pixels")
    if "person" in given and not _is_person(given["person"]):
        raise InputValidationError(f"person is {shown(given['person'])}, must be an id or a name")
    start, end = given.get("start", 0), given.get("end", MAX_CLIP_SECONDS)
    if not start < end:
        raise InputValidationError(f"start is {start!r} and end is {end!r}, start must be less")
    if "condense" in given and ("start" in given or "end" in given):
        raise InputValidationError("condense is of the whole video: give no start and end")
    wishes: dict[str, Any] = {n: given[n] for n in ("join", "max_gap", "pad", "condense", "fast") if n in given}
    wishes |= {n: tuple(given[n]) for n in ("follow", "split") if n in given}
    Wishes(**wishes)
    return json.loads(json.dumps(given))  # type: ignore[no-any-return]


def _is_person(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def fingerprint(requests: Sequence[JobRequest]) -> str:
    """Equal for requests that ask for the same: of what was sent, its bytes count, and not where they were put."""
    facts = []
    for request in requests:
        fact = asdict(request)
        if request.digest is not None:
            fact.pop("path")
        if request.kind == "process":  # as it was while there was no other kind, so that keys of then still count
            fact.pop("kind")
            fact.pop("source")
        facts.append(fact)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
