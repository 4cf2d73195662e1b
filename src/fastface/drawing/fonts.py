"""Letters for pictures: Pillow's built-in font, and the system's where a name needs letters that it lacks."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

from PIL import ImageFont

# Pillow looks for these in the system's font folders (Linux, macOS, Windows). Widest coverage of letters
# first.
_SYSTEM = (
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "Arial.ttf",
    "arial.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-zenhei.ttc",
    "Arial Unicode.ttf",
    "msgothic.ttc",
    "malgun.ttf",
)
_NO_LETTER = "\uffff"  # never a letter: every font draws its sign for "missing"


def _shape(font: Any, letter: str) -> tuple[Any, bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@lru_cache(maxsize=4096)
def _has(name: str | None, letter: str) -> bool:
    font = ImageFont.load_default(24) if name is None else _system_font(name, 24)
    return letter.isspace() or (font is not None and _shape(font, letter) != _shape(font, _NO_LETTER))


@lru_cache(maxsize=64)
def _system_font(name: str, size: float) -> Any:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=64)
def _built_in(size: float) -> Any:
    return ImageFont.load_default(size)


def _choose(text: str) -> tuple[str | None, set[str]]:
    """The font for a text, None for the built-in one, and the letters that it lacks."""
    letters = set(text)
    best, fewest = None, {c for c in letters if not _has(None, c)}
    for name in _SYSTEM:
        if not fewest:
            break
        if _system_font(name, 24) is None:
            continue
        missing = {c for c in letters if not _has(name, c)}
        if len(missing) < len(fewest):
            best, fewest = name, missing
    return best, fewest


def font_for(text: str, size: float) -> Any:
    """A font (PIL.ImageFont.FreeTypeFont) of `size` pixels that has the letters of `text`.

    The built-in one (Basic Latin) if it has them all; else the first of the system's well-known fonts that
    does; else the one that lacks the fewest, whose sign for a missing letter is then drawn.
    """
    name = _choose(text)[0]
    return _built_in(size) if name is None else _system_font(name, size)


def printable(text: str) -> str:
    """The text on one line, without control characters; letters that no font here has without their
    accents."""
    text = "".join(c if c.isprintable() else " " for c in text)
    missing = _choose(text)[1]
    if not missing:
        return text
    return "".join(unicodedata.normalize("NFKD", c)[0] if c in missing else c for c in text)


def fitted(text: str, size: float, room: float) -> str:
    """The text, its end replaced by dots where it is wider than `room` pixels."""
    font = font_for(text, size)
    if font.getlength(text) <= room:
        return text
    while len(text) > 1 and font.getlength(text + "...") > room:
        text = text[:-1]
    return text.rstrip() + "..."
