"""Names for formats in which a line end means something."""

from __future__ import annotations

import unicodedata

_BREAKS = ("Cc", "Zl", "Zp")
"""Unicode's categories of control characters and of what separates lines and paragraphs."""


def one_line(text: str) -> str:
    """The text on one line: line ends and control characters become spaces, what UTF-8 cannot hold a question mark."""
    spaced = "".join(" " if unicodedata.category(c) in _BREAKS else c for c in text)
    return " ".join(spaced.encode("utf-8", "replace").decode("utf-8").split())
