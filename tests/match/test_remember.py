"""A timeline that is there against a gallery: who looks like what, who gets which name, who is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fastface.errors import GalleryError, InputValidationError
from fastface.gallery import Gallery
from fastface.match.identify import CONFLICT_FRAMES, MIN_LEGIBILITY
from fastface.match.remember import check_same_model, directions, model_of, seen_apart
from fastface.timeline import Timeline
from fastface.types import Embeddings
from timelines import make_timeline

MODEL = "facenet-msceleb1m"
AXES = np.eye(8, dtype=np.float32)


def looks(timeline: Timeline, means: dict[int, np.ndarray], *, weight: Sequence[float] = (),
          legibility: Sequence[float] = (), model: str = MODEL) -> Timeline:  # fmt: skip
    """The timeline with embeddings of these tracks."""
    n = len(means)
    embeddings = Embeddings(
        np.array(sorted(means), np.int64),
        np.array([means[t] for t in sorted(means)], np.float32).reshape(n, 8),
        np.array(weight or [1.0] * n, np.float32),
        np.array(legibility or [1.0] * n, np.float32),
        np.full(n, 5, np.int64),
    )
    return replace(timeline, embeddings=embeddings, run={**timeline.run, "embedder": {"name": model}})


@pytest.fixture
def three() -> Timeline:
    """Persons 0, 1 and 2 with tracks 0 and 3, 1, 2; the first two are there at once."""
    timeline = make_timeline([(None, [(0, 10), (40, 50)]), (None, [(5, 15)]), (None, [(20, 30)])], nobody=[(52, 55)])
    return looks(timeline, {t: AXES[p] for t, p in ((0, 0), (1, 1), (2, 2), (3, 0))})


class TestDirections:
    def test_the_weighted_mean_of_a_persons_tracks(self) -> None:
        timeline = make_timeline([(None, [(0, 10), (20, 30)]), (None, [(12, 15)])], nobody=[(40, 45)])
        means = {0: AXES[0], 1: 0.5 * AXES[5], 2: 0.5 * AXES[1], 3: AXES[6]}
        vectors, legible = directions(looks(timeline, means, weight=[2, 1, 3, 9], legibility=[0.5, 0.7, 0.9, 1.0]))
        wanted = 2 * 0.5 * AXES[0] + 3 * 0.9 * 0.5 * AXES[1]
        assert vectors.dtype == legible.dtype == np.float32
        np.testing.assert_allclose(vectors, [wanted / np.linalg.norm(wanted), AXES[5]], atol=1e-6)
        np.testing.assert_allclose(legible, [0.9, 0.7])

    def test_who_was_never_embedded_looks_like_nothing(self, three: Timeline) -> None:
        vectors, legible = directions(looks(three, {0: AXES[0], 2: AXES[2]}, legibility=[0.8, 0.6]))
        np.testing.assert_array_equal(vectors, [AXES[0], np.zeros(8), AXES[2]])
        np.testing.assert_allclose(legible, [0.8, 0.0, 0.6])

    def test_without_embeddings(self, three: Timeline) -> None:
        bare = replace(three, embeddings=None, embeddings_missing="it was lost")
        with pytest.raises(InputValidationError, match=r"^the timeline of 'video.mp4' has no embeddings: it was lost$"):
            directions(bare)


class TestApart:
    def test_who_was_seen_at_once(self, three: Timeline) -> None:
        assert seen_apart(three) == {(0, 1)}

    def test_one_frame_may_be_a_slip_and_nobody_counts_for_nothing(self) -> None:
        once = make_timeline([(None, [(0, 11)]), (None, [(10, 20)])], nobody=[(0, 20)])
        assert CONFLICT_FRAMES == 2
        assert seen_apart(once) == set()
        twice = make_timeline([(None, [(0, 12)]), (None, [(10, 20)]), (None, [(30, 40)]), (None, [(38, 50)])])
        assert seen_apart(twice) == {(0, 1), (2, 3)}

    def test_places_not_ids(self, three: Timeline) -> None:
        """After a merge ids have gaps."""
        merged = three.merge(0, 1)
        assert [p.id for p in merged.identities] == [0, 2]
        assert seen_apart(merged) == set()
        assert seen_apart(make_timeline([(None, [(0, 5)]), (None, [(6, 9)]), (None, [(20, 30)]), (None, [(25, 40)])])
                          .merge(0, 1)) == {(1, 2)}  # fmt: skip


class TestModel:
    def test_as_the_timeline_says(self, three: Timeline) -> None:
        assert model_of(three) == MODEL
        check_same_model(three, Gallery(MODEL))

    @pytest.mark.parametrize("embedder", [None, "facenet", {}, {"name": None}, {"name": 3}])
    def test_a_timeline_that_does_not_say(self, three: Timeline, embedder: object) -> None:
        wanted = r"^the timeline of 'video.mp4' does not say which embedder it was made with$"
        with pytest.raises(InputValidationError, match=wanted):
            model_of(replace(three, run={"embedder": embedder}))

    def test_of_another_embedder(self, three: Timeline) -> None:
        gallery = Gallery("facenet-casia", {"Ann": AXES[:1]})
        wanted = r"^the vectors to compare with are of 'facenet-casia', those of the timeline of 'video.mp4' of 'face"
        for call in (three.recognise, gallery.update):
            with pytest.raises(GalleryError, match=wanted):
                call(gallery if call == three.recognise else three)


class TestRecognise:
    def test_names_similarities_and_thresholds(self, three: Timeline) -> None:
        gallery = Gallery(MODEL, {"Ann": AXES[2:3], "Bob": AXES[7:]})
        told = three.recognise(gallery, similarity_threshold=0.5)
        assert [(p.name, p.gallery_id, p.similarity, p.threshold) for p in told.identities] == [
            (None, None, None, None), (None, None, None, None), ("Ann", "Ann", pytest.approx(1.0), 0.5)]  # fmt: skip
        assert [p.name for p in three.identities] == [None] * 3, "the one that was given stays as it was"

    def test_the_threshold_rises_with_the_gallery_and_falls_with_the_rate(self, three: Timeline) -> None:
        small = Gallery(MODEL, {"Ann": AXES[2:3]})
        large = Gallery(MODEL, {"Ann": AXES[2:3], **{str(i): -AXES[i : i + 1] for i in range(8)}})
        at = [three.recognise(g, far=far).identities[2].threshold
              for g, far in ((small, 1e-2), (small, None), (small, 1e-4), (large, 1e-4))]  # fmt: skip
        assert at == sorted(at)
        assert len(set(at)) == 4

    def test_somebody_unknown_has_an_id_and_no_name(self, three: Timeline) -> None:
        gallery = Gallery(MODEL)
        gallery.add_unknown(AXES[1])
        told = three.recognise(gallery, similarity_threshold=0.5)
        assert [(p.name, p.gallery_id) for p in told.identities] == [(None, None), (None, "unknown-1"), (None, None)]
        assert told.identities[1].label == "unknown-1"

    def test_two_who_are_one_become_one(self, three: Timeline) -> None:
        """Persons 0 and 2 are both Ann; 1 is like her too, but was seen beside 0."""
        ann = AXES[0] + AXES[1] + AXES[2]
        gallery = Gallery(MODEL, {"Ann": (ann / np.linalg.norm(ann))[None]})
        more = ((0, 0, 0.1), (1, 1, 1), (2, 2, 2), (3, 0, 0.1))
        close = looks(three, {t: (ann + k * AXES[p]) / 3 for t, p, k in more})
        told = close.recognise(gallery, similarity_threshold=0.5)
        assert [(p.id, p.name) for p in told.identities] == [(0, "Ann"), (1, None)]
        assert [s.start_frame for s in told.identity("Ann").instances] == [0, 20, 40]
        assert told.identity("Ann").similarity > 0.99

    def test_who_can_not_be_read_gets_no_name(self, three: Timeline) -> None:
        gallery = Gallery(MODEL, {"Ann": AXES[1:2], "Bob": AXES[2:3]})
        means = {t: AXES[p] for t, p in ((0, 0), (1, 1), (2, 2), (3, 0))}
        edge = float(np.float32(MIN_LEGIBILITY))
        poor = looks(three, means, legibility=[1, np.nextafter(np.float32(edge), np.float32(0)), 1.0001 * edge, 1])
        assert [p.name for p in poor.recognise(gallery, similarity_threshold=0.5).identities] == [None, None, "Bob"]


class TestRemember:
    def test_the_known_the_unknown_and_the_new(self, three: Timeline) -> None:
        gallery = Gallery(MODEL, {"Ann": AXES[2:3]})
        gallery.add_unknown(AXES[1])
        told = gallery.update(three, similarity_threshold=0.5)
        assert [(p.name, p.gallery_id) for p in told.identities] == [
            (None, "unknown-2"), (None, "unknown-1"), ("Ann", "Ann")]  # fmt: skip
        assert {name: len(v) for name, v in gallery.people.items()} == {"Ann": 1, "unknown-1": 2, "unknown-2": 1}
        np.testing.assert_allclose(gallery.people["unknown-2"], AXES[:1])

    def test_what_is_remembered_is_what_was_seen_after_joining(self, three: Timeline) -> None:
        ann = (AXES[0] + AXES[2]) / np.float32(2**0.5)
        gallery = Gallery(MODEL)
        gallery.add_unknown(ann)
        told = gallery.update(three, similarity_threshold=0.5)
        assert [(p.id, p.gallery_id) for p in told.identities] == [(0, "unknown-1"), (1, "unknown-2")]
        wanted = (2 * AXES[0] + AXES[2]) / np.float32(5**0.5)
        np.testing.assert_allclose(gallery.people["unknown-1"], [ann, wanted], atol=1e-6)
        np.testing.assert_allclose(gallery.people["unknown-2"], AXES[1:2])

    def test_who_can_not_be_read_is_not_remembered(self, three: Timeline) -> None:
        means = {t: AXES[p] for t, p in ((0, 0), (1, 1), (2, 2), (3, 0))}
        gallery = Gallery(MODEL)
        told = gallery.update(looks(three, means, legibility=[0.3, 1, 0.39, 0.35]), similarity_threshold=0.5)
        assert [p.gallery_id for p in told.identities] == [None, "unknown-1", None]
        assert list(gallery.people) == ["unknown-1"]
