"""`fastface export`: a timeline for another program."""

from __future__ import annotations

import argparse

from fastface.export import FORMATS


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `export` to a command line's subcommands."""
    parser = subparsers.add_parser(
        "export",
        help="write a timeline for another program: CSV, WebVTT, EDL, OpenTimelineIO, ...",
        description="Writes a timeline in the format of another program.",
        epilog="formats, and the endings that mean them:\n"
        + "\n".join(f"  {f.name:13} {f.ending:18} {f.what}" for f in FORMATS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("timeline", metavar="TIMELINE", help="as `fastface process` writes it (.json)")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file to write")
    parser.add_argument(
        "--format",
        metavar="F",
        choices=[f.name for f in FORMATS],
        help="default: as the ending of FILE says, where one ending means one format",
    )
    parser.add_argument(
        "--rate", type=float, metavar="FPS", help="edl, otio: frames a second (default: nearest to the video's average)"
    )
    parser.add_argument(
        "--start-timecode", metavar="TC", help="edl, otio: where the timeline begins (default of edl: 01:00:00:00)"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what `fastface export` says; returns the exit code."""
    from fastface.export import export, format_of
    from fastface.timeline import Timeline

    format_of(args.output, args.format)  # said before a large timeline is read
    timeline = Timeline.from_json(args.timeline)
    written = export(timeline, args.output, args.format, rate=args.rate, start_timecode=args.start_timecode)
    print(f"written: {args.output} ({written.name})")
    return 0
