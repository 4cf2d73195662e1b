"""`fastface demo`: a clip that is made on the spot, and what fastface finds in it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fastface.errors import FastFaceError

if TYPE_CHECKING:
    from fastface.timeline import Timeline


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `demo` to a command line's subcommands."""
    parser = subparsers.add_parser(
        "demo",
        help="make a short clip of five people and find out who is on screen",
        description="Composes a 14-second clip from photographs (fetched once, about 90 MB, with the face "
        "model), finds out who is on screen, and writes video.mp4, truth.json, timeline.json, annotated.mp4 "
        "and timeline.png.",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", default="demo", help="folder to write to (default: %(default)s)"
    )
    return parser


def run(args: argparse.Namespace, report: Callable[[Timeline], None] | None = None) -> int:
    """Do what `fastface demo` says.

    Args:
        args: with `output`.
        report: prints the timeline; None: as `fastface process` does.

    Returns:
        Exit code: 0 done, else that of the error's class (see :mod:`fastface.errors`).
    """
    from fastface.cli.process import summary
    from fastface.demo.demo import run as run_demo

    try:
        result = run_demo(Path(args.output), report=report or summary, say=lambda line: print(line, file=sys.stderr))
    except FastFaceError as error:
        print(f"fastface demo: {error}", file=sys.stderr)
        return error.exit_code
    print("seconds: " + ", ".join(f"{step} {s:.1f}" for step, s in result.seconds.items()), file=sys.stderr)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    for path in (result.video, result.truth, result.document, result.annotated, result.picture):
        print(path)
    return 0
