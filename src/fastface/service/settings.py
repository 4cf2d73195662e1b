"""How a service is run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastface.service.worker import WorkerOptions


@dataclass(frozen=True)
class ServiceSettings:
    """How a service is run.

    Attributes:
        folder: where it keeps jobs, uploads and results; see :class:`fastface.service.place.Place`.
        root: the folder whose videos jobs may name by path; None: none may.
        devices: a worker each: "cpu", "cuda:0", ...; none: others work, or nobody.
        require_keys: whether a key is needed. Without, it must listen on loopback only.
        max_upload_bytes: size of a video that is sent.
        max_photo_bytes: size of a photograph that is sent.
        photo_seconds: for which a call with a photograph waits for its faces.
        max_jobs: of one owner, that are not over.
        requests_a_minute: of one key, or one address.
        failures_a_minute: requests without a good key, of one address.
        origins: of web pages that may ask (CORS); none by default.
        min_free_bytes: of the disk, that an upload must leave.
        worker: how workers work; its root is set from `root`.
    """

    folder: str | os.PathLike[str]
    root: str | os.PathLike[str] | None = None
    devices: Sequence[str] = ()
    require_keys: bool = True
    max_upload_bytes: int = 2_000_000_000
    max_photo_bytes: int = 20_000_000
    photo_seconds: float = 30.0
    max_jobs: int = 100
    requests_a_minute: int = 600
    failures_a_minute: int = 30
    origins: Sequence[str] = ()
    min_free_bytes: int = 1_000_000_000
    worker: WorkerOptions = field(default_factory=WorkerOptions)
