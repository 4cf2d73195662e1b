"""Our CUDA kernels: compiled at first use by NVRTC through CuPy (which caches them on disk), launched on any stream."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastface.cuda_driver import driver
from fastface.errors import GPUError

OUTPUTS = {"float32": "float", "float16": "__half"}
SAMPLES = {8: "unsigned char", 16: "unsigned short"}


def source_folder() -> Path:
    """The folder that holds `cuda/` and `common/`: package data, or csrc/ in a source tree.

    Raises:
        GPUError: neither is there; the installation is incomplete.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "csrc", package.parents[1] / "csrc"):
        if (folder / "cuda").is_dir():
            return folder
    raise GPUError("the CUDA sources are missing from this installation; install fastface-gpu again")


def _headers(folder: Path) -> str:
    """A digest of all headers, in hexadecimal: CuPy knows a compiled kernel by its file and options alone."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("cuda/*.cuh"), *folder.glob("common/*.h")]):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def compiler_options(output: str, depth: int) -> tuple[str, ...]:
    """What NVRTC is told for an output type and a sample depth."""
    folder = source_folder()
    return (
        "-std=c++17",
        "--fmad=false",  # products are rounded before they are added, as on the CPU: both see the same pixels
        f"-I{folder}",
        f"-I{folder / 'cuda'}",
        f"-DOUT={OUTPUTS[output]}",
        f"-DSAMPLE={SAMPLES[depth]}",
        f"-DFASTFACE_HEADERS=0x{_headers(folder)}",
    )


@functools.cache
def _module(name: str, output: str, depth: int, device: int) -> Any:
    import cupy

    code = (source_folder() / "cuda" / f"{name}.cu").read_text(encoding="utf-8")
    with cupy.cuda.Device(device):
        try:
            module = cupy.RawModule(code=code, options=compiler_options(output, depth))
            module.compile()
        except cupy.cuda.compiler.CompileException as error:
            raise GPUError(f"the kernel {name}.cu does not compile on this machine: {error}") from error
    return module


@dataclass(frozen=True, eq=False)
class Function:
    """A kernel as one GPU has it: CuPy's own looks for that of the thread's current GPU whenever it is asked.

    Attributes:
        pointer: the driver's handle.
        allow: lets a launch have so many bytes of shared memory.
        owner: what keeps the handle valid.
    """

    pointer: int
    allow: Callable[[int], None]
    owner: Any = None


@functools.cache
def kernel(file: str, function: str, *, output: str = "float32", depth: int = 8, device: int = 0) -> Function:
    """A kernel of csrc/cuda, compiled for this output type ("float32", "float16") and sample depth (8, 16)."""
    import cupy

    def allow(size: int) -> None:
        with cupy.cuda.Device(device):
            if found.max_dynamic_shared_size_bytes < size:
                found.max_dynamic_shared_size_bytes = size

    found = _module(file, output, depth, device).get_function(function)
    with cupy.cuda.Device(device):
        return Function(int(found.kernel.ptr), allow, found)


@functools.cache
def shared_memory_limit(device: int) -> int:
    """Bytes of shared memory that a block may ask for."""
    import cupy

    return int(cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"])


def recorded_event(device: torch.device) -> torch.cuda.Event:
    """An event that has happened, which a :class:`Program` can wait for and record."""
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event


@dataclass(frozen=True)
class Given:
    """Stands for an address among the arguments of a :class:`Program`: of the tensor with this number that it is run
    with."""

    number: int


FRAMES, OUTPUT = Given(0), Given(1)

COUNT = 0
"""Side of a grid: as long as a :class:`Program` is told when it is run."""


class Program:
    """Launches, copies and events with all that belongs to them, ready to be queued again and again by one call.

    Arguments' types are fixed by their Python types: int becomes int32, float float32, a tensor its address (which must
    stay valid), None address 0, and :class:`Given` an address that :meth:`run` is given. Events are torch's, and must
    have been recorded once.
    """

    def __init__(self) -> None:
        self._steps: list[Any] = []  # native programs, and work that is Python's
        self._kept: list[Any] = []  # what must stay where it is: modules, memory, events

    def _native(self) -> Any:
        from fastface import _core

        if not self._steps or not isinstance(self._steps[-1], _core.Program):
            self._steps.append(_core.Program(_functions(driver())))
        return self._steps[-1]

    def add(self, function: Function, grid: tuple[int, ...], block: int, *args: Any, shared_memory: int = 0) -> None:
        """Add a launch."""
        if shared_memory > 48 << 10:
            function.allow(shared_memory)
        self._kept.append((function, [a for a in args if hasattr(a, "data_ptr")]))
        given = [(i, a.number) for i, a in enumerate(args) if isinstance(a, Given)]
        values = b"".join(_pack(a) for a in args)
        self._native().launch(function.pointer, [*grid, 1, 1][:3], block, shared_memory, values, given)

    def zero(self, tensor: Tensor) -> None:
        """Add zeros for a contiguous tensor."""
        self._kept.append(tensor)
        self._native().fill(tensor.data_ptr(), tensor.numel() * tensor.element_size())

    def to_host(self, host: Tensor, source: Tensor) -> None:
        """Add a copy to pinned memory, of as many bytes as that has."""
        self._kept.append((host, source))
        self._native().to_host(host.data_ptr(), source.data_ptr(), host.numel() * host.element_size())

    def to_device(self, target: Tensor, host: Tensor, size: int) -> None:
        """Add a copy of `size` bytes from pinned memory."""
        self._kept.append((target, host))
        self._native().to_device(target.data_ptr(), host.data_ptr(), size)

    def wait(self, event: torch.cuda.Event) -> None:
        """Add that the stream waits for an event, as it was recorded last when :meth:`run` is called."""
        self._kept.append(event)
        self._native().wait(event.cuda_event)

    def record(self, event: torch.cuda.Event) -> None:
        """Add the recording of an event."""
        self._kept.append(event)
        self._native().record(event.cuda_event)

    def call(self, work: Callable[[], None]) -> None:
        """Add work that queues something on torch's current stream."""
        self._steps.append(work)

    def run(self, stream: int, device: int, *given: Tensor, count: int = 1) -> None:
        """Queue everything; returns at once.

        Args:
            stream: address of a CUDA stream (torch's `stream.cuda_stream`).
            device: number of the GPU.
            given: tensors whose addresses take the places of :class:`Given`.
            count: at least 1, for :data:`COUNT`.

        Raises:
            GPUError: a step was refused.
        """
        # A context manager costs more than to ask, and this is called for every batch.
        if torch.cuda.current_device() != device:
            with torch.cuda.device(device):
                self._run(stream, given, count)
        else:
            self._run(stream, given, count)

    def _run(self, stream: int, given: tuple[Tensor, ...], count: int) -> None:
        from fastface import _core

        addresses = [tensor.data_ptr() for tensor in given]
        for step in self._steps:
            if not isinstance(step, _core.Program):
                step()
                continue
            status, number = step.run(stream, addresses, count)
            if status:
                raise GPUError(f"work could not be queued on the GPU (step {number}, the driver gave {status})")


_FUNCTIONS = (
    "cuLaunchKernel",
    "cuMemsetD8Async",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuStreamWaitEvent",
    "cuEventRecord",
)


@functools.cache
def _functions(library: Any) -> list[int]:
    """Addresses of the driver's functions that a program calls."""
    return [ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in _FUNCTIONS]


def launch(
    stream: int, device: int, function: Function, grid: tuple[int, ...], block: int, *args: Any, shared_memory: int = 0
) -> None:
    """Queue one launch on a stream; see :class:`Program`.

    Raises:
        GPUError: the launch was refused.
    """
    program = Program()
    program.add(function, grid, block, *args, shared_memory=shared_memory)
    program.run(stream, device)


def _pack(value: Any) -> bytes:
    """An argument in eight bytes."""
    if isinstance(value, int):
        return struct.pack("<i4x", value)
    if isinstance(value, float):
        return struct.pack("<f4x", value)
    return struct.pack("<Q", 0 if value is None or isinstance(value, Given) else value.data_ptr())
