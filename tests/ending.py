"""Ending a command from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ENDS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
"""Signals, the exit code that each comes to, and the word that is said then."""


def seconds_to_end(
    video: Path, out: Path, device: str, embedder: str, end: tuple[int, int, str], wait: Callable[[], None]
) -> float:
    """Begin `fastface process`, send it a signal, and see that it ends as promised.

    Args:
        video: whose processing takes longer than `wait`.
        out: a folder that is empty.
        device, embedder: see :class:`fastface.Pipeline`.
        end: one of :data:`ENDS`.
        wait: returns when the signal is due; called when the command says that it has started.

    Returns:
        Seconds from the signal to the process's end.
    """
    number, code, word = end
    command = [sys.executable, "-m", "fastface", "--log-format", "json", "process", str(video), "--device", device,
               "--embedder", embedder, "-o", str(out / "a.json")]  # fmt: skip
    # Where a shell runs this in the background, SIGINT is ignored, and would be by the child.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
    assert process.stderr is not None
    assert '"started"' in process.stderr.readline()
    wait()
    begin = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    seconds = time.monotonic() - begin
    assert process.returncode == code, errors
    assert word in errors
    assert "Traceback" not in errors
    assert list(out.iterdir()) == []
    return seconds
