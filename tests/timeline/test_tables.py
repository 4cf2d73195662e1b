"""Tables of a timeline: columns, kinds, rounding; files of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from fastface.timeline import Timeline
from fastface.timeline.tables import LANDMARKS, spans_frame
from timelines import make_timeline


@pytest.fixture
def timeline() -> Timeline:
    return make_timeline([("Ann", [(4, 6), (10, 12)]), (None, [(0, 3)])], nobody=[(20, 21)])


def test_a_row_for_each_face(timeline: Timeline) -> None:
    table = timeline.to_dataframe()
    assert list(table.columns) == ["frame", "time", "x1", "y1", "x2", "y2", "score",
                                   *[f"{part}_{axis}" for part in LANDMARKS for axis in "xy"],
                                   "track", "identity", "name"]  # fmt: skip
    assert LANDMARKS == ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    document = timeline.to_dict()["faces"]
    assert table["frame"].tolist() == [0, 1, 2, 4, 5, 10, 11, 20]
    assert table["time"].tolist() == document["time"]
    assert table[["x1", "y1", "x2", "y2"]].to_numpy().tolist() == document["box"]
    assert table["score"].tolist() == document["score"]
    points = table[[f"{part}_{axis}" for part in LANDMARKS for axis in "xy"]].to_numpy().reshape(-1, 5, 2)
    assert points.tolist() == document["landmarks"]
    assert table["track"].tolist() == timeline.faces.track.tolist()
    assert table["identity"].dtype == "Int64"
    assert table["identity"].fillna(-1).tolist() == [1, 1, 1, 0, 0, 0, 0, -1]
    assert table["name"].dtype == "string"
    assert table["name"].fillna("").tolist() == ["", "", "", "Ann", "Ann", "Ann", "Ann", ""]


def test_a_row_for_each_span(timeline: Timeline) -> None:
    people = (replace(timeline.identities[0], gallery_id="ann-1"), timeline.identities[1])
    table = spans_frame(replace(timeline, identities=people))
    assert [str(kind) for kind in table.dtypes] == ["Int64", *["string"] * 3, *["float64"] * 3, *["int64"] * 2,
                                                    *["float64"] * 2]  # fmt: skip
    assert table["identity"].tolist() == [1, 0, 0]
    assert table["label"].tolist() == ["person 2", "Ann", "Ann"]
    assert table["name"].fillna("-").tolist() == ["-", "Ann", "Ann"]
    assert table["gallery_id"].fillna("-").tolist() == ["-", "ann-1", "ann-1"]
    assert table[["start_frame", "end_frame"]].to_numpy().tolist() == [[0, 3], [4, 6], [10, 12]]
    assert table["start"].tolist() == [0.0, 0.133467, 0.333667]
    assert table["end"].tolist() == [0.1001, 0.2002, 0.4004]
    assert table["duration"].tolist() == [0.1001, 0.066733, 0.066733]
    assert table["similarity"].fillna(-1).tolist() == [-1, 0.5, 0.5]
    assert table["threshold"].fillna(-1).tolist() == [-1, 0.25, 0.25]


def test_kinds_do_not_depend_on_the_rows(timeline: Timeline) -> None:
    """A timeline of nobody has the columns, of the same kinds, so that tables of many videos can be put together."""
    empty = spans_frame(make_timeline([]))
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == spans_frame(timeline).dtypes.to_dict()
    told = ["identity", "name"]
    assert make_timeline([]).to_dataframe().dtypes[told].to_dict() == timeline.to_dataframe().dtypes[told].to_dict()


def test_spans_of_one_moment_are_ordered_by_person() -> None:
    table = spans_frame(make_timeline([("Ann", [(0, 3)]), ("Bob", [(0, 2)]), ("Cem", [(0, 4)])]))
    assert table["identity"].tolist() == [0, 1, 2]


def test_csv_is_plain_unless_a_name_needs_more(timeline: Timeline, tmp_path: Path) -> None:
    """A lone carriage return would be taken for the end of a row: then all that is no number is quoted."""
    timeline.to_csv(tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text("utf-8")
    assert text.startswith("frame,time,x1,")
    assert '"' not in text
    assert text.splitlines()[1].startswith("0,0.0,")
    timeline.rename("Ann", "An\rn").to_csv(tmp_path / "b.csv")
    again = pd.read_csv(tmp_path / "b.csv")
    assert again["name"].dropna().unique().tolist() == ["An\rn"]
    assert (tmp_path / "b.csv").read_bytes().startswith(b'"frame","time"')
    timeline.rename("Ann", "A.*").to_csv(tmp_path / "c.csv")
    assert '"' not in (tmp_path / "c.csv").read_text("utf-8")


def test_parquet_holds_the_rest_of_the_document(timeline: Timeline, tmp_path: Path) -> None:
    timeline.to_parquet(tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == list(timeline.to_dataframe().columns), "no index"
    rest = json.loads(table.schema.metadata[b"fastface.timeline"])
    document = timeline.to_dict()
    assert rest == {name: document[name] for name in ("schema", "video", "run", "identities", "tracks")}
    assert b"pandas" in table.schema.metadata, "what pandas needs to read its own kinds back"
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), timeline.to_dataframe(), check_exact=True)
