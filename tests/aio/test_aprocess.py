"""fastface.aprocess: what it tells, how it ends, and that the loop stays free."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from lag import measure
from started import threads

import fastface
from fastface.aio import Meter
from film import MODEL, Film


def open_files(path: Path) -> list[str]:
    return [f.path for f in psutil.Process().open_files() if f.path == str(path)]


async def collect(*args: Any, **settings: Any) -> list[fastface.ProcessEvent]:
    return [event async for event in fastface.aprocess(*args, **settings)]


def test_events_and_the_timeline(film: Film, quick: fastface.Pipeline) -> None:
    events = asyncio.run(collect(film.path, pipeline=quick, interval=0))
    assert [e.timeline is not None for e in events] == [False] * (len(events) - 1) + [True]
    stages = [e.stage for e in events]
    assert stages == sorted(stages, key=["waiting", "loading", "frames", "people", "done"].index)
    assert {"frames", "done"} <= set(stages)
    done = [e.frames_done for e in events]
    assert done == sorted(done)
    assert done[-1] == events[-1].frames_total == len(film.truth)
    assert any(e.fps > 0 and e.seconds_left is not None for e in events)
    wanted, got = quick.process(film.path), events[-1].timeline
    assert got is not None
    np.testing.assert_array_equal(got.faces.box, wanted.faces.box)
    np.testing.assert_array_equal(got.faces.identity, wanted.faces.identity)
    assert threads() == []


def test_settings_make_a_pipeline(film: Film, embedder_spec: object) -> None:
    events = asyncio.run(collect(film.path, device="cpu", embedder=MODEL, min_face_size=80, every=20))
    assert events[0].stage == "loading"
    assert events[-1].timeline is not None
    assert events[-1].timeline.run["detector"]["min_face_size"] == 80


def test_errors_come_out(quick: fastface.Pipeline, tmp_path: Path) -> None:
    with pytest.raises(fastface.InputValidationError, match="does not exist"):
        asyncio.run(collect(tmp_path / "none.mp4", pipeline=quick))
    with pytest.raises(fastface.InputValidationError, match="every cannot be given beside a pipeline"):
        asyncio.run(collect(tmp_path / "none.mp4", pipeline=quick, every=2))
    with pytest.raises(fastface.InputValidationError, match="interval is -1"):
        asyncio.run(collect(tmp_path / "none.mp4", pipeline=quick, interval=-1))
    with pytest.raises(fastface.InputValidationError, match="device is 'tpu'"):
        asyncio.run(collect(tmp_path / "none.mp4", device="tpu"))
    with pytest.raises(fastface.GPUError, match=r"device='cuda:99' cannot be used"):
        asyncio.run(collect(tmp_path / "none.mp4", device="cuda:99"))


@pytest.mark.alone
@pytest.mark.parametrize("settings", [{"min_face_size": 60}, {"min_face_size": 12, "embed": "every"}, {"every": 500}])
def test_cancelling_ends_the_work_within_a_second(
    long_film: Path, embedder_spec: object, settings: dict[str, Any]
) -> None:
    """Also in the middle of a batch: 32 frames with faces from 12 pixels take longer than a second, and so does
    decoding to the 500th frame."""

    async def main(pipeline: fastface.Pipeline) -> float:
        seen: list[fastface.ProcessEvent] = []

        async def follow() -> None:
            async for event in fastface.aprocess(long_film, pipeline=pipeline):
                seen.append(event)

        task = asyncio.create_task(follow())
        await asyncio.sleep(1.5)
        assert not task.done()
        assert seen
        assert threads()
        begin = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - begin

    with fastface.Pipeline(device="cpu", embedder=MODEL, **settings) as pipeline:
        # The best of three: other work on the machine may disturb one.
        seconds = []
        while not seconds or (min(seconds) >= 1 and len(seconds) < 3):
            seconds.append(asyncio.run(main(pipeline)))
            assert threads() == []
            assert open_files(long_film) == []
    print(f"{settings}: ended after {seconds} s")
    assert min(seconds) < 1


def test_leaving_the_loop_ends_the_work(long_film: Path, film: Film, quick: fastface.Pipeline) -> None:
    async def main() -> None:
        async with contextlib.aclosing(fastface.aprocess(long_film, pipeline=quick)) as events:
            async for event in events:
                if event.stage == "frames":
                    break
        assert threads() == []

    asyncio.run(main())
    assert asyncio.run(collect(film.path, pipeline=quick))[-1].timeline is not None  # and it can be used again


@pytest.mark.alone
def test_cancelling_in_the_readers_own_await_ends_the_work(long_film: Path, quick: fastface.Pipeline) -> None:
    kept: list[Any] = []

    async def follow() -> None:
        kept.append(fastface.aprocess(long_film, pipeline=quick))  # so that nothing collects it
        async for event in kept[0]:
            if event.stage == "frames":
                await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(follow())
        await asyncio.sleep(0.5)
        assert threads()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        begin = time.monotonic()
        while threads() and time.monotonic() - begin < 5:
            await asyncio.sleep(0.01)
        assert time.monotonic() - begin < 1

    asyncio.run(main())


@pytest.mark.alone
def test_one_pipeline_takes_turns(film: Film, long_film: Path, quick: fastface.Pipeline) -> None:
    async def main() -> None:
        first, second = (asyncio.create_task(collect(film.path, pipeline=quick)) for _ in range(2))
        one, two = await asyncio.gather(first, second)
        assert one[-1].timeline is not None
        assert two[-1].timeline is not None
        np.testing.assert_array_equal(one[-1].timeline.faces.box, two[-1].timeline.faces.box)
        # One that waits for its turn can be cancelled.
        runs = asyncio.create_task(collect(long_film, pipeline=quick))
        await asyncio.sleep(0.3)
        waits = asyncio.create_task(collect(film.path, pipeline=quick))
        await asyncio.sleep(0.3)
        begin = time.monotonic()
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        assert time.monotonic() - begin < 1
        assert not runs.done()
        runs.cancel()
        with pytest.raises(asyncio.CancelledError):
            await runs

    asyncio.run(main())


async def _lags(work: Any) -> np.ndarray:
    lags: list[float] = []
    meter = asyncio.create_task(measure(lags))
    await asyncio.sleep(0.05)
    await work
    meter.cancel()
    return np.array(lags)


@pytest.mark.alone
def test_the_loop_stays_free(film: Film, quick: fastface.Pipeline) -> None:
    lags = asyncio.run(_lags(collect(film.path, pipeline=quick, interval=0)))
    over = int((lags > 0.010).sum())
    print(f"{len(lags)} ticks: median {np.median(lags) * 1e3:.2f} ms, 99% {np.percentile(lags, 99) * 1e3:.1f} ms, "
          f"most {lags.max() * 1e3:.1f} ms, {over} over 10 ms")  # fmt: skip
    # One late tick in two hundred is left to a lock's holder that the system took off its core.
    assert over <= max(1, len(lags) // 200)


@pytest.mark.alone
def test_the_measure_sees_a_blocked_loop() -> None:
    async def block() -> None:
        for _ in range(10):
            time.sleep(0.03)
            await asyncio.sleep(0.01)

    assert (asyncio.run(_lags(block())) > 0.010).sum() >= 9


def test_the_meter() -> None:
    meter = Meter(0.0)
    assert meter.at(50, 100, 1.0) == (50.0, 1.0)
    assert meter.at(50, None, 1.0)[1] is None
    for second in range(2, 40):
        fps, left = meter.at(50 + 10 * second, 1000, float(second))
    assert fps == pytest.approx(10, abs=1.5)  # lately, not on the whole
    assert left == pytest.approx((1000 - 440) / 10, rel=0.15)
    assert Meter(0.0).at(0, 10, 0.0) == (0.0, None)
