"""A process that takes jobs and does them on one device: `python -m fastface.service.worker`, see workers.py.

It ends when its standard input does, so that none outlives the service, and gives its job back before that. What it
does for each kind of job is in tasks/.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from fastface.aio import Meter
from fastface.errors import FastFaceError, GPUError
from fastface.service.embedded import EmbeddedJobs
from fastface.service.jobs import Claim, Jobs, JobsUnavailable, Progress
from fastface.service.place import Place
from fastface.service.tasks import Pipelines, Work, do_task
from fastface.watch import Cancelled, Watch, watching

_log = logging.getLogger("fastface.service")

_IDLE = 0.2  # seconds between two looks for a job
_AT_ONCE = 2  # jobs of a worker: one has the device, one comes to its end
_GRACE = 8.0  # seconds that the running job gets to end
_PATIENCE = 60.0  # seconds that the end of a job is told again, while nobody can be told
_HURRY = 4.0  # the same, while this process ends
_AWAY = (sqlite3.OperationalError, JobsUnavailable)

CODES = {
    "InputValidationError": "bad_input",
    "VideoProcessingError": "bad_video",
    "ModelError": "model",
    "GalleryError": "gallery",
    "GPUError": "gpu",
    "GPUMemoryError": "gpu_memory",
    "StorageError": "storage",
}
"""What an error is called in a job; any other is "internal"."""


@dataclass(frozen=True)
class WorkerOptions:
    """How workers work.

    Attributes:
        root: see :class:`Place`.
        embedder: name of a model, or "auto".
        max_bytes, max_seconds, max_pixels: see :class:`fastface.Limits`.
        lease: seconds after which a worker that is not heard of has lost its job.
        beat: seconds between two looks at whether the job was cancelled.
        progress: seconds between two notes of how far a job is.
        checkpoint: seconds between two checkpoints.
        max_attempts: how often a job is begun until it is given up.
        threads: of torch, on the CPU; None: its own choice.
        keep_uploads: seconds for which a video that was sent is kept after its job is done, so that clips can be cut
            out of it; 0: it goes with the job's end.
    """

    root: str | None = None
    embedder: str = "auto"
    max_bytes: int = 10_000_000_000
    max_seconds: float | None = None
    max_pixels: int = 8192 * 8192
    lease: float = 15.0
    beat: float = 0.25
    progress: float = 1.0
    checkpoint: float = 30.0
    max_attempts: int = 3
    threads: int | None = None
    keep_uploads: float = 86_400.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerOptions:
        return cls(**json.loads(text))


class _Turn:
    """A job's right to the device, until it needs it no more."""

    def __init__(self, gate: threading.Semaphore) -> None:
        self._gate = gate
        self.held = True

    def over(self) -> None:
        """The device is free for the next job; said again it changes nothing."""
        if self.held:
            self.held = False
            self._gate.release()


class Worker:
    """Takes jobs and does them. While one still comes to its end (pictures are made, files are stored), the device has
    the next one.

    Args:
        jobs: where from.
        place: where files are.
        device: see :class:`fastface.Pipeline`.
        name: of this worker.
        options: see :class:`WorkerOptions`.
    """

    def __init__(self, jobs: Jobs, place: Place, device: str, name: str, options: WorkerOptions) -> None:
        self._jobs, self._place, self._name, self._options = jobs, place, name, options
        self._pipelines = Pipelines(device, options.embedder)
        self._gate = threading.Semaphore(1)  # to the device, and to the pipelines
        self.stopped = threading.Event()

    def run(self) -> None:
        """Work until :attr:`stopped` is set.

        Raises:
            sqlite3.Error, OSError: of a job's end nobody could be told, for another reason than that nobody listens.
        """
        broken: list[BaseException] = []

        def done(job: Future[None]) -> None:
            room.release()
            if (error := job.exception()) is not None:
                broken.append(error)
                self.stopped.set()

        room = threading.Semaphore(_AT_ONCE)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fastface-job") as threads:
            try:
                while self._waited(room) and self._waited(self._gate):
                    claim = self._claimed()
                    if claim is None:
                        self._gate.release()
                        room.release()
                        self.stopped.wait(_IDLE)
                    else:
                        threads.submit(self._do_in_turn, claim, _Turn(self._gate)).add_done_callback(done)
            finally:
                self.stopped.set()  # where no job can be taken for a reason of its own: those in hand are given back
        self.close()
        if broken:
            raise broken[0]

    def _waited(self, gate: threading.Semaphore) -> bool:
        """Wait for a gate; False: this worker ends."""
        while not self.stopped.is_set():
            if gate.acquire(timeout=_IDLE):
                return True
        return False

    def _claimed(self) -> Claim | None:
        try:
            return self._jobs.claim(self._name, self._options.lease)
        except _AWAY as error:  # locked for long, the disk is full, or nothing answers
            _log.warning("no job can be taken: %s", error)
            return None

    def close(self) -> None:
        """Let go of models."""
        self._pipelines.close()

    def do(self, claim: Claim) -> None:
        """Do one job, once the device is free; what becomes of it is told to its keeper."""
        self._gate.acquire()
        self._do_in_turn(claim, _Turn(self._gate))

    def _do_in_turn(self, claim: Claim, turn: _Turn) -> None:
        try:
            self._do(claim, turn)
        except JobsUnavailable:  # what was made stays: who knows whether it counts
            _log.warning("job %s: nobody could be told of its end, and it is taken again", claim.job.id)
        finally:
            turn.over()

    def _do(self, claim: Claim, turn: _Turn) -> None:
        job = claim.job
        with _Heart(self._jobs, claim, self._options, self.stopped) as heart:
            name = self._place.result_name(claim)
            over = False
            try:
                with watching(Watch(heart.ends, heart.stage)):
                    do_task(
                        Work(
                            claim=claim,
                            jobs=self._jobs,
                            place=self._place,
                            options=self._options,
                            pipelines=self._pipelines,
                            progress=heart.progress,
                            free_device=turn.over,
                        )
                    )
                over = heart.last(lambda: self._jobs.finish(claim, name))
                if not over:
                    self._place.remove_result(name)
            except Cancelled:
                if heart.cancelled:
                    over = heart.last(lambda: self._jobs.end(claim))
                else:  # lost, or this process ends
                    heart.last(lambda: self._jobs.give_back(claim))
            except JobsUnavailable:
                raise
            except Exception as error:
                over = self._failed(claim, heart, turn, error)
        if over:
            with contextlib.suppress(FastFaceError, OSError):
                self._tidy(job.id)
        with contextlib.suppress(OSError):
            self._place.leave()

    def _tidy(self, id: str) -> None:
        with self._place.locked("job", id):  # somebody may name its people already
            job = self._jobs.get(id)
            kept = job.state == "done" and job.request.kind == "process" and self._options.keep_uploads > 0
            self._place.tidy(job, keep_upload=kept)

    def _failed(self, claim: Claim, heart: _Heart, turn: _Turn, error: Exception) -> bool:
        """Tell of an error; whether the job is over by it."""
        code = CODES.get(type(error).__name__, "internal")
        again = isinstance(error, GPUError | OSError | MemoryError | sqlite3.Error)
        if isinstance(error, FastFaceError):
            message = self._place.told(str(error), claim.job.request)
        else:  # what other code says is for the log, and not for whoever asked
            message = f"{type(error).__name__}; the service's log says more"
            _log.exception("job %s failed", claim.job.id)
        if isinstance(error, GPUError) and turn.held:
            self.close()  # what a GPU's failure leaves behind is not used again
        told = heart.last(lambda: self._jobs.fail(claim, code, message, again=again))
        return told and self._jobs.get(claim.job.id).state == "failed"


