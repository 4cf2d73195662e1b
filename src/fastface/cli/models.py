"""`fastface models`: list, pull, verify and find the embedders' weights."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fastface.errors import FastFaceError, InputValidationError, ModelError

if TYPE_CHECKING:
    from fastface.models import Progress as Told

EXIT_OK, EXIT_USAGE, EXIT_MODELS = 0, 2, 4
_PIPE_WIDTH = 200  # a table in a pipe has no terminal to fit, and must not be cut


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `models` and its actions to a command line's subcommands."""
    parser = subparsers.add_parser(
        "models",
        help="list, fetch and check the embedders' weights",
        description="The weights of the embedders, kept in the cache folder (FASTFACE_HOME moves it).",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="which there are, and which are in the cache")
    pull = actions.add_parser("pull", help="download, check and convert")
    pull.add_argument("names", metavar="NAME", nargs="*", help='models (default: the one that "auto" means here)')
    pull.add_argument("--force", action="store_true", help="also what is in the cache already")
    verify = actions.add_parser("verify", help="compute the sha256 of what is in the cache anew")
    verify.add_argument("names", metavar="NAME", nargs="*", help="models (default: all in the cache)")
    path = actions.add_parser("path", help="print where a model's weights are")
    path.add_argument("name", metavar="NAME")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what `fastface models ACTION` says.

    Returns:
        Exit code: 0 done, 2 no such model, 4 a model is missing, damaged or cannot be fetched.
    """
    from fastface import models
    from fastface.models import cache

    names = [args.name] if args.action == "path" else list(getattr(args, "names", []))
    try:
        for name in names:
            models.get(name)
    except InputValidationError as error:
        print(f"fastface models: {error}", file=sys.stderr)
        return EXIT_USAGE
    if args.action == "list":
        _list()
        return EXIT_OK
    if args.action == "pull":
        return _for_each(names, lambda name: _pull(name, args.force)) if names else _guarded(_pull_auto)
    if args.action == "verify":
        names = names or [spec.name for spec in models.list_models() if models.is_cached(spec.name)]
        if not names:
            print(f"no model in the cache {str(cache.folder())!r}", file=sys.stderr)
        return _for_each(names, _verify)
    return _for_each(names, lambda name: print(models.path(name)))


def _guarded(action: Callable[[], None]) -> int:
    try:
        action()
    except FastFaceError as error:
        print(f"fastface models: {error}", file=sys.stderr)
        return EXIT_MODELS if isinstance(error, ModelError) else error.exit_code
    return EXIT_OK


def _for_each(names: list[str], action: Callable[[str], None]) -> int:
    """Do it for all of them, also after one has failed."""
    return max((_guarded(lambda name=name: action(name)) for name in names), default=EXIT_OK)  # type: ignore[misc]


def _list() -> None:
    import urllib.parse

    from rich.console import Console
    from rich.table import Table

    from fastface import models

    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_WIDTH)
    table = Table(box=None, pad_edge=False)
    for column in ("name", "dim", "cached", "size", "sha256", "data's licence", "from"):
        table.add_column(column, justify="right" if column in ("dim", "size") else "left")
    for spec in models.list_models():
        table.add_row(
            spec.name,
            str(spec.dim),
            "yes" if models.is_cached(spec.name) else "no",
            f"{spec.size_bytes / 1e6:.0f} MB",
            "pinned" if spec.pinned else "not pinned",
            spec.licence,
            "pip" if spec.from_sdist else urllib.parse.urlsplit(spec.source).hostname or spec.source,
        )
    console.print(table)


@contextlib.contextmanager
def _bar(name: str) -> Iterator[Told | None]:
    """A progress bar on a terminal; nothing in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _pull(name: str, force: bool) -> None:
    from fastface import models

    with _bar(name) as progress:
        print(models.pull(name, force=force, progress=progress))


def _pull_auto() -> None:
    from fastface import models

    with _bar("auto") as progress:
        print(models.path(models.resolve(progress=progress).name))


def _verify(name: str) -> None:
    from fastface import models

    found = models.verify(name)
    how = "pinned" if found.pinned else "not pinned: recorded at the first download"
    print(f"{name}: ok, sha256 {found.sha256}, from a file with sha256 {found.source_sha256} ({how})")
