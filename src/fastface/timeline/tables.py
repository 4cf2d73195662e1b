"""Timeline to tables: pandas, CSV, Parquet."""

from __future__ import annotations

import csv
import json
import os
from typing import TYPE_CHECKING

from fastface.files import replacing

if TYPE_CHECKING:
    import pandas as pd

    from fastface.timeline.timeline import Timeline

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


def faces_frame(timeline: Timeline) -> pd.DataFrame:
    """See :meth:`Timeline.to_dataframe`."""
    import pandas as pd

    document = timeline.to_dict()["faces"]
    faces = timeline.faces
    columns: dict[str, object] = {"frame": faces.frame, "time": document["time"]}
    for i, name in enumerate(("x1", "y1", "x2", "y2")):
        columns[name] = [box[i] for box in document["box"]]
    columns["score"] = document["score"]
    for i, part in enumerate(LANDMARKS):
        for j, axis in enumerate("xy"):
            columns[f"{part}_{axis}"] = [points[i][j] for points in document["landmarks"]]
    columns["track"] = faces.track
    columns["identity"] = pd.array(document["identity"], dtype="Int64")
    names = {p.id: p.name for p in timeline.identities}
    columns["name"] = pd.array([names.get(i) for i in document["identity"]], dtype="string")
    return pd.DataFrame(columns)


def spans_frame(timeline: Timeline) -> pd.DataFrame:
    """One row per instance of a person, ordered by start: identity, name, gallery_id, label, start, end, duration
    (seconds), start_frame, end_frame, similarity, threshold."""
    import pandas as pd

    rows = [
        {**{k: person[k] for k in ("id", "name", "gallery_id", "similarity", "threshold")}, **span, "label": told.label}
        for person, told in zip(timeline.to_dict()["identities"], timeline.identities, strict=True)
        for span in person["instances"]
    ]
    rows.sort(key=lambda r: (r["start"], r["id"]))

    def column(name: str, dtype: str) -> pd.api.extensions.ExtensionArray:
        return pd.array([r[name] for r in rows], dtype=dtype)

    columns: dict[str, object] = {"identity": column("id", "Int64")}
    columns |= {name: column(name, "string") for name in ("name", "gallery_id", "label")}
    start, end = (column(name, "float64") for name in ("start", "end"))
    columns |= {"start": start, "end": end, "duration": (end - start).round(6)}
    columns |= {name: column(name, "int64") for name in ("start_frame", "end_frame")}
    columns |= {name: column(name, "float64") for name in ("similarity", "threshold")}
    return pd.DataFrame(columns)


def write_csv(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as CSV, whole or not at all."""
    # Python's writer leaves a lone carriage return without quotes, and readers take it for the end of a row.
    returns = any(table[c].str.contains("\r", regex=False).any() for c in table.select_dtypes("string"))
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL)


def write_parquet(timeline: Timeline, path: str | os.PathLike[str]) -> None:
    """See :meth:`Timeline.to_parquet`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rest = {k: v for k, v in timeline.to_dict().items() if k != "faces"}
    table = pa.Table.from_pandas(faces_frame(timeline), preserve_index=False)
    extra = {b"fastface.timeline": json.dumps(rest).encode()}
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **extra}), temporary)
