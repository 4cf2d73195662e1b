"""Checkpoints between a worker and a storage, so that another machine goes on where one died."""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path

from fastface.service.place import Place
from fastface.service.storage import StorageError

_log = logging.getLogger("fastface.service")


class Carrier:
    """While the block runs, each new state of a file is stored; before it, the stored one is fetched. Does nothing
    where there is no storage.

    Args:
        place: of the file.
        path: of the file, which is replaced as a whole.
        seconds: between two looks at it.
    """

    def __init__(self, place: Place, path: Path, seconds: float = 1.0) -> None:
        self._place, self._path, self._seconds = place, path, seconds
        self._over = threading.Event()
        self._stored: int | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Carrier:
        if self._place.storage is not None:
            self._path.unlink(missing_ok=True)  # of an earlier try on this machine; the stored one counts
            with contextlib.suppress(FileNotFoundError):
                self._place.near(self._path)
            self._stored = self._state()
            self._thread = threading.Thread(target=self._watch, name="fastface-carrier", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._carry()

    def _state(self) -> int | None:
        try:
            return self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def _watch(self) -> None:
        while not self._over.wait(self._seconds):
            self._carry()

    def _carry(self) -> None:
        state = self._state()
        if state is None or state == self._stored:
            return
        try:
            self._place.keep(self._path)
            self._stored = state
        except FileNotFoundError:
            pass  # the job came to its end meanwhile
        except StorageError as error:  # without it the job begins anew elsewhere, and is no less right
            _log.warning("a checkpoint was not stored: %s", error)
