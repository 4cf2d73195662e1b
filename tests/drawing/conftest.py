"""Fixtures of the rendering's tests."""

from __future__ import annotations

import pytest
from render_clips import two_people

from fastface.demo.compose import compose_shots


@pytest.fixture
def clip(tmp_path):
    """(path, truth) of two seconds, 320 x 240, grey, with sound."""
    path = tmp_path / "clip.mp4"
    return path, compose_shots(path, two_people(), size=(320, 240), fps=20)
