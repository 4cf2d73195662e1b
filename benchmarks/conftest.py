"""Videos to measure on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """hamilton.mp4 from FASTFACE_MEDIA where that is set, else a clip composed from photographs."""
    folder = Path(os.environ.get("FASTFACE_MEDIA", Path(__file__).parents[2] / "shared" / "media"))
    if (folder / "hamilton.mp4").is_file():
        return folder / "hamilton.mp4"
    from fastface.demo.photos import load_photos
    from fastface.demo.script import compose

    path = tmp_path_factory.mktemp("video") / "composed.mp4"
    compose(path, load_photos(), seed=5, seconds=9, size=(640, 360))
    return path
