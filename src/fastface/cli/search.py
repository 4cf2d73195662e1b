"""`fastface search`: photographs of a person in, where they appear out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastface.errors import InputValidationError
from fastface.files import replacing

if TYPE_CHECKING:
    from fastface.person_search import Found, SearchResult


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `search` to a command line's subcommands."""
    parser = subparsers.add_parser(
        "search",
        help="find a person of whom there are photographs, in videos or in timelines made before",
        description="Prints when the person of the photographs is on screen. Images are photographs of that one "
        "person, .json files are timelines (with their embeddings beside or inside them, searched without the video), "
        "anything else is a video.",
    )
    parser.add_argument("files", metavar="PHOTO|VIDEO|TIMELINE", nargs="+")
    parser.add_argument("-o", "--output", metavar="OUT", help="write what was found as .json")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument("--embedder", default="auto", metavar="NAME", help="see `fastface models list` (default: auto)")
    add_threshold_options(parser, "that anybody who is found is a stranger")
    return parser


def add_threshold_options(parser: argparse.ArgumentParser, chance: str) -> None:
    """Add --far and --similarity-threshold."""
    parser.add_argument(
        "--far",
        type=float,
        metavar="P",
        help=f"the chance {chance}; needs a calibrated embedder (default: 1e-3 where it is)",
    )
    parser.add_argument("--similarity-threshold", type=float, metavar="S", help="a cosine in place of --far")


def run(args: argparse.Namespace) -> int:
    """Do what `fastface search` says; returns the exit code: 0 found or not, 3 bad input."""
    from fastface.gallery import IMAGE_SUFFIXES

    photographs = [f for f in args.files if Path(f).suffix.lower() in IMAGE_SUFFIXES]
    videos = [f for f in args.files if f not in photographs]
    if not photographs or not videos:
        raise InputValidationError(
            f"there are {len(photographs)} photographs and {len(videos)} videos or timelines among the files, must be "
            "one of each at least"
        )
    if args.output is not None and Path(args.output).suffix.lower() != ".json":
        raise InputValidationError(f"--output is {args.output!r}, must end in .json")
    import fastface

    result = fastface.search(
        photographs,
        videos,
        far=args.far,
        similarity_threshold=args.similarity_threshold,
        embedder=args.embedder,
        device=args.device,
    )
    if args.output is not None:
        with replacing(args.output) as temporary:
            temporary.write_text(json.dumps(_document(result), indent=1) + "\n", encoding="utf-8")
    _print(result)
    return 0


def _document(result: SearchResult) -> dict[str, Any]:
    def entry(found: Found) -> dict[str, Any]:
        return {
            "video": found.path,
            "identity": None if found.identity is None else found.identity.id,
            "name": None if found.identity is None else found.identity.name,
            "similarity": round(found.similarity, 4),
            "threshold": round(found.threshold, 4),
            "instances": [
                {
                    "start": round(s.start, 6),
                    "end": round(s.end, 6),
                    "start_frame": s.start_frame,
                    "end_frame": s.end_frame,
                    "similarity": s.similarity,
                }
                for s in found.spans
            ],
        }

    return {
        "schema": "fastface.search/1",
        "compared": result.compared,
        "threshold": round(result.threshold, 4),
        "far": result.far,
        "warnings": list(result.warnings),
        "found": [entry(f) for f in result.found],
    }


def _print(result: SearchResult) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from fastface.words import clock

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    if result.found:
        table = Table("video", "person", "similarity", "when", box=None, pad_edge=False, header_style="bold")
        for found in result.found:
            who = "a face that is nobody's" if found.identity is None else found.identity.label
            when = ", ".join(f"{clock(s.start)}-{clock(s.end)}" for s in found.spans)
            table.add_row(Text(found.path), Text(who), f"{found.similarity:.2f} (>= {found.threshold:.2f})", when)
        console.print(table)
    else:
        console.print(f"not found: nobody of {result.compared} has a similarity of {result.threshold:.2f} or more")
    for warning in result.warnings:
        console.print(f"warning: {warning}", markup=False)
