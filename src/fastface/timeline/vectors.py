"""The embeddings of a timeline's tracks as an .npz: beside the document, or inside it as base64.

The document's "embeddings" entry says which model they are of, how many there are, where they are stored and the sha256
of the .npz; the name of a file beside it is never taken from the document.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import struct
import tokenize
import zipfile
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InputValidationError, shown
from fastface.types import Embeddings

MAX_BYTES = 1 << 30


def pack(embeddings: Embeddings) -> bytes:
    """As the bytes of an .npz; the same embeddings give the same bytes."""
    out = io.BytesIO()
    np.savez(out, **{f.name: getattr(embeddings, f.name) for f in fields(embeddings)})
    return out.getvalue()


# What zipfile and NumPy raise for archives that are damaged, compressed or encrypted in a way they do not know, or that
# claim more than there is.
_BROKEN = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    MemoryError,
    OverflowError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
    zipfile.BadZipFile,
)


def _column(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        column: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return column


def unpack(content: bytes, name: str) -> Embeddings:
    """What :func:`pack` packed.

    Raises:
        InputValidationError: it is something else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise ValueError(f"it holds {size} bytes, must be at most {MAX_BYTES}")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            embeddings = Embeddings(**{f.name: _column(archive, f.name) for f in fields(Embeddings)})
        numbers = (embeddings.mean, embeddings.weight, embeddings.legibility)
        if not all(np.isfinite(n).all() for n in numbers) or (np.diff(embeddings.track) <= 0).any():
            raise ValueError("its numbers must be finite and its tracks ascend")
    except _BROKEN as error:
        raise InputValidationError(f"{name} holds no embeddings: {error}") from error
    return embeddings


def entry(embeddings: Embeddings, model: Any, content: bytes, stored: str) -> dict[str, Any]:
    """What the document says of them."""
    out = {
        "model": model,
        "dim": int(embeddings.mean.shape[1]),
        "tracks": len(embeddings),
        "stored": stored,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    if stored == "inside":
        out["npz"] = base64.b64encode(content).decode("ascii")
    return out


def beside(path: Path) -> Path:
    """Where the embeddings of a document are: timeline.npz of timeline.json."""
    return path.with_suffix(".npz")


def read(told: Any, path: Path | None) -> tuple[Embeddings | None, str]:
    """The embeddings that a document's entry tells of, or why they are not there.

    Args:
        told: the entry.
        path: of the document; None: it is not a file.

    Raises:
        InputValidationError: those inside the document are broken.
    """
    if told is None:
        return None, "its document was written without"
    wrong = InputValidationError(
        f"document.embeddings must hold stored ('inside' or 'beside') and sha256, is {shown(told)}"
    )
    if not isinstance(told, dict) or not isinstance(told.get("sha256"), str):
        raise wrong
    if told.get("stored") == "inside":
        try:
            content = base64.b64decode(told.get("npz", ""), validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise InputValidationError(f"document.embeddings.npz is not base64: {error}") from error
        if hashlib.sha256(content).hexdigest() != told["sha256"]:
            raise InputValidationError("document.embeddings.npz is damaged: its sha256 is another than the entry's")
        return unpack(content, "document.embeddings.npz"), ""
    if told.get("stored") != "beside":
        raise wrong
    if path is None:
        return None, "its document says that they are in a file beside it, but it was not read from a file"
    file = beside(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        return None, f"{str(file)!r} cannot be read ({error.strerror})"
    if hashlib.sha256(content).hexdigest() != told["sha256"]:
        return None, f"{str(file)!r} belongs to another timeline (its sha256 is not the one that the document tells)"
    return unpack(content, repr(str(file))), ""
