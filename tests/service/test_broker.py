"""Jobs in Redis, and `fastface worker` processes under Celery: what remains when any of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from asking import SETTINGS, request_for, wait_for, wait_over
from fleet import Fleet, ended_once, same
from redis_server import RedisServer

import fastface
from fastface.errors import InputValidationError
from fastface.service.broker.celery_app import Resend, add_task, make_app, messages, sender
from fastface.service.broker.redis_jobs import RedisJobs
from fastface.service.embedded import EmbeddedJobs
from fastface.service.jobs import Claim, JobError, JobRequest, JobsUnavailable, Progress
from fastface.service.place import Place
from fastface.service.storage import Storage
from film import MODEL

KILLS = int(os.environ.get("FASTFACE_SERVICE_KILLS", "4"))
"""How often workers are killed in the long test; the figures in docs/service.md are of 30."""

PATIENT = 240.0
"""Seconds after which something will not happen any more, however busy the machine is."""

SLOW: dict[str, Any] = {"min_face_size": 30, "every": 1}
"""Some seconds of work, so that a kill may come in the middle."""


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    redis_server.empty()
    return redis_server


def test_both_keepers_are_the_same(server: RedisServer, tmp_path: Path) -> None:
    """Hundreds of calls by chance: the same answers, the same jobs, the same events."""
    rng = np.random.default_rng(3)
    keepers: list[Any] = [EmbeddedJobs(tmp_path / "jobs.sqlite", max_attempts=2), RedisJobs(server.url, max_attempts=2)]
    made: list[tuple[Any, Any]] = []
    claims: list[tuple[Any, Any]] = []

    def shape(job: Any) -> Any:
        facts = (job.owner, job.request, job.state, job.cancelling, job.attempt, job.progress, job.error, job.result)
        return (*facts, job.started is None, job.finished is None)

    def outcome(call: Any) -> Any:
        try:
            return call()
        except JobError as error:
            return type(error).__name__

    calls: dict[str, int] = {}
    for step in range(600):
        what = str(rng.choice(["submit", "claim", "beat", "finish", "fail", "end", "give_back", "release", "cancel",
                               "remove"], p=[.22, .22, .1, .12, .08, .05, .06, .03, .08, .04]))  # fmt: skip
        calls[what] = calls.get(what, 0) + 1
        owner, number = f"o{rng.integers(3)}", int(rng.integers(1, 3))
        if what == "submit":
            requests = [request_for(f"{step}-{i}.mp4") for i in range(number)]
            key = f"k{rng.integers(20)}" if rng.random() < 0.3 else None
            both = [outcome(partial(k.submit, owner, requests, key=key, at_most=20)) for k in keepers]
            if isinstance(both[0], str):
                assert both[0] == both[1]
                continue
            assert both[0][1] == both[1][1]
            if both[0][1]:
                made += zip(both[0][0], both[1][0], strict=True)
        elif what == "claim":
            both = [k.claim(f"w{step % 3}", 60) for k in keepers]
            assert (both[0] is None) == (both[1] is None)
            if both[0] is not None:
                assert shape(both[0].job) == shape(both[1].job)
                claims.append((both[0], both[1]))
        elif what == "release":
            assert len({k.release(f"w{step % 3}") for k in keepers}) == 1
        elif what in ("cancel", "remove") and made:
            pair = made[int(rng.integers(len(made)))]
            both = [outcome(partial(getattr(k, what), j.id, j.owner)) for k, j in zip(keepers, pair, strict=True)]
            assert (shape(both[0]) == shape(both[1])) if what == "cancel" and not isinstance(both[0], str) else (
                both[0] == both[1])  # fmt: skip
        elif claims and what not in ("cancel", "remove"):
            pair = claims[int(rng.integers(max(0, len(claims) - 6), len(claims)))]
            arguments: dict[str, tuple[Any, ...]] = {"beat": (60, Progress("frames", step, 600, 1.5, None)),
                                                     "finish": (f"{step}.json",), "fail": ("code", "it is 'bad' \"x\""),
                                                     "end": (), "give_back": ()}  # fmt: skip
            both = [getattr(k, what)(c, *arguments[what]) for k, c in zip(keepers, pair, strict=True)]
            assert both[0] == both[1] or (what != "finish" and both[1] is True)  # said again, Redis remembers it
        assert keepers[0].counts() == keepers[1].counts(), (step, what)
    for pair in made:
        looks = [outcome(lambda k=k, j=j: shape(k.get(j.id))) for k, j in zip(keepers, pair, strict=True)]
        assert looks[0] == looks[1]
        told = [[(e.kind, dict(e.data)) for e in k.events(j.id)] for k, j in zip(keepers, pair, strict=True)]
        assert told[0] == told[1]
    for owner in (None, "o0", "o1"):
        for state in (None, "queued", "done", "cancelled"):
            lists = [[shape(j) for j in k.list(owner, state=state, limit=200).jobs] for k in keepers]
            assert lists[0] == lists[1]
    assert len(calls) == 10
    for keeper in keepers:
        keeper.close()


def test_a_call_whose_answer_was_lost(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis did it, and the line broke: made again, the call changes nothing, and gives the same."""
    jobs = RedisJobs(server.url)
    script = jobs._script

    def twice(**more: Any) -> Any:
        first = script(**more)
        again = script(**more)
        assert first == again
        return again

    monkeypatch.setattr(jobs, "_script", twice)
    made, new = jobs.submit("ann", [request_for("a.mp4"), request_for("b.mp4")], at_most=2, key="k")
    assert new
    claim = jobs.claim("w", 60)
    assert claim is not None
    assert jobs.counts()["running"] == 1
    assert jobs.beat(claim, 60) == "go"
    assert jobs.give_back(claim)
    claim = jobs.claim("w", 60)
    assert claim is not None
    assert jobs.finish(claim, "r.json")
    assert not jobs.finish(claim, "other.json")
    claim = jobs.claim("w", 60)
    assert claim is not None
    assert jobs.fail(claim, "x", "y")
    assert jobs.counts() == {"queued": 0, "running": 0, "done": 1, "failed": 1, "cancelled": 0}
    for job in made:
        assert len([e for e in jobs.events(job.id) if e.kind in ("done", "failed")]) == 1
    jobs.close()


