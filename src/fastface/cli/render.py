"""`fastface render`: draw a timeline's boxes and names on its video."""

from __future__ import annotations

import argparse
import sys

from fastface.errors import FastFaceError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `render` to a command line's subcommands."""
    parser = subparsers.add_parser(
        "render",
        help="draw a timeline on its video, or as a picture",
        description="Writes the video with a box and a name on every face, its sound unchanged; "
        "or, where the output ends in .png, a picture of who is on screen when.",
    )
    parser.add_argument("video", metavar="VIDEO", help="the video")
    parser.add_argument("timeline", metavar="TIMELINE.json", help="its timeline, as `fastface process` writes it")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="the file to write: .mp4, .m4v, .mov, .mkv or .png",
    )
    parser.add_argument("--similarity", action="store_true", help="show each person's similarity beside the name")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what `fastface render` says.

    Returns:
        Exit code: 0 done, else that of the error's class (see :mod:`fastface.errors`).
    """
    from fastface.drawing.picture import timeline_picture
    from fastface.drawing.video import render
    from fastface.timeline import Timeline

    try:
        timeline = Timeline.from_json(args.timeline)
        if str(args.output).lower().endswith(".png"):
            timeline_picture(timeline, args.video, args.output)
            notes: tuple[str, ...] = ()
        elif args.quiet or not sys.stderr.isatty():
            notes = render(args.video, timeline, args.output, similarity=args.similarity).notes
        else:
            notes = _with_progress(args, timeline)
    except FastFaceError as error:
        print(f"fastface render: {error}", file=sys.stderr)
        return error.exit_code
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(args.output)
    return 0


def _with_progress(args: argparse.Namespace, timeline: object) -> tuple[str, ...]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fastface.drawing.video import render
    from fastface.timeline import Timeline

    assert isinstance(timeline, Timeline)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("frames", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        return render(args.video, timeline, args.output, similarity=args.similarity, progress=progress).notes