class _Heart:
    """Beats while a job runs: keeps it, notes how far it is, and looks whether it shall end."""

    def __init__(self, jobs: Jobs, claim: Claim, options: WorkerOptions, stopped: threading.Event) -> None:
        self._jobs, self._claim, self._options, self._stopped = jobs, claim, options, stopped
        self._over = threading.Event()
        self._lock = threading.Lock()  # one of the two threads speaks of the claim at a time
        self._meter = Meter()
        self._now = Progress("loading")
        self.cancelled = self.lost = False
        self._thread = threading.Thread(target=self._beat, name="fastface-heart", daemon=True)

    def __enter__(self) -> _Heart:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def ends(self) -> bool:
        return self.cancelled or self.lost or self._stopped.is_set()

    def stage(self, name: str) -> None:
        if name == "frames":
            self._meter = Meter()
        self._now = replace(self._now, stage=name, seconds_left=None)

    def progress(self, done: int, total: int | None) -> None:
        fps, left = self._meter.at(done, total)
        self._now = Progress("frames", done, total, fps, left)

    def last(self, tell: Any) -> bool:
        """Say what became of the job, once and for all: no beat comes after that."""
        self._over.set()
        self._thread.join()
        # With the last place that it came to; a job that is over has its final figures.
        if self._patient(lambda: self._tell(self._now)) == "lost":
            return False
        return bool(self._patient(tell))

    def _patient(self, call: Any) -> Any:
        """The same again, while nobody can be told."""
        begin = time.monotonic()
        while True:
            try:
                with self._lock:
                    return call()
            except JobsUnavailable:
                if time.monotonic() - begin > (_HURRY if self._stopped.is_set() else _PATIENCE):
                    raise
                time.sleep(0.2)

    def _tell(self, progress: Progress | None) -> str:
        return self._jobs.beat(self._claim, self._options.lease, progress)

    def _beat(self) -> None:
        options, begin = self._options, time.monotonic()
        heard = noted = begin
        told: Progress | None = None
        while not self._over.wait(options.beat):
            now = time.monotonic()
            due = self._now is not told and now - noted >= options.progress
            try:
                state = self._tell(self._now if due else None)
            except _AWAY as error:
                _log.warning("job %s: no word of it can be given: %s", self._claim.job.id, error)
                self.lost = self.lost or now - heard > options.lease
                continue
            heard = now
            if due:
                noted, told = now, self._now
            self.cancelled = self.cancelled or state == "cancel"
            self.lost = self.lost or state == "lost"


def main(arguments: list[str]) -> int:
    """Work until standard input ends; arguments: folder, device, name, options as JSON."""
    folder, device, name, text = arguments
    options = WorkerOptions.from_json(text)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the service ends its workers itself
    if options.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    place = Place(folder, options.root)
    worker = Worker(EmbeddedJobs(place.database, max_attempts=options.max_attempts), place, device, name, options)

    def watch_input() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 4096):
                pass
        worker.stopped.set()
        time.sleep(_GRACE)
        os._exit(1)

    threading.Thread(target=watch_input, name="fastface-input", daemon=True).start()
    signal.signal(signal.SIGTERM, lambda number, frame: worker.stopped.set())
    worker.run()
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="fastface worker: %(levelname)s: %(message)s")
    sys.exit(main(sys.argv[1:]))
