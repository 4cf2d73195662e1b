"""Names that people give, and the files and ids that stand for them. No name is ever part of a path as it is."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote, unquote

from fastface.errors import InputValidationError, shown

MAX_NAME = 200
"""Characters of a person's name."""

MAX_GALLERY = 64
"""Bytes of a gallery's name, as UTF-8."""

GALLERY_ENDING = ".gallery"


def checked_gallery(name: object) -> str:
    """The name of a gallery, in Unicode's composed form.

    Raises:
        InputValidationError: it is no text of letters, digits (of any script), "-", "_", "." and single spaces that
            begins with a letter or a digit and has 64 bytes at most.
    """
    if isinstance(name, str) and _is_text(name):
        composed = unicodedata.normalize("NFC", name)
        inner = all(c.isalnum() or unicodedata.combining(c) or c in "-_. " for c in composed)
        good = inner and composed[:1].isalnum() and not composed.endswith(" ") and "  " not in composed
        if good and len(composed.encode()) <= MAX_GALLERY:
            return composed
    raise InputValidationError(
        f"the gallery's name is {shown(name)}, must be letters, digits, '-', '_', '.' and single spaces, begin with a "
        f"letter or digit, and have at most {MAX_GALLERY} bytes"
    )


def checked_person(name: object) -> str:
    """The name of a person, in Unicode's composed form.

    Raises:
        InputValidationError: it is empty, too long, more than one line, or has a slash, with which it could not stand
            in a path of the interface.
    """
    if isinstance(name, str) and _is_text(name):
        composed = unicodedata.normalize("NFC", name).strip()
        good = composed.isprintable() and not set(composed) & set("/\\") and composed.strip(".")
        if good and len(composed) <= MAX_NAME:
            return composed
    raise InputValidationError(
        f"the person's name is {shown(name)}, must be one line of 1 to {MAX_NAME} characters without / and \\"
    )


def gallery_file(name: str) -> str:
    """The file of a gallery whose name was checked: letters beyond ASCII are written as %XX."""
    return quote(name, safe=" ") + GALLERY_ENDING


def gallery_name(file: str) -> str:
    """The name that a file stands for; the reverse of :func:`gallery_file`."""
    return unquote(file.removesuffix(GALLERY_ENDING))


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True
