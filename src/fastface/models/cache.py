"""The folder where models are kept, and the manifest that says what each of its files must be.

    $FASTFACE_HOME/models, else the user's cache folder (on Linux ~/.cache/fastface/models)
        NAME.safetensors    converted weights
        manifest.json       sha256 of each of them and of what it was made from
        unreachable.json    routes that failed within the last day
        downloads/          source distributions that are kept, and files put there by hand

Files appear under their names complete or not at all. Several processes may use one folder at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

from fastface.errors import InputValidationError, ModelError
from fastface.files import replacing

try:
    import fcntl
except ImportError:  # not POSIX: two processes may do the same work twice, which is harmless
    fcntl = None  # type: ignore[assignment]

MANIFEST_SCHEMA = "fastface.models/1"
LEFT_BEHIND_SECONDS = 24 * 3600.0


def folder() -> Path:
    """The folder of the models, whether it exists or not. FASTFACE_HOME is read at each call."""
    home = os.environ.get("FASTFACE_HOME")
    root = Path(home).expanduser() if home else Path(platformdirs.user_cache_dir("fastface", appauthor=False))
    return root / "models"


def downloads() -> Path:
    """The folder for files as their publishers made them."""
    return folder() / "downloads"


def make(path: Path) -> Path:
    """Create a folder of the cache if need be.

    Raises:
        ModelError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"cannot create the model cache {str(path)!r}: {error.strerror or error}; "
            "set FASTFACE_HOME to a folder that can be written"
        ) from error
    return path


@contextlib.contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Give a temporary name beside `target`, renamed to it if the block succeeds, else removed.

    Raises:
        ModelError: the file cannot be written.
    """
    make(target.parent)
    try:
        with replacing(target) as temporary:
            yield temporary
    except (OSError, InputValidationError) as error:
        raise ModelError(f"cannot write {str(target)!r} in the model cache: {error}") from error


def sweep() -> None:
    """Remove what a process that was killed left behind more than a day ago."""
    for parent in (folder(), downloads()):
        for path in (*parent.glob(".work-*"), *parent.glob(".pip-*")):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > LEFT_BEHIND_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock `name` among all processes that use this cache; a second one waits.

    Where locks do not work (some network file systems) it goes on without: complete files still replace
    complete files, the work may just be done twice.
    """
    path = make(folder()) / f".{name}.lock"
    if fcntl is None:
        yield
        return
    try:
        handle = open(path, "wb")  # noqa: SIM115 - closed below, and the lock with it
    except OSError as error:
        raise ModelError(f"cannot write {str(path)!r} in the model cache: {error}") from error
    with handle:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def sha256_of(path: Path) -> str:
    """sha256 of a file, in lower-case hexadecimal.

    Raises:
        ModelError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ModelError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    return digest.hexdigest()


def weights_path(name: str) -> Path:
    """Where the converted weights of `name` are, or would be."""
    return folder() / f"{name}.safetensors"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of the cache; empty where it is missing or damaged, which only costs doing work again."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def write_json(path: Path, document: dict[str, Any]) -> None:
    with writing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _manifest_path() -> Path:
    return folder() / "manifest.json"


def entry(section: str, name: str) -> dict[str, Any]:
    """What the manifest has in section "models" (converted files) or "sources" (downloads), or nothing."""
    part = read_json(_manifest_path()).get(section)
    found = part.get(name) if isinstance(part, dict) else None
    return found if isinstance(found, dict) else {}


def record(section: str, name: str, content: dict[str, Any]) -> None:
    """Set an entry of the manifest and leave the others, also those that other processes are setting."""
    with locked("manifest"):
        document = read_json(_manifest_path())
        part = document.get(section)
        document["schema"] = MANIFEST_SCHEMA
        document[section] = {**(part if isinstance(part, dict) else {}), name: content}
        write_json(_manifest_path(), document)
