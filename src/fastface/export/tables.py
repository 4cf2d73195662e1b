"""Tables: CSV of spans, and the way back from CSV and Parquet; what is in them `fastface.timeline.tables` decides."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fastface.timeline.tables import spans_frame, write_csv

if TYPE_CHECKING:
    import pandas as pd

    from fastface.timeline import Timeline

_KINDS = {"identity": "Int64", "name": "string", "gallery_id": "string", "label": "string"}
_WHOLE = ("frame", "track", "start_frame", "end_frame")


def write_spans(timeline: Timeline, path: str | os.PathLike[str]) -> None:
    """One row per instance, ordered by time: identity, name, gallery_id, label, start, end, duration (seconds),
    start_frame, end_frame, similarity, threshold."""
    write_csv(spans_frame(timeline), path)


def read_faces(path: Path) -> pd.DataFrame:
    """What :meth:`Timeline.to_dataframe` gave, to the last digit."""
    return _read(path, "frame")


def read_spans(path: Path) -> pd.DataFrame:
    """What :func:`write_spans` wrote."""
    return _read(path, "start_frame")


def _checked(columns: pd.Index[str], key: str) -> None:
    if key not in columns:
        raise ValueError(f"it lacks the column {key!r}")


def _read(path: Path, key: str) -> pd.DataFrame:
    import pandas as pd

    columns = pd.read_csv(path, nrows=0).columns
    _checked(columns, key)
    kinds = {c: _KINDS.get(c, "int64" if c in _WHOLE else "float64") for c in columns}
    # Empty is missing, and nothing else is: somebody may be called "NA" or "None".
    table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])
    # No column has more digits; pandas before 3 may read the last bit wrong.
    return table.round({name: 6 for name, kind in kinds.items() if kind == "float64"})


def read_parquet(path: Path) -> pd.DataFrame:
    """What :meth:`Timeline.to_dataframe` gave."""
    import pandas as pd

    table = pd.read_parquet(path)
    _checked(table.columns, "frame")
    return table
