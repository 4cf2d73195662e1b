"""File names made of people's names."""

from __future__ import annotations

import unicodedata

_RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}
_MOST_BYTES = 100


def safe_name(label: str, number: int) -> str:
    """A name that any file system takes, and that no other label gets.

    Letters and digits of any script stay, and - and _ and single spaces and dots between them; all else becomes _.

    Args:
        label: a person's name.
        number: the person's id, which is added where anything had to be changed, so that two names stay two.
    """
    label = unicodedata.normalize("NFC", label)
    safe = "".join(c if c.isalnum() or c in " -_." or unicodedata.combining(c) else "_" for c in label)
    safe = safe.strip(" ._")
    while len(safe.encode()) > _MOST_BYTES:
        safe = safe[:-1].rstrip(" .")
    if safe == label and safe.partition(".")[0].lower() not in _RESERVED:
        return safe
    return f"{safe or 'person'}-{number}" if safe.partition(".")[0].lower() not in _RESERVED else f"_{safe}-{number}"
