"""What people put right: after any edit the document is as consistent as one that a run made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_timeline import build, faces_of, person

from fastface.errors import InputValidationError
from fastface.timeline import Span, Timeline


@pytest.fixture
def timeline() -> Timeline:
    """Person 0: tracks 0, 2, 4; person 1: 1 and 5; person 2: 3; track 6 is nobody's."""
    faces = faces_of(
        *sorted([(f, t) for t, (a, b) in enumerate([(0, 4), (2, 6), (10, 14), (12, 15), (30, 33), (32, 40), (50, 52)])
                 for f in range(a, b)])
    )  # fmt: skip
    made = build(faces, person(0, 2, 4, name="ann"), person(1, 5), person(3))
    return replace(made, identities=tuple(replace(p, similarity=0.7, threshold=0.5) for p in made.identities))


def check(timeline: Timeline) -> None:
    """What must hold of every timeline."""
    again = Timeline.from_json(timeline.to_json())
    assert again.to_json() == timeline.to_json()
    owner = {t.id: -1 if t.identity is None else t.identity for t in timeline.tracks}
    assert timeline.faces.identity.tolist() == [owner[t] for t in timeline.faces.track.tolist()]
    assert {p.id for p in timeline.identities} == set(owner.values()) - {-1}
    starts = [p.instances[0].start_frame for p in timeline.identities]
    assert starts == sorted(starts)
    for p in timeline.identities:
        covered = {f for s in p.instances for f in range(s.start_frame, s.end_frame)}
        mine = {f for t in timeline.tracks if t.identity == p.id for f in range(t.start_frame, t.end_frame)}
        assert covered == mine
        assert p.screen_time == pytest.approx(len(covered) / 25)
        for s in p.instances:
            assert (s.start, s.end) == pytest.approx((s.start_frame / 25, s.end_frame / 25))


def test_rename(timeline: Timeline) -> None:
    named = timeline.rename(1, "bob").rename("ann", "anna").rename(2, None)
    assert [p.name for p in named.identities] == ["anna", "bob", None]
    assert [p.similarity for p in named.identities] == [None, None, None], "said by hand, not measured"
    assert [p.name for p in timeline.identities] == ["ann", None, None], "the old one stays as it was"
    check(named)


def test_merge(timeline: Timeline) -> None:
    merged = timeline.merge("ann", 2)
    assert [p.id for p in merged.identities] == [0, 1]
    assert merged.identity("ann").instances == (
        Span(0.0, 0.16, 0, 4), Span(0.4, 0.6, 10, 15), Span(1.2, 1.32, 30, 33))  # fmt: skip
    assert (merged.identity("ann").similarity, merged.identity("ann").threshold) == (None, None)
    assert merged.identity(1) == timeline.identity(1)
    check(merged)
    everybody = timeline.merge(2, 1, 0)
    assert [(p.id, p.name) for p in everybody.identities] == [(2, None)]
    check(everybody)


def test_split(timeline: Timeline) -> None:
    split = timeline.split("ann", [2, 4])
    assert [(p.id, p.name) for p in split.identities] == [(0, "ann"), (1, None), (3, None), (2, None)]
    assert split.identity(3).instances == (Span(0.4, 0.56, 10, 14), Span(1.2, 1.32, 30, 33))
    assert split.identity("ann").screen_time == pytest.approx(0.16)
    check(split)
    back = split.merge(0, 3)
    assert back.identity(0).instances == timeline.identity(0).instances
    np.testing.assert_array_equal(back.faces.identity, timeline.faces.identity)
    check(back)


def test_ids_stay_through_many_edits(timeline: Timeline, rng: np.random.Generator) -> None:
    for _ in range(200):
        ids = [p.id for p in timeline.identities]
        if len(ids) > 1 and rng.random() < 0.5:
            a, b = rng.permutation(ids)[:2]
            edited = timeline.merge(int(a), int(b))
            assert {p.id for p in edited.identities} == set(ids) - {int(b)}
        else:
            who = int(rng.choice(ids))
            tracks = [t.id for t in timeline.tracks if t.identity == who]
            if len(tracks) == 1:
                continue
            edited = timeline.split(who, rng.permutation(tracks)[: rng.integers(1, len(tracks))].tolist())
            assert {p.id for p in edited.identities} == {*ids, max(ids) + 1}
        check(edited)
        timeline = edited


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda t: t.rename("eve", "x"), "no person 'eve' in this timeline; there is ann, 1, 2"),
        (lambda t: t.rename(1, "ann"), r"person 0 is called 'ann' already; merge\(0, 1\)"),
        (lambda t: t.rename(1, "  "), "name is '  '"),
        (lambda t: t.merge(0, "ann"), "names a person twice"),
        (lambda t: t.merge(0, 9), "no person 9"),
        (lambda t: t.split(0, []), r"tracks are \[\], must be some, not all, of this person's: \[0, 2, 4\]"),
        (lambda t: t.split(0, [0, 2, 4]), "must be some, not all"),
        (lambda t: t.split(0, [1]), r"tracks are \[1\], must be some"),
    ],
)
def test_what_is_refused(timeline: Timeline, act: object, message: str) -> None:
    with pytest.raises(InputValidationError, match=message):
        act(timeline)  # type: ignore[operator]


def test_a_name_by_hand_says_nothing_of_gallery_and_similarity(timeline: Timeline) -> None:
    known = replace(timeline, identities=tuple(replace(p, gallery_id=f"g{p.id}") for p in timeline.identities))
    ann, other, _ = known.rename(0, "Ann").identities
    assert (ann.name, ann.gallery_id, ann.similarity, ann.threshold) == ("Ann", None, None, None)
    assert (other.gallery_id, other.similarity, other.threshold) == ("g1", 0.7, 0.5), "nobody else changes"
    assert known.rename(1, None).identity(1).gallery_id is None


def test_merging_with_nobody_changes_nothing(timeline: Timeline) -> None:
    assert timeline.merge(0).identities == timeline.identities


def test_a_face_that_was_told_to_be_nobodys_stays_so(timeline: Timeline) -> None:
    identity = timeline.faces.identity.copy()
    identity[0] = -1
    edited = replace(timeline, faces=replace(timeline.faces, identity=identity)).merge(1, 0)
    assert edited.faces.identity.tolist()[:3] == [-1, 1, 1]


def test_times_of_frames_that_no_face_and_no_span_knows(timeline: Timeline) -> None:
    """Tracks may begin and end at frames without a face (with `every`, or in a document): such times lie between their
    neighbours', as evenly as frames come, and never beyond the video."""
    tracks = tuple(replace(t, end_frame=t.end_frame + 4) if t.id == 4 else t for t in timeline.tracks)
    spans = replace(timeline, tracks=tracks).merge(0, 2).identity(0).instances
    assert [(s.start_frame, s.end_frame) for s in spans] == [(0, 4), (10, 15), (30, 37)]
    assert spans[-1].end == pytest.approx(37 / 25)
    late = tuple(replace(t, end_frame=60) if t.id == 5 else t for t in timeline.tracks)
    (_, last) = replace(timeline, tracks=late).merge(1, 2).identity(1).instances[-2:]
    assert (last.start_frame, last.end_frame) == (32, 60)
    assert last.end == pytest.approx(60 / 25), "between frame 51, the last that is known, and the end: 4 s at frame 100"
    beyond = tuple(replace(t, start_frame=98, end_frame=120) if t.id == 5 else t for t in timeline.tracks)
    last = replace(timeline, tracks=beyond).merge(1, 2).identity(1).instances[-1]
    assert (last.start, last.end) == (pytest.approx(98 / 25), 4.0)
