"""Tracks to people, with vectors of known people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fastface.gallery import Gallery
from fastface.match import Person, identify, long_enough, track_scores
from fastface.match.identify import CONFLICT_FRAMES, DOUBT, MIN_LEGIBILITY
from fastface.types import Embeddings

DIM = 128
LINKAGE = 0.2


def embedded(means: Sequence[np.ndarray], legibility: float = 1.0) -> Embeddings:
    """Tracks numbered from 0, of five faces each."""
    n = len(means)
    return Embeddings(
        track=np.arange(n),
        mean=np.array(means, np.float32).reshape(n, DIM),
        weight=np.full(n, 4, np.float32),
        legibility=np.full(n, legibility, np.float32),
        count=np.full(n, 5),
    )


class Cast:
    """People as orthogonal unit vectors, and tracks of them."""

    def __init__(self, rng: np.random.Generator, people: int) -> None:
        self.rng = rng
        self.people = np.linalg.qr(rng.normal(size=(DIM, people)))[0].T

    def face(self, person: int, alike: float) -> np.ndarray:
        """A unit vector whose cosine with the person's is `alike`."""
        other = self.rng.normal(size=DIM)
        other -= (other @ self.people.T) @ self.people
        return alike * self.people[person] + (1 - alike**2) ** 0.5 * other / np.linalg.norm(other)

    def tracks(self, persons: Sequence[int], alike: float = 0.75) -> Embeddings:
        """Tracks numbered from 0, of five equal faces each; two of one person have about the cosine alike ** 2."""
        return embedded([self.face(p, alike) for p in persons])


@pytest.fixture
def cast(rng: np.random.Generator) -> Cast:
    return Cast(rng, 8)


NO_CONFLICTS = np.zeros((0, 3), np.int64)


def told(embeddings: Embeddings, certain: Sequence[bool] | None = None,
         conflicts: Sequence[tuple[int, int, int]] = (), **arguments: object) -> list[Person]:  # fmt: skip
    sure = np.ones(len(embeddings), bool) if certain is None else np.array(certain, bool)
    pairs = np.array(conflicts, np.int64).reshape(-1, 3)
    return identify(embeddings, sure, pairs, linkage_threshold=LINKAGE, **arguments)  # type: ignore[arg-type]


def groups(people: Sequence[Person]) -> list[tuple[int, ...]]:
    return [p.tracks for p in people]


def truth(persons: Sequence[int]) -> list[tuple[int, ...]]:
    order = list(dict.fromkeys(persons))
    return [tuple(i for i, p in enumerate(persons) if p == who) for who in order]


@pytest.mark.parametrize("alike", [0.99, 0.9, 0.7])
def test_people_are_separated_and_joined(cast: Cast, rng: np.random.Generator, alike: float) -> None:
    """Near duplicates (joined by the matcher) and photographs of one person that differ (joined by linkage)."""
    persons = rng.integers(0, 8, 60).tolist()
    people = told(cast.tracks(persons, alike))
    assert groups(people) == truth(persons)
    assert all(p.name is None for p in people)


def test_similarity_is_that_of_the_weakest_join(cast: Cast) -> None:
    """SURE (0.8) is where the matcher stops looking, so more than that is never told."""
    embeddings = cast.tracks([0, 0, 1])
    pair, alone = told(embeddings)
    assert pair.similarity == pytest.approx(float(embeddings.mean[0] @ embeddings.mean[1]), abs=1e-5)
    assert pair.threshold == LINKAGE
    assert (alone.similarity, alone.threshold) == (None, None)


def test_conflicts_hold_lookalikes_apart(cast: Cast) -> None:
    """Twins, seen in one frame; but one frame alone may be a detector's slip."""
    embeddings = cast.tracks([0, 0, 0], 0.98)
    assert groups(told(embeddings)) == [(0, 1, 2)]
    assert groups(told(embeddings, conflicts=[(0, 1, CONFLICT_FRAMES - 1)])) == [(0, 1, 2)]
    people = told(embeddings, conflicts=[(0, 1, CONFLICT_FRAMES)])
    assert len(people) == 2
    assert not any({0, 1} <= set(p.tracks) for p in people)


def test_conflicts_hold_whole_groups_apart(cast: Cast, rng: np.random.Generator) -> None:
    persons = [0] * 12
    for alike in (0.98, 0.75):
        conflicts = [(i, i + 6, 5) for i in range(6)]
        people = told(cast.tracks(persons, alike), conflicts=conflicts)
        for a, b, _ in conflicts:
            assert not any({a, b} <= set(p.tracks) for p in people)


def test_conflicts_with_tracks_that_were_dismissed_are_ignored(cast: Cast) -> None:
    assert groups(told(cast.tracks([0, 0]), conflicts=[(0, 77, 9), (76, 77, 9)])) == [(0, 1)]


