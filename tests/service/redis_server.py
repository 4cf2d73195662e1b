"""A real redis-server on loopback, in a folder of its own, with an append-only file."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis


class RedisServer:
    """Attributes:
    url: of its database 0.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        for _ in range(5):  # somebody may take the port before it does
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self._port = int(free.getsockname()[1])
            self.url = f"redis://127.0.0.1:{self._port}/0"
            if self.start():
                return
        raise RuntimeError(f"redis-server does not start: {(folder / 'log').read_text()[-2000:]}")

    def start(self) -> bool:
        """Start it, with what the append-only file holds; whether that worked."""
        self._process = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(self._port), "--dir", str(self._folder),
             "--appendonly", "yes", "--appendfsync", "always", "--save", "",  # as docs/deploy.md says
             "--logfile", str(self._folder / "log")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + 30
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
                return True
            except (redis.exceptions.ConnectionError, redis.exceptions.BusyLoadingError):
                time.sleep(0.02)
        return False

    def kill(self) -> None:
        """As the power's loss would, but for what the system had not written yet."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def empty(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()


def need_redis() -> None:
    """Skip where there is no redis-server, and none must be."""
    if shutil.which("redis-server") is None:
        if os.environ.get("FASTFACE_REQUIRE_REDIS") == "1":
            pytest.fail("there is no redis-server, although FASTFACE_REQUIRE_REDIS=1")
        pytest.skip("needs redis-server; on Debian: apt install redis-server")
