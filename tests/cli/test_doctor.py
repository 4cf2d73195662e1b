"""What `fastface doctor` says of machines that have everything, something, or nothing."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import pytest

from fastface import doctor
from fastface.cli import main
from fastface.doctor import Finding, examine


def found(name: str, findings: list[Finding]) -> Finding:
    (one,) = [f for f in findings if f.name == name]
    return one


class NVMLError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., types.ModuleType]:
    """nvml(gpus): stands for the driver of a machine with so many GPUs; None: it has no driver."""

    def put(gpus: int | None) -> types.ModuleType:
        module = types.ModuleType("pynvml")

        def init() -> None:
            if gpus is None:
                raise NVMLError("Driver Not Loaded")

        module.__dict__.update(
            __spec__=object(), NVMLError=NVMLError, nvmlInit=init, shut=0,
            nvmlSystemGetDriverVersion=lambda: "580.1", nvmlSystemGetCudaDriverVersion_v2=lambda: 13010,
            nvmlDeviceGetCount=lambda: gpus, nvmlDeviceGetHandleByIndex=lambda i: i,
            nvmlDeviceGetMemoryInfo=lambda i: types.SimpleNamespace(total=(80 + i) << 30, free=(7 + i) << 30),
            nvmlDeviceGetName=lambda i: f"H{i}",
            nvmlDeviceGetUtilizationRates=lambda i: types.SimpleNamespace(gpu=30),
            nvmlShutdown=lambda: setattr(module, "shut", module.shut + 1),
        )  # fmt: skip
        monkeypatch.setitem(sys.modules, "pynvml", module)
        return module

    return put


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """The one that runs these tests has all that the CPU path needs."""
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert {line.split()[0] for line in out.splitlines()} <= {"ok", "absent"}
    for name in ("Python", "C++ core", "torch", "facenet-pytorch", "PyAV", "model cache", "facenet-msceleb1m"):
        assert any(name in line for line in out.splitlines()), name
    assert max(map(len, out.splitlines())) <= 200


def test_something_broken_is_told_with_its_remedy_and_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = Finding("c", False, "no", "mend")
    findings = [Finding("a", True, "1.0"), Finding("b", None, "[no] markup", "get it"), bad]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    assert main(["doctor"]) == 1
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [["ok", "a", "1.0"], ["absent", "b", "[no]", "markup", "get", "it"], ["broken", "c", "no", "mend"]]


def test_gpus(nvml: Callable[..., types.ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    module = nvml(2)
    there = {"cupy": None, "PyNvVideoCodec": object(), "pynvml": object()}
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: there[name])
    findings = doctor._gpu()
    assert [(f.name, f.good, f.detail) for f in findings] == [
        ("driver", True, "580.1, CUDA 13.1"), ("GPU 0", True, "H0, 80 GiB"), ("GPU 1", True, "H1, 81 GiB"),
        ("cupy", None, "missing"), ("PyNvVideoCodec", True, "installed")]  # fmt: skip
    assert "pip install 'fastface-gpu[cuda13]'" in findings[3].remedy
    assert findings[4].remedy == ""
    assert module.shut == 1


def test_no_driver_and_no_package(nvml: Callable[..., types.ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(None)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: object())
    (one,) = doctor._gpu()
    assert (one.good, one.detail) == (None, "none (Driver Not Loaded)")
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    (one,) = doctor._gpu()
    assert (one.good, one.detail) == (None, "not looked at: nvidia-ml-py is not installed")


def test_a_torchvision_of_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual accident: importing facenet_pytorch fails with an error that names neither."""
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    _, broken = doctor._torch()
    assert (broken.name, broken.good) == ("facenet-pytorch", False)
    assert "pip install --force-reinstall torch torchvision" in broken.remedy
    assert "facenet_pytorch cannot be imported (ModuleNotFoundError" in broken.remedy


def test_what_is_not_there_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    (torch,) = doctor._torch()
    assert (torch.good, torch.remedy) == (False, "pip install torch torchvision")
    assert found("fastface-gpu", examine()).detail == "run from a source tree"
    monkeypatch.setitem(sys.modules, "fastface._core", None)
    monkeypatch.delattr("fastface._core", raising=False)
    core = doctor._core()
    assert core.good is False
    assert core.remedy.startswith("install again")


def test_a_libav_without_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    monkeypatch.setattr(av, "codecs_available", {"aac"})
    libav = doctor._libav()
    assert (libav.good, libav.remedy) == (False, "its libav lacks libx264, which `fastface render` needs")


def test_models_and_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("FASTFACE_HOME", str(tmp_path))
    monkeypatch.setenv("FASTFACE_OFFLINE", "1")
    findings = doctor._models()
    assert found("model cache", findings).detail == f"{tmp_path}/models, FASTFACE_OFFLINE=1: never downloads"
    assert found("facenet-casia", findings) == Finding(
        "facenet-casia", None, "not in the cache", "fastface models pull facenet-casia (or at first use)"
    )


def test_the_state_of_a_gpu_in_errors(nvml: Callable[..., types.ModuleType]) -> None:
    from fastface import faults

    module = nvml(1)
    assert faults.gpu_state() == {
        "name": "H0", "memory_free": 7 << 30, "memory_total": 80 << 30, "utilization": 30}  # fmt: skip
    assert faults.memory_now() == " (7,168 of 81,920 MiB are free)"
    assert module.shut == 2

    def gone(i: int) -> object:
        raise NVMLError("GPU is lost")

    module.nvmlDeviceGetMemoryInfo = gone  # type: ignore[attr-defined]
    assert faults.gpu_state() is None
    assert module.shut == 3, "closed all the same"
    nvml(None)
    assert faults.memory_now() == ""


def test_the_state_is_that_of_the_gpu_in_use(
    nvml: Callable[..., types.ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's number 0 may be another of NVML's: it is found by its identifier."""
    import torch

    from fastface import faults

    asked: list[str] = []
    module = nvml(2)

    def by_uuid(uuid: str) -> object:
        asked.append(uuid)
        return module.nvmlDeviceGetHandleByIndex(1)  # type: ignore[attr-defined]

    module.nvmlDeviceGetHandleByUUID = by_uuid  # type: ignore[attr-defined]
    state = faults.gpu_state()
    assert state is not None
    assert (state["name"], asked) == ("H0", []), "torch uses none yet"
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: types.SimpleNamespace(uuid=f"ab-{number}"))
    state = faults.gpu_state()
    assert state is not None
    assert (state["name"], asked) == ("H1", ["GPU-ab-0"])
