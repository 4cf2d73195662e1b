"""What guards the speed: that it fails where it must."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_benchmarks", BENCHMARKS / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def stored() -> dict[str, Any]:
    return {
        "figures": {"detect": {"fps": 6000.0, "count": 32}, "detect_facenet_pytorch": {"fps": 15.0, "count": 32}},
        "ratios": {"end to end / decode alone": 0.9},
        "fresh_process": {"start": {"ours": 0.8}, "memory": {"peak_mib": 3000}},
    }


@pytest.mark.parametrize(("path", "value", "lost"), [
    (("figures", "detect", "fps"), 5401.0, None),
    (("figures", "detect", "fps"), 5399.0, r"detect \(fps\): 6000 before, 5399 now"),
    (("figures", "detect", "fps"), 9000.0, None),
    (("figures", "detect_facenet_pytorch", "fps"), 1.0, None),
    (("ratios", "end to end / decode alone"), 0.8, "end to end / decode alone: 0.9 before, 0.8 now"),
    (("fresh_process", "memory", "peak_mib"), 3299, None),
    (("fresh_process", "memory", "peak_mib"), 3301, r"memory \(peak_mib\): 3000 before, 3301 now"),
    (("fresh_process", "start", "ours"), 0.95, r"start \(ours\): 0.8 before, 0.95 now"),
])  # fmt: skip
def test_what_counts_as_a_loss(
    gpu: ModuleType, stored: dict[str, Any], path: tuple[str, ...], value: float, lost: str | None
) -> None:
    measured = copy.deepcopy(stored)
    place = measured
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    found = gpu.losses(stored, measured)
    if lost is None:
        assert found == []
    else:
        assert len(found) == 1
        assert re.fullmatch(lost, found[0])


def test_the_stored_results_compare(gpu: ModuleType) -> None:
    """Every file has what is compared, under names that the benchmarks still have."""
    files = sorted((BENCHMARKS / "results").glob("gpu-*.json"))
    assert files
    for file in files:
        stored = json.loads(file.read_text())
        assert gpu.losses(stored, stored) == []
        worse = copy.deepcopy(stored)
        for figure in worse["figures"].values():
            figure[next(iter(figure))] /= 2
        ours = [name for name in stored["figures"] if not name.endswith(("facenet_pytorch", "opencv"))]
        assert len(gpu.losses(stored, worse)) == len(ours)
        benchmarks = (BENCHMARKS / "test_gpu.py").read_text()
        assert all(f"def test_{name.partition('[')[0]}(" in benchmarks for name in stored["figures"])
