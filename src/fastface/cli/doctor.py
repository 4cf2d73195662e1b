"""`fastface doctor`: what this machine has, and what is missing."""

from __future__ import annotations

import argparse
import sys


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `doctor` to a command line's subcommands."""
    return subparsers.add_parser(
        "doctor",
        help="what this machine has, what is missing and how to get it",
        description="Looks at driver, GPU, decoders, packages and models. Exit code 1 if something is broken.",
    )


def run(args: argparse.Namespace) -> int:
    """Do what `fastface doctor` says; returns the exit code."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from fastface.doctor import examine

    findings = examine()
    table = Table(box=None, pad_edge=False, show_header=False)
    words = {True: Text("ok", "green"), False: Text("broken", "red"), None: Text("absent", "yellow")}
    for finding in findings:
        table.add_row(words[finding.good], finding.name, Text(finding.detail), Text(finding.remedy, "cyan"))
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)
    return 1 if any(f.good is False for f in findings) else 0
