"""Asking for jobs, and waiting for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastface.service.jobs import OVER, Job, JobRequest

SETTINGS = {"min_face_size": 60, "every": 4}


def request_for(path: str, **settings: Any) -> JobRequest:
    return JobRequest("root", path, Path(path).name, {**SETTINGS, **settings})


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What the condition gives, once that is anything."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def wait_over(jobs: Any, job: Job, seconds: float = 60.0) -> Job:
    wait_for(lambda: jobs.get(job.id).state in OVER, seconds)
    return jobs.get(job.id)
