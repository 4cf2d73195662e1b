"""What a launch hands to the driver, read back by a stand-in for it."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fastface.errors import GPUError
from fastface.gpu import kernels


class Driver:
    """Reads the arguments as a kernel of these types would."""

    def __init__(self, *types: Any, status: int = 0) -> None:
        self.types, self.status, self.seen = types, status, list[tuple[Any, ...]]()

    def cuLaunchKernel(self, function: int, *rest: Any) -> int:
        *shape, stream, pointers, _extra = rest
        values = [ctypes.cast(p, ctypes.POINTER(t)).contents.value for p, t in zip(pointers, self.types, strict=True)]
        self.seen.append((function, shape, stream, values))
        return self.status


@pytest.fixture
def function() -> Any:
    return SimpleNamespace(kernel=SimpleNamespace(ptr=77), max_dynamic_shared_size_bytes=0)


def test_arguments_and_the_address_of_the_frames(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    i32, f32, u64 = ctypes.c_int32, ctypes.c_float, ctypes.c_uint64
    driver = Driver(u64, i32, f32, i32, u64, u64, u64)
    monkeypatch.setattr(kernels, "driver", lambda: driver)
    table = torch.arange(5)
    args = (kernels.FRAMES, -3, 0.5, True, None, table[2:], kernels.FRAMES)
    launch = kernels._Launch(function, (4, 2, 1), 256, args, 1024)
    del args
    for address in (1 << 40, 5):
        launch(9, address)
    shape = [4, 2, 1, 256, 1, 1, 1024]
    for seen, address in zip(driver.seen, (1 << 40, 5), strict=True):
        assert seen == (77, shape, 9, [address, -3, 0.5, 1, 0, table.data_ptr() + 16, address])


def test_a_refused_launch(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    monkeypatch.setattr(kernels, "driver", lambda: Driver(status=701))
    with pytest.raises(GPUError, match="cuLaunchKernel gave 701"):
        kernels._Launch(function, (1, 1, 1), 32, (), 0)(0, 0)


def test_much_shared_memory_is_asked_for(function: Any) -> None:
    kernels.Program().add(function, (1,), 32, shared_memory=60 << 10)
    assert function.max_dynamic_shared_size_bytes == 60 << 10
