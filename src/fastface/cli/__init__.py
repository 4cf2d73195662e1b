"""The command line: `fastface COMMAND`, see :data:`_COMMANDS`.

Exit codes: 0 done, 1 another failure of ours, 2 usage, 3 bad input, 4 models missing, 5 GPU failure, 130 interrupted,
143 terminated.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

_COMMANDS = (
    "process",
    "search",
    "gallery",
    "calibrate",
    "render",
    "clip",
    "export",
    "report",
    "serve",
    "worker",
    "models",
    "demo",
    "doctor",
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    import importlib

    parser = argparse.ArgumentParser(
        prog="fastface",
        description="Who is on screen, when and where: a video goes in, a timeline comes out.",
        epilog="Exit codes: 0 done, 1 another failure, 2 usage, 3 bad input, 4 models missing, 5 GPU failure, "
        "130 interrupted, 143 terminated.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="of the log on standard error (default: text)"
    )
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), help="default: error, with --log-format json info"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name in _COMMANDS:
        importlib.import_module(f"fastface.cli.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        The exit code.
    """
    import importlib

    parser = build_parser()
    args = parser.parse_args(argv)
    if args.version:
        from fastface.version import __version__

        print(__version__)
        return 0
    if args.command is None:
        parser.print_help()
        return 2
    from fastface.errors import FastFaceError
    from fastface.logs import configure

    # A command prints its error itself; what fails within the service is nobody else's to tell.
    told_once = args.log_format == "text" and args.command != "serve"
    level = args.log_level or ("info" if args.log_format == "json" else "error")
    configure(args.log_format, level, failures=not told_once)
    try:
        with _ends_on_sigterm():
            code: int = importlib.import_module(f"fastface.cli.{args.command}").run(args)
            return code
    except FastFaceError as error:
        if args.log_format != "json":
            print(f"fastface {args.command}: {error}", file=sys.stderr)
        return error.exit_code
    except _Terminated:
        print(f"fastface {args.command}: terminated", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print(f"fastface {args.command}: interrupted", file=sys.stderr)
        return 130


class _Terminated(KeyboardInterrupt):
    """SIGTERM came: like Ctrl-C it unwinds the stack, so that all is released and nothing is left half-written."""


@contextlib.contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """Within the block SIGTERM is an exception (in the main thread; elsewhere nothing can be done about signals)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
