"""`fastface clip`: a person's moments as files."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from fastface.cli.progress import frames_bar
from fastface.cli.render import WHO, who

if TYPE_CHECKING:
    from fastface.timeline import Timeline


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `clip` to a command line's subcommands."""
    parser = subparsers.add_parser(
        "clip",
        help="cut a person's moments out of a video",
        description="Writes when a person is on screen as MP4 files with sound, exact to the frame; or one file of the "
        "moments that matter; or a window that follows the person.",
    )
    parser.add_argument("video", metavar="VIDEO")
    parser.add_argument("timeline", metavar="TIMELINE.json", help="its timeline, as `fastface process` writes it")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="the folder to write to; made if needed")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--person", metavar="WHO", help=f"whose moments; {WHO}")
    whose.add_argument(
        "--split", nargs=2, metavar=("A", "B"), help="two people side by side, 1920x1080; who is away stands still"
    )
    parser.add_argument("--join", action="store_true", help="one file of all moments")
    parser.add_argument(
        "--max-gap", type=float, default=0.0, metavar="S", help="moments less than S seconds apart are one (default: 0)"
    )
    parser.add_argument(
        "--pad", type=float, default=0.0, metavar="S", help="add S seconds before and after (default: 0)"
    )
    parser.add_argument("--segment", type=float, metavar="S", help="cut longer moments into files of S seconds")
    parser.add_argument(
        "--condense",
        type=float,
        metavar="S",
        help="one file of the whole video without what is longer than S seconds and has no face (of the person)",
    )
    parser.add_argument(
        "--fast", action="store_true", help="copy pictures where they can be cut without encoding them again"
    )
    parser.add_argument(
        "--follow", type=_size, metavar="WxH", help="a window that follows the face: 1080x1080, 608x1080, 1280x720, ..."
    )
    parser.add_argument("--workers", type=int, metavar="N", help="threads that encode (default: one for each core)")
    parser.add_argument(
        "--device", default="cpu", metavar="D", help="cpu, cuda, cuda:N, auto: where windows are cut (default: cpu)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 1080x1080") from None


def run(args: argparse.Namespace) -> int:
    """Do what `fastface clip` says; returns the exit code."""
    from fastface.timeline import Timeline

    timeline = Timeline.from_json(args.timeline)
    with frames_bar(args.quiet) as progress:
        clips = timeline.clips(
            args.video,
            None if args.person is None else who(timeline, args.person),
            folder=args.output,
            join=args.join,
            max_gap=args.max_gap,
            pad=args.pad,
            segment=args.segment,
            condense=args.condense,
            fast=args.fast,
            follow=args.follow,
            split=_both(timeline, args.split),
            workers=args.workers,
            progress=progress,
            device=args.device,
        )
    for note in dict.fromkeys(note for clip in clips for note in clip.notes):
        print(f"note: {note}", file=sys.stderr)
    for clip in clips:
        print(f"{clip.path}  {clip.duration:.2f} s")
    return 0


def _both(timeline: Timeline, people: list[str] | None) -> tuple[int | str, int | str] | None:
    return None if people is None else (who(timeline, people[0]), who(timeline, people[1]))
