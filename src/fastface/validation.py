"""A look at what comes in before any work is done on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fastface.errors import InputValidationError
from fastface.types import VideoInfo

_NO_VIDEO = ("text/", "image/jpeg", "image/png", "image/bmp", "image/tiff", "image/svg", "application/pdf",
             "application/zip", "application/gzip", "application/json", "application/x-tar", "application/msword",
             "application/vnd.openxmlformats", "application/vnd.ms", "application/vnd.sqlite3", "application/x-sqlite3",
             "application/x-7z", "application/x-rar", "application/x-msdownload", "application/x-elf")  # fmt: skip

_LEAST_CONFIDENCE = 0.3
"""Of a type that is told by two bytes puremagic is less sure than that."""


_LISTS = {
    "a list for libav": (b"ffconcat",),
    "a playlist": (b"#extm3u",),
    "a manifest": (b"dash:profile", b"<compositionplaylist"),
    "a session's description": (b"c=in ip",),
}
"""What libav's concat, hls, dash, imf and sdp demuxers know their files by, in small letters; at any place in
what libav looks at, to be sure."""


@dataclass(frozen=True)
class Limits:
    """What a video may be at most.

    Attributes:
        max_bytes: size of the file; 10 GB.
        max_seconds: duration as the container tells it; None: any.
        max_pixels: width times height of a frame; 8192 x 8192.
        root: a folder that paths may not leave, symbolic links resolved; None: any path. For paths and files that
            others give: playlists and other files that name files are refused, too.

    Raises:
        InputValidationError: a value is out of its range.
    """

    max_bytes: int = 10_000_000_000
    max_seconds: float | None = None
    max_pixels: int = 8192 * 8192
    root: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_seconds", "max_pixels"):
            value = getattr(self, name)
            if isinstance(value, bool) or (value is None and name != "max_seconds"):
                raise InputValidationError(f"{name} is {value!r}, must be a number above 0")
            if value is not None and not value > 0:
                raise InputValidationError(f"{name} is {value!r}, must be above 0")
        if self.root is not None and not Path(self.root).is_dir():
            raise InputValidationError(f"root is {os.fspath(self.root)!r}, must be a folder that exists")


def inside(root: str | os.PathLike[str], path: str | os.PathLike[str]) -> Path:
    """The path with symbolic links resolved; a relative one is taken from the root.

    Raises:
        InputValidationError: it leads out of the root.
    """
    base = Path(root).resolve()
    try:
        resolved = (base / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, or a NUL in the name
        raise InputValidationError(f"the path {os.fspath(path)!r} cannot be followed: {error}") from error
    if not resolved.is_relative_to(base):
        raise InputValidationError(f"the path {os.fspath(path)!r} leads out of {str(base)!r}")
    return resolved


def content_type(path: str | os.PathLike[str]) -> tuple[str, str] | None:
    """What a file holds by its first bytes, where that is known and cannot be a video: MIME type and description, such
    as ("image/jpeg", "JPEG/JFIF graphics file").

    Raises:
        OSError: it cannot be read.
    """
    import puremagic

    with open(path, "rb") as file:
        head = file.read(1 << 16)
    try:
        matches = [(m.mime_type, m.name, m.confidence) for m in puremagic.magic_string(head)]
    except puremagic.PureError:  # until 1.x; later ones give an empty list
        matches = []
    if not matches:
        return None  # not known: libav will tell
    if any(mime.startswith(("video/", "audio/")) for mime, _, _ in matches):
        return None
    mime, name, confidence = max(matches, key=lambda m: m[2])
    return (mime, name) if mime.startswith(_NO_VIDEO) and confidence >= _LEAST_CONFIDENCE else None


def list_kind(path: str | os.PathLike[str]) -> str | None:
    """What kind of list of other files a file is to libav, which would open those; None: it is no such list.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(1 << 20).lower()
    for kind, marks in _LISTS.items():
        if any(mark in head for mark in marks):
            return kind
    return None


def check_file(path: str | os.PathLike[str], limits: Limits) -> Path:
    """The path of a file that may be a video, judged without decoding.

    Raises:
        InputValidationError: there is no such file, it leads out of the root, is empty, too large, cannot be read, or
            holds something else.
    """
    name = os.fspath(path)
    if "\0" in name:
        raise InputValidationError(f"the path {name!r} holds a NUL")
    file = inside(limits.root, path) if limits.root is not None else Path(path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "is no regular file" if file.exists() else "does not exist"
        raise InputValidationError(f"the video {name!r} {what}")
    size = file.stat().st_size
    if not size:
        raise InputValidationError(f"the video {name!r} is empty")
    if size > limits.max_bytes:
        raise InputValidationError(f"the video {name!r} has {size:,} bytes, must have at most {limits.max_bytes:,}")
    try:
        other = content_type(file)
        if limits.root is not None and (kind := list_kind(file)) is not None:
            raise InputValidationError(f"{name!r} is not a video: it is {kind}, which names other files")
    except OSError as error:
        raise InputValidationError(f"the video {name!r} cannot be read: {error.strerror}") from error
    raw_jpeg = file.suffix.lower() in (".mjpeg", ".mjpg")
    if other is not None and not (raw_jpeg and other[0] == "image/jpeg"):
        raise InputValidationError(f"{name!r} is not a video: it is {other[0]} ({other[1]})")
    return file


def check_info(info: VideoInfo, limits: Limits) -> None:
    """What the container and the first frame say, against the limits.

    Raises:
        InputValidationError: the video is too long, or its frames are too large.
    """
    if limits.max_seconds is not None and (info.duration or 0.0) > limits.max_seconds:
        raise InputValidationError(
            f"the video {info.path!r} lasts {info.duration:.1f} s, must last at most {limits.max_seconds:g} s"
        )
    if info.width * info.height > limits.max_pixels:
        raise InputValidationError(
            f"the frames of {info.path!r} are {info.width} x {info.height}, must have at most {limits.max_pixels:,} "
            "pixels"
        )
