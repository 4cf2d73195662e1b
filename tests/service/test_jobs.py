"""The interface of jobs, for whatever keeps them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking import request_for

from fastface.errors import InputValidationError
from fastface.service.embedded import EmbeddedJobs
from fastface.service.jobs import (
    JobError,
    JobRequest,
    KeyConflict,
    Progress,
    TooManyJobs,
    UnknownJob,
    checked_clip,
    checked_settings,
    fingerprint,
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


@pytest.mark.parametrize("of", [{}, {"owner": "ann"}, {"owner": "ann", "state": "done"}, {"state": "queued"},
                                {"owner": "ann", "source": "x"}])  # fmt: skip
def test_a_page_of_many_jobs_reads_no_more_than_itself(tmp_path: Path, of: dict[str, str]) -> None:
    jobs = EmbeddedJobs(tmp_path / "jobs.sqlite")
    submit(jobs, "ann")
    asked: list[str] = []
    jobs._database().set_trace_callback(asked.append)
    jobs.list(**of)  # type: ignore[arg-type]
    jobs._database().set_trace_callback(None)
    plan = [row["detail"] for row in jobs._database().execute(f"EXPLAIN QUERY PLAN {asked[0]}")]
    assert len(asked) == 1
    assert all(step.startswith("SEARCH jobs USING") for step in plan), plan  # no sorting, no reading of all


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


def test_kinds_and_clips(jobs: Any) -> None:
    source = submit(jobs)
    assert (source.request.kind, source.request.source) == ("process", None)
    clips = [replace(source.request, kind="clip", source=source.id, settings={"person": n}) for n in range(3)]
    made, _ = jobs.submit("ann", clips)
    assert [j.request for j in made] == clips
    photo, _ = jobs.submit("ann", [JobRequest("upload", "p", "p", {}, "d", "photo")])
    assert jobs.get(photo[0].id).request.kind == "photo"
    listed = jobs.list("ann", source=source.id, limit=2)
    assert [j.id for j in listed.jobs] == [j.id for j in made[:0:-1]]
    assert [j.id for j in jobs.list("ann", source=source.id, after=listed.next).jobs] == [made[0].id]
    assert jobs.list("bob", source=source.id).jobs == jobs.list("ann", source=made[0].id).jobs == ()
    assert len(jobs.list("ann", source=source.id, state="queued").jobs) == 3
    assert fingerprint(clips[:1]) != fingerprint([replace(clips[0], source="x")])


def test_which_videos_are_needed(jobs: Any) -> None:
    def sent(path: str, kind: str, source: str | None = None) -> Any:
        made, _ = jobs.submit("ann", [JobRequest("upload", path, "x", {}, "d", kind, source)])
        return made[0]

    video = sent("video.mp4", "process")
    assert jobs.files(60) == {"video.mp4", f"{video.id}.checkpoint"}
    jobs.finish(jobs.claim("w", 60), "r.json")
    assert jobs.files(60) == jobs.files(float("inf")) == {"video.mp4", "r.json"}
    assert jobs.files() == jobs.files(-1) == {"r.json"}
    clip = sent("video.mp4", "clip", video.id)
    assert jobs.files() == {"video.mp4", "r.json", f"{clip.id}.checkpoint"}
    jobs.finish(jobs.claim("w", 60), "c.mp4")
    photo = sent("photo", "photo")
    assert "photo" in jobs.files()
    jobs.finish(jobs.claim("w", 60), "p.json")
    assert jobs.files(60) == {"video.mp4", "r.json", "c.mp4", "p.json"}
    failed = sent("bad.mp4", "process")
    jobs.fail(jobs.claim("w", 60), "bad_video", "it is none")
    assert "bad.mp4" not in jobs.files(60)
    assert {photo.id, failed.id} <= {j.id for j in jobs.list("ann").jobs}


def test_a_file_of_the_first_version(tmp_path: Path) -> None:
    """Its jobs are there, can be worked on, and its keys still count."""
    path = tmp_path / "jobs.sqlite"
    request = {"place": "root", "path": "a.mp4", "name": "a.mp4", "settings": {"every": 4}, "digest": None}
    progress = {"stage": "queued", "frames_done": 0, "frames_total": None, "fps": 0.0, "seconds_left": None}
    mark = hashlib.sha256(json.dumps([request], sort_keys=True).encode()).hexdigest()
    with sqlite3.connect(path) as database:
        database.executescript(FIRST)
        database.execute("INSERT INTO jobs (id, owner, request, state, created, progress)"
                         " VALUES (?, 'ann', ?, 'queued', 1.0, ?)",
                         ("a" * 32, json.dumps(request), json.dumps(progress)))  # fmt: skip
        database.execute("INSERT INTO keys VALUES ('ann', 'k', ?, ?, ?)", (mark, json.dumps(["a" * 32]), time.time()))
    database.close()
    for _ in range(2):
        jobs = EmbeddedJobs(path)
        assert jobs.get("a" * 32).request == JobRequest("root", "a.mp4", "a.mp4", {"every": 4})
        again, new = jobs.submit("ann", [JobRequest("root", "a.mp4", "a.mp4", {"every": 4})], key="k")
        assert ([j.id for j in again], new) == (["a" * 32], False)
        jobs.close()
    claim = jobs.claim("w", 60)
    assert claim is not None
    assert claim.job.request.kind == "process"
    made, _ = jobs.submit("ann", [replace(claim.job.request, kind="clip", source="a" * 32)])
    assert [j.id for j in jobs.list(source="a" * 32).jobs] == [made[0].id]


FIRST = """
CREATE TABLE jobs (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, request TEXT NOT
    NULL, state TEXT NOT NULL, cancelling INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, started REAL, finished
    REAL, not_before REAL NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0, worker TEXT, token TEXT, lease REAL,
    progress TEXT NOT NULL, error TEXT, result TEXT);
