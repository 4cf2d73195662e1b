"""The HTTP interface: what it answers, and what it refuses."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from asking import SETTINGS, refusal, until_over, wait_for
from fastapi.testclient import TestClient

from fastface.export import FORMATS
from fastface.service.app import ServiceSettings, create_app
from fastface.service.gate import Buckets
from fastface.service.keys import Keys
from fastface.service.worker import WorkerOptions
from fastface.timeline import Timeline
from film import MODEL

VIDEO = {"content-type": "video/mp4"}


@pytest.fixture
def settings(root: Path, tmp_path: Path, options: WorkerOptions) -> ServiceSettings:
    """Without workers and without keys."""
    return ServiceSettings(tmp_path / "service", root, require_keys=False, worker=options)


def client_of(settings: ServiceSettings, **more: Any) -> TestClient:
    return TestClient(create_app(settings), base_url="http://localhost", **more)


@pytest.fixture
def client(settings: ServiceSettings) -> TestClient:
    return client_of(settings)


@pytest.fixture(scope="module")
def working(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """With a worker."""
    options = WorkerOptions(embedder=MODEL, progress=0.2, threads=1)
    settings = ServiceSettings(tmp_path_factory.mktemp("w") / "service", root, ["cpu"], False, worker=options)
    with client_of(settings) as client:
        yield client


def ask(client: TestClient, path: str = "film.mp4", **headers: str) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json={"path": path, "settings": SETTINGS}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["jobs"][0]  # type: ignore[no-any-return]


class TestJobs:
    def test_a_path(self, working: TestClient, root: Path) -> None:
        job = ask(working)
        assert re.fullmatch("[0-9a-f]{32}", job["id"])
        assert (job["name"], job["settings"]) == ("film.mp4", SETTINGS)
        over = until_over(working, job["id"])
        assert over["state"] == "done"
        assert over["progress"]["frames_done"] == over["progress"]["frames_total"]
        answer = working.get(over["timeline"])
        assert answer.headers["content-disposition"] == f'attachment; filename="{job["id"]}.json"'
        timeline = Timeline.from_dict(answer.json())
        assert len(timeline.identities) >= 3
        assert timeline.embeddings is None
        assert Timeline.from_dict(working.get(over["timeline"], params={"embeddings": True}).json()).embeddings
        assert str(root) not in answer.text + working.get(f"/v1/jobs/{job['id']}").text

    def test_every_export(self, working: TestClient) -> None:
        job = ask(working, "sub/tiny.mp4")
        assert until_over(working, job["id"])["state"] == "done"
        for format in FORMATS:
            answer = working.get(f"/v1/jobs/{job['id']}/timeline", params={"format": format.name})
            assert answer.status_code == 200, (format, answer.text)
            assert answer.headers["content-disposition"].endswith(f'{format.ending}"')
            assert answer.content
            if format.name in ("csv-faces", "vtt-chapters", "otio", "parquet"):
                kinds = {"csv-faces": "text/csv", "vtt-chapters": "text/vtt", "otio": "application/json"}
                kind = answer.headers["content-type"].partition(";")[0]
                assert kind == kinds.get(format.name, "application/octet-stream")
        refusal(working.get(f"/v1/jobs/{job['id']}/timeline?format=../x"), 422, "bad_input")
        refusal(working.get(f"/v1/jobs/{job['id']}/timeline?format=mot&rate=25"), 422, "bad_input")

    def test_an_upload(self, working: TestClient, root: Path) -> None:
        content = (root / "sub" / "tiny.mp4").read_bytes()
        query = {"name": "../../<script>.mp4", "settings": json.dumps(SETTINGS)}
        answer = working.post("/v1/jobs", params=query, content=iter([content[:100], content[100:]]), headers=VIDEO)
        assert answer.status_code == 201, answer.text
        (job,) = answer.json()["jobs"]
        assert job["name"] == "<script>.mp4"
        assert until_over(working, job["id"])["state"] == "done"
        assert working.get(f"/v1/jobs/{job['id']}/timeline").json()["video"]["path"] == "<script>.mp4"

    def test_events(self, working: TestClient) -> None:
        job = ask(working)
        with working.stream("GET", f"/v1/jobs/{job['id']}/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            text = "".join(answer.iter_text())
        events = [dict(line.split(": ", 1) for line in part.splitlines()) for part in text.split("\n\n") if part]
        assert [events[0]["event"], events[-1]["event"]] == ["queued", "done"]
        numbers = [int(event["id"]) for event in events]
        assert numbers == sorted(set(numbers))
        progress = [json.loads(event["data"]) for event in events if event["event"] == "progress"]
        assert progress
        assert {"stage", "frames_done", "frames_total", "fps", "seconds_left"} <= set(progress[-1])
        again = working.get(f"/v1/jobs/{job['id']}/events", headers={"last-event-id": str(numbers[-2])})
        assert again.text.count("event: ") == 1

    @pytest.mark.alone
    def test_cancelling_and_removing(self, working: TestClient) -> None:
        job = ask(working, "long.mp4")
        wait_for(lambda: working.get(f"/v1/jobs/{job['id']}").json()["progress"]["frames_done"])
        refusal(working.get(f"/v1/jobs/{job['id']}/timeline"), 409, "not_done")
        begin = time.monotonic()
        assert working.delete(f"/v1/jobs/{job['id']}").json()["cancelling"]
        assert until_over(working, job["id"])["state"] == "cancelled"
        assert time.monotonic() - begin < 2
        assert working.delete(f"/v1/jobs/{job['id']}").status_code == 200
        refusal(working.get(f"/v1/jobs/{job['id']}"), 404, "not_found")

    def test_state(self, working: TestClient) -> None:
        assert working.get("/healthz").json() == {"status": "ok"}
        assert working.get("/readyz").json() == {"status": "ok", "workers": 1}
        text = working.get("/metrics").text
        assert re.search(r'^fastface_jobs\{state="done"\} [0-9.]+$', text, re.M)
        assert 'path="/v1/jobs/{id}"' in text


class TestAsking:
    def test_several_and_keys(self, client: TestClient) -> None:
        body = {"paths": ["film.mp4", "sub/tiny.mp4"]}
        first = client.post("/v1/jobs", json=body, headers={"idempotency-key": "k"})
        again = client.post("/v1/jobs", json=body, headers={"idempotency-key": "k"})
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json() == again.json()
        assert [job["name"] for job in first.json()["jobs"]] == ["film.mp4", "tiny.mp4"]
        other = client.post("/v1/jobs", json={"path": "film.mp4"}, headers={"idempotency-key": "k"})
        refusal(other, 409, "key_conflict")

    def test_an_upload_is_known_by_its_bytes(self, client: TestClient, settings: ServiceSettings, root: Path) -> None:
        content, key = (root / "sub" / "tiny.mp4").read_bytes(), {**VIDEO, "idempotency-key": "u"}
        first = client.post("/v1/jobs", content=content, headers=key)
        again = client.post("/v1/jobs", content=content, headers=key)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json() == again.json()
        refusal(client.post("/v1/jobs", content=content + b"x", headers=key), 409, "key_conflict")
        uploads = Path(settings.folder) / "uploads"
        assert len(list(uploads.iterdir())) == 1
        client.delete(f"/v1/jobs/{first.json()['jobs'][0]['id']}")
        assert list(uploads.iterdir()) == []

    def test_pages(self, client: TestClient) -> None:
        made = [ask(client)["id"] for _ in range(5)]
        page = client.get("/v1/jobs?limit=3").json()
        rest = client.get(f"/v1/jobs?limit=3&after={page['next']}").json()
        assert [job["id"] for job in page["jobs"] + rest["jobs"]] == made[::-1]
        assert rest["next"] is None
        for query in ("limit=0", "limit=999", "limit=x", "after=x", "after=-1", "state=lost"):
            refusal(client.get(f"/v1/jobs?{query}"), 422, "invalid_request")

    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"[]", b'"x"', b"null", b"{}", b'{"path": 1}', b'{"path": "film.mp4", "paths": ["film.mp4"]}',
         b'{"paths": []}', b'{"path": "film.mp4", "device": "cuda"}', b'{"path": null}', b"[" * 100_000,
         b'{"path": "film.mp4", "settings": []}', b"\xff\xfe", json.dumps({"paths": ["film.mp4"] * 1001}).encode()],
    )  # fmt: skip
    def test_what_is_no_request(self, client: TestClient, body: bytes) -> None:
        answer = client.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
        refusal(answer, 422, "invalid_request")

    @pytest.mark.parametrize(
        "settings_",
        [{"every": 0}, {"factor": 10**400}, {"device": "cuda"}, {"limits": {}}, {"thresholds": [9, 9, 9]}],
    )
    def test_settings_that_no_job_may_have(self, client: TestClient, settings_: dict[str, Any]) -> None:
        refusal(client.post("/v1/jobs", json={"path": "film.mp4", "settings": settings_}), 422, "bad_input")
        answer = client.post("/v1/jobs", params={"settings": json.dumps(settings_)}, content=b"x", headers=VIDEO)
        refusal(answer, 422, "bad_input")

    def test_whatever_else(self, client: TestClient) -> None:
        refusal(client.get("/none"), 404, "not_found")
        answer = client.put("/v1/jobs")
        refusal(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "GET, POST"
        refusal(client.get("/docs"), 404, "not_found")
        for id in ("x", "0" * 32, "%00", "a" * 5000, "..%2f..%2fetc"):
            for path in ("", "/events", "/timeline"):
                refusal(client.get(f"/v1/jobs/{id}{path}"), 404, "not_found")
        refusal(client.post("/v1/jobs", json={"path": "film.mp4"}, headers={"idempotency-key": "x" * 201}), 422,
                "bad_input")  # fmt: skip

    def test_the_interface_is_described(self, client: TestClient) -> None:
        document = client.get("/openapi.json").json()
        assert {"/v1/jobs", "/v1/jobs/{id}", "/v1/jobs/{id}/events", "/v1/jobs/{id}/timeline", "/healthz", "/readyz",
                "/metrics"} <= set(document["paths"])  # fmt: skip
        body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
        assert set(body) == {"application/json", "application/octet-stream", "video/*"}
        assert body["application/json"]["examples"]["one"]["value"]["path"] == "holiday.mp4"
        answer = document["paths"]["/v1/jobs/{id}"]["get"]["responses"]["200"]["content"]["application/json"]
        known = set(document["components"]["schemas"]["JobOut"]["properties"])
        assert {"id", "state", "progress"} <= set(answer["example"]) <= known


class TestPaths:
    """No path outside the root, ever."""

    @pytest.mark.parametrize(
        "path",
        ["/etc/passwd", "../secret.mp4", "sub/../../secret.mp4", "link.mp4", "up/secret.mp4", "a\0b", "", ".", "sub",
         "none.mp4", "list.mp4", "~/x", "file:///etc/passwd", "http://localhost/x.mp4", "x" * 5000,
         "loop.mp4", "concat:film.mp4|film.mp4", "\ud800"],
    )  # fmt: skip
    def test_refused(self, client: TestClient, root: Path, path: str) -> None:
        secret = root.parent / "secret.mp4"
        secret.write_bytes((root / "film.mp4").read_bytes())
        (root / "list.mp4").write_text("ffconcat version 1.0\nfile film.mp4\n")
        made = {"link.mp4": secret, "up": root.parent, "loop.mp4": root / "loop.mp4"}
        for name, target in made.items():
            (root / name).symlink_to(target)
        try:
            answer = client.post("/v1/jobs", content=json.dumps({"path": path}).encode(),
                                 headers={"content-type": "application/json"})  # fmt: skip
            assert answer.status_code == 422, answer.text
            assert str(root.parent) not in answer.text
            assert client.get("/v1/jobs").json()["jobs"] == []
            assert ask(client)["name"] == "film.mp4"  # and what may be asked for still may
        finally:
            for name in (*made, "list.mp4"):
                (root / name).unlink()

    def test_a_link_that_is_changed_later(self, working: TestClient, root: Path) -> None:
        """What was looked at when the job was made is looked at again by the worker."""
        link = root / "later.mp4"
        link.write_bytes((root / "film.mp4").read_bytes())
        blocks = ask(working, "long.mp4")
        job = ask(working, "later.mp4")
        link.unlink()
        link.symlink_to("/etc/passwd")
        working.delete(f"/v1/jobs/{blocks['id']}")
        over = until_over(working, job["id"])
        link.unlink()
        assert over["error"]["code"] == "bad_input"
        assert "leads out of '[root]'" in over["error"]["message"]

    def test_no_root(self, settings: ServiceSettings) -> None:
        client = client_of(replace(settings, root=None))
        answer = client.post("/v1/jobs", json={"path": "film.mp4"})
        assert "takes no paths" in refusal(answer, 422, "bad_input")["message"]


class TestUploads:
    @pytest.mark.parametrize(
        ("content", "what"),
        [(b"", "is empty"), (b"PK\x03\x04" + bytes(99), "not a video"),
         (b"ffconcat version 1.0\nfile 'x.mp4'\n", "names other files"), (b"<html><script>", "not a video")],
    )  # fmt: skip
    def test_nonsense(self, client: TestClient, settings: ServiceSettings, content: bytes, what: str) -> None:
        error = refusal(client.post("/v1/jobs?name=a.mp4", content=content, headers=VIDEO), 422, "bad_input")
        assert what in error["message"]
        assert "'a.mp4'" in error["message"]
        assert str(settings.folder) not in error["message"]
        assert list((Path(settings.folder) / "uploads").iterdir()) == []

    def test_too_large(self, settings: ServiceSettings) -> None:
        client = client_of(replace(settings, max_upload_bytes=1000))
        refusal(client.post("/v1/jobs", content=bytes(1001), headers=VIDEO), 413, "too_large")
        refusal(client.post("/v1/jobs", content=(bytes(100) for _ in range(20)), headers=VIDEO), 413, "too_large")
        json_ = {"content-type": "application/json"}
        refusal(client.post("/v1/jobs", content=bytes(1 << 21), headers=json_), 413, "too_large")
        assert list((Path(settings.folder) / "uploads").iterdir()) == []

    def test_no_room(self, settings: ServiceSettings) -> None:
        client = client_of(replace(settings, min_free_bytes=1 << 60))
        refusal(client.post("/v1/jobs", content=b"x", headers=VIDEO), 507, "disk_full")

    @pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", ""])
    def test_kinds_that_any_page_may_send(self, client: TestClient, kind: str) -> None:
        refusal(client.post("/v1/jobs", content=b"x", headers={"content-type": kind}), 415, "content_type")


class TestWho:
    @pytest.fixture
    def keyed(self, settings: ServiceSettings) -> tuple[TestClient, str, str]:
        """With keys of two people."""
        client = client_of(replace(settings, require_keys=True))
        keys = Keys(Path(settings.folder) / "keys.json")
        return client, keys.add("ann"), keys.add("bob")

    def test_keys(self, keyed: tuple[TestClient, str, str], settings: ServiceSettings) -> None:
        client, ann, bob = keyed
        mine = {"authorization": f"Bearer {ann}"}
        forged = [{}, {"authorization": "Bearer x"}, {"authorization": f"Basic {ann}"}, {"authorization": ann},
                  {"authorization": f"Bearer {ann[:-1]}{'A' if ann[-1] != 'A' else 'B'}"},
                  {"authorization": f"Bearer {ann[:15]}_{bob[16:]}"},
                  {"authorization": f"Bearer ff_{'0' * 12}_{'A' * 43}"}]  # fmt: skip
        for headers in forged:
            answer = client.get("/v1/jobs", headers=headers)
            refusal(answer, 401, "no_key")
            assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/v1/jobs/x", "/v1/jobs/x/events", "/metrics", "/openapi.json", "/none"):
            refusal(client.get(path), 401, "no_key")
        assert client.get("/healthz").status_code == 200
        job = ask(client, **mine)
        for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/timeline"), ("DELETE", "")):
            answer = client.request(method, f"/v1/jobs/{job['id']}{path}", headers={"authorization": f"Bearer {bob}"})
            refusal(answer, 404, "not_found")
        assert client.get("/v1/jobs", headers={"authorization": f"Bearer {bob}"}).json()["jobs"] == []
        assert len(client.get("/v1/jobs", headers=mine).json()["jobs"]) == 1
        file = Path(settings.folder) / "keys.json"
        assert ann.split("_", 2)[2] not in file.read_text()
        assert file.stat().st_mode & 0o077 == 0
        assert Keys(file).remove("ann") == 1
        refusal(client.get("/v1/jobs", headers=mine), 401, "no_key")

    def test_guessing_is_slow(self, settings: ServiceSettings) -> None:
        client = client_of(replace(settings, require_keys=True))
        answers = [client.get("/v1/jobs", headers={"authorization": "Bearer x"}) for _ in range(40)]
        assert {a.status_code for a in answers} == {401, 429}
        refusal(answers[-1], 429, "too_many_requests")
        assert int(answers[-1].headers["retry-after"]) >= 1

    def test_limits_of_one(self, settings: ServiceSettings) -> None:
        client = client_of(replace(settings, requests_a_minute=5))
        codes = [client.get("/v1/jobs").status_code for _ in range(8)]
        assert codes[:5] == [200] * 5
        assert codes[-1] == 429
        client = client_of(replace(settings, max_jobs=2))
        refusal(client.post("/v1/jobs", json={"paths": ["film.mp4"] * 3}), 429, "too_many_jobs")
        ask(client)
        ask(client)
        refusal(client.post("/v1/jobs", json={"path": "film.mp4"}), 429, "too_many_jobs")
        refusal(client.post("/v1/jobs", content=b"x", headers=VIDEO), 429, "too_many_jobs")

    def test_without_keys_only_this_machine_is_answered(self, client: TestClient) -> None:
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", ""):
            refusal(client.get("/v1/jobs", headers={"host": host}), 403, "host")
        for origin in ("http://evil.example", "null", "http://localhost:9"):
            refusal(client.get("/v1/jobs", headers={"origin": origin}), 403, "origin")
        for host in ("localhost:80", "127.0.0.1", "[::1]:8000"):
            assert client.get("/v1/jobs", headers={"host": host}).status_code == 200

    def test_pages_of_others(self, client: TestClient, settings: ServiceSettings) -> None:
        answer = client.options("/v1/jobs", headers={"origin": "https://a.example",
                                                     "access-control-request-method": "POST"})  # fmt: skip
        assert "access-control-allow-origin" not in answer.headers
        assert answer.status_code >= 400
        answer = client.get("/v1/jobs")
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        allowing = client_of(replace(settings, require_keys=True, origins=["https://a.example"]))
        for origin, allowed in (("https://a.example", True), ("https://b.example", False)):
            answer = allowing.options("/v1/jobs", headers={"origin": origin, "access-control-request-method": "POST"})
            assert (answer.headers.get("access-control-allow-origin") == origin) is allowed

    def test_an_error_of_ours_tells_nothing(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError("the password is 1234")

        monkeypatch.setattr("fastface.service.embedded.EmbeddedJobs.get", broken)
        answer = client.get("/v1/jobs/x")
        assert "1234" not in answer.text
        refusal(answer, 500, "internal")


def test_buckets() -> None:
    buckets = Buckets(60, most=2)
    assert [buckets.take("a", 0.0) for _ in range(61)][:60] == [0.0] * 60
    assert buckets.take("a", 0.0) == pytest.approx(1)
    assert buckets.take("b", 0.0) == 0
    assert buckets.take("a", 1.0) == 0
    assert buckets.take("a", 1.0) > 0
    buckets.take("c", 1.0)
    assert len(buckets._known) == 2


def test_the_real_server(root: Path, tmp_path: Path) -> None:
    """`fastface serve` on a free port of this machine: a job from beginning to end, with a key, and a quiet end."""
    command = [sys.executable, "-m", "fastface", "serve", str(tmp_path / "s")]
    key = subprocess.run([*command, "--add-key", "ann"], capture_output=True, text=True, check=True).stdout.strip()
    server = subprocess.Popen([*command, "--root", str(root), "--port", "0", "--device", "cpu", "--embedder", MODEL],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert url, line
        assert "keys required" in line
        with httpx.Client(base_url=url[0], timeout=30) as client:
            wait_for(lambda: _ready(client))
            refusal(client.get("/v1/jobs"), 401, "no_key")
            client.headers["authorization"] = f"Bearer {key}"
            with (root / "sub" / "tiny.mp4").open("rb") as file:
                made = client.post("/v1/jobs", params={"name": "tiny.mp4"}, content=file, headers=VIDEO)
            assert made.status_code == 201, made.text
            id = made.json()["jobs"][0]["id"]
            with client.stream("GET", f"/v1/jobs/{id}/events") as events:
                text = "".join(events.iter_text())
            assert "event: done" in text
            assert client.get(f"/v1/jobs/{id}/timeline").json()["schema"] == "fastface.timeline/1"
            client.post("/v1/jobs", json={"path": "long.mp4", "settings": SETTINGS})
            wait_for(lambda: client.get("/v1/jobs?state=running").json()["jobs"])
        begin = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) in (0, 143, -signal.SIGTERM)
        print(f"ended after {time.monotonic() - begin:.1f} s")
        assert "Traceback" not in (server.stderr.read() if server.stderr else "")
    finally:
        server.kill()
        server.wait()


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_an_upload_that_stalls_or_breaks_off(
    root: Path, settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a real connection of this machine, with a limit of a second in place of thirty."""
    monkeypatch.setattr("fastface.service.uploads._IDLE", 1.0)
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="warning"))
    listening = server.config.bind_socket()
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    uploads = Path(settings.folder) / "uploads"
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\nContent-Length: 9999\r\n\r\nabc"
    try:
        with socket.create_connection(listening.getsockname(), timeout=10) as stalls:
            stalls.sendall(head)
            wait_for(lambda: list(uploads.iterdir()))
            answer = stalls.recv(10_000)
            assert b" 408 " in answer.splitlines()[0]
            assert b"too_slow" in answer + stalls.recv(10_000)
        wait_for(lambda: not list(uploads.iterdir()))
        with socket.create_connection(listening.getsockname(), timeout=10) as breaks_off:
            breaks_off.sendall(head)
            wait_for(lambda: list(uploads.iterdir()))
        wait_for(lambda: not list(uploads.iterdir()))
        assert httpx.get(f"http://localhost:{listening.getsockname()[1]}/v1/jobs").json()["jobs"] == []
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def test_no_keys_where_others_can_reach_it(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "fastface", "serve", str(tmp_path / "s"), "--host", "0.0.0.0"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 3
    assert "make a key first" in done.stderr
