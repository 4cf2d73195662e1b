"""The one place where errors of other libraries become ours: :func:`translated` stands around every public call.

Who raised is told by the module of the error's class, so that nothing is imported for it: libav's errors are
VideoProcessingError, those of torch, CuPy, PyNvVideoCodec and NVML GPUError, or GPUMemoryError where memory ran out.
Ours, and those that no library of these raised (an interruption, a mistake in the caller's own code), pass as they are.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from fastface.errors import FastFaceError, GPUError, GPUMemoryError, VideoProcessingError

P = ParamSpec("P")
R = TypeVar("R")

_GPU_MODULES = ("torch", "cupy", "cupy_backends", "PyNvVideoCodec", "_PyNvVideoCodec", "pynvml")
_GPU_WORDS = ("cuda", "cudnn", "cublas", "nvrtc", "nvcuvid", "cuvid", "nvdec")
_MEMORY_WORDS = ("out of memory", "out_of_memory", "memoryallocation", "cudaerrormemory")


def translate(error: BaseException) -> FastFaceError | None:
    """What an error is to us; None: it stays what it is."""
    if isinstance(error, FastFaceError) or not isinstance(error, Exception):
        return None
    module = type(error).__module__ or ""
    root, text = module.partition(".")[0], f"{type(error).__name__}: {error}"
    low = text.lower()
    if root == "av":
        return VideoProcessingError(f"libav failed: {first_line(error)}; the file may be damaged")
    # torch's C++ side raises RuntimeError itself, and says CUDA in its message.
    by_gpu = root.startswith(_GPU_MODULES) or (
        isinstance(error, RuntimeError) and any(word in low for word in _GPU_WORDS)
    )
    if not by_gpu:
        return None
    if out_of_memory(error):
        return GPUMemoryError(
            f"the GPU's memory ran out{memory_now()}: {first_line(error)}; free some, or use a smaller batch_size"
        )
    return GPUError(f"{root if root != 'builtins' else 'CUDA'} failed: {first_line(error)}")


def out_of_memory(error: BaseException) -> bool:
    """Whether a GPU library's error says that memory ran out."""
    low = str(error).lower()
    return type(error).__name__ == "OutOfMemoryError" or any(word in low for word in _MEMORY_WORDS)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Errors of other libraries leave this block as ours, with the original as their cause."""
    try:
        yield
    except Exception as error:
        ours = translate(error)
        if ours is None:
            raise
        try:
            raise ours from error
        finally:
            del ours  # else it holds itself by its traceback, and with it whatever the run held, until gc comes round


def translates(call: Callable[P, R]) -> Callable[P, R]:
    """A function whose errors are ours; see :func:`translated`."""

    @functools.wraps(call)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with translated():
            return call(*args, **kwargs)

    return wrapper


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says anything; PyNvVideoCodec says it in those after a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].endswith(":"):
        return " ".join([lines[0], ", ".join(line for line in lines[1:] if not line.startswith("at "))]).strip()
    return lines[0] if lines else type(error).__name__


def memory_now() -> str:
    """ " (1,234 of 81,559 MiB are free)" where the driver says so, else nothing."""
    state = gpu_state()
    if state is None:
        return ""
    return f" ({state['memory_free'] >> 20:,} of {state['memory_total'] >> 20:,} MiB are free)"


def current_gpu(nvml: Any) -> Any:
    """NVML's handle of torch's current GPU; of the first where torch has none yet. NVML numbers them its own way."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        uuid = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
        if uuid is not None:
            return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    return nvml.nvmlDeviceGetHandleByIndex(0)


def gpu_state() -> dict[str, Any] | None:
    """Name, memory_free and memory_total (bytes) and utilization (percent) of the GPU that this thread uses, asked of
    NVML; None where there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no module, no driver, no GPU: whatever it is, there is nothing to tell
        return None
    try:
        device = current_gpu(pynvml)
        memory = pynvml.nvmlDeviceGetMemoryInfo(device)
        return {
            "name": str(pynvml.nvmlDeviceGetName(device)),
            "memory_free": int(memory.free),
            "memory_total": int(memory.total),
            "utilization": int(pynvml.nvmlDeviceGetUtilizationRates(device).gpu),
        }
    except pynvml.NVMLError:
        return None
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
