"""Many videos: each has its result, none stops the others, long and short ones take turns, memory is looked at."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aio_settings import QUICK
from started import threads

import fastface
from fastface.batch import BatchProcessor, FairOrder, named_devices
from film import Film


def test_results_and_failures(film: Film, quick: fastface.Pipeline, tmp_path: Path) -> None:
    wanted = quick.process(film.path)
    (tmp_path / "text.mp4").write_text("no video at all")
    paths = [film.path, tmp_path / "text.mp4", film.path, tmp_path / "none.mp4", "a\0b"]
    heard: list[int] = []
    results = fastface.process_many(paths, devices=["cpu", "cpu"], progress=lambda r: heard.append(r.index), **QUICK)
    assert [r.index for r in results] == [0, 1, 2, 3, 4]
    assert sorted(heard) == [0, 1, 2, 3, 4]
    assert [r.path for r in results] == [str(p) for p in paths]
    for result in results:
        assert (result.timeline is None) == (result.index in (1, 3, 4)) == (result.error is not None)
        assert result.device == "cpu"
        if result.timeline is not None:
            np.testing.assert_array_equal(result.timeline.faces.box, wanted.faces.box)
        else:
            assert isinstance(result.error, fastface.InputValidationError)
    assert threads() == []


def test_any_error_stops_no_other(film: Film, quick: fastface.Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not ours, too; and after a GPU's error the pipeline is made anew."""
    made: list[Any] = []
    process = fastface.Pipeline.process

    class Fails:
        def __init__(self, **settings: Any) -> None:
            made.append(self)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *exc: object) -> None:
            pass

        def process(self, path: str, **rest: Any) -> Any:
            if path == "zero":
                return 1 / 0
            if path == "gpu":
                raise fastface.GPUError("the GPU fell off the bus")
            return process(quick, path, **rest)

    monkeypatch.setattr("fastface.pipeline.Pipeline", Fails)
    results = fastface.process_many(["zero", "gpu", film.path], devices=["cpu"], **QUICK)
    assert [type(r.error) for r in results] == [ZeroDivisionError, fastface.GPUError, type(None)]
    assert results[2].timeline is not None
    assert len(made) == 2


@pytest.mark.alone
def test_closing_ends_what_runs(long_film: Path, film: Film, tmp_path: Path, embedder_spec: object) -> None:
    results = BatchProcessor(devices=["cpu"], **QUICK).run([tmp_path / "none.mp4", long_film, long_film])
    assert next(results).error is not None
    time.sleep(0.5)
    begin = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin < 2
    assert threads() == []


def test_a_gallery_is_read_once(film: Film, embedder_spec: object, tmp_path: Path) -> None:
    with pytest.raises(fastface.GalleryError, match=r"none\.gallery"):
        list(BatchProcessor(devices=["cpu"], **QUICK).run([film.path], gallery=tmp_path / "none.gallery"))


def test_wrong_settings_are_said_once(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings, message in (
        ({"every": 0}, "every is 0"),
        ({"min_face_size": 1}, "min_face_size is 1"),
        ({"colour": 1}, "colour"),
        ({"device": "cpu"}, "a batch takes devices"),
        ({"devices": []}, "names none"),
        ({"devices": ["tpu"]}, "holds 'tpu'"),
        ({"devices": "cuda"}, "holds 'cuda'"),
        ({"host_memory_limit": 0}, "host_memory_limit is 0"),
        ({"gpu_memory_limit": True}, "gpu_memory_limit is True"),
    ):
        with pytest.raises(fastface.InputValidationError, match=message):
            fastface.process_many([film.path], **{"devices": ["cpu"], **settings})
    with pytest.raises(fastface.InputValidationError, match="must be several paths"):
        fastface.process_many(str(film.path))
    assert fastface.process_many([], devices=["cpu"]) == []


def test_devices_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three GPUs, of which the second is too old."""
    import torch

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for name, value in (
        ("is_available", lambda: True), ("device_count", lambda: 3), ("get_device_name", lambda n: f"GPU {n}"),
        ("get_device_capability", lambda n: (7, 5) if n == 1 else (9, 0)),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    assert named_devices("all") == ("cuda:0", "cuda:2")
    assert named_devices(["cpu", "cuda:2"]) == ("cpu", "cuda:2")
    with pytest.raises(fastface.GPUError, match="cuda:3 cannot be used: there are 3 GPUs"):
        named_devices(["cuda:3"])
    with pytest.raises(fastface.GPUError, match=r"cuda:1 .* GPU 1 has compute capability 7.5, must have 8.0 or more"):
        named_devices(["cuda:1"])
    with pytest.raises(fastface.GPUError, match=r"device='cuda:1' cannot be used: GPU 1 has compute capability 7.5"):
        fastface.Pipeline(device="cuda:1")
    monkeypatch.setattr("fastface.executor.gpu_problem", lambda number=0: "there is none")
    assert named_devices("all") == ("cpu",)
    with pytest.raises(fastface.GPUError, match="there is none"):
        named_devices(["cpu", "cuda:0"])


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (None, 2)])
def test_no_second_video_without_memory(
    film: Film, monkeypatch: pytest.MonkeyPatch, limit: int | None, most: int
) -> None:
    """With a limit that is passed already, videos come one after the other, and all come; without, two at once."""
    running: list[str] = []
    counts: list[int] = []

    class Slow:
        def __init__(self, **settings: Any) -> None:
            pass

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *exc: object) -> None:
            pass

        def process(self, path: str, **rest: Any) -> None:
            running.append(path)
            counts.append(len(running))
            time.sleep(0.3)
            running.remove(path)

    monkeypatch.setattr("fastface.pipeline.Pipeline", Slow)
    results = fastface.process_many([film.path] * 4, devices=["cpu", "cpu"], host_memory_limit=limit, **QUICK)
    assert len(results) == 4
    assert max(counts) == most


class TestFairOrder:
    def order(self, sizes: list[int], devices: int = 1) -> list[int]:
        """One after the other on one device."""
        fair, out = FairOrder(sizes, devices), []
        while fair.left:
            index = fair.take()
            assert index is not None
            out.append(index)
            fair.over(index)
        return out

    def test_as_given_where_all_are_alike(self) -> None:
        assert self.order([10, 12, 9, 20, 11]) == [0, 1, 2, 3, 4]
        assert self.order([]) == []
        assert self.order([0, 0, 0]) == [0, 1, 2]

    def test_by_turns_where_they_are_not(self) -> None:
        """Videos of 30 among many of 1: a long one comes before all short ones are over, and short ones between."""
        order = self.order([30, 30, 30, *[1] * 100])
        places = [order.index(i) for i in range(3)]
        assert places == [1, 32, 63]  # after as much work of short ones as long ones had

    def test_a_device_is_left_for_the_short(self) -> None:
        fair = FairOrder([100, 100, 100, *[1] * 10], 2)
        first, second = fair.take(), fair.take()
        assert [first, second] == [3, 0]
        for _ in range(9):
            assert first is not None
            fair.over(first)
            first = fair.take()
            assert first is not None
            assert first >= 3
        fair.over(first)
        assert fair.take() == 1  # now that no short one waits
