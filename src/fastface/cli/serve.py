"""`fastface serve`: videos as jobs, over HTTP."""

from __future__ import annotations

import argparse
import ipaddress
import os
from typing import Any

from fastface.errors import FastFaceError, InputValidationError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `serve` to a command line's subcommands."""
    parser = subparsers.add_parser(
        "serve",
        help="answer HTTP requests: videos in, timelines out",
        description="Takes videos as jobs over HTTP and does them, one worker process per device. Needs the extra "
        "'service'. Keys are required unless it listens on loopback and none was made.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="where jobs, uploads and results are kept; made if missing")
    parser.add_argument("--root", metavar="DIR", help="videos in this folder may be named by path (default: none may)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s; 0 takes a free one")
    parser.add_argument(
        "--device",
        action="append",
        metavar="D",
        help="cpu, cuda:0, ...: a worker each, may be repeated (default: every GPU, or the CPU)",
    )
    parser.add_argument("--embedder", default="auto", metavar="NAME", help="see `fastface models list` (default: auto)")
    parser.add_argument("--max-upload", type=int, default=2_000_000_000, metavar="BYTES", help="default: %(default)s")
    parser.add_argument(
        "--keep-uploads",
        type=float,
        default=86_400.0,
        metavar="S",
        help="seconds that a video that was sent outlives its job, so that clips can be cut (default: %(default).0f)",
    )
    parser.add_argument(
        "--max-jobs", type=int, default=100, metavar="N", help="of one key that are not over (default: %(default)s)"
    )
    parser.add_argument(
        "--rate", type=int, default=600, metavar="N", help="requests a minute of one key (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-origin", action="append", default=[], metavar="URL", help="web pages that may ask (default: none)"
    )
    parser.add_argument("--add-key", metavar="NAME", help="make a key for NAME, print it this once, and end")
    parser.add_argument("--remove-keys", metavar="NAME", help="forget the keys of NAME, and end")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what `fastface serve` says; returns the exit code."""
    from fastface.service.keys import Keys
    from fastface.service.place import Place

    keys = Keys(Place(args.folder).folder / "keys.json")
    if args.add_key is not None:
        print(keys.add(args.add_key))
        return 0
    if args.remove_keys is not None:
        print(f"{keys.remove(args.remove_keys)} keys of {args.remove_keys} removed")
        return 0
    for name, low in (("max_upload", 1), ("max_jobs", 1), ("rate", 1), ("keep_uploads", 0)):
        if not getattr(args, name) >= low:
            raise InputValidationError(f"--{name.replace('_', '-')} is {getattr(args, name)}, must be at least {low}")
    if not 0 <= args.port <= 65535:
        raise InputValidationError(f"--port is {args.port}, must be from 0 to 65535")
    try:
        import uvicorn

        from fastface.service.app import ServiceSettings, create_app
    except ImportError as error:
        raise FastFaceError(f"{error.name} is not installed: pip install 'fastface-gpu[service]'") from error
    from fastface.batch import named_devices
    from fastface.service.worker import WorkerOptions

    names = keys.names()
    required = bool(names) or not is_loopback(args.host)
    if required and not names:
        raise InputValidationError(
            f"--host is {args.host!r}, which others can reach: make a key first, with --add-key NAME"
        )
    settings = ServiceSettings(
        folder=args.folder,
        root=args.root,
        devices=named_devices(args.device or "all"),
        require_keys=required,
        max_upload_bytes=args.max_upload,
        max_jobs=args.max_jobs,
        requests_a_minute=args.rate,
        origins=args.allow_origin,
        worker=WorkerOptions(
            embedder=args.embedder,
            max_bytes=max(args.max_upload, WorkerOptions.max_bytes),
            keep_uploads=args.keep_uploads,
        ),
    )
    # Who asks is told by the connection: headers of proxies can be forged, and are not looked at.
    config = uvicorn.Config(create_app(settings), host=args.host, port=args.port, log_level="warning",
                            server_header=False, proxy_headers=False, access_log=False, limit_concurrency=500,
                            timeout_keep_alive=15, timeout_graceful_shutdown=3)  # fmt: skip
    socket = config.bind_socket()
    where = f"http://{f'[{args.host}]' if ':' in args.host else args.host}:{socket.getsockname()[1]}"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[Any] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                print(f"listening on {where} (process {os.getpid()}, keys {'' if required else 'not '}required)",
                      flush=True)  # fmt: skip

    Server(config).run(sockets=[socket])
    return 0


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
