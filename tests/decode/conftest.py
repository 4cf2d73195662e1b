"""What the tests of decoding share: the clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from decode_clips import CLIPS, make


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Path of a clip by name; made once."""
    folder = tmp_path_factory.mktemp("clips")

    def get(name: str) -> Path:
        path = folder / f"{name}.{CLIPS[name].suffix}"
        return path if path.exists() else make(path, CLIPS[name])

    return get
