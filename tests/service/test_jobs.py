"""The interface of jobs, for whatever keeps them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asking import request_for

from fastface.errors import InputValidationError
from fastface.service.jobs import (
    JobError,
    KeyConflict,
    Progress,
    TooManyJobs,
    UnknownJob,
    checked_settings,
)


@pytest.fixture
def jobs(all_jobs: Any) -> Any:
    return all_jobs


def submit(jobs: Any, owner: str = "ann", *names: str, **more: Any) -> Any:
    made, _ = jobs.submit(owner, [request_for(name) for name in names or ("a.mp4",)], **more)
    return made[0] if len(made) == 1 else made


def kinds(jobs: Any, job: Any) -> list[str]:
    return [event.kind for event in jobs.events(job.id)]


def test_a_jobs_life(jobs: Any) -> None:
    job = submit(jobs)
    assert (job.state, job.attempt, job.result, job.error) == ("queued", 0, None, None)
    assert len(job.id) == 32
    claim = jobs.claim("w", 10)
    assert claim.job.id == job.id
    assert jobs.claim("w2", 10) is None
    assert jobs.get(job.id).state == "running"
    assert jobs.beat(claim, 10, Progress("frames", 5, 10, 2.5, 2.0)) == "go"
    assert jobs.get(job.id).progress == Progress("frames", 5, 10, 2.5, 2.0)
    assert jobs.finish(claim, "r.json")
    over = jobs.get(job.id)
    assert (over.state, over.result, over.attempt) == ("done", "r.json", 1)
    assert over.progress.stage == "done"
    assert over.created <= over.started <= over.finished
    assert kinds(jobs, job) == ["queued", "started", "progress", "done"]
    assert jobs.counts() == {"queued": 0, "running": 0, "done": 1, "failed": 0, "cancelled": 0}


def test_a_claim_that_is_worth_nothing_changes_nothing(jobs: Any) -> None:
    """A worker that was taken for dead comes back: whatever it says, the other's result stands."""
    job = submit(jobs)
    old = jobs.claim("slow", 0.05)
    time.sleep(0.1)
    new = jobs.claim("quick", 10)
    assert new.job.id == job.id
    assert new.token != old.token
    for call in (lambda c: jobs.finish(c, "old.json"), lambda c: jobs.fail(c, "x", "y"), jobs.end, jobs.give_back):
        assert call(old) is False
    assert jobs.beat(old, 10, Progress("frames", 99)) == "lost"
    assert jobs.get(job.id).progress.frames_done == 0
    assert jobs.finish(new, "new.json")
    assert jobs.finish(new, "again.json") is False
    assert jobs.finish(old, "old.json") is False
    assert jobs.get(job.id).result == "new.json"
    assert kinds(jobs, job).count("done") == 1


def test_a_beat_keeps_a_job(jobs: Any) -> None:
    submit(jobs)
    claim = jobs.claim("w", 0.2)
    for _ in range(4):
        time.sleep(0.1)
        assert jobs.beat(claim, 0.2) == "go"
        assert jobs.claim("other", 10) is None


def test_workers_that_die_with_a_job(jobs: Any) -> None:
    job = submit(jobs)
    for attempt in (1, 2, 3):
        claim = jobs.claim(f"w{attempt}", 60)
        assert claim.job.attempt == attempt
        assert jobs.release(f"w{attempt}") == 1
    assert jobs.claim("w", 60) is None
    over = jobs.get(job.id)
    assert over.state == "failed"
    assert over.error["code"] == "worker_lost"
    assert jobs.release("w3") == 0


def test_failing(jobs: Any) -> None:
    job = submit(jobs)
    assert jobs.fail(jobs.claim("w", 60), "gpu", "no memory", again=True)
    assert jobs.get(job.id).state == "queued"
    assert jobs.claim("w", 60) is None  # not at once
    other = submit(jobs)
    assert jobs.fail(jobs.claim("w", 60), "bad_video", "it is none")
    assert jobs.get(other.id).error == {"code": "bad_video", "message": "it is none"}


def test_given_back_is_no_attempt(jobs: Any) -> None:
    job = submit(jobs)
    for _ in range(5):
        assert jobs.give_back(jobs.claim("w", 60))
    assert jobs.get(job.id).attempt == 0


def test_cancelling(jobs: Any) -> None:
    waits, runs = submit(jobs, "ann", "a.mp4"), None
    assert jobs.cancel(waits.id).state == "cancelled"
    runs = submit(jobs, "ann", "b.mp4")
    claim = jobs.claim("w", 60)
    job = jobs.cancel(runs.id)
    assert (job.state, job.cancelling) == ("running", True)
    jobs.cancel(runs.id)
    assert kinds(jobs, runs).count("cancelling") == 1
    assert jobs.beat(claim, 60) == "cancel"
    assert jobs.end(claim)
    assert jobs.get(runs.id).state == "cancelled"
    assert not jobs.get(runs.id).cancelling
    assert jobs.cancel(runs.id).state == "cancelled"
    # A worker that dies while it should end leaves nothing to take again.
    third = submit(jobs)
    jobs.claim("w", 60)
    jobs.cancel(third.id)
    jobs.release("w")
    assert jobs.get(third.id).state == "cancelled"


