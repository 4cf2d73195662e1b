"""Runs on a GPU that are ended from outside: quickly, with nothing left behind, and they go on where they were."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastface
from ending import ENDS, seconds_to_end

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("decode", "aio")]

pytestmark = [pytest.mark.gpu, pytest.mark.media, pytest.mark.alone]

DEVICE, EMBEDDER = "cuda", "facenet-msceleb1m"
FRAMES = 20_000
"""Five seconds of an H100."""


@pytest.fixture(scope="module")
def long(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from decode_clips import loop

    path = tmp_path_factory.mktemp("long") / "long.mp4"
    loop(media / "crowd.mp4", path, FRAMES)
    return path


def used() -> int:
    """Bytes of the GPU's memory that all processes use."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return total - free


@pytest.mark.parametrize("end", ENDS, ids=[word for _, _, word in ENDS])
def test_ends_within_two_seconds(long: Path, tmp_path: Path, end: tuple[int, int, str]) -> None:
    before = used()

    def wait() -> None:
        deadline = time.monotonic() + 30
        while used() < before + (1 << 30) and time.monotonic() < deadline:  # sessions, ring and buffers are there
            time.sleep(0.02)
        time.sleep(0.5)

    seconds = seconds_to_end(long, tmp_path, DEVICE, EMBEDDER, end, wait)
    print(f"{end[2]}: ended after {seconds:.2f} s")
    assert seconds < 2
    assert used() <= before + (64 << 20)


def test_killed_it_goes_on(long: Path, tmp_path: Path) -> None:
    """SIGKILL after a checkpoint: the timeline is that of an unbroken run."""
    path = tmp_path / "a.checkpoint"
    code = ("import sys, fastface\n"
            f"fastface.process(sys.argv[1], device={DEVICE!r}, embedder={EMBEDDER!r}, checkpoint=sys.argv[2],\n"
            "                 checkpoint_seconds=0.5,\n"
            "                 progress=lambda done, total: print(done, flush=True))\n")  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code, str(long), str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) > FRAMES // 5 and path.exists():
            break
    process.kill()
    process.stdout.close()
    assert process.wait(30) == -signal.SIGKILL
    assert path.exists()
    first: list[int] = []
    with fastface.Pipeline(device=DEVICE, embedder=EMBEDDER) as pipeline:
        got = pipeline.process(long, checkpoint=path, progress=lambda done, total: first.append(done))
        wanted = pipeline.process(long)
    assert first[0] > FRAMES // 20, "it did not begin anew"
    assert not path.exists()
    for column in ("frame", "track", "identity"):
        np.testing.assert_array_equal(getattr(got.faces, column), getattr(wanted.faces, column), err_msg=column)
    np.testing.assert_allclose(got.faces.box, wanted.faces.box, atol=0.01)


def test_cancelling_ends_the_work(long: Path) -> None:
    """`aprocess`: within a second, and the event loop goes on meanwhile."""
    from lag import measure

    lags: list[float] = []

    async def follow(pipeline: fastface.Pipeline, seen: asyncio.Event) -> None:
        async for event in fastface.aprocess(long, pipeline=pipeline):
            if event.stage == "frames":
                seen.set()

    async def main(pipeline: fastface.Pipeline) -> float:
        seen = asyncio.Event()
        task = asyncio.create_task(follow(pipeline, seen))
        await asyncio.wait_for(seen.wait(), 60)
        meter = asyncio.create_task(measure(lags))
        await asyncio.sleep(2)
        assert not task.done()
        meter.cancel()
        begin = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - begin

    with fastface.Pipeline(device=DEVICE, embedder=EMBEDDER) as pipeline:
        seconds = asyncio.run(main(pipeline))
        again = pipeline.process(long)
    late = np.array(lags) * 1000
    print(f"cancelled after {seconds * 1000:.0f} ms; {len(late)} ticks, late by {np.median(late):.2f} ms at the "
          f"median, {np.quantile(late, 0.99):.2f} at 99%, {late.max():.1f} at most, "
          f"{(late > 10).sum()} over 10")  # fmt: skip
    assert seconds < 1
    assert np.quantile(late, 0.99) < 10
    assert again.run["frames_decoded"] >= FRAMES
