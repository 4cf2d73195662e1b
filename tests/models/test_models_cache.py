"""Where files are kept, and that they appear complete or not at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import platformdirs
import pytest

from fastface.errors import ModelError
from fastface.models import cache


def test_fastface_home_moves_the_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.folder() == home
    monkeypatch.delenv("FASTFACE_HOME")
    assert cache.folder() == Path(platformdirs.user_cache_dir("fastface", appauthor=False)) / "models"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(home: Path) -> None:
    target = home / "a.bin"
    with cache.writing(target) as temporary:
        temporary.write_bytes(b"old")

    def fail_half_way() -> None:
        with cache.writing(target) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert [path.name for path in home.iterdir()] == ["a.bin"]
    assert target.read_bytes() == b"old"


def test_a_cache_that_cannot_be_made_is_a_model_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTFACE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="FASTFACE_HOME"):
        cache.make(cache.folder())


def test_sha256_of_a_file(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) + 17)
    (tmp_path / "x").write_bytes(content)
    assert cache.sha256_of(tmp_path / "x") == hashlib.sha256(content).hexdigest()
    with pytest.raises(ModelError, match="cannot read"):
        cache.sha256_of(tmp_path / "y")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"models": 3}', "\x00"])
def test_a_damaged_manifest_counts_as_empty(home: Path, text: str) -> None:
    cache.make(home)
    (home / "manifest.json").write_text(text)
    assert cache.entry("models", "a") == {}
    cache.record("models", "a", {"sha256": "1"})
    assert cache.entry("models", "a") == {"sha256": "1"}


def test_processes_that_record_at_once_lose_nothing(home: Path) -> None:
    code = (
        "import sys\nfrom fastface.models import cache\n"
        "for i in range(20): cache.record('models', f'{sys.argv[1]}-{i}', {'sha256': str(i)})"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(n)]) for n in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    for n in range(3):
        for i in range(20):
            assert cache.entry("models", f"{n}-{i}") == {"sha256": str(i)}


def test_only_old_work_is_swept_away(home: Path) -> None:
    for name, age in ((".work-old", 2), (".work-new", 0), ("kept", 2)):
        (home / name).mkdir(parents=True)
        then = time.time() - age * 24 * 3600
        os.utime(home / name, (then, then))
    cache.sweep()
    assert sorted(path.name for path in home.iterdir()) == [".work-new", "kept"]
