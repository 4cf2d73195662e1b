"""What all tests share: photographs, sample media, the embedder, and how a missing GPU is treated."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import side_by_side

# Before anything loads torch, and inherited by subprocesses: results must not depend on it, but noise in timing does.
# Of processes side by side, threads beyond the cores would wait for each other many times as long as they work.
if "PYTEST_XDIST_WORKER" in os.environ:
    cores, processes = os.cpu_count() or 1, int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ["OMP_NUM_THREADS"] = str(max(1, min(2, cores // processes)))
else:
    os.environ.setdefault("OMP_NUM_THREADS", "2")

if TYPE_CHECKING:
    from fastface.demo.scene import Photo
    from fastface.embed.embedder import Embedder
    from fastface.models import EmbedderSpec
    from fastface.timeline import Timeline
    from film import Film

EMBEDDER = "facenet-msceleb1m"
SHARED = Path(__file__).resolve().parents[2] / "shared"


def require_cuda() -> bool:
    """Whether this machine is supposed to have a GPU, so that nothing about it may be skipped."""
    return os.environ.get("FASTFACE_REQUIRE_CUDA") == "1"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than ten seconds; leave out with -m 'not slow'")
    config.pluginmanager.register(side_by_side)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs an NVIDIA GPU")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A skipped GPU test is a failure where a GPU must be: otherwise a broken extension looks like a pass."""
    report: Any = yield
    if item.get_closest_marker("gpu") and require_cuda() and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although FASTFACE_REQUIRE_CUDA=1: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """The command line sends the log where it is told to, for the rest of the process; other tests look at it."""
    log = logging.getLogger("fastface")
    level, propagate, handlers = log.level, log.propagate, list(log.handlers)
    yield
    log.setLevel(level)
    log.propagate, log.handlers[:] = propagate, handlers


def _folder(variable: str, name: str) -> Path:
    path = Path(os.environ.get(variable) or SHARED / name)
    if not path.is_dir():
        pytest.skip(f"no {name} at {path} ({variable} says where)")
    return path


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of the sample videos; tests that use it are marked `media`."""
    return _folder("FASTFACE_MEDIA", "media")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of what other programs gave for the sample media and models."""
    return _folder("FASTFACE_REFERENCE", "reference")


def _available() -> None:
    """Skip where nothing can be fetched; anything else that goes wrong is a failure."""
    from fastface import models
    from fastface.models import cache, fetch, registry

    kept = (cache.downloads() / registry.get(fetch.SDIST_MODEL).file).is_file()
    if fetch.offline() and not (models.is_cached(EMBEDDER) or kept):
        pytest.skip(f"FASTFACE_OFFLINE is set and {EMBEDDER} is not in the cache")


@pytest.fixture(scope="session")
def photos(pytestconfig: pytest.Config) -> dict[str, list[Photo]]:
    """The demo's photographs with the face in each, by name of the person."""
    from fastface.demo.photos import load_photos

    _available()
    shared = side_by_side.folder_of_all(pytestconfig)
    # Where no run before this one has looked for the faces, one process does, for all.
    with contextlib.nullcontext() if shared is None else side_by_side.locked(shared / "photos.lock"):
        return load_photos()


@pytest.fixture(scope="session")
def embedder_spec() -> EmbedderSpec:
    """facenet-msceleb1m, in the cache."""
    from fastface import models

    _available()
    models.pull(EMBEDDER)
    return models.get(EMBEDDER)


@pytest.fixture(scope="session")
def embedder(embedder_spec: EmbedderSpec) -> Embedder:
    """facenet-msceleb1m, loaded on the CPU."""
    from fastface.embed.embedder import Embedder

    return Embedder(embedder_spec)


@pytest.fixture(scope="session")
def film(photos: dict[str, list[Photo]], tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Six seconds of four people."""
    from film import make_film

    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", photos)


@pytest.fixture(scope="session")
def run(film: Film, embedder_spec: object) -> Callable[..., Timeline]:
    """run(**settings): the film's timeline; the same settings are run once."""
    from film import runner

    return runner(film)


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers in every run."""
    return np.random.default_rng(20261122)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium: Playwright's own, else one on the PATH. Gone with the module, for Playwright's loop keeps
    the tests' thread from running another."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        names = ("chromium", "chromium-browser", "google-chrome")
        found = str(own) if own.exists() else next(filter(None, map(shutil.which, names)), None)
        if found is None:
            pytest.skip("no Chromium: neither Playwright's own nor one on the PATH")
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()
