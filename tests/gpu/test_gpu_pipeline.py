"""The whole way on the GPU: the same timeline as the CPU's, and no frame in host memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fastface

pytestmark = [pytest.mark.gpu, pytest.mark.media]

EMBEDDER = "facenet-msceleb1m"


def found(ours: fastface.Timeline, theirs: fastface.Timeline) -> tuple[int, int]:
    """Faces of theirs of score >= 0.9, and how many of them ours has at IoU >= 0.95."""
    sure = hits = 0
    for i in np.flatnonzero(theirs.faces.score >= 0.9):
        sure += 1
        box, mine = theirs.faces.box[i], ours.faces.box[ours.faces.frame == theirs.faces.frame[i]]
        sides = np.clip(np.minimum(mine[:, 2:], box[2:]) - np.maximum(mine[:, :2], box[:2]), 0, None)
        inter = sides.prod(1)
        union = (mine[:, 2:] - mine[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - inter
        hits += bool((inter / union >= 0.95).any())
    return sure, hits


def partner(ours: fastface.Timeline, theirs: fastface.Timeline) -> dict[int, set[int]]:
    """Which of our identities each of theirs shares faces with (same frame, box centre within the box)."""
    out: dict[int, set[int]] = {p.id: set() for p in theirs.identities}
    for i in np.flatnonzero(theirs.faces.identity >= 0):
        box = theirs.faces.box[i]
        same = np.flatnonzero((ours.faces.frame == theirs.faces.frame[i]) & (ours.faces.identity >= 0))
        centre = (ours.faces.box[same, :2] + ours.faces.box[same, 2:]) / 2
        inside = ((centre > box[:2]) & (centre < box[2:])).all(1)
        out[int(theirs.faces.identity[i])] |= set(ours.faces.identity[same[inside]].tolist())
    return out


@pytest.fixture(scope="module")
def cpu(media: Path) -> dict[str, fastface.Timeline]:
    with fastface.Pipeline(device="cpu", embedder=EMBEDDER) as pipeline:
        return {name: pipeline.process(media / name) for name in ("hamilton.mp4", "crowd.mp4", "people.mp4")}


@pytest.mark.parametrize(("precision", "share"), [("fp32", 1.0), ("fp16", 0.995)])
@pytest.mark.parametrize("name", ["hamilton.mp4", "crowd.mp4", "people.mp4"])
def test_timeline_equals_the_cpu(media, cpu, name, precision, share):
    with fastface.Pipeline(device="cuda", embedder=EMBEDDER, precision=precision) as pipeline:
        ours = pipeline.process(media / name)
    assert ours.run["decoder"]["name"] == "nvdec"
    assert ours.run["warnings"] == []
    sure, hits = found(ours, cpu[name])
    print(f"{name} {precision}: {hits} of {sure} sure faces at IoU >= 0.95")
    assert sure > 100
    assert hits >= share * sure
    pairs = partner(ours, cpu[name])
    assert all(len(p) == 1 for p in pairs.values()), pairs
    assert len({next(iter(p)) for p in pairs.values()}) == len(pairs) == len(ours.identities)


def test_frames_stay_on_the_device(media, tmp_path):
    """Every copy to the host, as CUPTI sees it: at most 8 KiB a frame, none as large as a plane of luma."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    with fastface.Pipeline(device="cuda", embedder=EMBEDDER) as pipeline:
        pipeline.process(media / "crowd.mp4")
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as trace:
            timeline = pipeline.process(media / "crowd.mp4")
            torch.cuda.synchronize()
    trace.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    sizes = [e["args"]["bytes"] for e in events if e.get("cat") == "gpu_memcpy" and "DtoH" in e["name"]]
    frames = timeline.run["frames_decoded"]
    print(f"{len(sizes)} copies to the host, {sum(sizes) / frames:.0f} bytes a frame, the largest {max(sizes)}")
    assert len(sizes) >= frames // 32  # the profiler did see them,
    assert sum(sizes) >= 18 * 32 * frames  # the frames' thumbnails at least
    assert sum(sizes) <= 8192 * frames
    assert max(sizes) < timeline.video["width"] * timeline.video["height"]
