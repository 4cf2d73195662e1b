"""API keys: who may ask. Only their hashes are kept; a key is shown once, when it is made."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import time
from pathlib import Path

from fastface.errors import InputValidationError, shown
from fastface.files import replacing

_KEY = re.compile(r"ff_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NOBODY = hashlib.sha256(b"").hexdigest()


class Keys:
    """The keys of a service, in a file of its folder that is read again when it changes.

    A key's secret is 256 random bits, so that a plain sha256 of it cannot be turned back. Its owner is the name that it
    was made for: two keys of one name see the same jobs, so that a key can be replaced.

    Args:
        path: of the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._read: tuple[tuple[int, int], dict[str, dict[str, str]]] = ((0, 0), {})

    def add(self, name: str) -> str:
        """Make a key.

        Raises:
            InputValidationError: the name is not made of letters, digits, ".", "_" and "-".
        """
        if not _NAME.fullmatch(name):
            raise InputValidationError(f"the key's name is {shown(name)}, must be letters, digits, '.', '_' and '-'")
        number, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        fact = {"name": name, "sha256": _hash(secret), "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        self._write({**self._all(), number: fact})
        return f"ff_{number}_{secret}"

    def remove(self, name: str) -> int:
        """Forget all keys of a name; gives how many there were."""
        before = self._all()
        self._write({number: fact for number, fact in before.items() if fact["name"] != name})
        return sum(fact["name"] == name for fact in before.values())

    def names(self) -> list[str]:
        """Whom there are keys for."""
        return sorted({fact["name"] for fact in self._all().values()})

    def owner(self, key: str) -> str | None:
        """Whose key this is; None: nobody's. It takes as long for a wrong secret as for the right one."""
        match = _KEY.fullmatch(key)
        if match is None:
            return None
        fact = self._all().get(match[1])
        good = hmac.compare_digest(_hash(match[2]), _NOBODY if fact is None else fact["sha256"])
        return fact["name"] if good and fact is not None else None

    def _all(self) -> dict[str, dict[str, str]]:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return {}
        mark = (status.st_mtime_ns, status.st_ino)
        if self._read[0] != mark:
            try:
                self._read = (mark, json.loads(self._path.read_text()))
            except ValueError as error:
                raise InputValidationError(f"the keys in {str(self._path)!r} are damaged: {error}") from error
        return self._read[1]

    def _write(self, keys: dict[str, dict[str, str]]) -> None:
        with replacing(self._path) as temporary:
            temporary.write_text(json.dumps(keys, indent=2))
        self._path.chmod(0o600)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
