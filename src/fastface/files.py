"""Writing files so that nothing half-written is ever left at an output's name."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fastface.errors import InputValidationError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; rename it to `path` if the block succeeds, else remove it.

    The temporary name keeps the suffix of `path`, because encoders and archives choose their format by it.

    Raises:
        InputValidationError: the folder of `path` does not exist, or `path` is a folder.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise InputValidationError(f"cannot write {str(target)!r}: the folder {str(target.parent)!r} does not exist")
    if target.is_dir():
        raise InputValidationError(f"cannot write {str(target)!r}: it is a folder")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise InputValidationError(f"cannot write {str(target)!r}: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; an output gets the rights that any new file would get.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