CREATE TABLE keys (owner TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, jobs TEXT NOT NULL, created REAL
    NOT NULL, PRIMARY KEY (owner, key));
CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, kind TEXT NOT NULL, at REAL NOT NULL,
    data TEXT NOT NULL);
"""
"""The tables as the first version made them."""


def test_settings_of_a_clip() -> None:
    good = {"person": 3, "pad": 0.5, "join": False, "follow": [608, 1080], "start": 1, "end": 2.5}
    assert checked_clip({**good, "condense": None}) == good
    for wrong, message in (({"folder": "/etc"}, "no setting 'folder'"), ({"pad": True}, "pad is True"),
                           ({"pad": float("nan")}, "pad is nan"), ({"max_gap": -1}, "max_gap is -1"),
                           ({"join": 1}, "join is 1"), ({"person": 1.5}, "person is 1.5"),
                           ({"person": []}, "person is"), ({"split": [1]}, "split is"), ({"split": "ab"}, "split is"),
                           ({"follow": ["a", "b"]}, "follow"), ({"follow": [15, 16]}, "follow is"),
                           ({"start": 2, "end": 1}, "start is 2"), ({"condense": 1, "start": 1}, "condense is"),
                           ({"follow": [64, 64], "fast": True}, "not both"), ({"end": 10**400}, "end is")):  # fmt: skip
        with pytest.raises(InputValidationError, match=message):
            checked_clip(wrong)


def test_settings_of_a_job() -> None:
    assert checked_settings({"gallery": "e\u0301"}) == {"gallery": "\u00e9"}
    assert checked_settings({"every": 2, "thresholds": [0.5, 0.6, 0.7]}) == {"every": 2, "thresholds": [0.5, 0.6, 0.7]}
    for wrong, message in (({"every": 0}, "every is 0"), ({"device": "cuda"}, "no setting 'device'"),
                           ({"limits": None}, "no setting 'limits'"), ({"thresholds": "x"}, "thresholds"),
                           ({"factor": 10**400}, "factor"),
                           ({"gallery": "../x"}, "gallery's name"), ({"gallery": None}, "gallery's name"),
                           ({"min_face_size": {}}, "min_face_size"), ({"strict": 1}, "strict")):  # fmt: skip
        with pytest.raises(InputValidationError, match=message):
            checked_settings(wrong)
