"""A timeline in the formats of other programs, one file per format; this is the list of them.

Times are the video's own, in seconds from the first frame shown. Formats that count frames at a nominal rate (edl,
otio) compute them from those seconds, so that videos of variable frame rate come out right.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastface.errors import InputValidationError

if TYPE_CHECKING:
    import pandas as pd

    from fastface.timeline import Timeline


@dataclass(frozen=True)
class Format:
    """What a timeline can be written as.

    Attributes:
        name: such as "csv-faces".
        ending: of file names that mean this format. Of "x.csv" alone it cannot be told which table is meant, of
            "x.faces.csv" it can.
        what: one line for people.
        writer: module and function of this package, or a method of Timeline: (timeline, path, **options) writes the
            file, whole or not at all.
        reader: module and function: path to a pandas DataFrame; None: there is no way back to a table.
        options: which of `rate` and `start_timecode` the writer takes.
    """

    name: str
    ending: str
    what: str
    writer: str
    reader: str | None = None
    options: tuple[str, ...] = ()


_VIDEO_TIME = ("rate", "start_timecode")

FORMATS = (
    Format("json", ".json", "the timeline itself, schema fastface.timeline/1", "to_json"),
    Format("csv-spans", ".spans.csv", "one row per stretch of a person", "tables:write_spans", "tables:read_spans"),
    Format("csv-faces", ".faces.csv", "one row per detected face", "to_csv", "tables:read_faces"),
    Format("parquet", ".parquet", "one row per detected face", "to_parquet", "tables:read_parquet"),
    Format("vtt-chapters", ".chapters.vtt", "WebVTT: chapters, called after who is there", "webvtt:write_chapters"),
    Format("vtt-metadata", ".metadata.vtt", "WebVTT: a cue of JSON per stretch of a person", "webvtt:write_metadata"),
    Format("edl", ".edl", "markers for DaVinci Resolve", "edl:write", None, _VIDEO_TIME),
    Format("otio", ".otio", "OpenTimelineIO: the video as a clip with markers", "otio:write", None, _VIDEO_TIME),
    Format("mot", ".txt", "MOT Challenge: one line per detected face", "mot:write", "mot:read"),
    Format("rekognition", ".rekognition.json", "as Amazon Rekognition's GetFaceSearch answers", "rekognition:write"),
)


def format_of(path: str | os.PathLike[str], name: str | None = None) -> Format:
    """The format of this name, else the one that a file's ending says.

    Raises:
        InputValidationError: there is no such format, or the ending does not say which one is meant.
    """
    known = ", ".join(f.name for f in FORMATS)
    if name is not None:
        for candidate in FORMATS:
            if candidate.name == name:
                return candidate
        raise InputValidationError(f"format is {name!r}, must be one of {known}")
    file = Path(path).name.lower()
    if fitting := [f for f in FORMATS if file.endswith(f.ending)]:
        return max(fitting, key=lambda f: len(f.ending))
    if several := [f for f in FORMATS if Path(file).suffix == Path(f"x{f.ending}").suffix]:
        names = " or ".join(repr(f.name) for f in several)
        endings = " or ".join(f.ending for f in several)
        raise InputValidationError(
            f"{os.fspath(path)!r} does not say which format is meant: give the format, {names}, or let the name end in "
            f"{endings}"
        )
    raise InputValidationError(f"{os.fspath(path)!r} ends like no format: give the format, one of {known}")


def _function(place: str) -> Callable[..., Any]:
    module, name = place.split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(f"fastface.export.{module}"), name)
    return function


def export(timeline: Timeline, path: str | os.PathLike[str], name: str | None = None, **options: Any) -> Format:
    """See :meth:`Timeline.export`; options that are None are as good as not given.

    Returns:
        The format that was written.
    """
    chosen = format_of(path, name)
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in chosen.options:
            takers = ", ".join(f.name for f in FORMATS if key in f.options)
            raise InputValidationError(f"{key} is {given[key]!r}, but {chosen.name} takes none; these do: {takers}")
    write = _function(chosen.writer) if ":" in chosen.writer else getattr(type(timeline), chosen.writer)
    write(timeline, path, **given)
    return chosen


def read_table(path: str | os.PathLike[str], format: str | None = None) -> pd.DataFrame:
    """Read a table back that :meth:`Timeline.export` wrote.

    Args:
        path: the file.
        format: "csv-faces" and "parquet" give what :meth:`Timeline.to_dataframe` gave, "csv-spans" its own table, "mot"
            the columns frame, track, x1, y1, x2, y2 and score. None: as the file's ending says.

    Raises:
        InputValidationError: the file cannot be read, is something else, or this format has no way back.
    """
    chosen = format_of(path, format)
    if chosen.reader is None:
        readable = ", ".join(f.name for f in FORMATS if f.reader)
        raise InputValidationError(f"format is {chosen.name!r}, but only these can be read as tables: {readable}")
    name = os.fspath(path)
    try:
        table: pd.DataFrame = _function(chosen.reader)(Path(path))
    except OSError as error:
        raise InputValidationError(f"cannot read {name!r}: {error.strerror or error}") from error
    except (ValueError, KeyError) as error:
        raise InputValidationError(f"{name!r} is no {chosen.name} file of fastface: {error}") from error
    return table
