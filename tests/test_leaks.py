"""Many videos in one process: memory, handles and threads stay as they were, also where some of them fail."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

import fastface
from film import MODEL, Film, shrunk

VIDEOS = int(os.environ.get("FASTFACE_LEAK_VIDEOS", "40"))
"""The figures in docs/reliability.md are of 200."""

WARM = VIDEOS // 4


@pytest.fixture
def short(film: Film, tmp_path: Path) -> Path:
    """The first eight frames of the film, two people, a sixth of its size."""
    path = tmp_path / "short.mp4"
    shrunk(film.path, path, 8)
    return path


@pytest.fixture(scope="module")
def pipeline(embedder_spec: object) -> Iterator[fastface.Pipeline]:
    with fastface.Pipeline(device="cpu", embedder=MODEL, min_face_size=24, min_track_score=0) as made:
        yield made


@pytest.mark.slow
def test_many_videos(pipeline: fastface.Pipeline, short: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    content = short.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    (tmp_path / "text.mp4").write_text("no video")
    process = psutil.Process()
    wanted = pipeline.process(short)
    assert len(wanted.faces) >= 8
    assert wanted.run["host_memory_peak"] > 50 << 20
    used: list[tuple[int, int, int]] = []
    failures = 0

    def stop(done: int, total: int | None) -> None:
        raise InterruptedError("in the middle")

    for number in range(VIDEOS):
        if number % 10 == 3:
            for path in (broken, tmp_path / "text.mp4", tmp_path / "none.mp4"):
                with pytest.raises(fastface.FastFaceError):
                    pipeline.process(path)
                failures += 1
            with pytest.raises(InterruptedError):
                pipeline.process(short, progress=stop)
        timeline = pipeline.process(short)
        for name in ("frame", "box", "track", "identity"):
            np.testing.assert_array_equal(getattr(timeline.faces, name), getattr(wanted.faces, name))
        if number >= WARM:
            gc.collect()
            used.append((process.memory_info().rss, process.num_fds(), threading.active_count()))
    memory, handles, threads = (np.array(column) for column in zip(*used, strict=True))
    part = len(memory) // 4
    first, last = np.median(memory[:part]), np.median(memory[-part:])
    print(f"{VIDEOS} videos, {failures} failures: {first / 1e6:.0f} to {last / 1e6:.0f} MB, {handles[-1]} handles, "
          f"{threads[-1]} threads")  # fmt: skip
    assert last <= 1.05 * first
    assert handles.max() == handles.min()
    assert threads.max() == threads.min()
