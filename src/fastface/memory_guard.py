"""Your own GPU code beside fastface: what happens when the GPU's memory runs out."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

from fastface.errors import GPUMemoryError, InputValidationError
from fastface.faults import translate

P = ParamSpec("P")
R = TypeVar("R")


class gpu_memory_guard:
    """Context manager and decorator: where torch or CuPy run out of the GPU's memory, what they and fastface keep in
    reserve is given back to the device, and the error becomes :class:`GPUMemoryError`. Other errors pass as they are.

    As a decorator it then calls the function again, which must not mind that::

        with fastface.gpu_memory_guard():
            features = model(frames)

        @fastface.gpu_memory_guard(retries=2)
        def features(frames): ...

    Args:
        retries: calls more that a decorated function gets, at least 0; a `with` block cannot be run again.

    Raises:
        GPUMemoryError: the memory ran out, the last time as well.
        InputValidationError: retries is out of its range.
    """

    def __init__(self, *, retries: int = 1) -> None:
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise InputValidationError(f"retries is {retries!r}, must be a whole number from 0")
        self._retries = retries

    def __enter__(self) -> gpu_memory_guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ours = error if isinstance(error, GPUMemoryError) else translate(error) if error is not None else None
        if not isinstance(ours, GPUMemoryError):
            return
        release_reserves()
        if ours is not error:
            raise ours from error

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            for _ in range(self._retries):
                try:
                    with self:
                        return function(*args, **kwargs)
                except GPUMemoryError:
                    continue
            with self:
                return function(*args, **kwargs)

        return guarded


def release_reserves() -> None:
    """Give back to the device what torch and CuPy hold without using it, as far as they are loaded."""
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if cupy is not None:
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()
