"""A tiny video, a folder for a service, and workers that are quick."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import SETTINGS, until_over
from browsing import PATIENCE, Tabs, over, serving
from fastapi.testclient import TestClient
from owners import Served
from redis_server import RedisServer, need_redis

from fastface.service.app import ServiceSettings, create_app
from fastface.service.embedded import EmbeddedJobs
from fastface.service.keys import Keys
from fastface.service.place import Place
from fastface.service.worker import WorkerOptions
from film import MODEL, Film, shrunk


@pytest.fixture(scope="session")
def root(film: Film, embedder_spec: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that jobs may read: the film, its first ten frames, and the film again and again."""
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "decode"))
    from decode_clips import loop

    folder = tmp_path_factory.mktemp("root")
    (folder / "sub").mkdir()
    (folder / "film.mp4").write_bytes(film.path.read_bytes())
    shrunk(film.path, folder / "sub" / "tiny.mp4", 10)
    loop(film.path, folder / "long.mp4", 6000)
    (folder / "text.mp4").write_text("no video at all")
    return folder


@pytest.fixture
def place(root: Path, tmp_path: Path) -> Place:
    return Place(tmp_path / "service", root)


@pytest.fixture
def options(root: Path) -> WorkerOptions:
    return WorkerOptions(root=str(root), embedder=MODEL, lease=3.0, checkpoint=0.3, progress=0.3, max_attempts=100,
                         threads=1)  # fmt: skip


@pytest.fixture
def jobs(place: Place) -> Iterator[Any]:
    """Jobs in SQLite."""
    keeper = EmbeddedJobs(place.database, max_attempts=3)
    yield keeper
    keeper.close()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that lasts for all tests."""
    need_redis()
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """One that a test may kill."""
    need_redis()
    folder = tmp_path / "redis"
    folder.mkdir()
    made = RedisServer(folder)
    yield made
    made.kill()


@pytest.fixture(params=["embedded", "redis"])
def all_jobs(request: pytest.FixtureRequest, place: Place) -> Iterator[Any]:
    """Each keeper of jobs: tests that take this hold for all of them."""
    if request.param == "embedded":
        keeper: Any = EmbeddedJobs(place.database, max_attempts=3)
    else:
        from fastface.service.broker.redis_jobs import RedisJobs

        server = request.getfixturevalue("redis_server")
        server.empty()
        keeper = RedisJobs(server.url, max_attempts=3)
    yield keeper
    keeper.close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 on loopback; gives its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a bucket there; this process and those that it starts find it by their environment."""
    import fsspec

    for name, value in (("AWS_ENDPOINT_URL", s3_server), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y"),
                        ("AWS_DEFAULT_REGION", "us-east-1")):  # fmt: skip
        monkeypatch.setenv(name, value)
    files, bucket = fsspec.url_to_fs("s3://fastface", use_listings_cache=False)
    if not files.exists(bucket):
        files.mkdir(bucket)
    return "s3://fastface"


@pytest.fixture(scope="session")
def served(root: Path, film: Film, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    options = WorkerOptions(embedder=MODEL, progress=0.2, threads=1)
    settings = ServiceSettings(tmp_path_factory.mktemp("served") / "service", root, ["cpu"], True,
                               requests_a_minute=1_000_000, worker=options)  # fmt: skip
    keys = Keys(Place(settings.folder, root).folder / "keys.json")
    app = create_app(settings)
    clients = [TestClient(app, headers={"authorization": f"Bearer {keys.add(name)}"}) for name in ("ann", "bob")]
    place = Place(settings.folder, root)
    with clients[0]:
        yield Served(clients[0], clients[1], place, EmbeddedJobs(place.database), film)


@pytest.fixture(scope="session")
def done(served: Served, film: Film) -> dict[str, Any]:
    """A job of ann's that is done: the film, as she sent it."""
    answer = served.ann.post("/v1/jobs", params={"name": "film.mp4", "settings": json.dumps(SETTINGS)},
                             content=film.path.read_bytes(), headers={"content-type": "video/mp4"})  # fmt: skip
    assert answer.status_code == 201, answer.text
    job = until_over(served.ann, answer.json()["jobs"][0]["id"])
    assert job["state"] == "done", job
    return job


# The dashboard's tests share one service, which needs no keys.


@pytest.fixture(scope="session")
def live(root: Path, tmp_path_factory: pytest.TempPathFactory) -> ServiceSettings:
    """With a worker on the CPU, and no limit that many pages would meet."""
    options = WorkerOptions(embedder=MODEL, progress=0.2, threads=1)
    folder = tmp_path_factory.mktemp("dashboard") / "service"
    return ServiceSettings(folder, root, ["cpu"], False, requests_a_minute=1_000_000, worker=options)


@pytest.fixture(scope="session")
def url(live: ServiceSettings) -> Iterator[str]:
    """Where it answers."""
    with serving(live) as address:
        yield address


@pytest.fixture
def tabs(browser: Any, url: str) -> Iterator[Tabs]:
    """Opens pages, which must not complain; no job is left to keep the one worker from the next test."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    opened = Tabs(browser)
    yield opened
    for state in ("queued", "running"):
        for job in httpx.get(f"{url}/v1/jobs", params={"state": state}).json()["jobs"]:
            httpx.delete(f"{url}/v1/jobs/{job['id']}")
    opened.close()


@pytest.fixture(scope="session")
def film_job(url: str, root: Path) -> dict[str, Any]:
    """The film, sent and done."""
    query = {"name": "film.mp4", "settings": json.dumps(SETTINGS)}
    answer = httpx.post(f"{url}/v1/jobs", params=query, content=(root / "film.mp4").read_bytes(),
                        headers={"content-type": "video/mp4"})  # fmt: skip
    assert answer.status_code == 201, answer.text
    job = over(url, answer.json()["jobs"][0]["id"])
    assert job["state"] == "done", job
    return job
