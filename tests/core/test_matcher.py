"""Search against float64 and, bit for bit, against a plain model; its order, its cache, and several threads at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from fastface import _core

LEVELS = _core.simd_levels()
BEST = LEVELS[0]


def unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    x = rng.normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def axes(n: int, dim: int = 8) -> np.ndarray:
    return np.eye(dim, dtype=np.float32)[:n].copy()


def near_ties(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Copies of a few vectors, some of them off by the last bit: rounding alone decides between them."""
    vectors = unit(rng, 3, dim)[rng.integers(0, 3, n)]
    direction = rng.choice(np.array([-np.inf, np.inf], np.float32), vectors.shape)
    return np.where(rng.random(vectors.shape) < 0.2, np.nextafter(vectors, direction), vectors)


def fixed_dots(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """[m, n]: sixteen partial sums in float32, added up in halves: what the core promises, bit for bit."""
    dim = queries.shape[1]
    q, v = (np.pad(x, ((0, 0), (0, -dim % 16))) for x in (queries, vectors))
    lane = np.zeros((len(q), len(v), 16), np.float32)
    for i in range(0, q.shape[1], 16):
        lane += q[:, None, i : i + 16] * v[None, :, i : i + 16]
    for width in (8, 4, 2, 1):
        lane = lane[..., :width] + lane[..., width : 2 * width]
    return lane[..., 0]


def search_model(
    queries: np.ndarray, vectors: np.ndarray, ids: np.ndarray, k: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """What `search` must return, to the bit."""
    dots = fixed_dots(queries, vectors)
    who = np.full((len(queries), k), -1)
    similarity = np.full((len(queries), k), -np.inf, np.float32)
    people = np.unique(ids)
    if len(people):
        best = np.stack([dots[:, ids == i].max(1) for i in people], 1)
        order = np.lexsort((np.broadcast_to(people, best.shape), -best))[:, :k]
        who[:, : order.shape[1]] = people[order]
        similarity[:, : order.shape[1]] = np.take_along_axis(best, order, 1)
    return who, similarity


def matcher_of(vectors: np.ndarray, ids: np.ndarray | None = None) -> _core.Matcher:
    matcher = _core.Matcher(vectors.shape[1])
    matcher.add(vectors, np.arange(len(vectors)) if ids is None else ids)
    return matcher


def check(got: tuple[np.ndarray, np.ndarray], want: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1].view(np.uint32), want[1].view(np.uint32))


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each level of SIMD that this machine has."""
    _core.set_simd_level(request.param)
    yield request.param
    _core.set_simd_level(BEST)


@pytest.mark.parametrize("dim", [1, 2, 15, 16, 17, 31, 100, 128, 512, 513])
def test_the_best_is_that_of_float64(rng: np.random.Generator, level: str, dim: int) -> None:
    vectors, queries = unit(rng, 700, dim), unit(rng, 40, dim)
    similarity = queries.astype(np.float64) @ vectors.astype(np.float64).T
    ids, got = matcher_of(vectors).search(queries)
    assert ids.dtype == np.int64
    assert got.dtype == np.float32
    assert ids.shape == got.shape == (40, 1)
    np.testing.assert_allclose(got[:, 0], similarity.max(1), atol=2e-6)
    np.testing.assert_allclose(similarity[np.arange(40), ids[:, 0]], similarity.max(1), atol=2e-6)
    second, first = np.sort(similarity, 1)[:, -2:].T
    clear = first - second > 4e-6
    assert clear.any() or dim < 3  # of one or two numbers there are too few different vectors
    np.testing.assert_array_equal(ids[clear, 0], similarity.argmax(1)[clear])


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 127, 129, 257])
@pytest.mark.parametrize("n", [1, 5, 7, 12, 97, 241, 500])
def test_every_batch_size_gives_the_same_bits(rng: np.random.Generator, level: str, n: int, m: int) -> None:
    vectors, queries = unit(rng, n, 37), unit(rng, m, 37)
    check(matcher_of(vectors).search(queries), search_model(queries, vectors, np.arange(n)))


@pytest.mark.parametrize("k", [1, 2, 7])
def test_near_ties_are_decided_by_the_fixed_order_of_additions(rng: np.random.Generator, level: str, k: int) -> None:
    """The fast kernels round differently: their best is often another one."""
    for n, m, dim in ((300, 1, 512), (300, 3, 128), (300, 50, 128), (1000, 20, 37)):
        vectors = near_ties(rng, n, dim)
        queries = np.concatenate([vectors[: m // 2], unit(rng, m - m // 2, dim)])
        ids = rng.integers(0, n // 3, n)
        check(matcher_of(vectors, ids).search(queries, k), search_model(queries, vectors, ids, k))


def test_nothing_but_the_vectors_matters(rng: np.random.Generator, level: str) -> None:
    """Order of the gallery, way of adding, batches, threads and level: the same identities, the same bits."""
    for trial in range(12):
        n, dim, k = int(rng.integers(2, 3000)), int(rng.integers(1, 140)), int(rng.integers(1, 4))
        vectors = near_ties(rng, n, dim) if trial % 2 else unit(rng, n, dim)
        ids = rng.integers(0, max(n // 2, 1), n)
        queries = np.concatenate([unit(rng, 60, dim), vectors[rng.integers(0, n, 30)]])
        _core.set_simd_level("baseline")
        want = matcher_of(vectors, ids).search(queries, k)
        _core.set_simd_level(level)
        order = rng.permutation(n)
        shuffled = _core.Matcher(dim)
        for part in np.array_split(order, int(rng.integers(1, 5))):
            shuffled.add(vectors[part], ids[part])
        for threads in (1, 2, 5):
            check(shuffled.search(queries, k, threads=threads), want)
        for size in (1, 2, 7, 40):
            for at in range(0, len(queries), size):
                got = shuffled.search(queries[at : at + size], k)
                check(got, (want[0][at : at + size], want[1][at : at + size]))


def test_several_threads_share_large_work(rng: np.random.Generator) -> None:
    """Large enough that threads are started; the best of each is merged."""
    vectors, queries = unit(rng, 20_000, 64), unit(rng, 300, 64)
    ids = rng.integers(0, 9000, len(vectors))
    matcher = matcher_of(vectors, ids)
    for k in (1, 5):
        want = matcher.search(queries, k)
        for threads in (2, 3, 8):
            check(matcher.search(queries, k, threads=threads), want)
            check(matcher.search(queries[:1], k, threads=threads), (want[0][:1], want[1][:1]))


def test_the_k_best_are_different_identities(rng: np.random.Generator, level: str) -> None:
    vectors, queries = unit(rng, 900, 64), unit(rng, 33, 64)
    ids = rng.integers(0, 50, 900) * 1_000_000_007
    matcher = matcher_of(vectors, ids)
    assert len(matcher) == 900
    assert matcher.identities == len(np.unique(ids))
    for k in (1, 2, 10, 60):
        check(matcher.search(queries, k), search_model(queries, vectors, ids, k))
    who, similarity = matcher.search(queries, 60)
    assert (who[:, 50:] == -1).all()
    assert np.isneginf(similarity[:, 50:]).all()


def test_ties_go_to_the_lowest_id() -> None:
    same = np.repeat(axes(1), 400, 0)
    for ids in (np.arange(400), np.arange(400)[::-1].copy()):
        for m in (1, 20):
            who, _ = matcher_of(same, ids).search(same[:m], 3)
            assert (who == [0, 1, 2]).all()


@pytest.mark.parametrize("dim", [1, 15, 16, 17, 128, 500, 512])
def test_dot_has_the_same_bits_on_every_level(rng: np.random.Generator, level: str, dim: int) -> None:
    a, b = (rng.normal(size=(50, dim)).astype(np.float32) for _ in range(2))
    want = np.concatenate([fixed_dots(x[None], y[None])[0] for x, y in zip(a, b, strict=True)])
    np.testing.assert_array_equal(_core.dot(a, b).view(np.uint32), want.view(np.uint32))
    exact = (a.astype(np.float64) * b).sum(1)
    for x, y, got, right in zip(a, b, want, exact, strict=True):
        assert abs(got - right) <= _core.rounding_bound(dim, float(np.linalg.norm(x) * np.linalg.norm(y)))


def test_growing_and_removing_against_a_model(rng: np.random.Generator, level: str) -> None:
    """Long vectors, so that several segments of memory are filled and emptied."""
    dim = 20_000
    pool = unit(rng, 330, dim)
    matcher = _core.Matcher(dim)
    rows, ids = np.zeros(0, int), np.zeros(0, int)
    for step in range(14):
        if step % 3 < 2:
            more = rng.integers(0, len(pool), int(rng.integers(1, 120)))
            who = rng.integers(0, 40, len(more))
            matcher.add(pool[more], who)
            rows, ids = np.concatenate([rows, more]), np.concatenate([ids, who])
        else:
            for i in rng.integers(0, 40, 25):
                assert matcher.remove(int(i)) == (ids == i).sum()
                rows, ids = rows[ids != i], ids[ids != i]
        assert len(matcher) == len(ids)
        assert matcher.identities == len(np.unique(ids))
        queries = pool[rng.integers(0, len(pool), 2)]
        dots = np.stack([_core.dot(np.repeat(q[None], len(rows), 0), pool[rows]) for q in queries])
        got, similarity = matcher.search(queries)
        for row, i, s in zip(dots, got[:, 0], similarity[:, 0], strict=True):
            assert (s, i) == (row.max(), ids[row == row.max()].min())
    for i in range(40):
        matcher.remove(i)
    assert (len(matcher), matcher.identities) == (0, 0)
    assert matcher.search(pool[:1])[0] == -1
    matcher.add(pool[0], 7)
    assert matcher.search(pool[:1])[0] == 7


def test_removing_what_is_not_known_is_nothing() -> None:
    matcher = matcher_of(axes(3))
    assert matcher.remove(3) == 0
    assert matcher.remove(1) == 1
    assert matcher.remove(1) == 0
    assert len(matcher) == 2


def test_nobody_known(level: str) -> None:
    matcher = _core.Matcher(8)
    who, similarity = matcher.search(axes(3), k=2)
    assert (who == -1).all()
    assert np.isneginf(similarity).all()
    assert matcher.match(axes(1)[0], threshold=-1.0, sure=2.0) == (-1, -1.0, 0)
    assert matcher.search(axes(0), 1)[0].shape == (0, 1)


# match: newest seen first


def test_of_equals_the_newest_seen_wins() -> None:
    same = axes(1)[0]
    matcher = matcher_of(np.repeat(same[None], 4, 0))
    assert matcher.match(same, threshold=0.5, sure=2.0)[0] == 3
    matcher.add(axes(2)[1], 1)  # person 1 is seen again
    assert matcher.match(same, threshold=0.5, sure=2.0)[0] == 1


def test_who_matched_becomes_the_newest_if_touched() -> None:
    a, b = axes(2)
    matcher = matcher_of(axes(2))
    assert matcher.match(a, threshold=0.5, sure=0.9, touch=False) == (0, 1.0, 2)
    assert matcher.match(a, threshold=0.5, sure=0.9, touch=True) == (0, 1.0, 2)
    assert matcher.match(a, threshold=0.5, sure=0.9, touch=True) == (0, 1.0, 1)
    assert matcher.match(b, threshold=0.5, sure=0.9) == (1, 1.0, 2)


def test_a_sure_match_ends_the_search() -> None:
    matcher = matcher_of(axes(8))
    compared = [matcher.match(v, threshold=0.5, sure=0.95, touch=False)[2] for v in axes(8)]
    assert compared == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [matcher.match(v, threshold=0.5, sure=2.0, touch=False)[2] for v in axes(8)] == [8] * 8


def test_a_sure_match_comes_before_a_better_older_one() -> None:
    a, b = axes(2)
    query = (0.96 * a + 0.28 * b).astype(np.float32)
    matcher = matcher_of(np.stack([query, a]))
    assert matcher.match(query, threshold=0.2, sure=0.9)[0] == 1


def test_under_the_threshold_it_is_nobody() -> None:
    a, b = axes(2)
    matcher = matcher_of(a[None])
    for similarity, who in ((0.59, -1), (0.61, 0)):
        query = (similarity * a + (1 - similarity**2) ** 0.5 * b).astype(np.float32)
        got, value, _ = matcher.match(query, threshold=0.6, sure=2.0)
        assert got == who
        assert value == pytest.approx(similarity, abs=1e-6), "the similarity is told even where nobody matches"


@pytest.mark.parametrize("people", [20, 90, 1500])
def test_match_against_a_model(rng: np.random.Generator, level: str, people: int) -> None:
    """A stream with changes of every kind; with many people the oldest come after those looked at one by one."""
    dim, sure, threshold = 32, 0.8, 0.55
    centre = unit(rng, people, dim)
    order: list[int] = []  # newest first
    vectors: dict[int, list[np.ndarray]] = {}
    matcher = _core.Matcher(dim)
    beyond = nobody = doubtful = 0

    def add(i: int, vector: np.ndarray) -> None:
        matcher.add(vector, i)
        vectors.setdefault(i, []).insert(0, vector)
        if i in order:
            order.remove(i)
        order.insert(0, i)

    for i in rng.permutation(people):
        add(int(i), centre[i])
    for step in range(700):
        action = rng.random()
        i = int(rng.integers(0, people))
        if action < 0.1:
            add(i, unit(rng, 1, dim)[0])
        elif action < 0.15:
            matcher.remove(i)
            vectors.pop(i, None)
            order = [o for o in order if o != i]
        noise = rng.choice([0.2, 0.8, 1.5])
        query = centre[i] + noise * unit(rng, 1, dim)[0]
        query = (query / np.linalg.norm(query)).astype(np.float32)
        want, similarity, compared = -1, np.float32(-1), 0
        rows = [(o, v) for o in order for v in vectors[o]]
        for (o, _), s in zip(rows, fixed_dots(query[None], np.stack([v for _, v in rows]))[0], strict=True):
            compared += 1
            if s > similarity:
                want, similarity = o, s
                if s >= sure:
                    break
        if similarity < threshold:
            want = -1
        touch = bool(step % 2)
        got = matcher.match(query, threshold=threshold, sure=sure, touch=touch)
        assert got[:2] == (want, similarity)
        assert got[2] == (compared if compared <= 128 else len(rows))
        beyond += compared > 128
        nobody += want < 0
        doubtful += want >= 0 and similarity < sure
        if touch and want >= 0:
            order.remove(want)
            order.insert(0, want)
    assert doubtful > 10
    assert nobody > 10 or people > 100
    assert bool(beyond) == (people > 20)


# match: the cache of tracks


def test_a_track_is_first_compared_with_its_last_identity() -> None:
    vectors = axes(8)
    matcher = matcher_of(vectors)
    settings = {"threshold": 0.5, "sure": 0.9, "touch": False}
    assert matcher.recent(3) is None
    assert matcher.match(vectors[0], **settings, track=3) == (0, 1.0, 8)
    assert matcher.recent(3) == (0, 1.0)
    assert matcher.match(vectors[0], **settings, track=3) == (0, 1.0, 1)
    assert matcher.match(vectors[0], **settings, track=4) == (0, 1.0, 8)
    assert matcher.match(vectors[7], **settings, track=3) == (7, 1.0, 2), "it looks on where that one is not sure"
    assert matcher.recent(3) == (7, 1.0)
    assert matcher.match(-vectors[0], **settings, track=3) == (-1, 0.0, 9)
    assert matcher.recent(3) is None


def test_a_track_keeps_its_identity_while_that_is_sure() -> None:
    a, b = axes(2)
    between = ((a + b) / np.sqrt(2)).astype(np.float32)
    matcher = matcher_of(axes(2))
    settings = {"threshold": 0.5, "sure": 0.7}
    assert matcher.match(a, **settings, track=0)[0] == 0
    matcher.match(b, **settings)
    assert matcher.match(between, **settings, track=0, touch=False)[0] == 0
    assert matcher.match(between, **settings, touch=False)[0] == 1, "without a track the newest wins"


def test_a_removed_identity_is_not_remembered() -> None:
    vectors = axes(3)
    matcher = matcher_of(vectors)
    settings = {"threshold": 0.5, "sure": 0.9, "touch": False}
    matcher.match(vectors[0], **settings, track=1)
    matcher.remove(0)
    assert matcher.recent(1) is None
    assert matcher.match(vectors[0], **settings, track=1) == (-1, 0.0, 2)
    matcher.add(vectors[0], 0)
    assert matcher.recent(1) is None


def test_the_cache_is_bounded() -> None:
    matcher = matcher_of(axes(1))
    for track in range(1000):
        matcher.match(axes(1)[0], threshold=0.5, sure=0.9, track=track)
    assert [t for t in range(1000) if matcher.recent(t)] == list(range(744, 1000))


# several threads of Python


def test_searching_while_others_add_and_remove(rng: np.random.Generator) -> None:
    """One identity stays and is always the best; nobody may ever see half a change."""
    dim = 48
    fixed = unit(rng, 1, dim)
    other = unit(rng, 3000, dim)
    other -= (other @ fixed.T) * fixed  # at right angles
    other = (other / np.linalg.norm(other, axis=1, keepdims=True)).astype(np.float32)
    matcher = matcher_of(fixed, np.array([5_000_000]))
    want = _core.dot(fixed, fixed)[0]
    stop, wrong, searches = threading.Event(), [], [0]

    def search(m: int) -> None:
        while not stop.is_set():
            ids, similarity = matcher.search(np.repeat(fixed, m, 0), threads=2)
            who, _, _ = matcher.match(fixed[0], threshold=0.5, sure=0.9, track=m)
            if (ids != 5_000_000).any() or (similarity != want).any() or who != 5_000_000:
                wrong.append((ids, similarity, who))
            searches[0] += 1

    threads = [threading.Thread(target=search, args=(m,)) for m in (1, 20)]
    for t in threads:
        t.start()
    end = time.monotonic() + 1.0
    while time.monotonic() < end or searches[0] < 20:
        matcher.add(other, np.arange(3000))
        for i in range(0, 3000, 2):
            matcher.remove(i)
        for i in range(1, 3000, 2):
            matcher.remove(i)
        assert len(matcher) == 1
        if time.monotonic() > end + 60:
            break
    stop.set()
    for t in threads:
        t.join()
    assert not wrong
    assert searches[0] >= 20


def test_others_run_while_it_searches(rng: np.random.Generator) -> None:
    """The interpreter's lock is free: this thread runs on during a search of some hundred milliseconds."""
    matcher, queries = matcher_of(unit(rng, 20_000, 128)), unit(rng, 6000, 128)
    began, ended, inside = threading.Event(), threading.Event(), 0

    def search() -> None:
        began.set()
        matcher.search(queries)
        ended.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = threading.Thread(target=search)
        thread.start()
        began.wait()
        while not ended.is_set():
            inside += 1
            time.sleep(0.001)
    finally:
        sys.setswitchinterval(interval)
    thread.join()
    assert inside >= 3


# what is refused


def test_bad_arguments_raise() -> None:
    matcher = matcher_of(axes(2))
    ids = np.zeros(1, np.int64)
    with pytest.raises(ValueError, match=r"vector has shape \[7\], must be \[8\]"):
        matcher.add(np.zeros(7, np.float32), 0)
    with pytest.raises(ValueError, match=r"vectors has shape \[1, 7\], must be \[any, 8\]"):
        matcher.add(np.zeros((1, 7), np.float32), ids)
    with pytest.raises(ValueError, match=r"ids has shape \[1\], must be \[2\]"):
        matcher.add(axes(2), ids)
    with pytest.raises(ValueError, match="id is -1, must be at least 0"):
        matcher.add(axes(1)[0], -1)
    with pytest.raises(ValueError, match=r"ids\[1\] is -7, must be at least 0"):
        matcher.add(axes(2), np.array([3, -7]))
    with pytest.raises(ValueError, match="id is -1, must be at least 0"):
        matcher.remove(-1)
    with pytest.raises(ValueError, match=r"query has shape \[1, 8\], must be \[8\]"):
        matcher.match(np.zeros((1, 8), np.float32), threshold=0.5, sure=2.0)
    with pytest.raises(ValueError, match="track is -2, must be at least -1"):
        matcher.match(axes(1)[0], threshold=0.5, sure=2.0, track=-2)
    with pytest.raises(ValueError, match=r"queries has shape \[8\], must be \[any, 8\]"):
        matcher.search(axes(1)[0])
    with pytest.raises(ValueError, match="k is 0, must be at least 1"):
        matcher.search(axes(1), 0)
    with pytest.raises(ValueError, match="threads is 0, must be at least 1"):
        matcher.search(axes(1), threads=0)
    with pytest.raises(ValueError, match="dim is 0, must be at least 1"):
        _core.Matcher(0)
    with pytest.raises(TypeError):
        matcher.search(np.zeros((1, 8)))
    assert len(matcher) == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_what_is_not_finite_is_refused(level: str, value: float) -> None:
    """Also values so large that products overflow; a vector like that would be nobody's best, or everybody's."""
    matcher, bad = matcher_of(axes(2)), axes(8)
    bad[3, 5] = value
    with pytest.raises(ValueError, match=r"vectors\[3\] has norm .*, must be finite"):
        matcher.add(bad, np.arange(8))
    assert len(matcher) == 2, "all or none"
    with pytest.raises(ValueError, match=r"queries\[3\] has norm .*, must be finite"):
        matcher.search(bad)
    with pytest.raises(ValueError, match=r"query\[0\] has norm .*, must be finite"):
        matcher.match(bad[3], threshold=0.5, sure=0.9)


def test_a_level_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"SIMD level is 'mmx', this machine has: .*baseline"):
        _core.set_simd_level("mmx")
    assert _core.simd_level() == BEST
    code = "from fastface import _core; print(_core.simd_level())"
    for name, rc, out in (("baseline", 0, "baseline"), ("", 0, BEST), ("mmx", 1, "")):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "FASTFACE_SIMD": name}, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout.strip()) == (rc, out)
