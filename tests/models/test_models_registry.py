"""The list of embedders, and importing it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from fastface import models
from fastface.errors import InputValidationError


def test_there_are_three_embedders_with_distinct_names() -> None:
    assert [spec.name for spec in models.list_models()] == [
        "facenet-vggface2",
        "facenet-casia",
        "facenet-msceleb1m",
    ]


@pytest.mark.parametrize("spec", models.list_models(), ids=lambda spec: spec.name)
def test_a_specification_is_complete(spec: models.EmbedderSpec) -> None:
    assert spec.dim in (128, 512)
    assert spec.scaling in ("fixed", "standardize")
    assert 0 < spec.similarity_threshold < 1
    assert spec.threshold_source
    assert spec.licence
    assert spec.size_bytes > 80e6
    for sha256 in (spec.sha256, spec.member_sha256):
        assert sha256 is None or re.fullmatch("[0-9a-f]{64}", sha256)
    assert (spec.member is None) == (spec.member_sha256 is None)
    assert spec.from_sdist == (spec.member is not None)
    assert spec.from_sdist or spec.source.startswith("https://")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputValidationError, match=r"'arcface'.*'facenet-vggface2', 'facenet-casia'"):
        models.get("arcface")


def test_importing_the_models_loads_no_torch() -> None:
    code = "import sys, fastface.models, fastface.cli.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