def test_idempotency_keys(jobs: Any) -> None:
    requests = [request_for("a.mp4"), request_for("b.mp4")]
    first, made = jobs.submit("ann", requests, key="k")
    again, made_again = jobs.submit("ann", requests, key="k")
    assert (made, made_again) == (True, False)
    assert [j.id for j in first] == [j.id for j in again]
    assert jobs.counts()["queued"] == 2
    with pytest.raises(KeyConflict):
        jobs.submit("ann", requests[:1], key="k")
    other, made = jobs.submit("bob", requests, key="k")
    assert made
    assert {j.id for j in other}.isdisjoint(j.id for j in first)
    for key in ("", "x" * 201):
        with pytest.raises(InputValidationError, match="must have 1 to 200"):
            jobs.submit("ann", requests, key=key)


def test_one_key_at_once_makes_one_job(jobs: Any) -> None:
    start = threading.Barrier(8)

    def ask(number: int) -> tuple[str, bool]:
        start.wait()
        made, new = jobs.submit("ann", [request_for("a.mp4")], key="same")
        return made[0].id, new

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert len({id for id, _ in answers}) == 1
    assert [new for _, new in answers].count(True) == 1


def test_no_job_is_taken_twice(jobs: Any) -> None:
    wanted = {job.id for job in submit(jobs, "ann", *[f"{i}.mp4" for i in range(60)])}
    start = threading.Barrier(6)

    def take(number: int) -> list[str]:
        start.wait()
        taken = []
        while (claim := jobs.claim(f"w{number}", 60)) is not None:
            taken.append(claim.job.id)
            assert jobs.finish(claim, "r.json")
        return taken

    with ThreadPoolExecutor(6) as pool:
        taken = [id for ids in pool.map(take, range(6)) for id in ids]
    assert len(taken) == len(wanted)
    assert set(taken) == wanted


def test_at_most_and_whose_turn(jobs: Any) -> None:
    submit(jobs, "ann", "1.mp4", "2.mp4", "3.mp4", at_most=3)
    with pytest.raises(TooManyJobs, match="3 jobs are not over"):
        submit(jobs, "ann", "4.mp4", at_most=3)
    submit(jobs, "bob", "5.mp4", at_most=3)
    taken = [jobs.claim("w", 60).job.request.name for _ in range(4)]
    assert taken == ["1.mp4", "5.mp4", "2.mp4", "3.mp4"]  # bob's before ann's second


def test_pages(jobs: Any) -> None:
    made = [submit(jobs, "ann", f"{i}.mp4").id for i in range(7)]
    submit(jobs, "bob")
    pages, after = [], None
    while True:
        page = jobs.list("ann", after=after, limit=3)
        pages.append([job.id for job in page.jobs])
        after = page.next
        if after is None:
            break
    assert [len(p) for p in pages] == [3, 3, 1]
    assert [id for p in pages for id in p] == made[::-1]
    assert len(jobs.list().jobs) == 8
    jobs.cancel(made[0])
    assert [job.id for job in jobs.list("ann", state="cancelled").jobs] == [made[0]]
    for wrong, message in (({"state": "x"}, "state is 'x'"), ({"limit": 0}, "limit is 0"), ({"limit": 201}, "limit"),
                           ({"after": "x"}, "after is 'x'"), ({"after": "-1"}, "after"),
                           ({"after": "9" * 30}, "after")):  # fmt: skip
        with pytest.raises(InputValidationError, match=message):
            jobs.list("ann", **wrong)


def test_others_jobs_are_not_there(jobs: Any) -> None:
    job = submit(jobs, "ann")
    for call in (jobs.get, jobs.cancel, jobs.remove):
        with pytest.raises(UnknownJob):
            call(job.id, "bob")
    for id in ("", "x", "' OR 1=1 --", "a" * 100_000):
        with pytest.raises(UnknownJob):
            jobs.get(id)
    assert jobs.get(job.id).state == "queued"


def test_removing(jobs: Any) -> None:
    job = submit(jobs)
    with pytest.raises(JobError, match="queued"):
        jobs.remove(job.id)
    jobs.finish(jobs.claim("w", 60), "r.json")
    assert "r.json" in jobs.files()
    assert jobs.remove(job.id, "ann") == "r.json"
    assert jobs.events(job.id) == []
    assert jobs.files() == set()
    with pytest.raises(UnknownJob):
        jobs.get(job.id)


def test_events_are_bounded_and_go_on(jobs: Any) -> None:
    job = submit(jobs)
    claim = jobs.claim("w", 60)
    for done in range(50):
        jobs.beat(claim, 60, Progress("frames", done))
    events = jobs.events(job.id)
    assert [e.kind for e in events] == ["queued", "started", "progress"]
    assert events[-1].data["frames_done"] == 49
    jobs.finish(claim, "r.json")
    assert [e.kind for e in jobs.events(job.id, events[-1].number)] == ["done"]


def test_settings_of_a_job() -> None:
    assert checked_settings({"every": 2, "thresholds": [0.5, 0.6, 0.7]}) == {"every": 2, "thresholds": [0.5, 0.6, 0.7]}
    for wrong, message in (({"every": 0}, "every is 0"), ({"device": "cuda"}, "no setting 'device'"),
                           ({"limits": None}, "no setting 'limits'"), ({"thresholds": "x"}, "thresholds"),
                           ({"min_face_size": {}}, "min_face_size"), ({"strict": 1}, "strict")):  # fmt: skip
        with pytest.raises(InputValidationError, match=message):
            checked_settings(wrong)
