"""A service over HTTP whose jobs are in Redis, whose files are in S3, and whose worker is another machine's."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from asking import SETTINGS, refusal, until_over, wait_for
from fastapi.testclient import TestClient
from fleet import Fleet
from redis_server import RedisServer

from fastface.cli import main
from fastface.errors import InputValidationError
from fastface.service.app import ServiceSettings, create_app
from fastface.service.jobs import JobsUnavailable
from fastface.service.place import Place
from fastface.service.storage import Storage, StorageError
from fastface.service.worker import WorkerOptions


def test_over_http(redis_server: RedisServer, s3: str, root: Path, tmp_path: Path) -> None:
    redis_server.empty()
    url = f"{s3}/{secrets.token_hex(8)}"
    settings = ServiceSettings(tmp_path / "service", root, (), False, requests_a_minute=100_000,
                               broker=redis_server.url, storage=url, worker=WorkerOptions())  # fmt: skip
    place, storage = Place(tmp_path / "other", root, Storage(url)), Storage(url)
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        refusal(client.get("/readyz"), 503, "no_worker")
        film, headers = (root / "film.mp4").read_bytes(), {"content-type": "video/mp4", "idempotency-key": "k"}
        sending: dict[str, Any] = {"params": {"name": "mine.mp4", "settings": json.dumps(SETTINGS)}, "content": film,
                                   "headers": headers}  # fmt: skip
        first, second = (client.post("/v1/jobs", **sending) for _ in range(2))
        assert (first.status_code, second.status_code) == (201, 200)
        assert first.json()["jobs"][0]["id"] == second.json()["jobs"][0]["id"]
        id = first.json()["jobs"][0]["id"]
        assert len(storage.all("uploads")) == 1  # what was sent again went again
        assert list((tmp_path / "service" / "uploads").iterdir()) == []
        refusal(client.post("/v1/jobs", content=b"PK\x03\x04 no video", headers={"content-type": "video/mp4"}), 422,
                "bad_input")  # fmt: skip
        assert len(storage.all("uploads")) == 1
        with Fleet(redis_server.url, place, url) as fleet:
            worker = fleet.start()
            assert wait_for(lambda: client.get("/readyz").status_code == 200, 240)
            assert client.get("/readyz").json() == {"status": "ok", "workers": 1}
            assert "fastface_workers 1.0" in client.get("/metrics").text
            assert until_over(client, id, 240)["state"] == "done"
            with client.stream("GET", f"/v1/jobs/{id}/events") as stream:
                events = [line.partition(": ")[2] for line in stream.iter_lines() if line.startswith("event: ")]
            assert (events[0], events[1], events[-1]) == ("queued", "started", "done")
            people = client.get(f"/v1/jobs/{id}/people").json()["people"]
            assert people
            assert client.get(people[0]["thumbnail"]).content[:3] == b"\xff\xd8\xff"
            assert client.post("/v1/galleries", json={"name": "g"}).status_code == 201
            named = client.patch(f"/v1/jobs/{id}/people/{people[0]['id']}", json={"name": "Ann", "gallery": "g"})
            assert named.status_code == 200, named.text
            assert "Ann" in [p["name"] for p in client.get(f"/v1/jobs/{id}/people").json()["people"]]
            assert client.get(f"/v1/jobs/{id}/timeline").json()["identities"]
            assert list(storage.all("galleries/local")) != []
            clips = client.post(f"/v1/jobs/{id}/clips", json={"person": people[0]["id"]})
            assert clips.status_code == 201, clips.text
            clip = until_over(client, clips.json()["jobs"][0]["id"], 240)
            assert clip["state"] == "done", clip
            assert len(client.get(clip["clip"]).content) > 1000
            # Ended in order, a worker is not counted any more.
            worker.terminate()
            assert worker.wait(60) == 0
            refusal(client.get("/readyz"), 503, "no_worker")
        for job in (clip["id"], id):
            assert client.delete(f"/v1/jobs/{job}").status_code == 200
            assert client.get(f"/v1/jobs/{job}").status_code == 404
        assert [name for folder in ("uploads", "results", "work") for name in storage.all(folder)] == []


def test_redis_is_away(own_server: RedisServer, root: Path, tmp_path: Path) -> None:
    """The service says so, lives, and goes on when it is back."""
    settings = ServiceSettings(tmp_path / "service", root, (), False, broker=own_server.url)
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        own_server.kill()
        error = refusal(client.post("/v1/jobs", json={"path": "film.mp4"}), 503, "unavailable")
        assert "127.0.0.1" not in json.dumps(error)
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert own_server.start()
        assert client.post("/v1/jobs", json={"path": "film.mp4"}).status_code == 201
        assert client.get("/v1/jobs").json()["jobs"][0]["state"] == "queued"


def test_settings_that_do_not_go_together(root: Path, tmp_path: Path, redis_server: RedisServer, s3: str) -> None:
    folder = tmp_path / "service"
    with pytest.raises(InputValidationError, match="give a broker, too"):
        create_app(ServiceSettings(folder, root, storage="memory://x"))
    with pytest.raises(InputValidationError, match="started by `fastface worker`"):
        create_app(ServiceSettings(folder, root, ["cpu"], broker=redis_server.url))
    with pytest.raises(StorageError, match="cannot be written"):
        create_app(ServiceSettings(folder, root, broker=redis_server.url, storage="s3://there-is-none/x"))
    with pytest.raises(JobsUnavailable):
        create_app(ServiceSettings(folder, root, broker="redis://127.0.0.1:1/0"))


def test_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FASTFACE_BROKER", "FASTFACE_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    folder, url = str(tmp_path / "x"), "redis://:secret@127.0.0.1:1/0"
    for arguments, code, message in (
        (["worker", folder], 3, "give --broker"),
        (["worker", "--broker", url], 3, "give the service's FOLDER"),
        (["worker", folder, "--broker", "http://secret"], 3, "must be redis://"),
        (["worker", folder, "--broker", url, "--lease", "1"], 3, "--lease is 1.0, must be at least 3"),
        (["worker", folder, "--broker", url, "--storage", "x"], 3, "must be a URL"),
        (["worker", folder, "--broker", url, "--device", "gpu"], 3, "devices holds 'gpu'"),
        (["worker", folder, "--broker", url, "--device", "cpu"], 1, "cannot be reached now"),
        (["serve", folder, "--broker", url, "--device", "cpu"], 3, "with --broker give no --device"),
        (["serve", folder, "--storage", "memory://x", "--device", "cpu"], 3, "give a broker, too"),
        (["serve", folder, "--broker", url], 1, "cannot be reached now"),
    ):
        assert main(arguments) == code, arguments
        told = capsys.readouterr().err
        assert message in told
        assert "secret" not in told


def test_copies_of_workers_that_were_killed(tmp_path: Path) -> None:
    """Their folders go with the next worker; those of workers that live stay."""
    from fastface.cli.worker import _folder

    with _folder(str(tmp_path), True) as lives:
        (lives / "uploads").mkdir(parents=True)
        dead = tmp_path / "worker-dead"
        dead.mkdir()
        dead.with_suffix(".lock").touch()
        with _folder(str(tmp_path), True) as other:
            assert other != lives
            assert lives.is_dir()
            assert not dead.exists()
    assert list(tmp_path.iterdir()) == []
