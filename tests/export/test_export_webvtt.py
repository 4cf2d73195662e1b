"""WebVTT, read by webvtt-py and by a reader of the specification's own steps."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import webvtt

from fastface.timeline.together import seconds_together, stretches
from timelines import HOSTILE, hostile_timeline, make_timeline, uneven

TIMES = uneven(60)


def seconds(stamp: str) -> float:
    hours, minutes, rest = stamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def blocks_of(path: Path) -> list[list[str]]:
    """The file as the specification cuts it: LF, CR and CR LF end lines, blank lines end blocks."""
    lines = re.split("\r\n|\r|\n", path.read_text(encoding="utf-8"))
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line:
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


@pytest.mark.parametrize("kind", ["chapters", "metadata"])
def test_names_break_nothing(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}.vtt"
    hostile_timeline().export(path)
    head, note, *cues = blocks_of(path)
    assert head == ["WEBVTT"]
    assert note[0].startswith("NOTE ")
    assert len(cues) == (7 if kind == "chapters" else 6)
    for identifier, timing, text in cues:  # three lines each, whatever the names hold
        assert "-->" not in identifier
        assert timing.count("-->") == 1
        assert "-->" not in text
        assert not re.search(r"<|>|[\x00-\x1f\u2028]", text)


def test_chapters_are_the_stretches_with_the_same_people(tmp_path: Path) -> None:
    hostile_timeline().export(tmp_path / "a.chapters.vtt")
    cues = webvtt.read(tmp_path / "a.chapters.vtt").captions
    frames = [(0, 10), (10, 15), (15, 20), (25, 28), (30, 40), (40, 50), (52, 60)]
    people = [(0,), (0, 1), (0,), (2,), (0,), (0, 1), (3,)]
    told = stretches(hostile_timeline())
    assert [(s.people, s.start, s.end) for s in told] == [
        (who, TIMES[a], TIMES[b]) for who, (a, b) in zip(people, frames, strict=True)
    ]
    assert len(cues) == len(frames)
    for cue, (a, b) in zip(cues, frames, strict=True):
        assert seconds(cue.start) == pytest.approx(TIMES[a], abs=0.00051)
        assert seconds(cue.end) == pytest.approx(TIMES[b], abs=0.00051)
    assert cues[-1].text == "person 4"


def test_chapter_titles_are_the_names(tmp_path: Path) -> None:
    import html

    hostile_timeline().export(tmp_path / "a.chapters.vtt")
    titles = [html.unescape(block[2]) for block in blocks_of(tmp_path / "a.chapters.vtt")[2:]]
    first, second, third = (" ".join(re.sub(r"[\x00-\x1f\u2028]", " ", name).split()) for name in HOSTILE)
    assert titles == [first, f"{first}, {second}", first, third, first, f"{first}, {second}", "person 4"]


def test_metadata_is_json(tmp_path: Path) -> None:
    timeline = hostile_timeline()
    timeline.export(tmp_path / "a.metadata.vtt")
    cues = [json.loads(cue.raw_text) for cue in webvtt.read(tmp_path / "a.metadata.vtt").captions]
    want = sorted((s.start, p.id, p.name, s.start_frame, s.end_frame, s.end)
                  for p in timeline.identities for s in p.instances)  # fmt: skip
    assert [(c["start"], c["identity"], c["name"], c["start_frame"], c["end_frame"], c["end"]) for c in cues] == want
    assert {c["name"] for c in cues} == {*HOSTILE, None}
    assert [c["similarity"] for c in cues if c["identity"] == 1] == [0.51, 0.51]


def test_times_of_days_and_of_less_than_a_millisecond(tmp_path: Path) -> None:
    times = [0.0, 0.0004, 359_999.5, 360_001.25]
    timeline = make_timeline([("Ann", [(0, 1)]), ("Bob", [(2, 3)])], times=times)
    timeline.export(tmp_path / "a.chapters.vtt")
    timeline.export(tmp_path / "a.metadata.vtt")
    assert [block[1] for block in blocks_of(tmp_path / "a.chapters.vtt")[2:]] == ["99:59:59.500 --> 100:00:01.250"]
    assert [block[1] for block in blocks_of(tmp_path / "a.metadata.vtt")[2:]] == [
        "00:00:00.000 --> 00:00:00.001",  # no cue may end where it begins
        "99:59:59.500 --> 100:00:01.250",
    ]


def test_a_moment_of_nobody_is_between_two_stretches() -> None:
    times = [0.0, 1.0, 2.0, 3.0, 4.0]
    told = stretches(make_timeline([("Ann", [(0, 1), (2, 3), (3, 4)])], times=times))
    assert [(s.start, s.end) for s in told] == [(0.0, 1.0), (2.0, 4.0)]


def test_seconds_together() -> None:
    timeline = hostile_timeline()
    seconds = seconds_together(timeline)
    together = TIMES[15] - TIMES[10] + TIMES[50] - TIMES[40]
    assert seconds[0, 1] == seconds[1, 0] == pytest.approx(together)
    assert seconds.diagonal() == pytest.approx([p.screen_time for p in timeline.identities])
    assert seconds.sum() == pytest.approx(2 * together + sum(p.screen_time for p in timeline.identities))
