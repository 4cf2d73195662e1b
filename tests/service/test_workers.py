"""Real worker processes: what they do, and what remains when they are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from asking import SETTINGS, request_for, wait_for, wait_over

import fastface
from fastface.service.embedded import EmbeddedJobs
from fastface.service.jobs import JobRequest
from fastface.service.place import Place
from fastface.service.worker import Worker, WorkerOptions
from fastface.service.workers import Workers
from fastface.timeline import Timeline
from film import MODEL

KILLS = int(os.environ.get("FASTFACE_SERVICE_KILLS", "4"))
"""How often workers are killed; the figures in docs/service.md are of 30."""


SLOW: dict[str, Any] = {"min_face_size": 30, "every": 1}
"""Some seconds of work, so that a kill may come in the middle."""


@pytest.fixture(scope="module")
def wanted(root: Path) -> Timeline:
    """The film's timeline, without a service."""
    return fastface.process(root / "film.mp4", device="cpu", embedder=MODEL, **SETTINGS)


def same(path: Path, wanted: Timeline) -> None:
    got = Timeline.from_json(path)
    for name in ("frame", "time", "box", "track", "identity"):
        np.testing.assert_allclose(getattr(got.faces, name), getattr(wanted.faces, name), atol=0.01)
    assert [p.instances for p in got.identities] == [
        p.instances for p in Timeline.from_dict(wanted.to_dict()).identities
    ]
    assert got.embeddings is not None


def test_jobs_are_done(jobs: Any, place: Place, options: WorkerOptions, wanted: Timeline) -> None:
    upload = place.uploads / f"{'0' * 32}.mp4"
    assert place.root is not None
    upload.write_bytes((place.root / "sub" / "tiny.mp4").read_bytes())
    sent = JobRequest("upload", upload.name, "from <me>.mp4", SETTINGS)
    good, tiny, bad, out = jobs.submit("ann", [request_for("film.mp4"), sent, request_for("text.mp4"),
                                               request_for("../../etc/passwd")])[0]  # fmt: skip
    with Workers(jobs, place, ["cpu"], options) as workers:
        assert len(workers.pids) == 1
        good, tiny, bad, out = (wait_over(jobs, job) for job in (good, tiny, bad, out))
    assert workers.pids == []
    assert good.state == "done"
    assert good.progress.frames_done == good.progress.frames_total == wanted.video["frame_count"]
    assert good.result is not None
    same(place.result(good.result), wanted)
    assert Timeline.from_json(place.result(good.result)).video["path"] == "film.mp4"  # and not where it is
    assert tiny.state == "done"
    assert upload.exists()  # so that clips can be cut
    assert bad.error is not None
    assert bad.error["code"] == "bad_input"
    assert "is not a video" in bad.error["message"]
    assert out.error is not None
    assert "leads out of" in out.error["message"]
    for job in (bad, out):
        assert str(place.root) not in job.error["message"]
    assert list(place.work.iterdir()) == []
    names = [Path(job.result).stem for job in (good, tiny) if job.result is not None]
    assert {p.name for p in place.results.iterdir()} == {f"{n}{e}" for n in names for e in (".json", ".faces.zip")}
    # Of the small one the time stamps repeat, so that no frame can be found by its time.
    assert place.pictured(good.result) == {p.id for p in place.timeline(good.result).identities}
    assert len(place.pictured(good.result)) == len(wanted.identities) >= 4


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, wanted: Timeline) -> list[str]:
    """No device: a job's timeline is there at once, and its pictures as soon as the next job has the device, if there
    is one. What happened, in order; of a job by the last of its name."""
    from fastface.service.tasks import process

    seen: list[str] = []

    def timeline(work: Any, *arguments: Any) -> Timeline:
        seen.append(f"device {work.job.request.name[-1]}")
        return wanted

    def pictures(timeline: Timeline, video: Path, path: Path) -> None:
        begun = seen.count("pictures") + 1
        seen.append("pictures")
        with contextlib.suppress(AssertionError):
            wait_for(lambda: sum(what.startswith("device") for what in seen) > begun, 3)
        path.write_bytes(b"")
        seen.append("end")

    monkeypatch.setattr(process, "_timeline", timeline)
    monkeypatch.setattr(process, "_write_pictures", pictures)
    return seen


