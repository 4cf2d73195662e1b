"""Detectors on the GPU. For tests of kernels without one it is the same ones, with a `torch` of their own."""

from __future__ import annotations

import pytest

from fastface.settings import DetectorSettings


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def cascade(torch):
    from fastface.detect.cuda import CudaMTCNN

    return CudaMTCNN(DetectorSettings(), precision="fp32")


@pytest.fixture(scope="module")
def half(torch):
    from fastface.detect.cuda import CudaMTCNN

    return CudaMTCNN(DetectorSettings(), precision="fp16")
