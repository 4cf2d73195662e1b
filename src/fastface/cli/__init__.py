"""The command line: `fastface process | search | gallery | calibrate | render | models | demo | doctor`.

Exit codes: 0 done, 1 another failure of ours, 2 usage, 3 bad input, 4 models missing, 5 GPU failure, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

_COMMANDS = ("process", "search", "gallery", "calibrate", "render", "models", "demo", "doctor")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    import importlib

    parser = argparse.ArgumentParser(
        prog="fastface",
        description="Who is on screen, when and where: a video goes in, a timeline comes out.",
        epilog="Exit codes: 0 done, 2 usage, 3 bad input, 4 models missing, 5 GPU failure.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
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

    try:
        code: int = importlib.import_module(f"fastface.cli.{args.command}").run(args)
        return code
    except FastFaceError as error:
        print(f"fastface {args.command}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"fastface {args.command}: interrupted", file=sys.stderr)
        return 130
