"""The dashboard's files, the paths that they ask, and what Prometheus and Grafana are told."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from asking import wait_for
from fastapi.testclient import TestClient
from prometheus_client.utils import floatToGoString
from test_monitor import FakeNVML

from fastface.export import FORMATS
from fastface.service.app import ServiceSettings, create_app
from fastface.service.routes.pages import POLICY
from fastface.service.routes.system import SampleOut, SystemOut

FILES = {f.name: f.read_text(encoding="utf-8") for f in (resources.files("fastface.service") / "dashboard").iterdir()}
GRAFANA = Path(__file__).resolve().parents[2] / "deploy" / "grafana-dashboard.json"


@pytest.fixture
def locked(tmp_path: Path) -> TestClient:
    """A service that wants keys."""
    return TestClient(create_app(ServiceSettings(tmp_path / "service")), base_url="http://localhost")


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A service with two GPUs that has looked at them."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeNVML())
    app = create_app(ServiceSettings(tmp_path / "service", require_keys=False))
    with TestClient(app, base_url="http://localhost") as client:
        wait_for(lambda: client.get("/v1/system").json()["samples"])
        yield client


class TestFiles:
    def test_the_page_and_its_files_need_no_key(self, locked: TestClient) -> None:
        assert locked.get("/v1/jobs").status_code == 401
        page = locked.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["content-security-policy"] == POLICY
        assert page.headers["x-content-type-options"] == "nosniff"
        for name, content in FILES.items():
            answer = locked.get(f"/dashboard/{name}")
            assert (answer.status_code, answer.text) == (200, content), name
            assert answer.headers["cache-control"] == "no-cache"
            kind = {"js": "text/javascript", "css": "text/css", "html": "text/html", "svg": "image/svg+xml"}
            assert answer.headers["content-type"].startswith(kind[name.rpartition(".")[2]])

    def test_a_file_that_is_known_is_not_sent_again(self, locked: TestClient) -> None:
        first = locked.get("/dashboard/main.js")
        again = locked.get("/dashboard/main.js", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        other = locked.get("/dashboard/api.js", headers={"if-none-match": first.headers["etag"]})
        assert other.status_code == 200

    @pytest.mark.parametrize(
        "name", ["none.js", "..%2fapp.py", "%2e%2e/app.py", "../app.py", "", "main.js/x", "__init__.py"]
    )
    def test_nothing_else_is_there(self, locked: TestClient, name: str) -> None:
        answer = locked.get(f"/dashboard/{name}")
        assert answer.status_code in (401, 404)
        assert "import" not in answer.text

    def test_only_reading_is_open(self, locked: TestClient) -> None:
        assert locked.post("/").status_code == 401
        assert locked.delete("/dashboard/main.js").status_code == 401

    def test_the_page_is_no_part_of_the_interface(self, locked: TestClient) -> None:
        paths = locked.app.openapi()["paths"]  # type: ignore[attr-defined]
        assert not [path for path in paths if "dashboard" in path or path == "/"]

    def test_nothing_is_loaded_from_elsewhere(self) -> None:
        assert "'unsafe" not in POLICY
        for name, content in FILES.items():
            known = ("http://www.w3.org/2000/svg",)
            assert [url for url in re.findall(r"https?://[^\s\"'<>)]+", content) if url not in known] == [], name
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", content)
            if name.endswith(".html"):
                assert not re.search(r"\sstyle=|\son\w+=|<style|<script>", content)

    def test_every_import_and_part_is_there(self) -> None:
        for name, content in FILES.items():
            parts = r'from "\./([^"]+)"', r'(?:src|href)="/dashboard/([^"]+)"'
            asked = [name for part in parts for name in re.findall(part, content)]
            assert set(asked) <= set(FILES), name
        assert set(FILES) == {*re.findall(r'from "\./([^"]+)"', "".join(FILES.values())), "index.html", "main.js",
                              "icon.svg", "base.css", "pages.css"}, "a file that nobody uses"  # fmt: skip

    def test_every_format_can_be_taken(self) -> None:
        (listed,) = re.findall(r"FORMATS = \[(.*?)\n\];", FILES["job.js"], re.DOTALL)
        assert re.findall(r'\["([a-z-]+)", "', listed) == [format.name for format in FORMATS]


class TestSystem:
    def test_samples(self, watched: TestClient) -> None:
        answer = watched.get("/v1/system")
        assert answer.headers["content-type"] == "application/json"
        system = SystemOut.model_validate_json(answer.content, strict=True)
        assert system.interval == 2.0
        first = system.samples[0]
        assert first.at <= system.now
        assert [(g.index, g.name, g.gpu, g.nvdec) for g in first.gpus] == [
            (0, "NVIDIA Drawn 0", 37.0, 91.0), (1, "NVIDIA Drawn 1", 100.0, 0.0)]  # fmt: skip
        assert set(answer.json()["samples"][0]) == set(SampleOut.model_fields)
        since = watched.get("/v1/system", params={"since": system.samples[-1].at}).json()
        assert all(sample["at"] > system.samples[-1].at for sample in since["samples"])

    @pytest.mark.parametrize("since", ["-1", "nan", "inf", "x", "1e13"])
    def test_since_must_be_a_moment(self, watched: TestClient, since: str) -> None:
        answer = watched.get("/v1/system", params={"since": since})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")

    def test_a_key_is_needed(self, locked: TestClient) -> None:
        assert locked.get("/v1/system").status_code == 401


class TestFigures:
    def test_the_same_for_prometheus(self, watched: TestClient) -> None:
        text = watched.get("/metrics").text
        sample = watched.get("/v1/system").json()["samples"][-1]
        assert 'fastface_gpu_utilization_percent{gpu="1",name="NVIDIA Drawn 1"} 100.0' in text
        assert 'fastface_gpu_nvdec_percent{gpu="0",name="NVIDIA Drawn 0"} 91.0' in text
        assert f"\nfastface_memory_total_bytes {floatToGoString(sample['memory_total'])}\n" in text
        assert "\nfastface_jobs_done_total 0.0\n" in text
        assert "\nfastface_frames_per_second 0.0\n" in text

    def test_before_the_first_look(self, tmp_path: Path) -> None:
        app = create_app(ServiceSettings(tmp_path / "service", require_keys=False))
        client = TestClient(app, base_url="http://localhost")  # without its lifespan: nothing is begun
        assert client.get("/v1/system").json()["samples"] == []
        text = client.get("/metrics").text
        assert "fastface_workers" in text
        assert "fastface_cpu_percent" not in text

    def test_grafana_asks_for_what_there_is(self, watched: TestClient) -> None:
        watched.get("/healthz")
        text = watched.get("/metrics").text
        there = set(re.findall(r"^(fastface_\w+)", text, re.MULTILINE))
        dashboard = json.loads(GRAFANA.read_text(encoding="utf-8"))
        asked = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ())]
        names = {name for expr in asked for name in re.findall(r"\bfastface_\w+", expr)}
        assert len(asked) >= 8
        assert all(re.search(r"\bfastface_\w+", expr) for expr in asked)
        assert names <= there, names - there
        for name in ("cpu_percent", "memory_bytes", "gpu_utilization_percent", "gpu_nvdec_percent", "gpu_memory_bytes",
                     "frames_per_second", "jobs", "jobs_done_total", "workers"):  # fmt: skip
            assert f"fastface_{name}" in names, "a figure that nobody looks at"
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(ids) == len(set(ids))
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            assert 0 <= place["x"] < place["x"] + place["w"] <= 24
            assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
