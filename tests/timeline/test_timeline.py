"""From faces and people to the timeline, and asking it."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from fastface.errors import InputValidationError
from fastface.match import Person
from fastface.timeline import Span, Timeline
from fastface.timeline.build import build_timeline
from fastface.types import Faces, VideoInfo

INFO = VideoInfo("a.mp4", 640, 360, 0, "h264", 9.9, 99, 25.0, "yuv420p", "bt709", False)


def faces_of(*rows: tuple[int, int]) -> Faces:
    """Faces (frame, track), ordered by frame; the box's x1 is the frame's number."""
    frame = np.array([r[0] for r in rows], np.int64)
    box = np.zeros((len(rows), 4), np.float32)
    box[:, 0], box[:, 2], box[:, 3] = frame, frame + 50, 50
    return Faces(
        frame=frame,
        time=frame / 25,
        box=box,
        score=np.full(len(rows), 0.9, np.float32),
        landmarks=np.zeros((len(rows), 5, 2), np.float32),
        track=np.array([r[1] for r in rows], np.int64),
        identity=np.full(len(rows), -1, np.int64),
    )


def person(*tracks: int, name: str | None = None) -> Person:
    return Person(tracks, name, None, None)


def build(
    faces: Faces, *people: Person, every: int = 1, times: list[float] | None = None, end: float = 4.0
) -> Timeline:
    times = [i / 25 for i in range(100)] if times is None else times
    return build_timeline(INFO, times, end, {"device": "cpu"}, faces, people, every)


def test_spans_are_half_open_and_touching_ones_are_joined() -> None:
    faces = faces_of((0, 0), (1, 0), (2, 0), (3, 7), (4, 7), (9, 8))
    (one,) = build(faces, person(0, 7, 8)).identities
    assert one.instances == (Span(0.0, 0.2, 0, 5), Span(0.36, 0.4, 9, 10))
    assert one.screen_time == pytest.approx(0.24)


def test_a_gap_within_a_track_is_no_break() -> None:
    (one,) = build(faces_of((0, 0), (8, 0)), person(0)).identities
    assert one.instances == (Span(0.0, 0.36, 0, 9),)


def test_overlapping_tracks_of_one_person_count_once() -> None:
    faces = faces_of((0, 0), (2, 1), (5, 0), (9, 1))
    (one,) = build(faces, person(0, 1)).identities
    assert one.instances == (Span(0.0, 0.4, 0, 10),)
    inner = faces_of((0, 0), (2, 1), (3, 1), (9, 0))
    assert build(inner, person(0, 1)).identities[0].instances == (Span(0.0, 0.4, 0, 10),)


def test_the_last_frame_lasts_to_the_end_of_the_video() -> None:
    (one,) = build(faces_of((98, 0), (99, 0)), person(0), end=4.2).identities
    assert one.instances == (Span(3.92, 4.2, 98, 100),)


def test_time_is_that_of_the_frames_and_not_of_their_numbers() -> None:
    times = [0.0, 0.5, 0.6, 2.0, 2.1]
    (one,) = build(faces_of((1, 0), (2, 0)), person(0), times=times, end=2.2).identities
    assert one.instances == (Span(0.5, 2.0, 1, 3),)


def test_with_every_a_face_counts_until_the_next_look() -> None:
    faces = faces_of((0, 0), (5, 0), (10, 0), (15, 1), (95, 2))
    timeline = build(faces, person(0), person(1), person(2), every=5)
    spans = [p.instances for p in timeline.identities]
    assert spans == [(Span(0.0, 0.6, 0, 15),), (Span(0.6, 0.8, 15, 20),), (Span(3.8, 4.0, 95, 100),)]


def test_tracks_and_people_are_numbered_by_first_appearance() -> None:
    """Track ids have gaps where tracks were dismissed; people come in any order."""
    faces = faces_of((0, 3), (1, 5), (1, 9), (2, 5), (4, 12))
    timeline = build(faces, person(12, name="zoe"), person(3, 9), person(5))
    assert [(t.id, t.identity, t.start_frame, t.end_frame) for t in timeline.tracks] == [
        (0, 0, 0, 1), (1, 1, 1, 3), (2, 0, 1, 2), (3, 2, 4, 5)]  # fmt: skip
    assert timeline.faces.track.tolist() == [0, 1, 2, 1, 3]
    assert timeline.faces.identity.tolist() == [0, 1, 0, 1, 2]
    assert [p.id for p in timeline.identities] == [0, 1, 2]
    assert [p.label for p in timeline.identities] == ["person 1", "person 2", "zoe"]


def test_tracks_of_nobody_stay_without_identity() -> None:
    timeline = build(faces_of((0, 0), (1, 1)), person(1))
    assert [t.identity for t in timeline.tracks] == [None, 0]
    assert timeline.faces.identity.tolist() == [-1, 0]


def test_a_video_without_faces() -> None:
    timeline = build(Faces.empty())
    assert (timeline.identities, timeline.tracks, len(timeline.faces)) == ((), (), 0)
    assert timeline.at(0.0) == ()
    assert timeline.video["duration"] == 4.0
    assert timeline.video["frame_count"] == 100, "as decoded, not as the container claims"
    assert repr(timeline) == "Timeline('a.mp4': 0 faces; nobody)"


class TestAt:
    @pytest.fixture
    def timeline(self) -> Timeline:
        faces = faces_of(*[(f, t) for f in range(50) for t in (0, 1) if (t == 0 and f < 20) or (t == 1 and f >= 10)])
        return build(faces, person(0, name="ann"), person(1))

    @pytest.mark.parametrize(
        ("seconds", "who"),
        [(0.0, ["ann"]), (0.39, ["ann"]), (0.4, ["ann", "person 2"]), (0.79, ["ann", "person 2"]), (0.8, ["person 2"]),
         (1.99, ["person 2"]), (2.0, []), (99.0, []), (-0.1, [])],
    )  # fmt: skip
    def test_who_is_there(self, timeline: Timeline, seconds: float, who: list[str]) -> None:
        assert [a.identity.label for a in timeline.at(seconds)] == who

    def test_where_is_the_latest_face_at_or_before(self, timeline: Timeline) -> None:
        for seconds, frame in ((0.0, 0), (0.039, 0), (0.04, 1), (0.1, 2), (0.76, 19), (0.7999, 19)):
            appearance = timeline.at(seconds)[0]
            assert appearance.frame == frame
            assert appearance.box.tolist() == [frame, 0, frame + 50, 50]
            assert appearance.score == pytest.approx(0.9)
            assert appearance.landmarks.shape == (5, 2)

    def test_a_time_rounded_to_a_microsecond_finds_its_frame(self) -> None:
        times = [i / 30 for i in range(20)]
        faces = faces_of(*[(f, 0) for f in range(20)])
        faces.time[:] = times
        timeline = build(faces, person(0), times=times, end=20 / 30)
        for frame in range(20):
            (appearance,) = timeline.at(round(times[frame], 6))
            assert appearance.frame == frame

    def test_in_a_gap_the_last_face_is_given(self) -> None:
        (appearance,) = build(faces_of((0, 0), (8, 0)), person(0)).at(0.2)
        assert appearance.frame == 0


def test_identity_by_id_or_name() -> None:
    timeline = build(faces_of((0, 0), (1, 1)), person(0, name="ann"), person(1))
    assert timeline.identity("ann").id == 0
    assert timeline.identity(1).name is None
    for who in ("bob", 2):
        with pytest.raises(InputValidationError, match=rf"no person {who!r} in this timeline; there is ann, 1"):
            timeline.identity(who)
    with pytest.raises(InputValidationError, match="there is nobody"):
        build(Faces.empty()).identity(0)


def test_with_run_adds_facts_to_a_copy() -> None:
    timeline = build(Faces.empty())
    assert timeline.with_run(host="a").run == {"device": "cpu", "host": "a"}
    assert timeline.run == {"device": "cpu"}


def test_repr_names_the_first_five() -> None:
    faces = faces_of(*[(f, t) for t in range(7) for f in (2 * t, 2 * t + 1)])
    timeline = build(faces, person(0, name="ann"), *[person(t) for t in range(1, 7)])
    shown = "ann 0.1 s, person 2 0.1 s, person 3 0.1 s, person 4 0.1 s, person 5 0.1 s"
    assert repr(timeline) == f"Timeline('a.mp4': 14 faces; {shown}, and 2 more)"
    five = build(faces[:10], person(0, name="ann"), *[person(t) for t in range(1, 5)])
    assert repr(five) == f"Timeline('a.mp4': 10 faces; {shown})"


def test_at_looks_for_faces_within_the_span_only() -> None:
    """A face of the same person right after the span's end, or before its start, is not the one on screen."""
    whole = build(faces_of(*[(f, 0) for f in range(30)]), person(0))
    times = whole.faces.time
    span = Span(times[10], times[20], 10, 20)
    cut = replace(whole, identities=(replace(whole.identities[0], instances=(span,)),))
    stamps = times.copy()
    stamps[20] = times[19]  # as rounded, the frame after the end comes at once
    shifted = replace(cut, faces=replace(cut.faces, time=stamps))
    assert shifted.at(float(times[19]))[0].frame == 19
    assert cut.at(float(times[10]))[0].frame == 10
    assert cut.at(float(times[9])) == () == cut.at(float(times[20]))


