"""The examples of README, docs and docstrings, run as they stand there; command lines, as far as the parser goes.

Examples with an own test beside what they show (`<!-- test: NAME -->`) are run there.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import importlib
import inspect
import io
import pkgutil
import re
import shlex
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import fastface
from fastface import _core
from fastface.cli import build_parser
from fastface.demo.compose import compose_shots
from fastface.demo.scene import Photo, Shot
from fastface.timeline import Timeline
from film import MODEL, actor, stock_of
from timelines import make_timeline

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
FRAMES, FPS, SIZE = 12, 10, (640, 360)


def examples(page: str) -> list[str]:
    """The Python of a page that no other test runs."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"(?<!-->\n)```python\n(.*?)```", text, re.DOTALL)


EXAMPLES = [(page, i) for page in PAGES for i in range(len(examples(page)))]


@pytest.fixture(scope="module")
def folder(photos: dict[str, list[Photo]], embedder_spec: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples find: video.mp4 with three people, photographs of the first of them."""
    folder = tmp_path_factory.mktemp("examples")
    stock = list(stock_of(photos).items())[:3]
    actors = [actor(found[0], name, x) for (name, found), x in zip(stock, (130, 320, 510), strict=True)]
    compose_shots(folder / "video.mp4", [Shot(FRAMES / FPS, actors)], size=SIZE, fps=FPS)
    (folder / "PEOPLE" / "Ann").mkdir(parents=True)
    for i, photo in enumerate(stock[0][1][:2], 1):
        photo.pixels().convert("RGB").save(folder / f"ann{i}.jpg")
        shutil.copy(folder / f"ann{i}.jpg", folder / "PEOPLE" / "Ann" / f"{i}.jpg")
    photo = stock[0][1][0]
    photo.pixels().convert("RGB").resize((200, 200)).save(folder / "ann.jpg")
    return folder


@pytest.fixture
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, as the working directory."""
    shutil.copytree(folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def timeline_of(path: Path, names: tuple[str | None, ...]) -> Timeline:
    """A timeline of video.mp4, as the examples have it from before."""
    people = [(name, [(i, i + 6)]) for i, name in enumerate(names)]
    return make_timeline(people, times=[i / FPS for i in range(FRAMES + 1)], rate=FPS, size=SIZE, path=str(path))


def given(page: str, here: Path) -> dict[str, Any]:
    """The names that an example has from the text around it."""
    vectors = np.eye(8, 512, dtype=np.float32)
    known: dict[str, dict[str, Any]] = {
        "README.md": {"timeline": timeline_of(here, (None,) * 5), "paths": ["video.mp4"]},
        "docs/clips.md": {"timeline": timeline_of(here, ("Ann", "Bob"))},
        "docs/matcher.md": {"_core": _core, "vectors": vectors, "ids": np.arange(8), "queries": vectors[2:5],
                            "query": vectors[3], "m": 3},
        "docs/privacy.md": {"timeline": timeline_of(here, ("Ann", "Bob"))},
        "docs/service.md": {"paths": ["video.mp4"]},
    }  # fmt: skip
    return {"fastface": fastface, **known.get(page, {})}


def run(source: str, name: str, scope: dict[str, Any]) -> dict[str, Any]:
    """Run it, `async for` and all, and return what it leaves behind."""
    code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, scope)
    if inspect.iscoroutine(result):

        async def wait() -> None:
            await result

        asyncio.run(wait())
    return scope


def check_readme(scope: dict[str, Any], here: Path, out: str) -> None:
    assert len(scope["timelines"][0].identities) == 3
    assert [p.name for p in scope["timelines"][0].identities].count("Ann") == 1
    assert (here / "timeline.json").exists()
    assert [p.name for p in (here / "clips").iterdir()] == ["Ann.mp4"]
    assert scope["result"].error is None
    assert scope["event"].timeline is not None


def check_galleries(scope: dict[str, Any], here: Path, out: str) -> None:
    assert scope["left_out"] == ()
    assert sorted(scope["gallery"].people) == ["Ann", "Bob", "unknown-1"]
    assert sorted(p.gallery_id for p in scope["timeline"].identities) == ["Ann", "unknown-1", "unknown-2"]


def check_matcher(scope: dict[str, Any], here: Path, out: str) -> None:
    assert scope["ids"][:, 0].tolist() == [2, 3, 4]
    assert (scope["who"], scope["similarity"]) == (3, pytest.approx(1.0))
    assert len(scope["matcher"]) == 7


def check_clips(scope: dict[str, Any], here: Path, out: str) -> None:
    assert {p.name for p in (here / "clips").iterdir()} == {"Ann.mp4", "Ann+Bob-001.mp4", "video-condensed.mp4"}


def check_three(scope: dict[str, Any], here: Path, out: str) -> None:
    for i, line in enumerate(out.splitlines(), 1):
        assert re.fullmatch(rf"person {i} 1\.2 s \[\(0\.0, 1\.2\d*\)\]", line)
    assert out.count("\n") == 3


def check_demo(scope: dict[str, Any], here: Path, out: str) -> None:
    assert scope["truth"]["frames"][0][0]["name"] == "Ann"
    assert len(scope["truth"]["frames"]) == 90


def check_begun(scope: dict[str, Any], here: Path, out: str) -> None:
    assert re.fullmatch(r"Timeline\('video.mp4': 36 faces; person 1 1\.2 s, person 2 1\.2 s, person 3 1\.2 s\)\n", out)


def check_hidden(scope: dict[str, Any], here: Path, out: str) -> None:
    with av.open(str(here / "hidden.mp4")) as container:
        assert len(list(container.decode(video=0))) == FRAMES


def check_events(scope: dict[str, Any], here: Path, out: str) -> None:
    assert len(scope["timeline"].identities) == 3
    assert re.search(rf"^\w+ {FRAMES} {FRAMES} ", out, re.MULTILINE)


def check_many(scope: dict[str, Any], here: Path, out: str) -> None:
    assert out.startswith("video.mp4 Timeline('video.mp4': 36 faces; person 1 ")


CHECKS = {
    ("README.md", 0): check_three,
    ("README.md", 1): check_readme,
    ("docs/clips.md", 0): check_clips,
    ("docs/demo.md", 0): check_demo,
    ("docs/galleries.md", 0): check_galleries,
    ("docs/getting-started.md", 0): check_begun,
    ("docs/index.md", 0): check_three,
    ("docs/matcher.md", 0): check_matcher,
    ("docs/privacy.md", 0): check_hidden,
    ("docs/service.md", 0): check_events,
    ("docs/service.md", 1): check_many,
}


def test_every_example_has_its_check() -> None:
    assert set(CHECKS) == set(EXAMPLES)


@pytest.mark.parametrize(("page", "number"), EXAMPLES, ids=[f"{p}-{i}" for p, i in EXAMPLES])
def test_an_example(page: str, number: int, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The weights of the other embedder come from a site that not every machine can reach.
    source = examples(page)[number].replace('"facenet-vggface2"', repr(MODEL))
    scope = run(source, f"{page}: example {number + 1}", given(page, here))
    CHECKS[page, number](scope, here, capsys.readouterr().out)


def modules() -> Iterator[str]:
    for found in pkgutil.walk_packages(fastface.__path__, "fastface."):
        if not re.match(r"fastface\.(gpu|service|detect\.cuda|decode\.cuda|__main__|_core)", found.name):
            yield found.name


def docstrings() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [t for name in modules() for t in finder.find(importlib.import_module(name)) if t.examples]


def test_examples_of_docstrings(here: Path) -> None:
    """Each one that is written with >>>, with the output that stands there."""
    found = docstrings()
    assert "fastface.api.process" in [test.name for test in found]
    runner = doctest.DocTestRunner(verbose=False)
    for test in found:
        test.globs = {"fastface": fastface}
        out = io.StringIO()
        runner.run(test, out=out.write)
        assert runner.failures == 0, out.getvalue()


def test_the_example_of_the_memory_guard() -> None:
    (source,) = re.findall(r"::\n\n((?: {8}.*\n|\n)+?)(?=    \S)", inspect.getsource(fastface.gpu_memory_guard))
    scope = run(textwrap.dedent(source), "gpu_memory_guard", {"fastface": fastface, "model": sum, "frames": [1, 2]})
    assert callable(scope["features"])


def commands() -> list[tuple[str, str]]:
    """Each command line of a block of the pages, without its comment."""
    found = []
    for page in PAGES:
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
            if match := re.match(r"    (?:\$ )?(fastface(?: .*)?)$", line):
                found.append((page, re.split(r"\s+#", match[1])[0]))
    return found


@pytest.mark.parametrize(("page", "command"), commands(), ids=[f"{p}: {c}" for p, c in commands()])
def test_a_command_line_is_one(page: str, command: str) -> None:
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            options = build_parser().parse_args(shlex.split(command)[1:])
    except SystemExit as error:
        pytest.fail(f"{page}: {command}: {told.getvalue() or error}")
    assert options.command == shlex.split(command)[1]


def test_options_that_pages_name_are_there() -> None:
    """`--option` in running text is an option of some command."""
    known = {"--help"}
    parsers = [build_parser()]
    for parser in parsers:
        for action in parser._actions:
            known.update(action.option_strings)
            parsers.extend({id(p): p for p in (action.choices or {}).values()}.values()
                           if isinstance(action.choices, dict) else [])  # fmt: skip
    for page in PAGES:
        if page == "CONTRIBUTING.md":  # of the scripts
            continue
        text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
        for option in re.findall(r"`(?:fastface [a-z ]+)?(--[a-z][a-z-]+)", text):
            assert option in known, f"{page}: {option}"
