"""How the levels of the pyramid are laid out for the GPU."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fastface.detect.cuda.plan import plan_pyramid
from fastface.settings import DetectorSettings

SOURCE = Path(__file__).resolve().parents[2] / "csrc" / "cuda" / "pyramid.cu"


@pytest.mark.parametrize("size", [(1080, 1920), (480, 847), (1080, 425), (97, 424), (17, 2160), (2160, 3840)])
@pytest.mark.parametrize("face", [12, 20, 31, 36, 40])
def test_regions_have_each_pixel_once_and_windows_have_room(size, face):
    """Windows that begin in a region reach over as many groups of four pixels as the kernel has room for, at most."""
    most = int(re.search(r"kGroups = (\d+);", SOURCE.read_text())[1])
    plan = plan_pyramid(1, *size, DetectorSettings(min_face_size=face))
    down, across = plan.regions
    for level in plan.levels[: plan.regional]:
        for first, regions, end in (("x_regions", across, level["stride"]), ("y_regions", down, level["height"])):
            begins = plan.windows[int(level[first]) :][: regions + 1].astype(int)
            assert begins[0] == 0
            assert begins[-1] == end
            assert (np.diff(begins) >= 0).all()
        columns = plan.windows[int(level["x_windows"]) :][: level["width"]].astype(int)
        edges = plan.windows[int(level["x_regions"]) :][: across + 1].astype(int)
        for left, right in zip(edges, np.minimum(edges[1:], level["width"]), strict=False):
            if left < right:
                reach = ((columns[right - 1] >> 16) - 1) // 4 - (columns[left] & 0xFFFF) // 4 + 1
                assert reach <= most