def test_redis_is_killed_and_comes_back(own_server: RedisServer) -> None:
    """What it answered stands in its file; a call waits for its return, or says that it is away."""
    jobs = RedisJobs(own_server.url)
    (first,), _ = jobs.submit("ann", [request_for("a.mp4")], key="k")
    claim = jobs.claim("w", 1)
    assert claim is not None
    jobs.beat(claim, 1.0, Progress("frames", 7))
    own_server.kill()
    with pytest.raises(JobsUnavailable, match="cannot be reached now"):
        jobs.submit("ann", [request_for("b.mp4")])
    time.sleep(3.5)  # longer than the lease: nobody could be heard
    assert own_server.start()
    assert jobs.claim("other", 1) is None  # and so the holder has its time again
    assert jobs.get(first.id).progress.frames_done == 7
    assert jobs.finish(claim, "r.json")
    assert jobs.submit("ann", [request_for("a.mp4")], key="k")[0][0].state == "done"
    # A holder that really died loses its job one lease later.
    jobs.submit("ann", [request_for("c.mp4")])
    assert jobs.claim("w", 1) is not None
    own_server.kill()
    time.sleep(3.5)
    assert own_server.start()
    assert jobs.claim("other", 1) is None
    time.sleep(3.5)  # nobody looked: that is no silence of Redis, and spares nobody for ever
    taken = jobs.claim("other", 1)
    assert taken is not None
    assert taken.job.attempt == 2
    jobs.close()


def test_what_is_no_broker() -> None:
    for wrong in ("", "localhost", "http://127.0.0.1/", "redis://", "redis://:secret@/0", "redis://x:99999/0"):
        with pytest.raises(InputValidationError, match="must be redis://") as caught:
            RedisJobs(wrong)
        assert "secret" not in str(caught.value)
    with pytest.raises(JobsUnavailable):
        RedisJobs("redis://127.0.0.1:1/0")


def test_messages(server: RedisServer) -> None:
    """As many as there are jobs that may be taken: none is lost for good, and none is sent for nothing."""
    jobs, app = RedisJobs(server.url), make_app(server.url)
    jobs.notify = sender(app)
    resend = Resend(jobs, jobs.notify, "fastface")

    def waiting() -> int:
        with redis.Redis.from_url(server.url) as client:
            return int(client.llen(messages("fastface")))

    made, _ = jobs.submit("ann", [request_for(f"{i}.mp4") for i in range(5)])
    assert waiting() == 5
    assert resend.once() == 0
    with redis.Redis.from_url(server.url) as client:
        client.delete(messages("fastface"))
    assert resend.once() == 5
    assert resend.once() == 0
    claims = [jobs.claim("w", 60) for _ in range(5)]
    with redis.Redis.from_url(server.url) as client:
        client.delete(messages("fastface"))
    assert resend.once() == 0  # all of them run
    assert claims[0] is not None
    assert claims[1] is not None
    begin = time.monotonic()
    assert jobs.fail(claims[0], "gpu", "again", again=True)
    assert resend.once() == 0 or time.monotonic() - begin > 1.9  # not before its time for another try has come
    jobs.release("w")
    wait_for(lambda: resend.once() or waiting() == 5, PATIENT)
    wait_for(lambda: not resend.once() and waiting() == 5, PATIENT)
    assert time.monotonic() - begin > 1.9
    jobs.cancel(made[0].id)
    assert resend.once() == 0
    jobs.close()


