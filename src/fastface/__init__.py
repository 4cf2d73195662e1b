"""fastface: who is on screen, when and where.

    import fastface
    timeline = fastface.process("video.mp4")

Importing this loads neither torch nor the C++ extension; both load at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastface.errors import (
    FastFaceError,
    GalleryError,
    GPUError,
    GPUMemoryError,
    InputValidationError,
    ModelError,
    VideoProcessingError,
)

if TYPE_CHECKING:
    from fastface.aio import ProcessEvent, aprocess
    from fastface.api import process, timeline_schema
    from fastface.batch import BatchProcessor, BatchResult, process_many
    from fastface.clip import Clip
    from fastface.drawing import render, timeline_picture
    from fastface.gallery import Gallery
    from fastface.memory_guard import gpu_memory_guard
    from fastface.person_search import Found, FoundSpan, SearchResult, search
    from fastface.pipeline import Pipeline
    from fastface.reporting import report
    from fastface.timeline import Appearance, Identity, Span, Timeline, Track
    from fastface.validation import Limits
    from fastface.version import __version__

# Where each lazy name lives.
_LAZY = {
    "Appearance": "fastface.timeline",
    "BatchProcessor": "fastface.batch",
    "BatchResult": "fastface.batch",
    "Clip": "fastface.clip",
    "Found": "fastface.person_search",
    "FoundSpan": "fastface.person_search",
    "Gallery": "fastface.gallery",
    "Identity": "fastface.timeline",
    "Limits": "fastface.validation",
    "Pipeline": "fastface.pipeline",
    "ProcessEvent": "fastface.aio",
    "SearchResult": "fastface.person_search",
    "Span": "fastface.timeline",
    "Timeline": "fastface.timeline",
    "Track": "fastface.timeline",
    "__version__": "fastface.version",
    "aprocess": "fastface.aio",
    "gpu_memory_guard": "fastface.memory_guard",
    "process": "fastface.api",
    "process_many": "fastface.batch",
    "render": "fastface.drawing",
    "report": "fastface.reporting",
    "search": "fastface.person_search",
    "timeline_picture": "fastface.drawing",
    "timeline_schema": "fastface.api",
}

__all__ = [
    "Appearance",
    "BatchProcessor",
    "BatchResult",
    "Clip",
    "FastFaceError",
    "Found",
    "FoundSpan",
    "GPUError",
    "GPUMemoryError",
    "Gallery",
    "GalleryError",
    "Identity",
    "InputValidationError",
    "Limits",
    "ModelError",
    "Pipeline",
    "ProcessEvent",
    "SearchResult",
    "Span",
    "Timeline",
    "Track",
    "VideoProcessingError",
    "__version__",
    "aprocess",
    "gpu_memory_guard",
    "process",
    "process_many",
    "render",
    "report",
    "search",
    "timeline_picture",
    "timeline_schema",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fastface' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
