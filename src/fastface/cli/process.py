"""`fastface process`: a video in, a timeline out."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastface.cli.search import add_threshold_options
from fastface.errors import InputValidationError
from fastface.words import clock

if TYPE_CHECKING:
    from fastface.timeline import Timeline

_WRITERS = {".json": "to_json", ".csv": "to_csv", ".parquet": "to_parquet"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `process` to a command line's subcommands."""
    parser = subparsers.add_parser(
        "process",
        help="find out who is on screen in a video, when and where",
        description="Detects, follows and identifies every face of a video and prints who is on screen when.",
    )
    parser.add_argument("video", metavar="VIDEO")
    parser.add_argument("-o", "--output", metavar="OUT", help="write the timeline: .json, .csv or .parquet")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument(
        "--gallery", metavar="PATH", help="known people: a gallery file, or a folder of photographs per person"
    )
    parser.add_argument(
        "--remember",
        action="store_true",
        help="add the people whom the gallery file does not know to it, under ids that stay the same over all videos; "
        "the file is made if there is none",
    )
    parser.add_argument("--min-face-size", type=int, default=20, metavar="N", help="pixels (default: %(default)s)")
    parser.add_argument(
        "--thresholds",
        type=float,
        nargs=3,
        default=(0.6, 0.7, 0.7),
        metavar=("P", "R", "O"),
        help="scores that the detector's three networks ask for (default: 0.6 0.7 0.7)",
    )
    parser.add_argument("--factor", type=float, default=0.709, help="of the image pyramid (default: %(default)s)")
    parser.add_argument("--embedder", default="auto", metavar="NAME", help="see `fastface models list` (default: auto)")
    parser.add_argument(
        "--embed",
        choices=("track", "every"),
        default="track",
        help="embed the best faces of each track, or every face (default: %(default)s)",
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="look at every N-th frame (default: 1)")
    parser.add_argument(
        "--min-track-score",
        type=float,
        default=0.95,
        metavar="S",
        help="dismiss tracks whose best faces score less; 0 keeps all (default: %(default)s)",
    )
    add_threshold_options(parser, "that a stranger is taken for anybody in the gallery")
    parser.add_argument(
        "--linkage-threshold",
        type=float,
        metavar="S",
        help="average cosine from which tracks are one person (default: the model's)",
    )
    parser.add_argument(
        "--embeddings",
        choices=("beside", "inside", "no"),
        default="beside",
        help="of a .json output: what each track looks like in an .npz beside it, inside it, or not at all; needed to "
        "search it, or to compare it with a gallery, later (default: %(default)s)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep how far the run is in OUT.checkpoint, and go on from there if it was ended before; needs --output",
    )
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=30.0, metavar="S", help="how often (default: %(default)s)"
    )
    parser.add_argument(
        "--cpu-fallback", action="store_true", help="go on on the CPU where the GPU's memory does not suffice"
    )
    parser.add_argument(
        "--strict", action="store_true", help="a packet or frame that cannot be decoded is an error, not left out"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what `fastface process` says; returns the exit code."""
    writer = None
    if args.output is not None:
        writer = _WRITERS.get(Path(args.output).suffix.lower())
        if writer is None:
            raise InputValidationError(f"--output is {args.output!r}, must end in {', '.join(_WRITERS)}")
        # Said before the work, not after it.
        if not Path(args.output).resolve().parent.is_dir():
            raise InputValidationError(f"--output is {args.output!r}, but its folder does not exist")
    if args.resume and args.output is None:
        raise InputValidationError("--resume needs --output OUT: the checkpoint is kept beside it")
    if args.remember and (args.gallery is None or os.path.isdir(args.gallery)):
        raise InputValidationError("--remember needs --gallery FILE, a file and not a folder")
    import fastface

    fresh = args.remember and not os.path.exists(args.gallery)
    show = not args.quiet and sys.stderr.isatty()
    with _progress(show) as progress:
        timeline = fastface.process(
            args.video,
            device=args.device,
            gallery=None if fresh else args.gallery,
            min_face_size=args.min_face_size,
            thresholds=tuple(args.thresholds),
            factor=args.factor,
            embedder=args.embedder,
            embed=args.embed,
            every=args.every,
            min_track_score=args.min_track_score,
            far=args.far,
            similarity_threshold=args.similarity_threshold,
            linkage_threshold=args.linkage_threshold,
            cpu_fallback=args.cpu_fallback,
            strict=args.strict,
            checkpoint=f"{args.output}.checkpoint" if args.resume else None,
            checkpoint_seconds=args.checkpoint_seconds,
            progress=progress,
        )
    if args.remember:
        model = str(timeline.run["embedder"]["name"])
        gallery = fastface.Gallery(model) if fresh else fastface.Gallery.load(args.gallery)
        timeline = gallery.update(timeline, far=args.far, similarity_threshold=args.similarity_threshold)
        gallery.save(args.gallery)
    if writer == "to_json":
        timeline.to_json(args.output, embeddings=args.embeddings)
    elif writer is not None:
        getattr(timeline, writer)(args.output)
    if not args.quiet:
        summary(timeline)
        if args.output is not None:
            print(f"written: {args.output}")
    return 0


@contextlib.contextmanager
def _progress(show: bool) -> Iterator[Callable[[int, int | None], None] | None]:
    """A bar on a terminal: frames, frames a second, time left."""
    if not show:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("frames"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("frames", total=None, rate="")

        def update(done: int, total: int | None) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = f"{done / elapsed:.0f} fps" if elapsed > 0 else ""
            bar.update(task, completed=done, total=total if total and total >= done else None, rate=rate)

        yield update


def summary(timeline: Timeline) -> None:
    """Print who is on screen when, as a table on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    video, run_ = timeline.video, timeline.run
    rate = run_["frames_decoded"] / run_["seconds"] if run_["seconds"] else 0.0
    console.print(
        f"{video['path']}: {video['width']}x{video['height']} {video['codec']}, {clock(video['duration'])}, "
        f"{video['frame_count']} frames in {run_['seconds']:.1f} s ({rate:.0f} fps) on {run_['device']}",
        markup=False,
    )
    if timeline.identities:
        table = Table("person", "screen time", "similarity", "when", box=None, pad_edge=False, header_style="bold")
        for person in timeline.identities:
            spans = [f"{clock(s.start)}-{clock(s.end)}" for s in person.instances]
            when = ", ".join(spans[:6]) + (f" and {len(spans) - 6} more" if len(spans) > 6 else "")
            score = "" if person.similarity is None else f"{person.similarity:.2f} (>= {person.threshold:.2f})"
            table.add_row(Text(person.label), f"{person.screen_time:.1f} s", score, when)
        console.print(table)
    else:
        console.print("nobody on screen")
    faces = timeline.faces
    unknown = int((faces.identity < 0).sum())
    console.print(
        f"{len(faces)} faces in {len(timeline.tracks)} tracks"
        + (f", {unknown} of them too short or too poor to tell" if unknown else "")
        + f"; embedder {run_['embedder']['name']}",
        markup=False,
    )
    for warning in run_["warnings"]:
        console.print(f"warning: {warning}", markup=False)
