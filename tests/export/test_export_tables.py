"""CSV, Parquet and MOT, read back, and read by pandas and motmetrics."""

from __future__ import annotations

import csv
from pathlib import Path

import motmetrics
import numpy as np
import pandas as pd
import pytest

from fastface.export import read_table
from timelines import HOSTILE, hostile_timeline, make_timeline

TRICKY = ["NA", "None", "null", "nan", "  padded  ", "\r", 'a"\r"b', "0", "True", "a\tb", "'", "-->"]


def names_of(count: int = len(TRICKY)) -> list[tuple[str | None, list[tuple[int, int]]]]:
    return [(name, [(i, i + 2)]) for i, name in enumerate(TRICKY[:count])]


@pytest.mark.parametrize("ending", [".faces.csv", ".parquet"])
class TestFaces:
    def test_come_back_as_they_were(self, ending: str, tmp_path: Path) -> None:
        timeline = hostile_timeline()
        timeline.export(tmp_path / f"a{ending}")
        again = read_table(tmp_path / f"a{ending}")
        pd.testing.assert_frame_equal(again, timeline.to_dataframe(), check_exact=True)
        assert set(again["name"].dropna()) == set(HOSTILE)
        assert again["identity"].isna().sum() == 2

    def test_names_that_look_like_something_else(self, ending: str, tmp_path: Path) -> None:
        timeline = make_timeline(names_of())
        timeline.export(tmp_path / f"a{ending}")
        again = read_table(tmp_path / f"a{ending}")
        assert again.drop_duplicates("track")["name"].tolist() == TRICKY

    def test_by_hand(self, ending: str, tmp_path: Path) -> None:
        """As somebody who knows nothing of fastface reads it."""
        timeline = hostile_timeline()
        timeline.export(tmp_path / f"a{ending}")
        table = (pd.read_csv if ending.endswith("csv") else pd.read_parquet)(tmp_path / f"a{ending}")
        assert len(table) == len(timeline.faces)
        np.testing.assert_allclose(table["time"], timeline.faces.time, atol=5e-7)
        assert table["name"][0] == HOSTILE[0]


class TestSpans:
    def test_rows(self, tmp_path: Path) -> None:
        timeline = hostile_timeline()
        timeline.export(tmp_path / "a.spans.csv")
        table = read_table(tmp_path / "a.spans.csv")
        assert list(table.columns) == ["identity", "name", "gallery_id", "label", "start", "end", "duration",
                                       "start_frame", "end_frame", "similarity", "threshold"]  # fmt: skip
        want = [(p.id, p.name, p.label, s) for p in timeline.identities for s in p.instances]
        want.sort(key=lambda row: row[3].start)
        assert table["identity"].tolist() == [row[0] for row in want]
        assert table["label"].tolist() == [row[2] for row in want]
        assert table["name"].iloc[-1] is pd.NA
        assert table[["start_frame", "end_frame"]].to_numpy().tolist() == [
            [row[3].start_frame, row[3].end_frame] for row in want
        ]
        np.testing.assert_allclose(table["start"], [row[3].start for row in want], atol=5e-7)
        np.testing.assert_allclose(table["duration"], [row[3].end - row[3].start for row in want], atol=1.1e-6)
        assert table["similarity"].isna().tolist() == [row[1] is None for row in want]

    def test_pythons_own_reader_sees_the_same_rows(self, tmp_path: Path) -> None:
        make_timeline(names_of()).export(tmp_path / "a.spans.csv")
        with open(tmp_path / "a.spans.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["name"] for row in rows] == TRICKY


class TestMot:
    @pytest.fixture
    def timeline(self):
        return hostile_timeline()

    def test_lines(self, timeline, tmp_path: Path) -> None:
        timeline.export(tmp_path / "a.txt")
        lines = (tmp_path / "a.txt").read_text().splitlines()
        assert len(lines) == len(timeline.faces)
        x1, y1 = timeline.faces.box[0, :2]
        assert (x1, y1) == (pytest.approx(20.256), pytest.approx(-8.5))
        assert lines[0] == "1,1,21.26,-7.50,60.40,80.75,0.90000,-1,-1,-1"

    def test_back_to_a_table(self, timeline, tmp_path: Path) -> None:
        timeline.export(tmp_path / "a.txt")
        again, want = read_table(tmp_path / "a.txt"), timeline.to_dataframe()
        assert list(again.columns) == ["frame", "track", "x1", "y1", "x2", "y2", "score"]
        pd.testing.assert_frame_equal(again, want[again.columns], check_exact=False, atol=0.0051, rtol=0)
        for name in ("frame", "track", "score"):
            assert again[name].tolist() == want[name].tolist()

    def test_motmetrics_sees_frames_tracks_and_pixels_from_nought(self, timeline, tmp_path: Path) -> None:
        timeline.export(tmp_path / "a.txt")
        table = motmetrics.io.loadtxt(tmp_path / "a.txt", fmt="mot16", min_confidence=-1)
        faces = timeline.faces
        assert [frame - 1 for frame, _ in table.index] == faces.frame.tolist()
        assert [track - 1 for _, track in table.index] == faces.track.tolist()
        np.testing.assert_allclose(table[["X", "Y"]], faces.box[:, :2], atol=0.0051)
        np.testing.assert_allclose(table[["Width", "Height"]], faces.box[:, 2:] - faces.box[:, :2], atol=0.011)

    def test_motmetrics_scores_it_against_itself(self, timeline, tmp_path: Path) -> None:
        timeline.export(tmp_path / "a.txt")
        table = motmetrics.io.loadtxt(tmp_path / "a.txt", fmt="mot16", min_confidence=-1)
        result = motmetrics.MOTAccumulator()
        for frame, rows in table.groupby(level=0):
            place, ids = rows[["X", "Y"]].to_numpy(), rows.index.get_level_values(1)
            distances = np.linalg.norm(place[:, None] - place, axis=2)
            result.update(ids, ids, np.where(distances < 20, distances, np.nan), frameid=frame)
        summary = motmetrics.metrics.create().compute(result, metrics=["idf1", "mota", "num_objects"])
        assert summary.iloc[0].tolist() == [1.0, 1.0, len(timeline.faces)]
