"""The README's features, and the table that says which tests prove them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table whose head begins with `heading`."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    table = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


PROVED = rows("docs/features.md", "feature")


def test_every_feature_has_its_row() -> None:
    assert [row[0] for row in rows("README.md", "feature")] == [row[0] for row in PROVED]


@pytest.mark.parametrize("tests", [row[1] for row in PROVED], ids=[row[0][:40] for row in PROVED])
def test_the_tests_are_there(tests: str) -> None:
    names = re.findall(r"`([^`]+)`", tests)
    assert names
    for name in names:
        path, _, function = name.partition("::")
        assert (ROOT / path).exists(), path
        if function:
            assert re.search(rf"def {function}\(", (ROOT / path).read_text(encoding="utf-8")), name
