"""`fastface worker`: does the jobs of a service on another machine."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fastface.errors import FastFaceError, InputValidationError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `worker` to a command line's subcommands."""
    parser = subparsers.add_parser(
        "worker",
        help="do the jobs of a service that has a broker",
        description="Takes jobs from a Redis and does them, one at a time on one device, until SIGTERM; then it gives "
        "its job back. Needs the extra 'broker'. Start as many as you have devices, on as many machines as you like.",
    )
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        help="the service's folder, as this machine sees it; with --storage one for copies (default: a temporary one)",
    )
    add_broker(parser)
    parser.add_argument("--root", metavar="DIR", help="the service's --root, as this machine sees it")
    parser.add_argument("--device", default="auto", metavar="D", help="cpu, cuda:0, ... (default: a GPU, or the CPU)")
    parser.add_argument("--embedder", default="auto", metavar="NAME", help="see `fastface models list` (default: auto)")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch on the CPU (default: its own choice)")
    parser.add_argument(
        "--lease",
        type=float,
        default=15.0,
        metavar="S",
        help="seconds after which a worker that is not heard of has lost its job (default: %(default)s)",
    )
    parser.add_argument("--checkpoint", type=float, default=30.0, metavar="S", help="seconds (default: %(default)s)")
    parser.add_argument("--max-bytes", type=int, default=10_000_000_000, metavar="N", help="of a video")
    parser.add_argument(
        "--keep-uploads",
        type=float,
        default=86_400.0,
        metavar="S",
        help="as the service has it: 0 removes a video that was sent with its job (default: %(default).0f)",
    )
    parser.add_argument(
        "--max-attempts", type=int, default=3, metavar="N", help="workers that a job may cost (default: %(default)s)"
    )
    return parser


def add_broker(parser: argparse.ArgumentParser) -> None:
    """Add the options that services and workers share."""
    parser.add_argument(
        "--broker",
        metavar="URL",
        default=os.environ.get("FASTFACE_BROKER"),
        help="redis://HOST:PORT/NUMBER that keeps the jobs; with a password, say it by FASTFACE_BROKER",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        default=os.environ.get("FASTFACE_STORAGE"),
        help="s3://BUCKET/PREFIX with uploads and results (or FASTFACE_STORAGE; default: in FOLDER)",
    )


def run(args: argparse.Namespace) -> int:
    """Do what `fastface worker` says; returns the exit code."""
    if args.broker is None:
        raise InputValidationError("give --broker redis://HOST:PORT/NUMBER; without one, `fastface serve` works itself")
    if args.folder is None and args.storage is None:
        raise InputValidationError("give the service's FOLDER, which this machine sees, too; or its --storage")
    for name, low in (
        ("lease", 3.0),
        ("checkpoint", 0.0),
        ("max_attempts", 1),
        ("threads", 1),
        ("max_bytes", 1),
        ("keep_uploads", 0.0),
    ):
        value = getattr(args, name)
        if value is not None and not value >= low:
            raise InputValidationError(f"--{name.replace('_', '-')} is {value}, must be at least {low:g}")
    try:
        from fastface.service.broker.celery_app import work
        from fastface.service.broker.redis_jobs import RedisJobs
    except ImportError as error:
        raise FastFaceError(f"{error.name} is not installed: pip install 'fastface-gpu[broker]'") from error
    from fastface.batch import named_devices
    from fastface.service.place import Place
    from fastface.service.storage import Storage
    from fastface.service.worker import Worker, WorkerOptions

    if args.log_level is None and args.log_format == "text":
        logging.getLogger("fastface").setLevel(logging.WARNING)
    device = named_devices("all")[0] if args.device == "auto" else named_devices([args.device])[0]
    if args.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)
    options = WorkerOptions(root=args.root, embedder=args.embedder, lease=args.lease, checkpoint=args.checkpoint,
                            max_attempts=args.max_attempts, max_bytes=args.max_bytes, threads=args.threads,
                            keep_uploads=args.keep_uploads)  # fmt: skip
    storage = None if args.storage is None else Storage(args.storage)
    if storage is not None:
        storage.check()
    jobs = RedisJobs(args.broker, max_attempts=options.max_attempts)
    name = f"{device}-{secrets.token_hex(4)}-{os.getpid()}"
    with _folder(args.folder, storage is not None) as folder:
        place = Place(folder, args.root, storage)
        worker = Worker(jobs, place, device, name, options)
        print(f"worker {name} is ready (process {os.getpid()})", flush=True)
        return work(args.broker, "fastface", jobs, worker, name, options.lease)


@contextlib.contextmanager
def _folder(given: str | None, own: bool) -> Iterator[Path]:
    """The shared folder; or, where there is a storage, one of this process, which goes with it. What workers left that
    were killed goes as well: a lock that nobody holds tells them."""
    if not own:
        assert given is not None
        yield Path(given)
        return
    import fcntl
    import shutil

    parent = Path(given) if given is not None else Path(tempfile.gettempdir()) / f"fastface-{os.getuid()}"
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if parent.stat().st_uid != os.getuid():
        raise InputValidationError(f"the folder {str(parent)!r} is another user's")
    for left in parent.glob("worker-*.lock"):
        with contextlib.suppress(OSError), left.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.with_suffix(""), ignore_errors=True)
            left.unlink(missing_ok=True)
    mine = parent / f"worker-{secrets.token_hex(8)}"
    with mine.with_suffix(".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield mine
        finally:
            shutil.rmtree(mine, ignore_errors=True)
            mine.with_suffix(".lock").unlink(missing_ok=True)