def test_doubtful_tracks_join_but_do_not_found(cast: Cast) -> None:
    embeddings = cast.tracks([0, 0, 0, 1])
    assert groups(told(embeddings, [True, True, False, False])) == [(0, 1, 2)], "nobody knows track 3's person"
    assert told(embeddings, [False] * 4) == []


def test_doubtful_tracks_must_be_more_alike(cast: Cast) -> None:
    for similarity, joins in ((LINKAGE + DOUBT - 0.05, False), (LINKAGE + DOUBT + 0.05, True)):
        founder, other = cast.people[0], cast.people[1]
        doubtful = similarity * founder + (1 - similarity**2) ** 0.5 * other
        embeddings = embedded([founder, doubtful])
        assert groups(told(embeddings, [True, False])) == [(0, 1) if joins else (0,)]
        assert len(groups(told(embeddings))[0]) == 2, "sure of itself it joins at the linkage threshold"


def test_doubtful_tracks_do_not_join_whom_they_were_seen_beside(cast: Cast) -> None:
    embeddings = cast.tracks([0, 0])
    assert groups(told(embeddings, [True, False], [(0, 1, 4)])) == [(0,)]


def test_poor_faces_count_for_less(cast: Cast) -> None:
    """The same vectors that are one person when clear are two when small and blurred."""
    a, b = cast.people[0], 0.3 * cast.people[0] + (1 - 0.09) ** 0.5 * cast.people[1]
    for legibility, people in ((0.95, 1), (0.7, 2)):
        assert len(told(embedded([a, b], legibility))) == people


def test_faces_too_poor_to_tell_are_left_alone(cast: Cast) -> None:
    """They found nobody and get no name, however alike; a better one beside them is not held up."""
    poor = embedded(cast.people[[0, 0]], MIN_LEGIBILITY - 0.01)
    assert told(poor) == []
    assert told(poor, gallery=gallery(cast, ann=0), similarity_threshold=0.5) == []
    mixed = replace(poor, legibility=np.array([1.0, MIN_LEGIBILITY - 0.01], np.float32))
    assert groups(told(mixed)) == [(0,)]
    assert groups(told(replace(poor, legibility=np.full(2, MIN_LEGIBILITY + 0.01, np.float32)))) == [(0,), (1,)]


def test_poor_faces_are_never_the_same_for_sure(cast: Cast) -> None:
    """Blurred strangers have cosines of 0.9; only the discounted average may join them."""
    a = cast.people[0]
    b = 0.9 * a + (1 - 0.81) ** 0.5 * cast.people[1]
    assert groups(told(embedded([a, b], 0.45))) == [(0,), (1,)]
    assert groups(told(embedded([a, b], 1.0))) == [(0, 1)]


@pytest.mark.parametrize("alike", [0.97, 0.75])
def test_the_order_of_tracks_does_not_matter(cast: Cast, rng: np.random.Generator, alike: float) -> None:
    persons = rng.integers(0, 6, 40)
    embeddings = cast.tracks(persons.tolist(), alike)
    certain = rng.random(40) < 0.7
    certain[[np.flatnonzero(persons == p)[0] for p in range(6)]] = True
    conflicts = np.array([(a, b, 3) for a, b in rng.integers(0, 40, (60, 2)) if persons[a] != persons[b]])
    want = {frozenset(t) for t in groups(told(embeddings, certain, conflicts))}
    for _ in range(8):
        order = rng.permutation(40)
        mixed = told(embeddings[order], certain[order], conflicts[rng.permutation(len(conflicts))])
        assert {frozenset(t) for t in groups(mixed)} == want


def gallery(cast: Cast, **people: int) -> Gallery:
    return Gallery("a model", {n: cast.people[p][None].astype(np.float32) for n, p in people.items()})


def test_the_gallery_names_those_it_knows(cast: Cast) -> None:
    persons = [0, 1, 2, 0, 1, 2]
    embeddings = cast.tracks(persons)
    people = told(embeddings, gallery=gallery(cast, ann=0, bob=1, eve=5), similarity_threshold=0.5)
    assert groups(people) == truth(persons)
    assert [p.name for p in people] == ["ann", "bob", None]
    centre = embeddings.mean[[0, 3]].sum(0)
    want = float(centre / np.linalg.norm(centre) @ cast.people[0])
    assert people[0].similarity == pytest.approx(want, abs=1e-5)
    assert people[0].threshold == 0.5


def test_the_similarity_threshold_of_the_gallery(cast: Cast) -> None:
    embeddings = cast.tracks([0])
    similarity = float(embeddings.mean[0] / np.linalg.norm(embeddings.mean[0]) @ cast.people[0])
    for threshold, name in ((similarity - 0.01, "ann"), (similarity + 0.01, None)):
        (person,) = told(embeddings, gallery=gallery(cast, ann=0), similarity_threshold=threshold)
        assert person.name == name


