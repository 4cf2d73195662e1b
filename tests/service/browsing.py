"""A service on a free port of this machine, and its page in a browser."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import uvicorn
from asking import wait_for

from fastface.service.app import ServiceSettings, create_app

PATIENCE = 120_000
"""Milliseconds that a state is waited for, on a machine that has other things to do."""


@contextlib.contextmanager
def serving(settings: ServiceSettings, port: int = 0) -> Iterator[str]:
    """The address of a service that runs in a thread of this process, with workers of its own."""
    config = uvicorn.Config(create_app(settings), port=port, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    listening = config.bind_socket()
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


class Tabs:
    """Opens pages; what they complain of, beyond what a test allows, fails it at the end.

    Args:
        browser: of Playwright.
    """

    def __init__(self, browser: Any) -> None:
        self._browser, self._contexts = browser, []
        self.wrong: list[str] = []
        self.allowed: tuple[str, ...] = ()

    def open(self, url: str, width: int = 1200, height: int = 900, **settings: Any) -> Any:
        context = self._browser.new_context(viewport={"width": width, "height": height}, **settings)
        context.set_default_timeout(PATIENCE)
        self._contexts.append(context)
        page = context.new_page()
        host = url.split("/#")[0].rstrip("/")
        page.on("console", lambda m: self.wrong.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith((host, "blob:")) else self.wrong.append(r.url))
        page.goto(url)
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        assert not [w for w in self.wrong if not any(a in w for a in self.allowed)], self.wrong


def over(url: str, id: str) -> dict[str, Any]:
    """The job, once it is over."""

    def ended() -> Any:
        job = httpx.get(f"{url}/v1/jobs/{id}", timeout=30).json()
        return job if job["state"] in ("done", "failed", "cancelled") else None

    return wait_for(ended, PATIENCE / 1000)  # type: ignore[no-any-return]


def expect(what: Any) -> Any:
    """Playwright's own, which the machines without it do not have."""
    from playwright.sync_api import expect as of

    return of(what)
