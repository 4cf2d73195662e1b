"""Windows of clips, cut on a GPU: byte for byte the CPU's files."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

import fastface

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clip"))

pytestmark = pytest.mark.gpu


def both(timeline: fastface.Timeline, video: Path, folder: Path, **wishes: Any) -> dict[str, float]:
    """Make clips on both; gives the seconds that each took."""
    seconds = {}
    files = {}
    for device in ("cuda", "cpu"):
        begin = time.perf_counter()
        clips = timeline.clips(video, folder=folder / device, device=device, **wishes)
        seconds[device] = time.perf_counter() - begin
        assert all(clip.notes == () for clip in clips)
        files[device] = [clip.path.read_bytes() for clip in clips]
    assert files["cuda"] == files["cpu"]
    return seconds


def test_windows_of_a_made_video(tmp_path: Path) -> None:
    from coded import make_coded, ntsc, timeline_of, uneven

    for name, stamps in (("ntsc", ntsc(12)), ("vfr", uneven(12))):
        coded = make_coded(tmp_path / f"{name}.mp4", *stamps)
        timeline = timeline_of(coded, {"Ann": [(0.5, 6.0), (8, 11)], "Bob": [(3.0, 9.5)]})
        both(timeline, coded.path, tmp_path / name, person="Ann", follow=(120, 160), join=True)
        both(timeline, coded.path, tmp_path / f"{name}-split", split=("Ann", "Bob"))


@pytest.mark.media
def test_windows_of_real_video(media: Path, tmp_path: Path) -> None:
    """1080p, cuts, several people; prints how long both took."""
    timeline = fastface.process(media / "people.mp4", device="cuda")
    person = max(timeline.identities, key=lambda p: p.screen_time)
    seconds = both(timeline, media / "people.mp4", tmp_path, person=person.id, follow=(608, 1080), join=True)
    print(f"{person.screen_time:.1f} s of a person followed, in seconds: {seconds}")