def test_a_person_is_compared_with_the_centroid_of_the_photographs(cast: Cast) -> None:
    """Two photographs that each resemble too little name together; one of somebody else does not."""
    photographs = np.stack([0.6 * cast.people[0] + 0.8 * cast.people[i] for i in (3, 4)]).astype(np.float32)
    (person,) = told(embedded([cast.people[0]]), gallery=Gallery("m", {"ann": photographs}), similarity_threshold=0.7)
    assert person.name == "ann"
    assert person.similarity == pytest.approx(1.2 / (1.2**2 + 2 * 0.8**2) ** 0.5, abs=1e-5)
    one = Gallery("m", {"ann": photographs[:1]})
    (person,) = told(embedded([cast.people[0]]), gallery=one, similarity_threshold=0.7)
    assert person.name is None


def test_somebody_remembered_without_a_name(cast: Cast) -> None:
    known = gallery(cast, ann=0)
    assert known.add_unknown(cast.people[1].astype(np.float32)) == "unknown-1"
    people = told(embedded(cast.people[[0, 1, 2]]), gallery=known, similarity_threshold=0.5)
    assert [(p.name, p.gallery_id) for p in people] == [("ann", "ann"), (None, "unknown-1"), (None, None)]
    assert [p.similarity for p in people] == [pytest.approx(1), pytest.approx(1), None]


def halves(cast: Cast) -> Embeddings:
    """Two tracks of one person, too different for linkage, both near the photograph: from the left and the right."""
    a, b = cast.people[0], cast.people[1]
    left, right = 0.6 * a + 0.8 * b, 0.66 * a - (1 - 0.66**2) ** 0.5 * b
    return embedded([left, right])


def test_one_name_joins_what_linkage_left_apart(cast: Cast) -> None:
    assert groups(told(halves(cast))) == [(0,), (1,)]
    (person,) = told(halves(cast), gallery=gallery(cast, ann=0), similarity_threshold=0.5)
    assert (person.tracks, person.name) == ((0, 1), "ann")
    assert person.similarity == pytest.approx(0.66, abs=1e-5)


def test_the_same_name_is_never_at_two_places_at_once(cast: Cast) -> None:
    """Of two who were seen together the one who resembles the photograph more gets the name."""
    people = told(halves(cast), conflicts=[(0, 1, 5)], gallery=gallery(cast, ann=0), similarity_threshold=0.5)
    assert [(p.tracks, p.name) for p in people] == [((0,), None), ((1,), "ann")]


def test_a_name_does_not_join_whom_a_doubtful_track_holds_apart(cast: Cast) -> None:
    """Track 2 is doubtful and belongs to the second half; it was seen beside the first."""
    embeddings = embedded(halves(cast).mean[[0, 1, 1]])
    people = told(embeddings, [True, True, False], [(0, 2, 9)], gallery=gallery(cast, ann=0),
                  similarity_threshold=0.5)  # fmt: skip
    assert not any({0, 2} <= set(p.tracks) for p in people)


def test_two_doubtful_tracks_seen_together_do_not_join_one_person(cast: Cast) -> None:
    people = told(embedded(cast.people[[0, 0, 0]]), [True, False, False], [(1, 2, 9)])
    assert not any({1, 2} <= set(p.tracks) for p in people)


def test_people_come_in_the_order_of_their_first_tracks(cast: Cast) -> None:
    people = told(cast.tracks([4, 2, 4, 1, 2, 4]), gallery=gallery(cast, zoe=4, al=1), similarity_threshold=0.5)
    assert [(p.tracks, p.name) for p in people] == [((0, 2, 5), "zoe"), ((1, 4), None), ((3,), "al")]


def test_nobody() -> None:
    assert told(Embeddings.empty(DIM)) == []


def test_a_track_s_score_is_of_its_best_five() -> None:
    score = np.array([0.1, 1, 1, 0.8, 0.9, 0.9, 0.3, 0.2, 0.7, 0.5], np.float32)
    ids, count, mean = track_scores(np.array([4, 4, 4, 9, 4, 4, 2, 4, 4, 2]), score)
    assert ids.tolist() == [2, 4, 9]
    assert count.tolist() == [2, 7, 1]
    assert mean == pytest.approx([0.4, 0.9, 0.8])
    assert [len(column) for column in track_scores(np.zeros(0, np.int64), np.zeros(0, np.float32))] == [0, 0, 0]


def test_long_enough_depends_on_how_often_one_looks() -> None:
    assert [long_enough(n, 0.04) for n in (1, 2, 3)] == [False, False, True]
    assert [long_enough(n, 0.4) for n in (1, 2)] == [False, True]
    assert long_enough(1, 1.0)


def test_two_tracks_that_are_surely_one_say_from_which_cosine(cast: Cast) -> None:
    """Joined as they came, without linkage: their similarity is at least what that asks for, and no other is known."""
    from fastface.match.identify import SURE

    (person,) = told(embedded([cast.people[0], cast.face(0, 0.97)]))
    assert (person.tracks, person.similarity, person.threshold) == ((0, 1), SURE, LINKAGE)
    (alone,) = told(embedded([cast.people[0]]))
    assert (alone.similarity, alone.threshold) == (None, None)
