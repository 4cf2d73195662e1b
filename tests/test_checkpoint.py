"""A run that was ended anywhere goes on, and gives the timeline of an unbroken one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastface
from fastface.errors import InputValidationError
from fastface.timeline import Timeline
from film import MODEL, Film

KILLS = int(os.environ.get("FASTFACE_KILLS", "3"))
"""How often a process is killed; the figures in docs/reliability.md are of 50."""


class Ended(Exception):
    """Stands for whatever ends a run."""


@pytest.fixture(scope="module")
def pipeline(embedder_spec: object) -> Iterator[fastface.Pipeline]:
    with fastface.Pipeline(device="cpu", embedder=MODEL, min_face_size=60, every=6, batch_size=2) as made:
        yield made


def document(timeline: Timeline) -> dict[str, Any]:
    """All of it but how long it took and how much memory; embeddings to the bit."""
    out = timeline.to_dict(embeddings=True)
    for name in ("seconds", "seconds_spent", "host_memory_peak"):
        out["run"].pop(name)
    return out


def end_after(batches: int) -> Any:
    count = 0

    def progress(done: int, total: int | None) -> None:
        nonlocal count
        count += 1
        if count == batches:
            raise Ended

    return progress


def test_ended_after_any_batch(film: Film, pipeline: fastface.Pipeline, tmp_path: Path) -> None:
    wanted = document(pipeline.process(film.path))
    path = tmp_path / "a.checkpoint"
    for batches in (1, 4, 7, 11):
        with pytest.raises(Ended):
            pipeline.process(film.path, progress=end_after(batches), checkpoint=path, checkpoint_seconds=0)
        assert path.exists()
        assert document(pipeline.process(film.path, checkpoint=path)) == wanted
        assert not path.exists(), "a run that is over leaves none"


def test_ended_again_and_again(film: Film, pipeline: fastface.Pipeline, tmp_path: Path) -> None:
    """Each run does two batches; nothing is done twice."""
    wanted = document(pipeline.process(film.path))
    told: list[int] = []
    for _ in range(100):
        progress = end_after(2)
        try:
            timeline = pipeline.process(
                film.path, checkpoint=tmp_path / "a", checkpoint_seconds=0,
                progress=lambda done, total, progress=progress: (told.append(done), progress(done, total))[1],
            )  # fmt: skip
            break
        except Ended:
            pass
    assert document(timeline) == wanted
    assert told == sorted(set(told))


def test_with_every_face_embedded(film: Film, embedder_spec: object, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"embed": "every", "every": 6, "batch_size": 3, "min_face_size": 60}
    with fastface.Pipeline(device="cpu", embedder=MODEL, **settings) as pipeline:
        wanted = document(pipeline.process(film.path))
        with pytest.raises(Ended):
            pipeline.process(film.path, progress=end_after(3), checkpoint=tmp_path / "a", checkpoint_seconds=0)
        assert document(pipeline.process(film.path, checkpoint=tmp_path / "a")) == wanted


def test_of_another_run(film: Film, pipeline: fastface.Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "a"
    with pytest.raises(Ended):
        pipeline.process(film.path, progress=end_after(3), checkpoint=path, checkpoint_seconds=0)
    content = path.read_bytes()
    other = tmp_path / "other.mp4"
    other.write_bytes(film.path.read_bytes() + b"\0" * 8)
    with pytest.raises(InputValidationError, match=r"of another run \(video was .*; remove it to begin anew"):
        pipeline.process(other, checkpoint=path)
    with (
        fastface.Pipeline(device="cpu", embedder=MODEL, min_face_size=61, every=6, batch_size=2) as changed,
        pytest.raises(InputValidationError, match=r"of another run \(settings was"),
    ):
        changed.process(film.path, checkpoint=path)
    assert path.read_bytes() == content
    for spoilt in (b"", b"no checkpoint", content[:-50], content[: len(content) // 2]):
        path.write_bytes(spoilt)
        with pytest.raises(InputValidationError, match="no checkpoint"):
            pipeline.process(film.path, checkpoint=path)


def test_a_checkpoint_that_lacks_something(film: Film, pipeline: fastface.Pipeline, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path = tmp_path / "a"
    with pytest.raises(Ended):
        pipeline.process(film.path, progress=end_after(3), checkpoint=path, checkpoint_seconds=0)
    with safe_open(path, "numpy") as file:
        header, arrays = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    for name in ("tracker.box", "best.crop", "embedder.sum", "faces.score", "tracker.shots.last"):
        save_file({k: a for k, a in arrays.items() if k != name}, path, header)
        with pytest.raises(InputValidationError, match="checkpoint is damaged"):
            pipeline.process(film.path, checkpoint=path)
    save_file({**arrays, "tracker.box": np.zeros((9, 4), np.float32)}, path, header)
    with pytest.raises(InputValidationError, match="checkpoint is damaged"):
        pipeline.process(film.path, checkpoint=path)


def test_where_it_cannot_be_written(film: Film, pipeline: fastface.Pipeline, tmp_path: Path) -> None:
    with pytest.raises(InputValidationError, match="does not exist"):
        pipeline.process(film.path, checkpoint=tmp_path / "no" / "a", checkpoint_seconds=0)
    with pytest.raises(InputValidationError, match="checkpoint_seconds is -1"):
        pipeline.process(film.path, checkpoint=tmp_path / "a", checkpoint_seconds=-1)


def test_killed(film: Film, tmp_path: Path, embedder_spec: object) -> None:
    """SIGKILL at random points; started again with --resume until it is through."""
    command = [sys.executable, "-m", "fastface", "--log-format", "json", "process", str(film.path), "--device", "cpu",
               "--embedder", MODEL, "--min-face-size", "60", "--every", "3", "--resume", "--checkpoint-seconds", "0",
               "--embeddings", "inside", "-o", str(tmp_path / "a.json"), "--quiet"]  # fmt: skip

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert '"started"' in process.stderr.readline()
        return process

    whole, begin = start(), time.monotonic()
    assert whole.wait() == 0
    seconds = time.monotonic() - begin
    wanted = document(Timeline.from_json(tmp_path / "a.json"))
    rng, equal, went_on = np.random.default_rng(), 0, 0
    while equal < KILLS:
        process = start()
        try:
            process.wait(timeout=float(rng.uniform(0.05, 0.95)) * seconds)
            continue  # it was quicker
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        went_on += (tmp_path / "a.json.checkpoint").exists()
        (tmp_path / "a.json").unlink(missing_ok=True)
        assert start().wait() == 0
        assert document(Timeline.from_json(tmp_path / "a.json")) == wanted
        assert sorted(p.suffix for p in tmp_path.iterdir() if not p.name.startswith(".")) == [".json"]
        equal += 1
    print(f"{equal} times killed and started again, {went_on} of them from a checkpoint: {equal} times the timeline of "
          f"the unbroken run, which took {seconds:.1f} s")  # fmt: skip
