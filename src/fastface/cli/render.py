"""`fastface render`: draw a timeline's boxes and names on its video, or hide its faces."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from fastface.cli.progress import frames_bar
from fastface.errors import FastFaceError, InputValidationError

if TYPE_CHECKING:
    from fastface.timeline import Timeline

WHO = "a person is a name, 'person 3' as the tables have it, or an id of the timeline, which counts from 0"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `render` to a command line's subcommands."""
    parser = subparsers.add_parser(
        "render",
        help="draw a timeline on its video, or hide its faces, or draw it as a picture",
        description="Writes the video with a box and a name on every face, or with faces made unrecognisable, its "
        "sound unchanged; or, where the output ends in .png, a picture of who is on screen when.",
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
    parser.add_argument("--no-names", action="store_true", help="boxes without names")
    parser.add_argument("--similarity", action="store_true", help="show each person's similarity beside the name")
    parser.add_argument("--landmarks", action="store_true", help="show eyes, nose and corners of the mouth")
    hide = parser.add_mutually_exclusive_group()
    for kind in ("blur", "pixelate"):
        hide.add_argument(
            f"--{kind}", dest="hide", action="store_const", const=kind, help=f"{kind} faces, by default everybody's"
        )
    whom = parser.add_mutually_exclusive_group()
    whom.add_argument("--only", nargs="+", metavar="WHO", help=f"hide these people only; {WHO}")
    whom.add_argument("--except", dest="but", nargs="+", default=[], metavar="WHO", help="hide everybody but these")
    parser.add_argument("--boxes", action="store_true", help="with --blur or --pixelate: boxes and names on the others")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    return parser


def who(timeline: Timeline, text: str) -> int | str:
    """The person whom a word of the command line means: a name, a gallery's id, "person 3" as tables have it, or the
    number that the timeline has.

    Raises:
        InputValidationError: nobody here has it.
    """
    for person in timeline.identities:
        if text in (person.name, person.gallery_id, person.label):
            return person.id
    if text.isdecimal():
        return timeline.identity(int(text)).id
    known = ", ".join(person.label for person in timeline.identities) or "nobody"
    raise InputValidationError(f"no person {text!r} in this timeline; there is {known}")


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
        notes: tuple[str, ...] = ()
        if str(args.output).lower().endswith(".png"):
            if args.hide:
                raise InputValidationError(f"--{args.hide} is for videos, but the output is {args.output!r}")
            timeline_picture(timeline, args.video, args.output)
        else:
            with frames_bar(args.quiet) as progress:
                notes = render(
                    args.video,
                    timeline,
                    args.output,
                    boxes=True if args.boxes else None,
                    names=not args.no_names,
                    similarity=args.similarity,
                    landmarks=args.landmarks,
                    hide=args.hide,
                    only=None if args.only is None else [who(timeline, text) for text in args.only],
                    but=[who(timeline, text) for text in args.but],
                    progress=progress,
                ).notes
    except FastFaceError as error:
        print(f"fastface render: {error}", file=sys.stderr)
        return error.exit_code
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(args.output)
    return 0
