"""What is in deploy/: its commands are ones that there are, and its files name each other rightly."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fastface.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
pytestmark = pytest.mark.skipif(not DEPLOY.is_dir(), reason="only in the repository")
UNITS = ("fastface.service", "fastface-worker@.service")


def compose(*names: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in names:
        for service, facts in yaml.safe_load((DEPLOY / name).read_text())["services"].items():
            out.setdefault(service, {}).update(facts)
    return out


@pytest.mark.parametrize("names", [("compose.yaml",), ("compose.yaml", "compose.gpu.yaml")])
def test_compose(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    services = compose(*names)
    assert set(services) == {"redis", "service", "worker"}
    (broker,) = {services[name]["environment"]["FASTFACE_BROKER"] for name in ("service", "worker")}
    assert broker == "redis://redis:6379/0"
    assert "ports" not in services["redis"]
    assert all(port.startswith("127.0.0.1:") for port in services["service"]["ports"])
    stages = re.findall(r"^FROM \S+ AS (\w+)$", (DEPLOY / "Dockerfile").read_text(), re.M)
    for name in ("service", "worker"):
        args = build_parser().parse_args(services[name]["command"])
        assert args.command == {"service": "serve", "worker": "worker"}[name]
        assert (args.folder, args.root) == ("/data", "/videos")
        mounted = [volume.rsplit(":", 2 if volume.endswith(":ro") else 1)[1] for volume in services[name]["volumes"]]
        assert {"/data", "/videos", "/var/cache/fastface"} == set(mounted)
        build = services[name]["build"]
        assert build["target"] in stages
        assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    assert services["worker"]["deploy"]["replicas"] == (2 if len(names) == 1 else 1)


@pytest.mark.skipif(not (ROOT / "src").is_dir(), reason="of a clone: the wheel's tests have no sources beside them")
def test_the_dockerfile_copies_what_is_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.M):
        for name in line.split():
            assert (ROOT / name).exists()
            assert name.split("/")[0] in allowed
    known = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M)
    extras = [name for group in re.findall(r"fastface-gpu\[([\w,]+)\]", text) for name in group.split(",")]
    assert set(extras) == {"service", "broker", "s3", "index", "export", "cuda13"}
    assert set(extras) <= set(known)


@pytest.mark.parametrize("name", UNITS)
def test_units(name: str, tmp_path: Path) -> None:
    text = (DEPLOY / name).read_text()
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
    words = shlex.split(command.replace("%I", "cuda:0"))
    args = build_parser().parse_args(words[1:])
    assert args.command == ("worker" if "worker" in name else "serve")
    assert args.folder.startswith("%S/")
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    # It looks for the program, too, which is not installed there.
    unit = tmp_path / name.replace("@", "@cpu")
    unit.write_text(text.replace(words[0], sys.executable))
    told = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True,
                          env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"})  # fmt: skip
    mine = [line for line in told.stderr.splitlines() if unit.name in line]
    assert mine == []
    exposure = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=25", unit],
                              capture_output=True, text=True)  # fmt: skip
    assert exposure.returncode == 0, exposure.stdout[-500:]
