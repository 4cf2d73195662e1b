"""`fastface gallery`: known people in one file."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from fastface.cli.search import add_threshold_options
from fastface.errors import GalleryError, InputValidationError

if TYPE_CHECKING:
    from fastface.gallery import Gallery, Refused


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `gallery` and its actions to a command line's subcommands."""
    parser = subparsers.add_parser(
        "gallery",
        help="enrol people from photographs, list, rename, merge and remove them",
        description="A gallery is one file of vectors of known people, made with one embedder; `fastface process "
        "--gallery FILE` gives their names.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument("file", metavar="FILE", help="the gallery, such as people.gallery")
        return sub

    add = action("add", "enrol photographs of one person, each of which must show exactly one clear face")
    add.add_argument("name", metavar="NAME")
    add.add_argument("photographs", metavar="PHOTO", nargs="+")
    folder = action("add-folder", "enrol a folder that holds a folder of photographs per person")
    folder.add_argument("folder", metavar="FOLDER")
    for sub in (add, folder):
        sub.add_argument("--embedder", default="auto", metavar="NAME", help="of a new gallery (default: auto)")
        sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    action("list", "print who is in it")
    rename = action("rename", "give somebody another name, or somebody unknown theirs")
    rename.add_argument("old", metavar="OLD")
    rename.add_argument("new", metavar="NEW")
    merge = action("merge", "make several people one, who keeps the name of the first")
    merge.add_argument("into", metavar="INTO")
    merge.add_argument("others", metavar="OTHER", nargs="+")
    remove = action("remove", "forget people")
    remove.add_argument("names", metavar="NAME", nargs="+")
    update = action("update", "remember the people of timelines, and write their names and ids into these")
    update.add_argument("timelines", metavar="TIMELINE", nargs="+")
    add_threshold_options(update, "that a stranger is taken for anybody in the gallery")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what `fastface gallery ACTION` says; returns the exit code."""
    from fastface.gallery import Gallery

    if args.action in ("add", "add-folder"):
        return _enrol(args)
    gallery = Gallery.load(args.file)
    if args.action == "list":
        _list(gallery)
        return 0
    if args.action == "rename":
        gallery.rename(args.old, args.new)
    elif args.action == "merge":
        gallery.merge(args.into, *args.others)
    elif args.action == "remove":
        for name in args.names:
            gallery.remove(name)
    else:
        _update(gallery, args)
    gallery.save(args.file)
    return 0


def _enrol(args: argparse.Namespace) -> int:
    from fastface.gallery import Gallery
    from fastface.pipeline import Pipeline

    old = Gallery.load(args.file) if os.path.exists(args.file) else None
    if old is not None and args.embedder not in ("auto", old.model):
        raise InputValidationError(f"--embedder is {args.embedder!r}, but {args.file!r} was made with {old.model!r}")
    with Pipeline(embedder=args.embedder if old is None else old.model, device=args.device) as pipeline:
        gallery = Gallery(pipeline.executor.spec.name) if old is None else old
        before = {name: len(v) for name, v in gallery.people.items()}
        refused: tuple[Refused, ...] = ()
        problem = None
        try:
            if args.action == "add":
                refused = gallery.add(args.name, args.photographs, pipeline=pipeline)
            else:
                refused = gallery.add_folder(args.folder, pipeline=pipeline)
        except GalleryError as error:
            problem = error  # whoever could be enrolled is kept
    if len(gallery):
        gallery.save(args.file)
    for name, vectors in gallery.people.items():
        if len(vectors) > before.get(name, 0):
            print(f"{name}: {len(vectors) - before.get(name, 0)} photographs enrolled")
    for photograph in refused:
        print(f"left out: {photograph.message}")
    if problem is not None:
        raise problem
    return 0


def _list(gallery: Gallery) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("person", "vectors", box=None, pad_edge=False, header_style="bold")
    for name, vectors in sorted(gallery.people.items()):
        table.add_row(Text(name), str(len(vectors)))
    console = Console(highlight=False)
    console.print(table)
    unknown = len(gallery.unknown)
    console.print(f"{len(gallery) - unknown} people by name, {unknown} unknown; embedder {gallery.model}")


def _update(gallery: Gallery, args: argparse.Namespace) -> None:
    from fastface.timeline import Timeline

    for path in args.timelines:
        timeline = gallery.update(
            Timeline.from_json(os.fspath(path)), far=args.far, similarity_threshold=args.similarity_threshold
        )
        # Whoever is named in a timeline is in the gallery's file already, whatever happens next.
        gallery.save(args.file)
        timeline.to_json(path)
        print(f"{path}: {', '.join(p.label for p in timeline.identities) or 'nobody'}")
