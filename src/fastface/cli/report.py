"""`fastface report`: a page about a timeline."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `report` to a command line's subcommands."""
    parser = subparsers.add_parser(
        "report",
        help="a page to look at: people, when they are on screen, who appears with whom",
        description="Writes one HTML page that needs nothing else, not even a network: people with their faces and "
        "screen time, the timeline, who appears with whom, and how it was found.",
    )
    parser.add_argument("video", metavar="VIDEO", help="the video")
    parser.add_argument("timeline", metavar="TIMELINE", help="its timeline, as `fastface process` writes it (.json)")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the page to write (.html)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what `fastface report` says; returns the exit code."""
    from fastface.reporting import report
    from fastface.timeline import Timeline

    report(args.video, Timeline.from_json(args.timeline), args.output)
    print(f"written: {args.output}")
    return 0
