"""How far a run came, in one file, so that a run that was killed goes on there.

    header      schema, fingerprint (JSON: which video, which settings), frame (the next one to look at), decoder
    arrays      what the run knows: tracker.*, best.*, embedder.*, faces.*

The file is replaced at once or not at all. A checkpoint of another video or of other settings is refused.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InputValidationError
from fastface.files import replacing
from fastface.settings import Settings
from fastface.version import __version__

SCHEMA = "fastface.checkpoint/1"


@dataclass(frozen=True)
class Checkpoint:
    """Attributes:
    frame: number of the frame at which to go on.
    decoder: name of the decoder whose frames were looked at.
    arrays: what the run knew.
    """

    frame: int
    decoder: str
    arrays: Mapping[str, NDArray[Any]]


class Checkpoints:
    """Writes the checkpoints of one run to a file, now and then.

    Args:
        path: of the file.
        seconds: between two of them.
        fingerprint: of the run, see :func:`fingerprint_of`.
    """

    def __init__(self, path: str | os.PathLike[str], seconds: float, fingerprint: Mapping[str, Any]) -> None:
        self._path, self._seconds, self._fingerprint = Path(path), seconds, dict(fingerprint)
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for one."""
        return time.monotonic() - self._last >= self._seconds

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace the file.

        Raises:
            InputValidationError: it cannot be written.
        """
        from safetensors.numpy import save

        header = {
            "schema": SCHEMA,
            "fingerprint": json.dumps(self._fingerprint, sort_keys=True),
            "frame": str(checkpoint.frame),
            "decoder": checkpoint.decoder,
        }
        content = save({n: np.ascontiguousarray(a) for n, a in checkpoint.arrays.items()}, metadata=header)
        with replacing(self._path) as temporary, temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._last = time.monotonic()

    def read(self) -> Checkpoint | None:
        """What the file holds; None: there is none.

        Raises:
            InputValidationError: it is no checkpoint, or one of another run.
        """
        from safetensors import SafetensorError, safe_open

        name = str(self._path)
        if not self._path.exists():
            return None
        try:
            with safe_open(name, "numpy") as file:
                header = file.metadata() or {}
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (no mapping)
            if header.get("schema") != SCHEMA:
                raise InputValidationError(
                    f"{name!r} is no checkpoint: its schema is {header.get('schema')!r}, not {SCHEMA!r}"
                )
            known, frame = json.loads(header["fingerprint"]), int(header["frame"])
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            if isinstance(error, InputValidationError):
                raise
            raise InputValidationError(f"{name!r} is no checkpoint, or damaged: {error}") from error
        mine = json.loads(json.dumps(self._fingerprint))
        differ = sorted(key for key in {*known, *mine} if known.get(key) != mine.get(key))
        if differ:
            what = ", ".join(f"{key} was {known.get(key)!r}, is {mine.get(key)!r}" for key in differ)
            raise InputValidationError(f"the checkpoint {name!r} is of another run ({what}); remove it to begin anew")
        return Checkpoint(frame, header["decoder"], arrays)

    def remove(self) -> None:
        """The run is over."""
        self._path.unlink(missing_ok=True)


def fingerprint_of(path: Path, settings: Settings, model: str) -> dict[str, Any]:
    """What must be the same for a run to go on: the video, the settings that change a result, the version."""
    status = path.stat()
    kept = {
        k: v
        for k, v in asdict(settings).items()
        if k not in ("limits", "strict", "cpu_fallback", "far", "similarity_threshold")
    }
    return {
        "version": __version__,
        "video": {"size": status.st_size, "modified": status.st_mtime_ns},
        "model": model,
        "settings": kept,
    }
