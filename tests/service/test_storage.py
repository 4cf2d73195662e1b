"""Files at URLs: S3 (moto's server on loopback), memory and a folder, and the service's places over them."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking import wait_for, wait_over

from fastface.errors import InputValidationError
from fastface.gallery import Gallery
from fastface.service.carry import Carrier
from fastface.service.jobs import Claim, JobRequest
from fastface.service.place import Place
from fastface.service.storage import Storage, StorageError
from fastface.service.worker import Worker, WorkerOptions
from fastface.timeline import Timeline


@pytest.fixture(params=["s3", "memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/{secrets.token_hex(8)}"
    return f"file://{tmp_path}/stored" if request.param == "file" else f"memory://{secrets.token_hex(8)}"


def test_a_storage(url: str, tmp_path: Path) -> None:
    storage, near = Storage(url), tmp_path / "x"
    storage.check()
    assert storage.all("results") == storage.all("work") == {}
    assert storage.mark("results/x") is None
    with pytest.raises(FileNotFoundError):
        storage.get("results/x", near)
    with pytest.raises(FileNotFoundError):
        storage.put(near, "results/x")
    storage.remove("results/x")
    near.write_bytes(b"one")
    first = storage.put(near, "results/x")
    near.write_bytes(b"two")
    second = storage.put(near, "results/x")
    assert first != second == storage.mark("results/x")
    copies = [tmp_path / "copies" / name for name in ("a", "b")]
    copies[0].parent.mkdir()
    for copy in copies:
        assert Storage(url).get("results/x", copy) == second
        assert copy.read_bytes() == b"two"
    assert copies[0].stat().st_mtime_ns == copies[1].stat().st_mtime_ns  # a checkpoint tells a video by it
    assert sorted(p.name for p in copies[0].parent.iterdir()) == ["a", "b"]
    (written,) = storage.all("results").items()
    assert written[0] == "x"
    assert abs(time.time() - written[1]) < 60
    for name in ("../x", "/x", "results/../../x"):
        with pytest.raises(InputValidationError, match="leads out"):
            storage.put(near, name)
    storage.remove("results/x")
    assert storage.all("results") == {}


def test_what_is_no_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, message in (("folder", "must be a URL"), ("nothing://x", "cannot be used"),
                           ("s3://name:word@bucket/x", "holds a password")):  # fmt: skip
        with pytest.raises(InputValidationError, match=message):
            Storage(wrong)
    (tmp_path / "x").write_bytes(b"1")
    (tmp_path / "file").write_bytes(b"no folder")
    for call in (lambda s: s.check(), lambda s: s.put(tmp_path / "x", "results/x")):
        with pytest.raises(StorageError):
            call(Storage(f"file://{tmp_path}/file"))


def test_a_bucket_that_is_not_there(s3: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    storage = Storage("s3://there-is-none/x")
    with pytest.raises(StorageError, match="cannot be"):
        storage.check()
    with pytest.raises(StorageError, match="cannot be stored"):
        storage.put(tmp_path / "x", "results/x")


def test_a_place_with_a_storage(url: str, root: Path, tmp_path: Path) -> None:
    """Two machines: what one keeps the other has near, as it is now."""
    here, there = (Place(tmp_path / name, root, Storage(url)) for name in ("here", "there"))
    name = f"{'a' * 32}-{'b' * 32}.json"
    mine, others = here.result(name), there.result(name)
    with pytest.raises(FileNotFoundError):
        there.near(others)
    mine.write_text("one")
    here.keep(mine)
    assert there.near(others).read_text() == "one"
    assert mine.exists()
    before = others.stat().st_ino
    assert there.near(others).stat().st_ino == before  # it is the same: not fetched again
    mine.write_text("changed")
    here.keep(mine, here=False)
    assert not mine.exists()
    assert there.near(others).read_text() == "changed"
    there.remove(others)
    assert not others.exists()
    with pytest.raises(FileNotFoundError):
        here.near(mine)


def test_what_nobody_needs_is_swept_from_a_storage(jobs: Any, url: str, root: Path, tmp_path: Path) -> None:
    place = Place(tmp_path / "here", root, Storage(url))
    assert place.storage is not None
    (job,), _ = jobs.submit("ann", [JobRequest("upload", f"{'a' * 32}.mp4", "a", {})])
    kept = [place.uploads / f"{'a' * 32}.mp4", place.checkpoint(job)]
    lost = [place.uploads / f"{'b' * 32}.mp4", place.results / f"{'c' * 32}-{'d' * 32}.json"]
    for path in (*kept, *lost):
        path.write_bytes(b"x")
        place.keep(path)
    assert place.sweep(jobs) == 0
    assert place.sweep(jobs, -1) == 2
    assert not any(path.exists() for path in (*kept, *lost))  # copies, too
    for path in kept:
        assert place.near(path).read_bytes() == b"x"
    for path in lost:
        with pytest.raises(FileNotFoundError):
            place.near(path)


def test_a_checkpoint_is_carried(url: str, tmp_path: Path) -> None:
    here, there = (Place(tmp_path / name, None, Storage(url)) for name in ("here", "there"))
    mine, others = here.work / "x.checkpoint", there.work / "x.checkpoint"
    with Carrier(here, mine, 0.01):
        mine.write_bytes(b"half")
        wait_for(lambda: there.storage is not None and there.storage.mark("work/x.checkpoint"))
    with Carrier(there, others, 100.0):
        assert others.read_bytes() == b"half"
        others.write_bytes(b"more")
    assert here.near(mine).read_bytes() == b"more"


@pytest.mark.parametrize("url", ["s3"], indirect=True)
def test_a_worker_with_a_storage(
    jobs: Any, url: str, root: Path, tmp_path: Path, options: WorkerOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload is fetched, a run that was broken off goes on at another machine, and only the result remains."""
    service = Place(tmp_path / "service", root, Storage(url))
    first, second = (Place(tmp_path / name, root, Storage(url)) for name in ("one", "two"))
    upload = service.uploads / f"{'0' * 32}.mp4"
    upload.write_bytes((root / "film.mp4").read_bytes())
    service.keep(upload, here=False)
    sent = JobRequest("upload", upload.name, "mine.mp4", {"min_face_size": 60, "every": 1})
    (job,), _ = jobs.submit("ann", [sent])
    options = replace(options, checkpoint=0.0, beat=0.01, progress=0.01)
    one = Worker(jobs, first, "cpu", "one", options)

    def stop_in_the_middle(claim: Claim, *arguments: Any) -> Any:
        if len(arguments) > 1 and arguments[1] is not None and arguments[1].frames_done >= 40:
            one.stopped.set()
        return beat(claim, *arguments)

    beat = jobs.beat
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "beat", stop_in_the_middle)
        one.do(jobs.claim("one", 60))
    assert jobs.get(job.id).state == "queued"
    assert service.storage is not None
    assert list(service.storage.all("work")) == [f"{job.id}.checkpoint"]
    seen = []

    def note(claim: Claim, seconds: float, progress: Any = None) -> Any:
        if progress is not None and progress.frames_done:
            seen.append(progress.frames_done)
        return beat(claim, seconds, progress)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "beat", note)
        Worker(jobs, second, "cpu", "two", options).do(jobs.claim("two", 60))
    assert min(seen) > 40  # it did not begin anew
    over = wait_over(jobs, job)
    assert over.state == "done", over.error
    assert over.result is not None
    timeline = Timeline.from_json(service.near(service.result(over.result)))
    assert timeline.video["path"] == "mine.mp4"
    assert len(timeline.identities) > 0
    assert sorted(service.storage.all("results")) == sorted([over.result, service.faces(over.result).name])
    assert service.pictured(over.result) == {person.id for person in timeline.identities}
    assert list(service.storage.all("uploads")) == [upload.name]  # clips may be cut of it
    assert service.storage.all("work") == {}
    # They are, on a machine that saw none of it; and a photograph is looked at, and a gallery asked.
    gallery = Gallery("")
    service.save_gallery("ann", "friends", gallery)
    assert second.gallery_names("ann") == ["friends"]
    assert len(second.gallery("ann", "friends")) == 0
    settings = {"person": timeline.identities[0].id, "join": True, "fast": False}
    cut = JobRequest("upload", upload.name, "mine.mp4", settings, kind="clip", source=job.id)
    (clip,), _ = jobs.submit("ann", [cut])
    Worker(jobs, first, "cpu", "one", options).do(jobs.claim("one", 60))
    made = wait_over(jobs, clip)
    assert made.state == "done", made.error
    assert made.result is not None
    assert service.near(service.result(made.result)).stat().st_size > 1000
    assert service.sweep(jobs, keep_uploads=0.0) == 1  # its time is over
    assert service.storage.all("uploads") == {}
    service.remove_result(over.result)
    assert list(service.storage.all("results")) == [made.result]
    service.remove_gallery("ann", "friends")
    assert first.gallery_names("ann") == []
    for place in (first, second):
        assert [p.name for folder in (place.uploads, place.results, place.work) for p in folder.iterdir()] == []
