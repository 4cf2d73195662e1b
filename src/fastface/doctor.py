"""What this machine has for fastface, what is missing, and how to get it."""

from __future__ import annotations

import importlib.util
import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from fastface.errors import ModelError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        good: True it works, False it is broken, None it is not there and not needed.
        detail: version or state.
        remedy: how to get it or mend it; "" where nothing is to be done.
    """

    name: str
    good: bool | None
    detail: str
    remedy: str = ""


def explain_torch_mismatch(error: BaseException) -> ModelError:
    """A ModelError that says what to do about a torch and torchvision that do not belong together.

    facenet_pytorch imports torchvision; one that was built for another torch fails with an error that names neither.
    """
    found = ", ".join(f"{n} {_version(n) or 'missing'}" for n in ("torch", "torchvision", "facenet-pytorch"))
    return ModelError(
        f"facenet_pytorch cannot be imported ({type(error).__name__}: {error}). Installed: {found}. torch and "
        "torchvision must come from the same release and the same index: "
        "`pip install --force-reinstall torch torchvision` (a CPU-only torch needs torchvision's CPU-only build)"
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _torch() -> list[Finding]:
    remedy = "pip install torch torchvision"
    if _version("torch") is None:
        return [Finding("torch", False, "missing", remedy)]
    import torch

    out = [
        Finding(
            "torch",
            True,
            f"{torch.__version__}, CUDA {torch.version.cuda or 'not built in'}, {torch.get_num_threads()} threads",
        )
    ]
    try:
        import facenet_pytorch  # noqa: F401
    except (ImportError, RuntimeError, AttributeError) as error:
        out.append(Finding("facenet-pytorch", False, "cannot be imported", str(explain_torch_mismatch(error))))
    else:
        out.append(Finding("facenet-pytorch", True, f"{_version('facenet-pytorch')}, MTCNN's weights are in it"))
    return out


def _core() -> Finding:
    try:
        from fastface import _core  # noqa: F401
    except ImportError as error:
        return Finding("C++ core", False, str(error), "install again: pip install --force-reinstall fastface-gpu")
    return Finding("C++ core", True, "loads")


def _libav() -> Finding:
    import av

    libraries = ", ".join(f"{n} {'.'.join(map(str, v))}" for n, v in av.library_versions.items() if n == "libavcodec")
    encoders = [c for c in ("libx264", "aac") if c not in av.codecs_available]
    return Finding(
        "PyAV",
        not encoders,
        f"{av.__version__}, {libraries}",
        f"its libav lacks {', '.join(encoders)}, which `fastface render` needs" if encoders else "",
    )


def _gpu() -> list[Finding]:
    extra = "pip install 'fastface-gpu[cuda13]' (or cuda12, as the driver's CUDA version says)"
    if importlib.util.find_spec("pynvml") is None:
        return [Finding("GPU", None, "not looked at: nvidia-ml-py is not installed", f"with an NVIDIA GPU: {extra}")]
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [Finding("GPU", None, f"none ({error})", "with an NVIDIA GPU: install its driver")]
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        out = [Finding("driver", True, f"{driver}, CUDA {cuda // 1000}.{cuda % 1000 // 10}")]
        for i in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(i)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30
            out.append(Finding(f"GPU {i}", True, f"{pynvml.nvmlDeviceGetName(handle)}, {memory:.0f} GiB"))
    finally:
        pynvml.nvmlShutdown()
    for module, package in (("cupy", "cupy"), ("PyNvVideoCodec", "PyNvVideoCodec")):
        there = importlib.util.find_spec(module) is not None
        out.append(
            Finding(package, True if there else None, "installed" if there else "missing", "" if there else extra)
        )
    return out


def _models() -> list[Finding]:
    from fastface import models
    from fastface.models import cache

    out = [
        Finding(
            "model cache",
            True,
            str(cache.folder())
            + (", FASTFACE_OFFLINE=1: never downloads" if os.environ.get("FASTFACE_OFFLINE") == "1" else ""),
        )
    ]
    for spec in models.list_models():
        there = models.is_cached(spec.name)
        out.append(
            Finding(
                spec.name,
                True if there else None,
                "in the cache" if there else "not in the cache",
                "" if there else f"fastface models pull {spec.name} (or at first use)",
            )
        )
    return out


def examine() -> list[Finding]:
    """Look at everything; never raises for what is missing."""
    return [
        Finding("fastface-gpu", True, _version("fastface-gpu") or "run from a source tree"),
        Finding("Python", True, f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} processors"),
        _core(),
        *_torch(),
        _libav(),
        *_gpu(),
        *_models(),
    ]