def test_at_goes_on_after_somebody_without_a_face() -> None:
    timeline = build(faces_of(*[(f, t) for f in range(10) for t in (0, 1)]), person(0, name="ann"), person(1))
    faceless = replace(timeline, faces=replace(timeline.faces, identity=np.where(timeline.faces.identity == 0, -1, 1)))
    assert [a.identity.id for a in faceless.at(0.1)] == [1]


def test_two_faces_at_one_time_give_the_later_frame() -> None:
    timeline = build(faces_of(*[(f, 0) for f in range(10)]), person(0))
    timeline.faces.time[4] = timeline.faces.time[5]
    assert timeline.at(float(timeline.faces.time[5]))[0].frame == 5


def test_none_is_nobody() -> None:
    """Though people without a name have None for one."""
    timeline = build(faces_of((0, 0)), person(0))
    with pytest.raises(InputValidationError, match="no person None in this timeline; there is 0"):
        timeline.identity(None)  # type: ignore[arg-type]


def test_clips_get_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option under its own name, and what is asked for unless it is."""
    from fastface import clip

    told: list[tuple[object, ...]] = []
    assert [f.name for f in fields(clip.Wishes)] == [
        "join", "max_gap", "pad", "segment", "condense", "fast", "follow", "split"]  # fmt: skip
    monkeypatch.setattr(clip, "Wishes", lambda *wished: wished)
    monkeypatch.setattr(clip, "make_clips", lambda *given: told.append(given))
    timeline = build(faces_of((0, 0)), person(0))
    timeline.clips("v.mp4", "ann", folder="out")
    timeline.clips("v.mp4", folder="out", join=True, max_gap=1, pad=2, segment=3, condense=4, fast=True, follow=(5, 6),
                   split=("ann", 1), workers=7, progress=print, device="auto")  # fmt: skip
    usual = (False, 0.0, 0.0, None, None, False, None, None)
    wished = (True, 1, 2, 3, 4, True, (5, 6), ("ann", 1))
    assert told == [(timeline, "v.mp4", "ann", "out", usual, None, None, "cpu"),
                    (timeline, "v.mp4", None, "out", wished, 7, print, "auto")]  # fmt: skip


def test_export_gets_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import fastface.export

    told: list[object] = []
    monkeypatch.setattr(fastface.export, "export", lambda *given, **options: told.append((given, options)))
    timeline = build(faces_of((0, 0)), person(0))
    timeline.export("a.edl", "edl", rate=25.0, start_timecode="10:00:00:00")
    timeline.export("a.otio")
    assert told == [((timeline, "a.edl", "edl"), {"rate": 25.0, "start_timecode": "10:00:00:00"}),
                    ((timeline, "a.otio", None), {"rate": None, "start_timecode": None})]  # fmt: skip


def test_thumbnails_get_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    from fastface.drawing import thumbnails

    told: list[object] = []

    def cut(*given: object) -> dict[int, Image.Image]:
        told.append(given)
        return {3: Image.new("RGB", (4, 4), (9, 8, 7))}

    monkeypatch.setattr(thumbnails, "face_thumbnails", cut)
    timeline = build(faces_of((0, 0)), person(0))
    found = timeline.thumbnails("v.mp4")
    timeline.thumbnails("v.mp4", size=200)
    assert told == [(timeline, "v.mp4", 96), (timeline, "v.mp4", 200)]
    assert list(found) == [3]
    assert found[3].tolist() == [[[9, 8, 7]] * 4] * 4


def test_recognise_gets_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastface.match import remember

    told: list[object] = []
    monkeypatch.setattr(remember, "recognise", lambda *given, **options: told.append((given, options)))
    timeline = build(faces_of((0, 0)), person(0))
    timeline.recognise("a gallery")  # type: ignore[arg-type]
    timeline.recognise("a gallery", far=1e-4, similarity_threshold=0.5)  # type: ignore[arg-type]
    assert told == [((timeline, "a gallery"), {"far": None, "fixed": None}),
                    ((timeline, "a gallery"), {"far": 1e-4, "fixed": 0.5})]  # fmt: skip


def test_a_person_of_the_gallery_keeps_what_is_known() -> None:
    known = Person((0,), None, 0.7, 0.4, "unknown-3")
    (identity,) = build(faces_of((0, 0)), known).identities
    assert (identity.name, identity.similarity, identity.threshold) == (None, 0.7, 0.4)
    assert identity.gallery_id == "unknown-3"
    assert identity.label == "unknown-3"
