"""Names and settings of the files that are written."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from fastface.errors import InputValidationError

CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv")


def checked_target(out: str | os.PathLike[str], video: str | os.PathLike[str]) -> Path:
    """The path of a video to be written.

    Raises:
        InputValidationError: its name does not end as one of :data:`CONTAINERS`, or it is the video that is read.
    """
    target = Path(out)
    if target.suffix.lower() not in CONTAINERS:
        raise InputValidationError(f"cannot write {str(target)!r}: the name must end in {', '.join(CONTAINERS)}")
    if target.exists() and target.samefile(video):
        raise InputValidationError(f"cannot write {str(target)!r}: it is the video that is to be read")
    return target


def check_size(told: Mapping[str, Any], width: int, height: int, path: str) -> None:
    """Make sure that a video's pictures have the size that its timeline says.

    Args:
        told: the timeline's `video`.
        width, height: of the video, display pixels.
        path: of the video.

    Raises:
        InputValidationError: they have not, so that it is the timeline of another video.
    """
    expected = (told.get("width"), told.get("height"))
    if None not in expected and expected != (width, height):
        raise InputValidationError(
            f"the timeline is of a video of {expected[0]} x {expected[1]} pixels, {path!r} shows {width} x {height}"
        )


def muxer_options(suffix: str, bases: Iterable[Fraction]) -> dict[str, str]:
    """MP4 writes a stream's late start and its end in milliseconds unless told to be finer, which would move its time
    stamps.

    Args:
        suffix: of the file.
        bases: seconds of one unit of each stream's time stamps, the picture's first.
    """
    if suffix.lower() == ".mkv":
        return {}
    scale = 1
    for base in bases:
        common = math.lcm(scale, base.denominator)
        scale = common if common < 2**31 else scale
    return {"movie_timescale": str(scale)} if 1000 < scale < 2**31 else {}