def submitted(jobs: Any, count: int) -> list[Any]:
    request = request_for("film.mp4")
    return list(jobs.submit("ann", [replace(request, name=f"film {i}") for i in range(count)])[0])


def test_the_device_has_the_next_job_while_one_ends(
    jobs: Any, place: Place, options: WorkerOptions, quick: list[str]
) -> None:
    made = submitted(jobs, 3)
    worker = Worker(jobs, place, "cpu", "one", options)
    thread = threading.Thread(target=worker.run)
    thread.start()
    over = [wait_over(jobs, job) for job in made]
    worker.stopped.set()
    thread.join(10)
    assert not thread.is_alive()
    assert [job.state for job in over] == ["done"] * 3
    # The third has to wait until the first is over: no more than two are in hand.
    assert quick.index("device 1") < quick.index("end") < quick.index("device 2"), quick
    assert len(quick) == 9


def test_what_nobody_can_be_told_of_ends_a_worker(
    jobs: Any, place: Place, options: WorkerOptions, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keeper then gives its jobs to another."""

    def full(*arguments: Any, **more: Any) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    (job,) = submitted(jobs, 1)
    monkeypatch.setattr(jobs, "finish", full)
    monkeypatch.setattr(jobs, "fail", full)
    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        Worker(jobs, place, "cpu", "one", options).run()
    assert jobs.get(job.id).state == "running"


@pytest.mark.alone
def test_cancelling_a_job_that_runs(jobs: Any, place: Place, options: WorkerOptions) -> None:
    (job,), _ = jobs.submit("ann", [request_for("long.mp4")])
    with Workers(jobs, place, ["cpu"], options):
        wait_for(lambda: jobs.get(job.id).progress.frames_done > 0)
        begin = time.monotonic()
        jobs.cancel(job.id)
        over = wait_over(jobs, job)
        seconds = time.monotonic() - begin
    print(f"ended after {seconds:.2f} s")
    assert over.state == "cancelled"
    assert seconds < 2
    assert list(place.work.iterdir()) == []
    assert list(place.results.iterdir()) == []


@pytest.mark.alone
def test_a_service_that_ends_gives_jobs_back(jobs: Any, place: Place, options: WorkerOptions) -> None:
    (job,), _ = jobs.submit("ann", [request_for("long.mp4")])
    with Workers(jobs, place, ["cpu"], options):
        wait_for(lambda: jobs.get(job.id).progress.frames_done > 0)
        wait_for(lambda: place.checkpoint(job).exists())
        begin = time.monotonic()
    assert time.monotonic() - begin < 5
    now = jobs.get(job.id)
    assert (now.state, now.attempt) == ("queued", 0)
    assert place.checkpoint(job).exists()


@pytest.mark.slow
def test_killed_workers(jobs: Any, place: Place, options: WorkerOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 at random points: every job ends once, with the right timeline, and nothing is left over."""
    monkeypatch.setattr("fastface.service.workers._BACK_OFF", 0.25)  # here nobody minds
    rng = np.random.default_rng(8)
    assert place.root is not None
    wanted = fastface.process(place.root / "film.mp4", device="cpu", embedder=MODEL, **SLOW)
    keeper = EmbeddedJobs(place.database, max_attempts=100)
    made, _ = jobs.submit("ann", [request_for("film.mp4", **SLOW) for _ in range(max(2, KILLS // 3))])
    kills = resumed = 0

    def attempts() -> int:
        return sum(jobs.get(job.id).attempt for job in made)

    def looked_at_frames() -> bool:
        running = jobs.list(state="running").jobs
        return not jobs.counts()["queued"] or any(job.progress.frames_done for job in running)

    with Workers(keeper, place, ["cpu"], options) as workers:
        begun = 0
        while kills < KILLS and jobs.counts()["queued"] + jobs.counts()["running"]:
            wait_for(lambda begun=begun: attempts() > begun or not jobs.counts()["queued"])  # a worker is at it again
            if rng.random() < 0.7:  # else while it loads models
                wait_for(looked_at_frames)
            time.sleep(float(rng.uniform(0.0, 3.0)))
            begun = attempts()
            for pid in workers.pids:
                os.kill(pid, signal.SIGKILL)
                kills += 1
            resumed += len(list(place.work.iterdir()))
        for job in made:
            wait_over(jobs, job, 120)
    print(f"{kills} kills, {len(made)} jobs, {resumed} checkpoints at kills, attempts "
          f"{[jobs.get(j.id).attempt for j in made]}")  # fmt: skip
    assert kills >= min(KILLS, 2)
    for job in made:
        over = jobs.get(job.id)
        assert over.state == "done", over
        assert [e.kind for e in jobs.events(job.id)].count("done") == 1
        same(place.result(over.result), wanted)
    place.sweep(jobs, 0)
    stems = [Path(jobs.get(j.id).result).stem for j in made]
    assert {p.name for p in place.results.iterdir()} == {f"{n}{e}" for n in stems for e in (".json", ".faces.zip")}
    assert list(place.work.iterdir()) == []


def test_two_workers_share(jobs: Any, place: Place, options: WorkerOptions) -> None:
    made, _ = jobs.submit("ann", [request_for("sub/tiny.mp4") for _ in range(6)])
    with Workers(jobs, place, ["cpu", "cpu"], options):
        for job in made:
            assert wait_over(jobs, job).state == "done"
    for job in made:
        assert [e.kind for e in jobs.events(job.id) if e.kind != "progress"] == ["queued", "started", "done"]


def test_a_worker_without_pulse_loses_its_job(jobs: Any, place: Place, options: WorkerOptions) -> None:
    """Stopped (not dead) for longer than its lease; when it comes back, what it says counts no more."""
    options = replace(options, lease=1.0)
    (job,), _ = jobs.submit("ann", [request_for("long.mp4")])
    with Workers(jobs, place, ["cpu"], options) as workers:
        wait_for(lambda: jobs.get(job.id).progress.frames_done > 0)
        (pid,) = workers.pids
        os.kill(pid, signal.SIGSTOP)
        try:
            claim = wait_for(lambda: jobs.claim("another", 60))
            assert claim.job.id == job.id
        finally:
            os.kill(pid, signal.SIGCONT)
        time.sleep(1.5)
        assert jobs.beat(claim, 60) == "go"
        assert jobs.finish(claim, place.result_name(claim))
    assert jobs.get(job.id).result == place.result_name(claim)


def test_workers_end_with_the_service(place: Place, options: WorkerOptions, jobs: Any) -> None:
    """Even if it is killed."""
    (job,), _ = jobs.submit("ann", [request_for("long.mp4")])
    code = f"""
import sys, time
from fastface.service.embedded import EmbeddedJobs
from fastface.service.place import Place
from fastface.service.worker import Worker, WorkerOptions
from fastface.service.workers import Workers
place = Place({str(place.folder)!r}, {str(place.root)!r})
with Workers(EmbeddedJobs(place.database), place, ["cpu"], WorkerOptions.from_json({options.to_json()!r})) as workers:
    print(*workers.pids, flush=True)
    time.sleep(60)
"""
    service = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    worker = psutil.Process(int(service.stdout.readline()))
    # Among frames: to load models is not interrupted, and may take longer than a worker gets to end.
    wait_for(lambda: jobs.get(job.id).progress.frames_done, 120)
    service.kill()
    service.wait()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, 30)
    assert jobs.counts()["running"] == 0  # it gave its job back


def test_what_nobody_needs_is_swept(jobs: Any, place: Place) -> None:
    (job,), _ = jobs.submit("ann", [JobRequest("upload", f"{'a' * 32}.mp4", "a", {})])
    kept = [place.uploads / f"{'a' * 32}.mp4", place.checkpoint(job)]
    lost = [place.uploads / f"{'b' * 32}.mp4", place.results / f"{'c' * 32}-{'d' * 32}.json", place.work / "x"]
    for path in (*kept, *lost):
        path.write_bytes(b"x")
    assert place.sweep(jobs) == 0  # they may be on their way
    assert place.sweep(jobs, -1) == 3
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in lost)


def test_how_long_a_video_is_kept(jobs: Any, place: Place, options: WorkerOptions) -> None:
    """Until its time is over, or the job is removed, or not at all; and as long as a clip waits for it."""

    def done(number: int) -> Any:
        path = place.uploads / f"{str(number) * 32}.mp4"
        path.write_bytes(b"x")
        (job,), _ = jobs.submit("ann", [JobRequest("upload", path.name, "a.mp4", {})])
        claim = jobs.claim("w", 60)
        place.result(place.result_name(claim)).write_text("{}")
        place.faces(place.result_name(claim)).write_bytes(b"zip")
        jobs.finish(claim, place.result_name(claim))
        return path, jobs.get(job.id)

    kept, job = done(1)
    place.tidy(job, keep_upload=True)
    assert kept.exists()
    assert place.sweep(jobs, keep_uploads=60) == 0  # however young its file is, its job's end counts
    clip = JobRequest("upload", kept.name, "a.mp4", {"person": 0}, kind="clip", source=job.id)
    (cutting,), _ = jobs.submit("ann", [clip])
    assert place.sweep(jobs, keep_uploads=-1) == 0  # the clip waits
    claim = jobs.claim("w", 60)
    jobs.end(claim)
    place.tidy(jobs.get(cutting.id))
    assert kept.exists()  # it is not the clip's
    assert place.sweep(jobs, keep_uploads=-1) == 1
    assert not kept.exists()
    assert place.result(job.result).exists()
    assert place.faces(job.result).exists()
    gone, job = done(2)
    place.tidy(job)
    assert not gone.exists()


def test_no_video_is_kept_where_none_shall_be(jobs: Any, place: Place, options: WorkerOptions) -> None:
    assert place.root is not None
    upload = place.uploads / f"{'0' * 32}.mp4"
    upload.write_bytes((place.root / "sub" / "tiny.mp4").read_bytes())
    (job,), _ = jobs.submit("ann", [JobRequest("upload", upload.name, "a.mp4", SETTINGS)])
    with Workers(jobs, place, ["cpu"], replace(options, keep_uploads=0)):
        assert wait_over(jobs, job).state == "done"
        wait_for(lambda: not upload.exists())


def test_the_place(tmp_path: Path, root: Path) -> None:
    with pytest.raises(fastface.InputValidationError, match="is inside root"):
        Place(root / "service", root)
    with pytest.raises(fastface.InputValidationError, match="must be a folder"):
        Place(tmp_path / "s", root / "none")
    place = Place(tmp_path / "s", root)
    assert place.folder.stat().st_mode & 0o077 == 0
    for name in ("x", "../jobs.sqlite", f"{'a' * 32}-{'b' * 32}.json/../../x", ""):
        with pytest.raises(fastface.InputValidationError, match="there is no result"):
            place.result(name)
    link = root / "out.mp4"
    link.symlink_to(tmp_path)
    try:
        for path in ("out.mp4", "/etc/passwd", "../x", "a/../../x"):
            with pytest.raises(fastface.InputValidationError, match="leads out of"):
                place.video(JobRequest("root", path, "x", {}))
    finally:
        link.unlink()
    with pytest.raises(fastface.InputValidationError, match="takes no paths"):
        Place(tmp_path / "s").video(JobRequest("root", "film.mp4", "x", {}))
