"""One video for programs that run on asyncio: the work is a thread's, the loop stays free."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fastface.errors import InputValidationError
from fastface.watch import Cancelled, Watch, check, watching

if TYPE_CHECKING:
    from fastface.gallery import Gallery
    from fastface.pipeline import Pipeline
    from fastface.timeline import Timeline

Stage = Literal["waiting", "loading", "frames", "people", "done"]


@dataclass(frozen=True)
class ProcessEvent:
    """How far a run is.

    Attributes:
        stage: "waiting" (the pipeline is busy with another video), "loading" (models), "frames" (decoded, looked at,
            embedded), "people" (whom the tracks show), "done".
        frames_done: frames that are over.
        frames_total: frames there are; None where the container does not say.
        fps: frames a second, lately.
        seconds_left: of stage "frames", at this speed; None where that is not known.
        timeline: the result; with the last event, "done", and never before.
    """

    stage: Stage
    frames_done: int = 0
    frames_total: int | None = None
    fps: float = 0.0
    seconds_left: float | None = None
    timeline: Timeline | None = None


class Meter:
    """Frames a second over the last ten seconds, and the time left; so a run that goes on from a checkpoint, or gets to
    harder frames, is soon told right."""

    SECONDS = 10.0

    def __init__(self, now: float | None = None) -> None:
        self._known = deque([(time.monotonic() if now is None else now, 0)])

    def at(self, done: int, total: int | None, now: float | None = None) -> tuple[float, float | None]:
        """fps, and seconds left or None where that is not known.

        Args:
            done, total: frames.
            now: seconds of :func:`time.monotonic`.
        """
        now = time.monotonic() if now is None else now
        if len(self._known) == 1 or now - self._known[-1][0] >= self.SECONDS / 40:
            self._known.append((now, done))
        while len(self._known) > 2 and now - self._known[1][0] >= self.SECONDS:
            self._known.popleft()
        begin, before = self._known[0]
        fps = max(0, done - before) / max(now - begin, 1e-6)
        left = max(0, total - done) / fps if total is not None and fps > 0 else None
        return round(fps, 2), None if left is None else round(left, 1)


async def aprocess(
    path: str | os.PathLike[str],
    *,
    pipeline: Pipeline | None = None,
    gallery: Gallery | str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 30.0,
    interval: float = 0.1,
    **settings: Any,
) -> AsyncIterator[ProcessEvent]:
    """Find out who is on screen in a video, and say meanwhile how far that is.

        async for event in fastface.aprocess("video.mp4"):
            print(event.stage, event.frames_done, event.fps, event.seconds_left)
        timeline = event.timeline

    Cancelling the task, or leaving the loop, ends the work: it is looked for between frames and between parts of a
    batch. Only the loading of models and the last stage, "people", are not interrupted. When the cancellation comes
    out, nothing of the run is in use any more.

    The first call of a process imports torch, which holds Python's lock for a part of a second, and with it the loop.
    Where that matters, make a pipeline before the loop begins.

    Args:
        path: a video file.
        pipeline: whose models and settings are used; several calls with one take turns. None: one is made for this call
            with `settings`.
        gallery, checkpoint, checkpoint_seconds: see :meth:`fastface.Pipeline.process`.
        interval: seconds between two events of one stage, at least 0. A slow reader misses events, never the newest.
        settings: see :class:`fastface.Pipeline`.

    Raises:
        InputValidationError: settings were given beside a pipeline, or interval is out of its range.
        FastFaceError: as :func:`fastface.process`.
    """
    if pipeline is not None and settings:
        raise InputValidationError(
            f"{', '.join(sorted(settings))} cannot be given beside a pipeline, which has its own"
        )
    if not interval >= 0:
        raise InputValidationError(f"interval is {interval!r}, must be at least 0")
    run = _Run(asyncio.get_running_loop(), interval)

    def work() -> Timeline:
        from fastface.pipeline import Pipeline

        arguments: dict[str, Any] = {
            "gallery": gallery,
            "progress": run.progress,
            "checkpoint": checkpoint,
            "checkpoint_seconds": checkpoint_seconds,
        }
        if pipeline is not None:
            with _turn(pipeline):
                return pipeline.process(path, **arguments)
        run.stage("loading")
        with Pipeline(**settings) as made:
            check()
            return made.process(path, **arguments)

    thread = threading.Thread(target=run.do, args=(work,), name="fastface-aprocess", daemon=True)
    thread.start()
    try:
        while not run.ended.is_set():
            run.follow(asyncio.current_task())
            await run.news.wait()
            run.news.clear()
            event = run.take()
            if event is not None:
                yield event
        if run.error is not None:
            raise run.error
        assert run.timeline is not None
        done = run.timeline.run["frames_decoded"]
        yield ProcessEvent("done", done, done, run.fps, 0.0, run.timeline)
    finally:
        await run.cancel(thread)
        run.error = None  # it holds this frame by its traceback, and this frame holds it


class _Run:
    """What the thread that works and the loop that waits share."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        self._loop, self._interval = loop, interval
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._next: ProcessEvent | None = None
        self._stage: Stage = "waiting"
        self._told = 0.0
        self._meter = Meter()
        self.news, self.ended = asyncio.Event(), asyncio.Event()
        self.timeline: Timeline | None = None
        self.error: BaseException | None = None
        self.fps = 0.0
        self._last = ProcessEvent("waiting")
        self._reader: asyncio.Task[Any] | None = None

    # In the thread

    def do(self, work: Callable[[], Timeline]) -> None:
        try:
            with watching(Watch(self._cancelled.is_set, self.stage)):
                self.timeline = work()
        except Cancelled:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self._tell(self.ended.set)
            self._tell(self.news.set)

    def _tell(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(call)

    def stage(self, name: str) -> None:
        assert name in ("waiting", "loading", "frames", "people")
        self._stage = name  # type: ignore[assignment]
        if name == "frames":
            self._meter = Meter()
        last = self._last
        self._offer(ProcessEvent(self._stage, last.frames_done, last.frames_total, last.fps), now=True)

    def progress(self, done: int, total: int | None) -> None:
        check()
        self.fps, left = self._meter.at(done, total)
        self._offer(ProcessEvent(self._stage, done, total, self.fps, left), now=False)

    def _offer(self, event: ProcessEvent, *, now: bool) -> None:
        self._last = event
        moment = time.monotonic()
        with self._lock:
            if not now and moment - self._told < self._interval:
                return
            self._told, self._next = moment, event
        self._tell(self.news.set)

    # On the loop

    def take(self) -> ProcessEvent | None:
        with self._lock:
            event, self._next = self._next, None
            return event

    def follow(self, reader: asyncio.Task[Any] | None) -> None:
        """End the work when this task is cancelled, wherever it is. In the middle of the reader's own `await` nothing
        says so to the generator, while anything refers to it."""
        if reader is not self._reader:
            if self._reader is not None:
                self._reader.remove_done_callback(self._reader_ended)
            if reader is not None:
                reader.add_done_callback(self._reader_ended)
            self._reader = reader

    def _reader_ended(self, reader: asyncio.Task[Any]) -> None:
        if reader.cancelled():
            self._cancelled.set()

    async def cancel(self, thread: threading.Thread) -> None:
        """End the work, and wait until its thread has ended, even if this is cancelled as well."""
        self._cancelled.set()
        self.follow(None)
        again = None
        while thread.is_alive():
            try:
                await self.ended.wait()
                await asyncio.sleep(0.001)
            except asyncio.CancelledError as error:
                again = error
        if again is not None:
            raise again


_locks: weakref.WeakKeyDictionary[Pipeline, threading.Lock] = weakref.WeakKeyDictionary()
_locks_lock = threading.Lock()


@contextlib.contextmanager
def _turn(pipeline: Pipeline) -> Iterator[None]:
    """A pipeline does one video after the other; whoever waits for it can be cancelled."""
    with _locks_lock:
        lock = _locks.setdefault(pipeline, threading.Lock())
    while not lock.acquire(timeout=0.05):
        check()
    try:
        check()
        yield
    finally:
        lock.release()
