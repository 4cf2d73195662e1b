"""The dashboard: one page and its files, the same for everybody; what it shows it asks the other paths for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from fastface.service.context import Context

_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
          ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}  # fmt: skip

# Its own files and nothing else; and no text may become HTML, whatever a script does (Trusted Types). What is fetched
# with a key, an <img> or a <video> can show as a blob only.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


@dataclass(frozen=True)
class _File:
    content: bytes
    media: str
    mark: str


def _files() -> dict[str, _File]:
    found = {}
    for entry in (resources.files("fastface.service") / "dashboard").iterdir():
        media = _TYPES.get("." + entry.name.rpartition(".")[2])
        if media is not None:
            content = entry.read_bytes()
            found[entry.name] = _File(content, media, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


def router(context: Context) -> APIRouter:
    """/ and /dashboard/..."""
    paths = APIRouter(include_in_schema=False)
    files = _files()

    def answer(request: Request, name: str) -> Response:
        file = files.get(name)
        if file is None:
            raise HTTPException(404, "there is no such page")
        headers = {"cache-control": "no-cache", "etag": file.mark, "content-security-policy": POLICY}
        if request.headers.get("if-none-match") == file.mark:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media, headers=headers)

    @paths.get("/")
    def page(request: Request) -> Response:
        return answer(request, "index.html")

    @paths.get("/dashboard/{name}")
    def part(request: Request, name: str) -> Response:
        return answer(request, name)

    return paths
