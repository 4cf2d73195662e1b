"""How busy the machine and the service are."""

from __future__ import annotations

import time

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from fastface.service.context import Context
from fastface.service.schemas import ERRORS, ok


class GpuOut(BaseModel):
    index: int
    name: str
    gpu: float | None = Field(description="percent, 0 to 100; null where the driver does not tell")
    nvdec: float | None = Field(description="percent of its video decoders, likewise")
    memory: int
    memory_total: int


class QueueOut(BaseModel):
    queued: int
    running: int


class SampleOut(BaseModel):
    at: float = Field(description="seconds since 1970")
    cpu: float = Field(description="percent of all cores, 0 to 100")
    memory: int
    memory_total: int
    gpus: list[GpuOut]
    jobs: QueueOut
    workers: int | None = Field(description="worker processes that live; null where the service has none of its own")
    fps: float = Field(description="frames a second of all jobs")
    done: int = Field(description="jobs that were done since the service began")


class SystemOut(BaseModel):
    now: float
    interval: float
    samples: list[SampleOut]


_EXAMPLE = {
    "now": 1795435201.5, "interval": 2.0, "samples": [{
        "at": 1795435200.0, "cpu": 41.5, "memory": 21474836480, "memory_total": 137438953472,
        "gpus": [{"index": 0, "name": "NVIDIA H100 80GB HBM3", "gpu": 87.0, "nvdec": 93.0, "memory": 4294967296,
                  "memory_total": 85899345920}],
        "jobs": {"queued": 3, "running": 1}, "workers": 1, "fps": 2900.5, "done": 17}],
}  # fmt: skip


def router(context: Context) -> APIRouter:
    """/v1/system"""
    paths = APIRouter(tags=["state"])

    @paths.get("/v1/system", response_class=Response,
               responses={**ERRORS, 200: {"model": SystemOut, **ok(_EXAMPLE, "oldest first")}})  # fmt: skip
    def system(
        since: float = Query(0.0, ge=0, le=1e12, allow_inf_nan=False, description="`at` of the last sample known"),
    ) -> Response:
        """The machine and the queue, every two seconds of the last hour."""
        monitor = context.monitor
        samples = ", ".join(sample.json for sample in monitor.samples(since))
        content = f'{{"now": {time.time()}, "interval": {monitor.interval}, "samples": [{samples}]}}'
        return Response(content, media_type="application/json")

    return paths
