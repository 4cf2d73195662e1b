"""A GPU for tests that have none: csrc/cuda's kernels compiled for the CPU, behind the driver's call that launches.

What runs is the product's own code, from `CudaMTCNN` down to the kernels; tensors are the CPU's. It says whether
results are right, and nothing of how fast they come.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import re
import shutil
import subprocess
import types
from pathlib import Path
from typing import Any

import torch

from fastface.gpu import kernels

HERE = Path(__file__).parent
_SHARED = re.compile(r"extern __shared__ __align__\((\d+)\) ([\w ]+?) (\w+)\[\];")
_KERNEL = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(')


class SimulatedGPU:
    """Compiles kernels, and runs them.

    Args:
        folder: for what is compiled; the same for all tests of a run, so that each is compiled once.
        sources: where kernels are, `cuda/*.cu`; None: the product's.

    Attributes:
        order: 0: threads run from the first one on; 1: from the last.
        shared_limit: bytes of shared memory that a block may have: those of compute capability 8.6 and 8.9, the least
            of all that are supported.
    """

    def __init__(self, folder: Path, sources: Path | None = None) -> None:
        self.sources = sources or kernels.source_folder()
        self.folder, self.order, self.shared_limit = folder, 0, 99 << 10
        self._launches: list[Any] = []
        u32, u64, size, pointer = ctypes.c_uint, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p

        def entry(*types: Any) -> Any:
            return ctypes.CFUNCTYPE(ctypes.c_int, *types)

        self.cuLaunchKernel = entry(u64, *(u32,) * 7, u64, pointer, pointer)(self._launch)
        self.cuMemsetD8Async = entry(u64, ctypes.c_ubyte, size, u64)(self._fill)
        self.cuMemcpyDtoHAsync_v2 = entry(u64, u64, size, u64)(self._copy)
        self.cuMemcpyHtoDAsync_v2 = entry(u64, u64, size, u64)(self._copy)
        self.cuStreamWaitEvent = entry(u64, u64, u32)(lambda stream, event, flags: 0)
        self.cuEventRecord = entry(u64, u64)(lambda event, stream: 0)
        for header in (self.sources / "cuda").glob("*.cuh"):  # a header finds others beside it first
            own = HERE / "include" / header.name
            shutil.copy(own if own.exists() else header, folder / header.name)

    def source(self, file: str) -> str:
        """A kernel's file for a C++ compiler."""
        text = (self.sources / "cuda" / f"{file}.cu").read_text(encoding="utf-8")
        names = _KERNEL.findall(text)
        text = _SHARED.sub(r"\2* const \3 = static_cast<\2*>(simulated::shared_memory());", text)
        out = ['#include "simulated.h"', text]
        for name in names:
            out.append(
                f'extern "C" void launch_{name}(const unsigned int* grid, unsigned int block, unsigned int shared,'
                " int order, void** arguments) {\n"
                f"  simulated::launch(fastface::{name}, {{grid[0], grid[1], grid[2]}}, {{block, 1, 1}}, shared, order,"
                " arguments);\n}"
            )
        return "\n".join(out)

    @functools.cache  # noqa: B019 - there is one of these in a run
    def module(self, file: str, output: str, depth: int) -> ctypes.CDLL:
        """A kernel's file, compiled."""
        name = f"{file}-{output}-{depth}"
        source, library = self.folder / f"{name}.cpp", self.folder / f"{name}.so"
        source.write_text(self.source(file), encoding="utf-8")
        command = [
            "c++", "-std=c++20", "-O2", "-march=native", "-ffp-contract=off", "-fPIC", "-shared",
            "-Wno-unknown-pragmas", "-fno-strict-aliasing",  # kernels look at pairs of halfs as whole numbers
            f"-I{HERE / 'include'}", f"-I{self.sources}", f"-DOUT={kernels.OUTPUTS[output]}",
            f"-DSAMPLE={kernels.SAMPLES[depth]}", str(source), str(HERE / "simulated.cpp"), "-o", str(library),
        ]  # fmt: skip
        subprocess.run(command, check=True)
        return ctypes.CDLL(str(library))

    def kernel(self, file: str, function: str, *, output: str = "float32", depth: int = 8, device: Any = 0) -> Any:
        """As `fastface.gpu.kernels.kernel`."""
        entry = getattr(self.module(file, output, depth), f"launch_{function}")
        self._launches.append(entry)
        return kernels.Function(len(self._launches), lambda size: None)  # a driver's handle is not 0

    def _launch(
        self, handle: int, gx: int, gy: int, gz: int, bx: int, by: int, bz: int, shared: int, stream: int,
        arguments: int, extra: int | None,
    ) -> int:  # fmt: skip
        if (by, bz, extra) != (1, 1, None) or shared > self.shared_limit or not 1 <= bx <= 1024 or max(gy, gz) > 65535:
            return 1  # CUDA_ERROR_INVALID_VALUE
        grid = (ctypes.c_uint * 3)(gx, gy, gz)
        self._launches[handle - 1](
            grid, ctypes.c_uint(bx), ctypes.c_uint(shared), self.order, ctypes.c_void_p(arguments)
        )
        return 0

    @staticmethod
    def _fill(to: int, value: int, size: int, stream: int) -> int:
        ctypes.memset(to, value, size)
        return 0

    @staticmethod
    def _copy(to: int, source: int, size: int, stream: int) -> int:
        ctypes.memmove(to, source, size)
        return 0

    # What the detector asks torch for

    def torch(self) -> Any:
        """The module `torch` with this device in the place of a GPU."""
        class Event:
            cuda_event = 1

            def record(self, stream: Any = None) -> None: ...
            def query(self) -> bool:
                return True

            def synchronize(self) -> None: ...

        class Stream:
            cuda_stream = 0

            def wait_event(self, event: Any) -> None: ...
            def synchronize(self) -> None: ...

        cuda = types.SimpleNamespace(
            Event=Event, Stream=Stream, OutOfMemoryError=torch.cuda.OutOfMemoryError,
            current_stream=lambda device=None: Stream(), current_device=lambda: None,
            stream=lambda stream: contextlib.nullcontext(), device=lambda device: contextlib.nullcontext(),
            get_device_properties=lambda device: types.SimpleNamespace(multi_processor_count=1),
            mem_get_info=lambda device=None: (8 << 30, 16 << 30), synchronize=lambda device=None: None,
            empty_cache=lambda: None, is_available=lambda: True,
        )  # fmt: skip

        def empty(*args: Any, pin_memory: bool = False, **kwargs: Any) -> Any:
            return torch.empty(*args, **kwargs)

        class Module(types.ModuleType):
            def __getattr__(self, name: str) -> Any:
                return getattr(torch, name)

        module = Module("torch")
        vars(module).update(cuda=cuda, empty=empty, device=lambda *a: torch.device("cpu"))
        return module


def install(gpu: SimulatedGPU, monkeypatch: Any) -> Any:
    """Put it in the GPU's place, for a test; gives its `torch`."""
    from fastface.detect import cuda
    from fastface.detect.cuda import buffers, cascade, operations

    fake = gpu.torch()
    for module in (cuda, buffers, cascade, operations, kernels):
        monkeypatch.setattr(module, "torch", fake)
    monkeypatch.setattr(operations, "kernel", gpu.kernel)
    monkeypatch.setattr(operations, "shared_memory_limit", lambda device: gpu.shared_limit)
    monkeypatch.setattr(kernels, "driver", lambda: gpu)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True, raising=False)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    return fake
