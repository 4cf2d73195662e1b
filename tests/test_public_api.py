"""What users may rely on: names, errors, and that importing costs nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import fastface
from fastface import errors

HEAVY = ("torch", "torchvision", "facenet_pytorch", "fastface._core", "numpy", "pandas", "pyarrow", "scipy", "av",
         "cv2", "cupy", "h5py", "PIL")  # fmt: skip


def test_the_names() -> None:
    """Changing this list is changing what users may rely on."""
    assert fastface.__all__ == [
        "Appearance", "BatchProcessor", "BatchResult", "Clip", "FastFaceError", "Found", "FoundSpan", "GPUError",
        "GPUMemoryError", "Gallery", "GalleryError", "Identity", "InputValidationError", "Limits", "ModelError",
        "Pipeline", "ProcessEvent", "SearchResult", "Span", "Timeline", "Track", "VideoProcessingError", "__version__",
        "aprocess", "gpu_memory_guard", "process", "process_many", "render", "report", "search", "timeline_picture",
        "timeline_schema"]  # fmt: skip


@pytest.mark.parametrize("name", fastface.__all__)
def test_each_is_there_and_says_what_it_is(name: str) -> None:
    """In a fresh interpreter, because what was imported before must not matter (see below)."""
    assert name in dir(fastface)
    code = f"""
import inspect
from fastface import {name} as value
if {name!r} == "__version__":
    assert isinstance(value, str) and value
else:
    assert inspect.getdoc(value) and value.__name__ == {name!r}, value
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_do_not_depend_on_what_was_imported_before() -> None:
    """A submodule of the same name as a function takes its place once it is imported."""
    for name in fastface.__all__:
        code = f"""
import fastface
fastface.{name}
for name in fastface.__all__:
    value = getattr(fastface, name)
    assert name == "__version__" or callable(value), f"after fastface.{name}: {{value!r}} is not callable"
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_no_other_names() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        fastface.nothing  # noqa: B018
    assert not hasattr(fastface, "LibavDecoder")


def test_one_positional_argument() -> None:
    for call in (fastface.process, fastface.Pipeline.process, fastface.aprocess, fastface.process_many):
        kinds = [p.kind for name, p in inspect.signature(call).parameters.items() if name != "self"]
        assert kinds[0] == inspect.Parameter.POSITIONAL_OR_KEYWORD
        assert set(kinds[1:]) - {inspect.Parameter.VAR_KEYWORD} == {inspect.Parameter.KEYWORD_ONLY}


def test_errors_are_one_tree_with_an_exit_code_each() -> None:
    codes = {name: kind.exit_code for name, kind in vars(errors).items()
             if isinstance(kind, type) and issubclass(kind, Exception)}  # fmt: skip
    assert codes == {"FastFaceError": 1, "InputValidationError": 3, "VideoProcessingError": 3, "ModelError": 4,
                     "GalleryError": 3, "GPUError": 5, "GPUMemoryError": 5}  # fmt: skip
    for name in codes:
        assert issubclass(getattr(fastface, name), fastface.FastFaceError)
    assert issubclass(fastface.InputValidationError, ValueError)
    assert issubclass(fastface.GalleryError, ValueError)
    error = fastface.VideoProcessingError("x", frame=3, time=0.1)
    assert (error.frame, error.time) == (3, 0.1)


def loaded_after(code: str) -> set[str]:
    """Which of the heavy modules a fresh interpreter has loaded after some code."""
    script = f"{code}\nimport sys\nprint('loaded:', *[m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return set(out.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "code",
    [
        "import fastface",
        "import fastface; fastface.__version__; dir(fastface); fastface.ModelError",
        "from fastface import process, InputValidationError",
    ],
)
def test_importing_loads_nothing_heavy(code: str) -> None:
    assert loaded_after(code) == set()


@pytest.mark.parametrize("code", ["from fastface import Timeline, Gallery", "from fastface import timeline_schema"])
def test_reading_results_needs_neither_torch_nor_the_extension(code: str) -> None:
    assert not loaded_after(code) & {"torch", "torchvision", "facenet_pytorch", "fastface._core", "av", "pandas"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["process", "--help"], ["models", "--help"]])
def test_help_loads_neither_torch_nor_the_extension(arguments: list[str]) -> None:
    code = f"""
import contextlib
from fastface.cli import main
with contextlib.suppress(SystemExit):
    main({arguments!r})
"""
    assert not loaded_after(code) & {"torch", "torchvision", "facenet_pytorch", "fastface._core", "av", "pandas"}


def fresh(code: str) -> tuple[set[str], float]:
    """The top-level modules that are not Python's own, and the seconds of CPU time, of a fresh interpreter after
    some code. What the environment loads by itself (.pth files) is not counted."""
    script = f"""
import sys, time
before = set(sys.modules)
{code}
names = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print("loaded:", time.process_time(), *sorted(names - sys.stdlib_module_names))
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    _, seconds, *names = out.splitlines()[-1].split()
    return set(names), float(seconds)


HELP = "import contextlib, fastface.cli\nwith contextlib.suppress(SystemExit): fastface.cli.main(['--help'])"


@pytest.mark.alone
@pytest.mark.parametrize(("code", "limit"), [("import fastface", 0.2), (HELP, 0.5)], ids=["import", "help"])
def test_beginning_is_quick(code: str, limit: float) -> None:
    """Only Python's own modules, and little CPU time: the least of five, since a busy machine makes each one longer."""
    found = [fresh(code) for _ in range(5)]
    assert found[0][0] == {"fastface"}
    assert min(seconds for _, seconds in found) <= limit, found


def test_help_names_every_command() -> None:
    done = subprocess.run([sys.executable, "-m", "fastface", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for command in ("process", "search", "gallery", "calibrate", "render", "clip", "export", "report", "serve",
                    "models", "demo", "doctor"):  # fmt: skip
        assert command in done.stdout
