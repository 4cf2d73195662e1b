"""The kernels by the compiler that users have: NVRTC, which torch's CUDA builds bring along and which needs no GPU."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
from pathlib import Path

import pytest

from fastface.gpu import kernels
from fastface.gpu.kernels import OUTPUTS, SAMPLES, compiler_options, source_folder

KERNELS = sorted(path.stem for path in (source_folder() / "cuda").glob("*.cu"))


@pytest.fixture(scope="module")
def nvrtc() -> tuple[ctypes.CDLL, Path]:
    """The library, and the folder of CUDA's headers."""
    found = importlib.util.find_spec("nvidia")
    for root in map(Path, found.submodule_search_locations or () if found else ()):
        for library in sorted(root.glob("*/lib/libnvrtc.so.*")):
            headers = library.parents[1] / "include"
            if (headers / "cuda_fp16.h").is_file() and "alt" not in library.name:
                for builtins in library.parent.glob("libnvrtc-builtins.so.*"):
                    ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
                return ctypes.CDLL(str(library)), headers
    pytest.skip("this torch comes without NVRTC")


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("output", "depth"), list(zip(OUTPUTS, SAMPLES, strict=True)))
@pytest.mark.parametrize("name", KERNELS)
def test_it_compiles(
    nvrtc: tuple[ctypes.CDLL, Path], name: str, output: str, depth: int, architecture: str
) -> None:
    library, headers = nvrtc
    code = (source_folder() / "cuda" / f"{name}.cu").read_bytes()
    told = [*compiler_options(output, depth), f"-I{headers}", f"-arch={architecture}"]
    options = (ctypes.c_char_p * len(told))(*(option.encode() for option in told))
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert library.nvrtcCreateProgram(ctypes.byref(program), code, name.encode(), 0, None, None) == 0
    status = library.nvrtcCompileProgram(program, len(told), options)
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    assert status == 0, log.value.decode()


@pytest.mark.parametrize("header", ["cuda/levels.cuh", "common/area.h"])
def test_kernels_are_compiled_anew_where_a_header_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, header: str
) -> None:
    """CuPy's cache on disk knows a kernel by its own file and the options, and not by what it includes."""
    folder = shutil.copytree(source_folder(), tmp_path / "csrc")
    monkeypatch.setattr(kernels, "source_folder", lambda: folder)
    options = compiler_options.__wrapped__
    before = options("float16", 8)
    assert options("float16", 8) == before
    (folder / header).write_text((folder / header).read_text() + "// changed")
    assert options("float16", 8) != before
