"""MOT Challenge (https://motchallenge.net/instructions/): text for programs that score trackers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fastface.files import replacing

if TYPE_CHECKING:
    import pandas as pd

    from fastface.timeline import Timeline

_COLUMNS = ("frame", "id", "left", "top", "width", "height", "conf", "x", "y", "z")


def write(timeline: Timeline, path: str | os.PathLike[str]) -> None:
    """One line per detected face: frame, id, left, top, width, height, conf, -1, -1, -1.

    Frames are the video's, not of a nominal rate. Frames and ids are counted from 1, and so are pixels: the picture's
    corner is (1, 1). The id is the track's plus one, because that is what such programs score; names are not told.
    """
    faces = timeline.to_dict()["faces"]
    rows = zip(faces["frame"], faces["track"], faces["box"], faces["score"], strict=True)
    lines = [
        f"{frame + 1},{track + 1},{x1 + 1:.2f},{y1 + 1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.5f},-1,-1,-1\n"
        for frame, track, (x1, y1, x2, y2), score in rows
    ]
    with replacing(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def read(path: Path) -> pd.DataFrame:
    """frame and track (from 0), x1, y1, x2, y2 (pixels from 0), score: one row per face."""
    import pandas as pd

    kinds = {name: "int64" if name in ("frame", "id") else "float64" for name in _COLUMNS}
    table = pd.read_csv(path, header=None, names=list(_COLUMNS), dtype=kinds)
    left, top = table["left"] - 1, table["top"] - 1
    corners = {"x1": left, "y1": top, "x2": left + table["width"], "y2": top + table["height"]}
    columns = {name: column.round(2) for name, column in corners.items()}
    return pd.DataFrame({"frame": table["frame"] - 1, "track": table["id"] - 1, **columns, "score": table["conf"]})
