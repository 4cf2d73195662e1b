"""Our CUDA kernels: compiled at first use by NVRTC through CuPy (which caches them on disk), launched on any stream."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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


@functools.cache
def kernel(file: str, function: str, *, output: str = "float32", depth: int = 8, device: int = 0) -> Any:
    """A kernel of csrc/cuda, compiled for this output type ("float32", "float16") and sample depth (8, 16)."""
    return _module(file, output, depth, device).get_function(function)


@functools.cache
def shared_memory_limit(device: int) -> int:
    """Bytes of shared memory that a block may ask for."""
    import cupy

    return int(cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"])


FRAMES = object()
"""Stands for the address of the frames among the arguments of a :class:`Program`."""


class Program:
    """Kernel launches with their arguments, ready to be queued again and again with other frames.

    Arguments' types are fixed by their Python types: int becomes int32, float float32, a tensor its address (which must
    stay valid), None address 0, and FRAMES the address that :meth:`run` is given.
    """

    def __init__(self) -> None:
        self._steps: list[_Launch | Callable[[], None]] = []

    def add(self, function: Any, grid: tuple[int, ...], block: int, *args: Any, shared_memory: int = 0) -> None:
        """Add a launch."""
        if shared_memory > 48 << 10 and function.max_dynamic_shared_size_bytes < shared_memory:
            function.max_dynamic_shared_size_bytes = shared_memory
        self._steps.append(_Launch(function, (*grid, 1, 1)[:3], block, args, shared_memory))

    def call(self, work: Callable[[], None]) -> None:
        """Add work that queues something on torch's current stream."""
        self._steps.append(work)

    def run(self, stream: int, device: int, frames: Any) -> None:
        """Queue everything; returns at once.

        Args:
            stream: address of a CUDA stream (torch's `stream.cuda_stream`).
            device: number of the GPU, which must be torch's current one.
            frames: tensor whose address takes the place of FRAMES.

        Raises:
            GPUError: a launch was refused.
        """
        import torch

        address = frames.data_ptr()
        with torch.cuda.device(device):
            for step in self._steps:
                if isinstance(step, _Launch):
                    step(stream, address)
                else:
                    step()


class _Launch:
    """One launch, as the driver takes it: addresses of the arguments, which stay where they are."""

    def __init__(
        self, function: Any, grid: tuple[int, ...], block: int, args: Sequence[Any], shared_memory: int
    ) -> None:
        self._function = function  # keeps its module
        self._frames = [ctypes.c_uint64() for a in args if a is FRAMES]
        frames = iter(self._frames)
        self._args = [next(frames) if a is FRAMES else _pack(a) for a in args]
        pointers = (ctypes.c_void_p * len(args))(*(ctypes.addressof(a) for a in self._args))
        self._tensors = [a for a in args if hasattr(a, "data_ptr")]
        self._head = (function.kernel.ptr, *map(int, grid), int(block), 1, 1, int(shared_memory))
        self._pointers = pointers

    def __call__(self, stream: int, frames: int) -> None:
        for place in self._frames:
            place.value = frames
        status = driver().cuLaunchKernel(*self._head, stream, self._pointers, None)
        if status:
            raise GPUError(f"a kernel could not be launched (cuLaunchKernel gave {status})")


def launch(
    stream: int, device: int, function: Any, grid: tuple[int, ...], block: int, *args: Any, shared_memory: int = 0
) -> None:
    """Queue one launch on a stream; see :class:`Program`.

    Raises:
        GPUError: the launch was refused.
    """
    program = Program()
    program.add(function, grid, block, *args, shared_memory=shared_memory)
    program.run(stream, device, _Nothing)


class _Nothing:
    @staticmethod
    def data_ptr() -> int:
        return 0


def _pack(value: Any) -> Any:
    if isinstance(value, int):
        return ctypes.c_int32(value)
    if isinstance(value, float):
        return ctypes.c_float(value)
    return ctypes.c_uint64(0 if value is None else value.data_ptr())
