"""What a launch hands to the driver, read back by a stand-in for it."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from fastface.errors import GPUError
from fastface.gpu import kernels


class Driver:
    """Reads the arguments as a kernel of these types would, and notes what else it is told."""

    def __init__(self, *types: Any, status: int = 0) -> None:
        self.types, self.status, self.seen = types, status, list[tuple[Any, ...]]()
        u32, u64, size, pointer = ctypes.c_uint, ctypes.c_uint64, ctypes.c_size_t, ctypes.POINTER(ctypes.c_void_p)

        def entry(name: str, *types: Any) -> Any:
            def called(*args: int) -> int:
                self.seen.append((name, *args))
                return self.status

            return ctypes.CFUNCTYPE(ctypes.c_int, *types)(called)

        self.cuLaunchKernel = ctypes.CFUNCTYPE(ctypes.c_int, u64, *(u32,) * 7, u64, pointer, pointer)(self.launch)
        self.cuMemsetD8Async = entry("fill", u64, ctypes.c_ubyte, size, u64)
        self.cuMemcpyDtoHAsync_v2 = entry("to host", u64, u64, size, u64)
        self.cuMemcpyHtoDAsync_v2 = entry("to device", u64, u64, size, u64)
        self.cuStreamWaitEvent = entry("wait", u64, u64, u32)
        self.cuEventRecord = entry("record", u64, u64)

    def launch(self, function: int, *rest: Any) -> int:
        *shape, stream, pointers, extra = rest
        values = [ctypes.cast(pointers[i], ctypes.POINTER(t)).contents.value for i, t in enumerate(self.types)]
        self.seen.append(("launch", function, shape, stream, values, bool(extra)))
        return self.status


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    return kernels.Function(77, allow=pytest.fail)


def at(address: int) -> Any:
    return SimpleNamespace(data_ptr=lambda: address)


def test_arguments_and_the_address_of_the_frames(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    i32, f32, u64 = ctypes.c_int32, ctypes.c_float, ctypes.c_uint64
    driver = Driver(u64, i32, f32, i32, u64, u64, u64)
    monkeypatch.setattr(kernels, "driver", lambda: driver)
    table = torch.arange(5)
    program = kernels.Program()
    args = (kernels.FRAMES, -3, 0.5, True, None, table[2:], kernels.OUTPUT)
    program.add(function, (4, kernels.COUNT, 1), 256, *args, shared_memory=1024)
    del args
    with pytest.raises(ValueError, match="1 addresses are given, must be 2"):
        program.run(9, 0, at(8))
    for address, out, count in ((1 << 40, 3, 7), (5, 1 << 41, 2)):
        program.run(9, 0, at(address), at(out), count=count)
        wanted = [address, -3, 0.5, 1, 0, table.data_ptr() + 16, out]
        assert driver.seen.pop() == ("launch", 77, [4, count, 1, 256, 1, 1, 1024], 9, wanted, False)
    assert not driver.seen


def test_another_gpu_is_made_current(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    made = list[int]()

    @contextlib.contextmanager
    def device(number: int) -> Iterator[None]:
        made.append(number)
        yield

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(kernels, "driver", Driver)
    program = kernels.Program()
    program.add(function, (1,), 32)
    program.run(9, 0)
    assert made == []
    program.run(9, 1)
    assert made == [1]


def test_everything_is_queued_in_its_order(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    driver, event, order = Driver(), SimpleNamespace(cuda_event=1 << 45), list[str]()
    monkeypatch.setattr(kernels, "driver", lambda: driver)
    host, device = torch.zeros(6, dtype=torch.int16), torch.zeros(9, dtype=torch.int16)
    program = kernels.Program()
    program.wait(event)
    program.zero(device)
    program.add(function, (1,), 32)
    program.call(lambda: order.append(f"after {len(driver.seen)}"))
    program.to_device(device, host, 5)
    program.to_host(host, device)
    program.record(event)
    program.run(3, 0)
    h, d = host.data_ptr(), device.data_ptr()
    assert order == ["after 3"]
    assert driver.seen == [
        ("wait", 3, 1 << 45, 0),
        ("fill", d, 0, 18, 3),
        ("launch", 77, [1, 1, 1, 32, 1, 1, 0], 3, [], False),
        ("to device", d, h, 5, 3),
        ("to host", h, d, 12, 3),
        ("record", 1 << 45, 3),
    ]


def test_a_refused_launch(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    driver = Driver(status=701)
    monkeypatch.setattr(kernels, "driver", lambda: driver)
    program = kernels.Program()
    program.add(function, (1, 1, 1), 32)
    program.add(function, (1, 1, 1), 32)
    with pytest.raises(GPUError, match="step 0, the driver gave 701"):
        program.run(0, 0)
    assert len(driver.seen) == 1


def test_much_shared_memory_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()
    monkeypatch.setattr(kernels, "driver", Driver)
    program = kernels.Program()
    for size in (48 << 10, 60 << 10):
        program.add(kernels.Function(77, asked.append), (1,), 32, shared_memory=size)
    assert asked == [60 << 10]


def test_a_kernel_is_that_of_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy gives the handle of whatever GPU is current when it is asked."""
    current = [0]

    @contextlib.contextmanager
    def device(number: int) -> Iterator[None]:
        before, current[0] = current[0], number
        yield
        current[0] = before

    class Raw:
        limits: ClassVar[dict[int, int]] = {0: 48 << 10, 1: 48 << 10}
        kernel = property(lambda self: SimpleNamespace(ptr=70 + current[0]))
        max_dynamic_shared_size_bytes = property(
            lambda self: self.limits[current[0]], lambda self, size: self.limits.update({current[0]: size})
        )

    cupy = SimpleNamespace(cuda=SimpleNamespace(Device=device))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(kernels, "_module", lambda *args: SimpleNamespace(get_function=lambda name: Raw()))
    function = kernels.kernel("made", "up", device=1)
    kernels.kernel.cache_clear()
    assert function.pointer == 71
    function.allow(60 << 10)
    assert Raw.limits == {0: 48 << 10, 1: 60 << 10}


@pytest.mark.parametrize(
    ("grid", "values", "given", "message"),
    [
        ([1, 1], b"", [], "3 sides"),
        ([1, 1, 1], b"1234", [], "8 bytes"),
        ([1, 1, 1], bytes(8), [(1, 0)], "no argument 1"),
    ],
)
def test_what_a_launch_cannot_be(
    grid: list[int], values: bytes, given: list[tuple[int, int]], message: str
) -> None:
    from fastface import _core

    with pytest.raises(ValueError, match=message):
        _core.Program([1, 2, 3, 4, 5, 6]).launch(77, grid, 32, 0, values, given)
    with pytest.raises(ValueError, match="function 2 is 0"):
        _core.Program([1, 2, 0, 4, 5, 6])
