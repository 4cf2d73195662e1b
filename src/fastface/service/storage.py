"""Files at a URL of fsspec (`s3://bucket/prefix`), for services and workers that share no folder.

S3 needs the extra `s3`. Keys and the address of another S3 come from the environment (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, ...), never from the URL.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastface.errors import FastFaceError, InputValidationError, shown

_log = logging.getLogger("fastface.service")

_WHOLE = frozenset(["s3", "s3a", "gs", "gcs", "az", "abfs", "memory"])
"""Where a file that is written can be seen only once it is whole."""


class StorageError(FastFaceError, OSError):
    """The storage cannot be reached, or refuses."""


class Storage:
    """Files by names such as "results/x.json". May be used by several threads and processes at once.

    Args:
        url: of the folder.

    Raises:
        InputValidationError: there is nothing for such URLs, or it is not installed.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        if "://" not in url:
            raise InputValidationError(f"the storage is {shown(url)}, must be a URL such as s3://bucket/prefix")
        if "@" in url.partition("://")[2].partition("/")[0]:
            raise InputValidationError("the storage's URL holds a password; give keys by the environment")
        try:
            # Listings that fsspec remembers would hide what others wrote.
            self._files, base = fsspec.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise InputValidationError(f"the storage {shown(url)} cannot be used: {error}") from error
        self._base = base.rstrip("/")
        kinds = self._files.protocol
        self._whole = bool(_WHOLE.intersection([kinds] if isinstance(kinds, str) else kinds))
        self.url = url

    def check(self) -> None:
        """Write, look at and remove a small file.

        Raises:
            StorageError: that does not work.
        """
        name = f"work/check-{secrets.token_hex(8)}"
        with _told(f"the storage {self.url!r} cannot be written", missing=True):
            if not self._whole:
                self._files.makedirs(f"{self._base}/work", exist_ok=True)
            self._files.pipe_file(self._path(name), b"fastface")
            self._files.info(self._path(name))
            self._files.rm_file(self._path(name))

    def put(self, file: Path, name: str) -> str:
        """Copy a file here, as a whole or not at all; gives its mark.

        Raises:
            FileNotFoundError: there is no such file.
            StorageError: it cannot be written.
        """
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {os.fspath(file)!r}")
        target = self._path(name)
        with _told(f"{name!r} cannot be stored", missing=True):
            if self._whole:
                self._files.put_file(os.fspath(file), target)
            else:
                folder, _, last = target.rpartition("/")
                self._files.makedirs(folder, exist_ok=True)
                temporary = f"{folder}/.{last}-{secrets.token_hex(8)}"
                try:
                    self._files.put_file(os.fspath(file), temporary)
                    self._files.mv(temporary, target)
                except BaseException:
                    with contextlib.suppress(Exception):
                        self._files.rm_file(temporary)
                    raise
            return _mark(self._files.info(target))

    def get(self, name: str, file: Path) -> str:
        """Copy a file from here, as a whole or not at all; gives its mark. The copy has the stored file's time, so that
        each copy looks the same.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it cannot be read.
        """
        temporary = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
        try:
            with _told(f"{name!r} cannot be fetched"):
                while True:
                    facts = self._files.info(self._path(name))
                    self._files.get_file(self._path(name), os.fspath(temporary))
                    if _mark(self._files.info(self._path(name))) == _mark(facts):
                        break  # else it was replaced meanwhile, and who knows which one came
            nanoseconds = int(_modified(facts) * 1e9)
            os.utime(temporary, ns=(nanoseconds, nanoseconds))
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
        return _mark(facts)

    def mark(self, name: str) -> str | None:
        """What differs when the file does; None: there is none.

        Raises:
            StorageError: it cannot be asked for.
        """
        with _told(f"{name!r} cannot be looked at"):
            try:
                return _mark(self._files.info(self._path(name)))
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """Remove a file, if it is there.

        Raises:
            StorageError: it cannot be removed.
        """
        with _told(f"{name!r} cannot be removed"), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def all(self, folder: str) -> Mapping[str, float]:
        """Names of the files in a folder, without it, and when each was written, in seconds since 1970.

        Raises:
            StorageError: they cannot be listed.
        """
        with _told(f"{folder!r} cannot be listed"):
            try:
                found = self._files.find(self._path(folder), detail=True)
            except FileNotFoundError:
                return {}
        return {path.rpartition("/")[2]: _modified(facts) for path, facts in found.items()}

    def _path(self, name: str) -> str:
        if name.startswith("/") or ".." in name.split("/"):
            raise InputValidationError(f"the name {shown(name)} leads out of the storage")
        return f"{self._base}/{name}"


@contextlib.contextmanager
def _told(message: str, *, missing: bool = False) -> Iterator[None]:
    """Whatever a library raises becomes ours; `missing`: also that something is not there. Its own words, which may say
    where the storage is, are for the log."""
    try:
        yield
    except InputValidationError:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError) and not missing:
            raise
        _log.warning("%s: %s: %s", message, type(error).__name__, error)
        raise StorageError(f"{message} ({type(error).__name__})") from error


def _mark(facts: Mapping[str, Any]) -> str:
    own = facts.get("ETag") or facts.get("etag") or facts.get("ino")
    return f"{own} {facts.get('size')} {_modified(facts)}"


def _modified(facts: Mapping[str, Any]) -> float:
    """Seconds since 1970; each kind of storage calls it otherwise."""
    for name in ("LastModified", "mtime", "last_modified", "updated", "created"):
        value = facts.get(name)
        if isinstance(value, datetime.datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            return datetime.datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    return 0.0
