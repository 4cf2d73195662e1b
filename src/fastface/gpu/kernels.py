"""Our CUDA kernels: compiled at first use by NVRTC through CuPy (which caches them on disk), launched on any stream."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

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


@functools.cache
def _module(name: str, output: str, depth: int, device: int) -> Any:
    import cupy

    folder = source_folder()
    options = (
        "-std=c++17",
        "--fmad=false",  # products are rounded before they are added, as on the CPU: both see the same pixels
        f"-I{folder}",
        f"-I{folder / 'cuda'}",
        f"-DOUT={OUTPUTS[output]}",
        f"-DSAMPLE={SAMPLES[depth]}",
    )
    code = (folder / "cuda" / f"{name}.cu").read_text(encoding="utf-8")
    with cupy.cuda.Device(device):
        try:
            module = cupy.RawModule(code=code, options=options)
            module.compile()
        except cupy.cuda.compiler.CompileException as error:
            raise GPUError(f"the kernel {name}.cu does not compile on this machine: {error}") from error
    return module


@functools.cache
def kernel(file: str, function: str, *, output: str = "float32", depth: int = 8, device: int = 0) -> Any:
    """A kernel of csrc/cuda, compiled for this output type ("float32", "float16") and sample depth (8, 16)."""
    return _module(file, output, depth, device).get_function(function)


class _StreamAddress:
    """An address in the form of the CUDA stream protocol."""

    def __init__(self, address: int) -> None:
        self._address = address

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._address


@functools.lru_cache(maxsize=64)
def _stream(address: int, device: int) -> Any:
    import cupy

    return cupy.cuda.Stream.from_external(_StreamAddress(address))


FRAMES = object()
"""Stands for the address of the frames among the arguments of a :class:`Program`."""


class Program:
    """Kernel launches with their arguments, ready to be queued again and again with other frames.

    Arguments' types are fixed by their Python types: int becomes int32, float float32, a tensor its address (which must
    stay valid), None address 0, and FRAMES the address that :meth:`run` is given.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Any, tuple[int, ...], tuple[int], list[Any], int, int] | Callable[[], None]] = []

    def add(self, function: Any, grid: tuple[int, ...], block: int, *args: Any, shared_memory: int = 0) -> None:
        """Add a launch."""
        if shared_memory > 48 << 10 and function.max_dynamic_shared_size_bytes < shared_memory:
            function.max_dynamic_shared_size_bytes = shared_memory
        frames = next((i for i, a in enumerate(args) if a is FRAMES), -1)
        packed = [None if a is FRAMES else _pack(a) for a in args]
        self._steps.append((function, grid, (block,), packed, shared_memory, frames))

    def call(self, work: Callable[[], None]) -> None:
        """Add work that queues something on torch's current stream."""
        self._steps.append(work)

    def run(self, stream: int, device: int, frames: Any) -> None:
        """Queue everything; returns at once.

        Args:
            stream: address of a CUDA stream (torch's `stream.cuda_stream`).
            device: number of the GPU.
            frames: tensor whose address takes the place of FRAMES.

        Raises:
            GPUError: a launch was refused.
        """
        from cupy_backends.cuda.api.driver import CUDADriverError

        address = np.uint64(frames.data_ptr())
        try:
            with _stream(stream, device):
                for step in self._steps:
                    if not isinstance(step, tuple):
                        step()
                        continue
                    function, grid, block, args, shared_memory, place = step
                    if place >= 0:
                        args[place] = address
                    function(grid, block, tuple(args), shared_mem=shared_memory)
        except CUDADriverError as error:
            raise GPUError(f"a kernel could not be launched: {error}") from error


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
    if isinstance(value, bool):
        return np.int32(value)
    if isinstance(value, int):
        return np.int32(value)
    if isinstance(value, float):
        return np.float32(value)
    return np.uint64(0 if value is None else value.data_ptr())
