"""The interface against its own description: requests made up by schemathesis, to a real server on this machine.

FASTFACE_SCHEMA_EXAMPLES says how many are made up for each operation beyond those that follow from the description.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from asking import SETTINGS, wait_for
from owners import Served

from fastface.service.app import ServiceSettings, create_app
from fastface.service.embedded import EmbeddedJobs
from fastface.service.galleries import Galleries
from fastface.service.jobs import JobRequest
from fastface.service.keys import Keys
from fastface.service.people import look_of
from fastface.service.place import Place
from fastface.service.schemas import EXAMPLE_CLIP_ID, EXAMPLE_ID
from fastface.service.worker import WorkerOptions
from film import MODEL

EXAMPLES = int(os.environ.get("FASTFACE_SCHEMA_EXAMPLES", "4"))


CONFIG = f"""
[parameters]
"path.id" = {{ dictionary = "ids", probability = 0.7 }}
"path.g" = {{ dictionary = "galleries", probability = 0.7 }}
"path.person" = {{ dictionary = "people", probability = 0.7 }}
"path.p" = {{ dictionary = "names", probability = 0.7 }}

[dictionaries]
ids = {{ values = ["{EXAMPLE_ID}", "{EXAMPLE_CLIP_ID}"] }}
galleries = {{ values = ["family"] }}
people = {{ values = [0, 1] }}
names = {{ values = ["Ann"] }}

[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 429]

# A path that is not there, a clip of nobody, a name with control characters: the description cannot say it.
[[operations]]
include-method = ["POST", "PATCH"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 422, 429]

# A frame rate for a format that has none.
[[operations]]
include-path = "/v1/jobs/{{id}}/timeline"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 422, 429]

# What is there shall stay there for the other operations; those that are made on the way are removed.
[[operations]]
include-method = "DELETE"
[operations.parameters]
"path.id" = "{"0" * 32}"
"path.g" = "nothing"
[operations.checks.ensure_resource_availability]
enabled = false
"""


@pytest.fixture(scope="module")
def known(
    served: Served, done: dict[str, Any], root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Place, str]:
    """A service's folder in which there is what the description's examples name (a video that was looked at, a clip, a
    gallery), and a key for it. """
    place = Place(tmp_path_factory.mktemp("schema") / "service", root)
    jobs = EmbeddedJobs(place.database)
    (root / "holiday.mp4").write_bytes((root / "film.mp4").read_bytes())  # what the description's example asks for

    def made(id: str, request: JobRequest, *files: Path) -> None:
        (job,), _ = jobs.submit("ann", [request])
        with sqlite3.connect(place.database) as database:  # the id that the description has
            database.execute("UPDATE jobs SET id = ? WHERE id = ?", (id, job.id))
        claim = jobs.claim("test", 60)
        assert claim is not None
        name = place.result_name(claim)
        for source, target in zip(files, (place.result(name), place.faces(name)), strict=False):
            target.write_bytes(source.read_bytes())
        assert jobs.finish(claim, name)

    result = served.jobs.get(done["id"]).result
    assert result is not None
    made(EXAMPLE_ID, JobRequest("root", "film.mp4", "film.mp4", SETTINGS), served.place.result(result),
         served.place.faces(result))  # fmt: skip
    clip = JobRequest("root", "film.mp4", "a.mp4", {"person": 0}, kind="clip", source=EXAMPLE_ID)
    made(EXAMPLE_CLIP_ID, clip, root / "film.mp4")
    galleries = Galleries(place)
    galleries.create("ann", "family")
    galleries.enrol("ann", "family", "Ann", look_of(place.timeline(jobs.get(EXAMPLE_ID).result or ""), 0))
    return place, Keys(place.folder / "keys.json").add("ann")


@pytest.fixture(scope="module")
def address(known: tuple[Place, str], root: Path) -> Iterator[str]:
    """A server on a free port of this machine."""
    settings = ServiceSettings(known[0].folder, root, failures_a_minute=10_000_000,
                               requests_a_minute=10_000_000, max_jobs=1_000_000,
                               worker=WorkerOptions(embedder=MODEL))  # fmt: skip
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="warning"))
    listening = server.config.bind_socket()
    over = threading.Event()

    def end_jobs() -> None:
        """In place of a worker: no job waits, so that streams of events end and calls with photographs are answered."""
        jobs = EmbeddedJobs(known[0].database)
        while not over.wait(0.02):
            while (claim := jobs.claim("test", 60)) is not None:
                jobs.fail(claim, "bad_input", "nobody looks at it here")
        jobs.close()

    threads = [threading.Thread(target=server.run, args=([listening],), daemon=True),
               threading.Thread(target=end_jobs, daemon=True)]  # fmt: skip
    for thread in threads:
        thread.start()
    wait_for(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        over.set()
        for thread in threads:
            thread.join(10)
        listening.close()


def operations_of(address: str, key: str) -> list[tuple[str, str]]:
    paths = httpx.get(f"{address}/openapi.json", headers={"authorization": f"Bearer {key}"}).json()["paths"]
    return [(path, method) for path, methods in paths.items() for method in methods]


def test_the_description_holds(known: tuple[Place, str], address: str, tmp_path: Path) -> None:
    """No answer of the server's fault, none that the description does not know, nothing taken that it forbids, nothing
    refused that it allows (except where several values do not fit each other, which it cannot say)."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
               "--config-file", str(config), "run", f"{address}/openapi.json", "--header",
               f"Authorization: Bearer {known[1]}", "--max-examples", str(EXAMPLES), "--seed", "1",
               "--generation-database", "none", "--continue-on-failure", "--request-timeout", "20"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    print(done.stdout[-8000:], done.stderr[-2000:])
    assert done.returncode == 0
    operations = re.search(r"Tested: (\d+)", done.stdout)
    requests = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert operations is not None
    assert int(operations[1]) == len(operations_of(address, known[1]))
    assert requests is not None
    assert requests[1] == requests[2]
    assert int(requests[1]) > 20 * int(operations[1])
