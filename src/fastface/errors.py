"""Everything that fastface raises on purpose, on one page.

Each message says what was wrong (with the value), and what is allowed or what to do. The command line maps the
classes to exit codes: 2 usage, 3 bad input, 4 models missing, 5 GPU failure.
"""

from __future__ import annotations

import reprlib

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 80


def shown(value: object) -> str:
    """A value for a message: short, however large or deep it is."""
    try:
        return _repr.repr(value)
    except ValueError:  # Python writes out no whole number of more than 4300 digits
        return f"{type(value).__name__} too long to show"


class FastFaceError(Exception):
    """The root: catch this to catch whatever fastface raises on purpose."""

    exit_code = 1


class InputValidationError(FastFaceError, ValueError):
    """An argument, a setting, a file or a document is not what it must be."""

    exit_code = 3


class VideoProcessingError(FastFaceError):
    """A video cannot be decoded, or cannot be decoded further.

    Attributes:
        frame: number of the frame at which it happened, in the order shown; None if before the first.
        time: seconds from the first frame shown; None if before the first.
    """

    exit_code = 3

    def __init__(self, message: str, *, frame: int | None = None, time: float | None = None) -> None:
        super().__init__(message)
        self.frame = frame
        self.time = time


class ModelError(FastFaceError):
    """A model is missing, cannot be fetched, or its file is not the published one."""

    exit_code = 4


class GalleryError(FastFaceError, ValueError):
    """A gallery, or a photograph for one, cannot be used."""

    exit_code = 3


class GPUError(FastFaceError, RuntimeError):
    """The GPU, its driver or its decoder failed, or was asked for and is not there."""

    exit_code = 5


class GPUMemoryError(GPUError):
    """The GPU's memory does not suffice, even for the smallest batch."""
