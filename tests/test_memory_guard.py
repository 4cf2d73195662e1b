"""Running out of the GPU's memory: the user's own code under the guard, and a run that the CPU ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import fastface
from fastface import memory_guard
from fastface.errors import GPUMemoryError, InputValidationError
from fastface.executor import CpuExecutor, Seen
from film import MODEL, Film


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    monkeypatch.setattr(memory_guard, "release_reserves", lambda: calls.append(1))
    return calls


class TestGuard:
    def test_what_ran_out_is_said_and_given_back(self, released: list[int]) -> None:
        with pytest.raises(GPUMemoryError, match="memory ran out") as caught, fastface.gpu_memory_guard():
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        assert isinstance(caught.value.__cause__, torch.cuda.OutOfMemoryError)
        assert released == [1]

    def test_ours_stays_ours(self, released: list[int]) -> None:
        error = GPUMemoryError("there is no room")
        with pytest.raises(GPUMemoryError) as caught, fastface.gpu_memory_guard():
            raise error
        assert caught.value is error
        assert released == [1]

    def test_other_errors_pass(self, released: list[int]) -> None:
        with pytest.raises(KeyError), fastface.gpu_memory_guard():
            raise KeyError("out of memory")
        with fastface.gpu_memory_guard():
            pass
        assert released == []

    @pytest.mark.parametrize("retries", [0, 1, 3])
    def test_a_function_is_called_again(self, released: list[int], retries: int) -> None:
        calls = []

        @fastface.gpu_memory_guard(retries=retries)
        def work(x: int, *, fail: int) -> int:
            """Says what it does."""
            calls.append(x)
            if len(calls) <= fail:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return 2 * x

        assert (work.__name__, work.__doc__) == ("work", "Says what it does.")
        assert work(4, fail=retries) == 8
        assert len(calls) == 1 + retries == 1 + len(released)
        calls.clear()
        with pytest.raises(GPUMemoryError):
            work(4, fail=99)
        assert len(calls) == 1 + retries

    @pytest.mark.parametrize("retries", [-1, 1.5, True, "2"])
    def test_retries_that_cannot_be(self, retries: Any) -> None:
        with pytest.raises(InputValidationError, match="retries is"):
            fastface.gpu_memory_guard(retries=retries)


class Short(CpuExecutor):
    """Stands in for a GPU whose memory runs out: at a batch, or when it is to embed for the n-th time."""

    device = "a GPU"
    at_batch, at_embedding = -1, -1

    def look(self, batches: Iterable[Any], store: Any, spent: Any) -> Iterator[Seen]:
        for number, seen in enumerate(super().look(batches, store, spent)):
            if number == self.at_batch:
                raise GPUMemoryError("there is no room to detect faces")
            yield seen

    def embed(self, store: Any, places: np.ndarray) -> Any:
        self.at_embedding -= 1
        if self.at_embedding == 0:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().embed(store, places)


SETTINGS: dict[str, Any] = {"device": "cpu", "embedder": MODEL, "min_face_size": 60, "every": 6, "batch_size": 4}


def process(film: Film, where: dict[str, int], **settings: Any) -> fastface.Timeline:
    with fastface.Pipeline(**SETTINGS, **settings) as pipeline:
        if where:
            short = Short(pipeline.settings, pipeline.executor.spec)
            vars(short).update(where)
            pipeline._executor = short
        return pipeline.process(film.path)


@pytest.fixture(scope="module")
def wanted(film: Film, embedder_spec: object) -> dict[str, fastface.Timeline]:
    return {embed: process(film, {}, embed=embed) for embed in ("track", "every")}


@pytest.mark.parametrize(
    ("embed", "where"),
    [
        ("track", {"at_batch": 0}),
        ("every", {"at_batch": 3}),
        ("track", {"at_batch": 3}),
        ("track", {"at_embedding": 1}),
        ("every", {"at_embedding": 2}),
    ],
)
def test_the_cpu_goes_on_where_the_gpu_could_not(
    film: Film, wanted: dict[str, fastface.Timeline], embed: str, where: dict[str, int]
) -> None:
    got, want = process(film, where, embed=embed, cpu_fallback=True), wanted[embed]
    for column in ("frame", "time", "box", "score", "landmarks", "track", "identity"):
        np.testing.assert_array_equal(getattr(got.faces, column), getattr(want.faces, column), err_msg=column)
    assert got.identities == want.identities
    assert got.run["embedder"]["faces_embedded"] == want.run["embedder"]["faces_embedded"]
    (warning,) = got.run["warnings"]
    assert warning.startswith("device: from frame ")
    assert "on the CPU was used, because" in warning
    assert got.run["device"] == "cpu"


def test_without_leave_it_is_an_error(film: Film, embedder_spec: object) -> None:
    with pytest.raises(GPUMemoryError, match="no room to detect"):
        process(film, {"at_batch": 1})