def test_what_a_message_does(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One job at most; where Redis does not answer it is tried again; a worker that ends leaves it to others."""
    jobs, did = RedisJobs(server.url), []

    class Doing:
        stopped = threading.Event()

        def do(self, claim: Claim) -> None:
            did.append(claim.job.id)
            assert jobs.finish(claim, f"{len(did)}.json")

    worker: Any = Doing()
    task = add_task(make_app(server.url), jobs, worker, "w", 60.0)
    made, _ = jobs.submit("ann", [request_for(f"{i}.mp4") for i in range(3)])
    for number in (1, 2):
        assert task.apply(args=[made[0].id]).state == "SUCCESS"
        assert did == [job.id for job in made[:number]]  # whose turn it is, whatever the message says
    claim, failures = jobs.claim, []

    def away_at_first(name: str, seconds: float) -> Any:
        if len(failures) < 2:
            failures.append(name)
            raise JobsUnavailable("away")
        return claim(name, seconds)

    waits = []
    retry = task.retry
    monkeypatch.setattr(jobs, "claim", away_at_first)
    monkeypatch.setattr(task, "retry", lambda **more: waits.append(more["countdown"]) or retry(**more))
    task.apply(args=[made[0].id])
    assert (did, failures) == ([job.id for job in made], ["w", "w"])
    assert waits == [1, 2]  # seconds, twice as long each time
    task.apply(args=[made[0].id])  # one too many
    assert len(did) == 3
    jobs.submit("ann", [request_for("last.mp4")])
    worker.stopped.set()
    told = task.apply(args=[made[0].id])
    assert (told.state, len(did)) == ("REJECTED", 3)
    assert jobs.counts()["queued"] == 1
    jobs.close()


def test_a_fleet(own_server: RedisServer, place: Place) -> None:
    """Two workers; a message twice, messages that are lost, a Redis that is killed and comes back, a job that is
    cancelled while it waits and while it runs, a worker that is killed, and one that is ended, which gives its job
    back."""
    server = own_server
    wanted = fastface.process(place.root / "film.mp4", device="cpu", embedder=MODEL, **SETTINGS)  # type: ignore[operator]
    jobs = RedisJobs(server.url, max_attempts=100)
    jobs.notify = sender(make_app(server.url))
    with Fleet(server.url, place, lease=10.0) as fleet:
        first, second = fleet.start(), fleet.start()
        wait_for(lambda: len(jobs.workers()) == 2, PATIENT)
        films, _ = jobs.submit("ann", [request_for("film.mp4") for _ in range(2)])
        jobs.notify([films[0].id, films[0].id, films[1].id])
        for job in films:
            over = wait_over(jobs, job, PATIENT)
            assert over.state == "done", over.error
            assert over.result is not None
            same(place.result(over.result), wanted)
        # Nothing tells of these but that somebody looks.
        notify, jobs.notify = jobs.notify, None
        (lost,), _ = jobs.submit("ann", [request_for("sub/tiny.mp4")])
        wait_over(jobs, lost, PATIENT)
        jobs.notify = notify
        longs, _ = jobs.submit("ann", [request_for("long.mp4", **SLOW) for _ in range(3)])
        wait_for(lambda: jobs.counts()["running"] == 2 and jobs.get(longs[0].id).progress.frames_done > 0, PATIENT)
        assert jobs.cancel(longs[2].id).state == "cancelled"
        server.kill()
        time.sleep(1.0)
        assert server.start()
        before = jobs.get(longs[0].id).progress.frames_done
        wait_for(lambda: jobs.get(longs[0].id).progress.frames_done > before, PATIENT)
        begin = time.monotonic()
        jobs.cancel(longs[0].id)
        assert wait_over(jobs, longs[0], PATIENT).state == "cancelled"
        print(f"cancelled after {time.monotonic() - begin:.2f} s")
        (after,), _ = jobs.submit("ann", [request_for("sub/tiny.mp4")])
        begin = time.monotonic()
        assert wait_over(jobs, after, PATIENT).state == "done"
        print(f"done {time.monotonic() - begin:.2f} s after it was asked for, by a worker that lost Redis before")
        assert [jobs.get(job.id).attempt for job in longs] == [1, 1, 0]
        # One of the two has nothing to do now. The other is killed: that one takes the job.
        holder = wait_for(lambda: _holder(server, longs[1].id), PATIENT)
        victim, other = (first, second) if _is(first, holder) else (second, first)
        victim.send_signal(signal.SIGKILL)
        begin = time.monotonic()
        wait_for(lambda: jobs.get(longs[1].id).attempt == 2, PATIENT)
        print(f"taken again after {time.monotonic() - begin:.2f} s")
        wait_for(lambda: jobs.get(longs[1].id).progress.frames_done > 0, PATIENT)
        # That one is ended, and gives the job back.
        begin = time.monotonic()
        other.send_signal(signal.SIGTERM)
        assert other.wait(60) == 0
        print(f"ended after {time.monotonic() - begin:.2f} s")
        given = jobs.get(longs[1].id)
        assert (given.state, given.attempt) == ("queued", 1)
        assert place.checkpoint(given).exists()
    for job in (*films, lost, after):
        ended_once(jobs, job)
    jobs.close()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["folder", "s3"])
def test_killed_workers(where: str, own_server: RedisServer, place: Place, request: pytest.FixtureRequest) -> None:
    """kill -9 at random points, of workers and now and then of Redis: every job ends once, with the right timeline, and
    nothing is left over. With S3, no worker sees what another had on its disk."""
    rng = np.random.default_rng(9)
    storage = f"{request.getfixturevalue('s3')}/{own_server.url[-10:-2]}" if where == "s3" else None
    if storage is not None:
        place = Place(place.folder, place.root, Storage(storage))
    assert place.root is not None
    wanted = fastface.process(place.root / "film.mp4", device="cpu", embedder=MODEL, **SLOW)
    jobs = RedisJobs(own_server.url, max_attempts=100)
    jobs.notify = sender(make_app(own_server.url))
    sent = []
    for number in range(max(3, KILLS // 3)):
        upload = place.uploads / f"{number:032x}.mp4"
        upload.write_bytes((place.root / "film.mp4").read_bytes())
        place.keep(upload, here=False)
        sent.append(JobRequest("upload", upload.name, f"{number}.mp4", SLOW, f"{number}"))
    made, _ = jobs.submit("ann", sent)
    kills = restarts = resumed = 0
    with Fleet(own_server.url, place, storage) as fleet:
        alive = [fleet.start(), fleet.start()]
        while kills < KILLS and jobs.counts()["queued"] + jobs.counts()["running"]:
            index = int(rng.integers(2))
            victim = alive[index]
            wait_for(lambda victim=victim: any(_is(victim, n) for n in jobs.workers()), PATIENT)
            if rng.random() < 0.7:  # else while it loads models, or waits
                wait_for(lambda victim=victim: _works(own_server, jobs, victim) or not jobs.counts()["queued"], PATIENT)
            time.sleep(float(rng.uniform(0.0, 3.0)))
            if kills % 10 == 5:
                own_server.kill()
                time.sleep(float(rng.uniform(0.5, 3.0)))
                assert own_server.start()
                restarts += 1
            victim.kill()
            victim.wait()
            kills += 1
            stored = place.storage.all("work") if place.storage is not None else {p.name for p in place.work.iterdir()}
            resumed += any(name.endswith(".checkpoint") for name in stored)
            alive[index] = fleet.start()
        for job in made:
            wait_over(jobs, job, PATIENT)
        wait_for(lambda: jobs.counts()["running"] == 0, PATIENT)
        for process in alive:
            process.terminate()
        for process in alive:
            process.wait(60)
    attempts = [jobs.get(job.id).attempt for job in made]
    print(f"{where}: {kills} kills, {restarts} of Redis, {len(made)} jobs, {resumed} times with a checkpoint, attempts "
          f"{attempts}")  # fmt: skip
    assert kills >= min(KILLS, 3)
    for job in made:
        over = jobs.get(job.id)
        assert over.state == "done", over
        assert over.result is not None
        ended_once(jobs, job)
        same(place.near(place.result(over.result)), wanted)
    place.sweep(jobs, -1, keep_uploads=0)
    left = {
        name: sorted(p.name for p in (place.folder / name).iterdir())
        if place.storage is None
        else sorted(place.storage.all(name))
        for name in ("results", "uploads", "work")
    }
    wanted_names = [str(jobs.get(job.id).result) for job in made]
    wanted_names += [place.faces(name).name for name in wanted_names]
    assert left == {"results": sorted(wanted_names), "uploads": [], "work": []}
    jobs.close()


def _works(server: RedisServer, jobs: RedisJobs, process: subprocess.Popen[bytes]) -> bool:
    """Whether a worker has looked at frames."""
    running = jobs.list(state="running").jobs
    return any(job.progress.frames_done and _is(process, _holder(server, job.id) or "") for job in running)


def _holder(server: RedisServer, id: str) -> str | None:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return client.hget(f"{{fastface}}:job:{id}", "worker")  # type: ignore[return-value]


def _is(process: subprocess.Popen[bytes], name: str) -> bool:
    """Whether a worker has this name: it says it in Redis, under its process' number."""
    return name.endswith(f"-{process.pid}")
