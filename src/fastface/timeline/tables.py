"""Timeline to tables: pandas, CSV, Parquet."""

from __future__ import annotations

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


def write_csv(timeline: Timeline, path: str | os.PathLike[str]) -> None:
    """See :meth:`Timeline.to_csv`."""
    with replacing(path) as temporary:
        faces_frame(timeline).to_csv(temporary, index=False)


def write_parquet(timeline: Timeline, path: str | os.PathLike[str]) -> None:
    """See :meth:`Timeline.to_parquet`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rest = {k: v for k, v in timeline.to_dict().items() if k != "faces"}
    table = pa.Table.from_pandas(faces_frame(timeline), preserve_index=False)
    extra = {b"fastface.timeline": json.dumps(rest).encode()}
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **extra}), temporary)
