"""Asking for jobs, and waiting for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

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


def refusal(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error of an answer, in the one shape that there is."""
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert set(document) == {"error", "request_id"}
    assert set(document["error"]) == {"code", "message", "details"}
    assert document["error"]["code"] == code
    assert document["request_id"] == answer.headers["x-request-id"]
    return document["error"]  # type: ignore[no-any-return]


def until_over(client: httpx.Client, id: str) -> dict[str, Any]:
    def over() -> Any:
        job = client.get(f"/v1/jobs/{id}").json()
        return job if job["state"] in ("done", "failed", "cancelled") else None

    return wait_for(over)  # type: ignore[no-any-return]
