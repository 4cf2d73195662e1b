"""Starts a worker process per device, and starts another where one dies."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fastface.errors import InputValidationError
from fastface.service.jobs import Jobs
from fastface.service.place import Place
from fastface.service.worker import WorkerOptions

_log = logging.getLogger("fastface.service")

_LOOK = 0.2  # seconds between two looks at the processes
_BACK_OFF = 30.0  # seconds, the longest pause before another start
_STEADY = 60.0  # seconds that a worker lived, after which its death is the first again
_SWEEP = 600.0  # seconds between two looks for files that no job needs
_END = 10.0  # seconds that workers get to end


@dataclass
class _Slot:
    """A device, and the worker that it has."""

    device: str
    name: str = ""
    process: subprocess.Popen[bytes] | None = None
    begun: float = 0.0
    deaths: int = 0
    next: float = 0.0


class Workers:
    """Worker processes; a context manager.

    They are fresh interpreters, not forks, so that a GPU can be used and nothing of this process is theirs. Each ends
    with this process, however that ends: its standard input is a pipe from here.

    Args:
        jobs: to which the jobs of dead workers are given back.
        place: see :class:`Place`.
        devices: of each worker: "cpu", "cuda:0", ...
        options: see :class:`WorkerOptions`.
    """

    def __init__(self, jobs: Jobs, place: Place, devices: Sequence[str], options: WorkerOptions) -> None:
        if not devices:
            raise InputValidationError("there is no device for a worker")
        self._jobs, self._place, self._options = jobs, place, options
        self._slots = [_Slot(device) for device in devices]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fastface-workers", daemon=True)

    def __enter__(self) -> Workers:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        for slot in self._slots:
            self._start(slot)
        self._thread.start()

    def stop(self) -> None:
        """End the workers: each gives its job back. Those that do not end in time are killed."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        processes = [(slot, slot.process) for slot in self._slots if slot.process is not None]
        for _, process in processes:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
        end = time.monotonic() + _END
        for slot, process in processes:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            slot.process = None
            with contextlib.suppress(Exception):  # the leases run out by themselves
                self._jobs.release(slot.name)

    @property
    def pids(self) -> list[int]:
        """Of the workers that live."""
        return [s.process.pid for s in self._slots if s.process is not None and s.process.poll() is None]

    def _start(self, slot: _Slot) -> None:
        slot.name = f"{slot.device}-{secrets.token_hex(8)}"
        command = [sys.executable, "-m", "fastface.service.worker", str(self._place.folder), slot.device, slot.name,
                   self._options.to_json()]  # fmt: skip
        # Its own session: a terminal's Ctrl-C is for this process, which ends its workers in order.
        slot.process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=dict(os.environ))
        slot.begun = time.monotonic()

    def _watch(self) -> None:
        swept = -_SWEEP
        while not self._stopped.wait(_LOOK):
            if time.monotonic() - swept >= _SWEEP:
                swept = time.monotonic()
                self._sweep()
            for slot in self._slots:
                now = time.monotonic()
                if slot.process is not None and slot.process.poll() is not None:
                    _log.warning("the worker of %s ended with code %s", slot.device, slot.process.returncode)
                    if slot.process.stdin is not None:
                        slot.process.stdin.close()
                    slot.deaths = 1 if now - slot.begun > _STEADY else slot.deaths + 1
                    slot.next = now + min(_BACK_OFF, 0.25 * 2.0 ** (slot.deaths - 1))
                    slot.process = None
                    self._release(slot)
                elif slot.process is None and now >= slot.next:
                    self._start(slot)

    def _sweep(self) -> None:
        try:
            self._place.sweep(self._jobs, keep_uploads=self._options.keep_uploads)
        except Exception as error:
            _log.warning("what no job needs was not removed: %s", error)

    def _release(self, slot: _Slot) -> None:
        try:
            self._jobs.release(slot.name)
        except Exception as error:  # whatever it is: this thread must go on, and the lease runs out by itself
            _log.warning("the jobs of %s were not given back: %s", slot.name, error)
