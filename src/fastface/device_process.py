"""A pipeline in a process of its own: one interpreter's lock does not keep several GPUs busy.

    BatchProcessor ─ a thread per GPU ─ DeviceProcess ═ pipe ═ main() ─ Pipeline

Over the pipe go what the pipeline is made of, then paths one way, and log records, timelines and errors the other. The
process ends with its pipe, however the other side ends.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import pickle
import queue
import subprocess
import sys
import threading
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING, Any

from fastface.errors import GPUError
from fastface.watch import check

if TYPE_CHECKING:
    from fastface.timeline import Timeline

_LOOK = 0.05  # seconds between two looks at whether the run was cancelled
_END = 10.0  # seconds that the process gets to end by itself


class DeviceProcess:
    """Makes a pipeline in another process, and has it process videos; used by one thread, in a `with` block.

    Args:
        settings: of :class:`fastface.Pipeline`, `device` among them.
        gallery: the file of a gallery, and what its runs are warned of; None without.
    """

    def __init__(self, settings: dict[str, Any], gallery: tuple[str, tuple[str, ...]] | None) -> None:
        self._device = str(settings["device"])
        self._pipe, there = Pipe()
        # Its own session: a terminal's Ctrl-C is for this process, which ends the other.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(there.fileno())],
            pass_fds=(there.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        there.close()
        self._busy = False
        self._send((settings, gallery, logging.getLogger("fastface").getEffectiveLevel()))

    def __enter__(self) -> DeviceProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def process(self, path: str) -> Timeline:
        """As :meth:`fastface.Pipeline.process` does it.

        Raises:
            GPUError: the process is gone.
            Exception: whatever was raised there.
        """
        self._busy = True
        self._send(path)
        while True:
            kind, value = self._receive()
            if kind == "log":
                logging.getLogger(value.name).handle(value)
                continue
            self._busy = False
            if kind == "error":
                raise value
            timeline: Timeline = value
            return timeline

    def close(self) -> None:
        """End the process: at once if it is at work."""
        self._pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if not self._busy:
                self._process.wait(_END)
        self._process.kill()
        self._process.wait()

    def _send(self, message: Any) -> None:
        try:
            self._pipe.send(message)
        except OSError as error:
            raise self._gone() from error

    def _receive(self) -> tuple[str, Any]:
        try:
            while not self._pipe.poll(_LOOK):
                check()
            kind, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._gone() from error
        return kind, value

    def _gone(self) -> GPUError:
        self._process.kill()
        code = self._process.wait()
        why = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return GPUError(f"the process that used {self._device} {why}; what it had begun is to be processed again")


class _Teller(logging.handlers.QueueHandler):
    """Sends log records over the pipe."""

    def __init__(self, pipe: Connection, lock: threading.Lock) -> None:
        super().__init__(queue.SimpleQueue())
        self._pipe, self._sending = pipe, lock

    def enqueue(self, record: logging.LogRecord) -> None:
        with self._sending:
            self._pipe.send(("log", record))


def _sendable(error: Exception) -> Exception:
    """The error, or what can be said of it where it does not survive the pipe."""
    try:
        pickle.loads(pickle.dumps(error))  # ours, just made
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def main(descriptor: int) -> None:
    """What the other process does."""
    pipe = Connection(descriptor)
    settings, gallery, level = pipe.recv()
    lock = threading.Lock()
    log = logging.getLogger("fastface")
    log.handlers[:], log.propagate = [_Teller(pipe, lock)], False
    log.setLevel(level)
    paths: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                paths.put(pipe.recv())
        os._exit(0)  # nobody is there any more; the driver frees what the GPU holds

    threading.Thread(target=read, name="fastface-pipe", daemon=True).start()
    _serve(pipe, lock, paths, settings, gallery)


def _serve(
    pipe: Connection,
    lock: threading.Lock,
    paths: queue.SimpleQueue[str],
    settings: dict[str, Any],
    gallery: tuple[str, tuple[str, ...]] | None,
) -> None:
    from fastface.gallery import Gallery
    from fastface.pipeline import Pipeline

    pipeline, known = None, None
    while True:
        path = paths.get()
        answer: tuple[str, Any]
        try:
            if pipeline is None:  # here, for what fails is told with a video
                pipeline = Pipeline(**settings)
                if gallery is not None:
                    known = Gallery.load(gallery[0])
                    known.warnings = gallery[1]
            answer = ("done", pipeline.process(path, gallery=known))
        except Exception as error:
            answer = ("error", _sendable(error))
        with lock:
            pipe.send(answer)


if __name__ == "__main__":
    main(int(sys.argv[1]))
