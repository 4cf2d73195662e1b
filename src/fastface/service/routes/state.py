"""Whether the service lives and works, and its figures."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from fastface.service.context import Context
from fastface.service.gate import Refused
from fastface.service.schemas import ERRORS


def router(context: Context) -> APIRouter:
    """/healthz, /readyz, /metrics"""
    paths = APIRouter(tags=["state"])

    @paths.get("/healthz", responses=ERRORS)
    def healthz() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @paths.get("/readyz", responses=ERRORS)
    def readyz() -> dict[str, Any]:
        """Whether jobs can be taken and done."""
        context.jobs.counts()
        alive = None if context.workers is None else len(context.workers.pids)
        if alive == 0:
            raise Refused(503, "no_worker", "no worker is alive")
        return {"status": "ok", "workers": alive}

    @paths.get("/metrics", response_class=Response, responses=ERRORS)
    def metrics() -> Response:
        """Figures for Prometheus."""
        return context.metrics.page()

    return paths
