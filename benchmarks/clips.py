#!/usr/bin/env python3
"""What docs/clips.md and docs/privacy.md claim, measured. Writes benchmarks/results/clips.json, the sections that were
run replaced and the others left as they were.

    step      tones and pictures of ten minutes, 29.97 fps and variable rate, in every mode: the largest departure
    follow    people.mp4: how often the true face is inside the window, and the window's acceleration
    privacy   people.mp4, hamilton.mp4: what the detector still finds where faces are hidden
    parallel  people.mp4 at 1080p in segments of two seconds: one worker against two
    gpu       (if asked) people.mp4 again and again, condensed, with a following window: a GPU against the CPU

    python3 benchmarks/clips.py [--sections NAME ...] [--media DIR] [--keep DIR] [--every N] [--out DIR]

--keep keeps the timelines in a folder, and takes those that are there (people.json and so on). --every looks at every
N-th frame only for `privacy`. Speeds are worth something on a machine that does nothing else; the load is noted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastface
from fastface.clip.source import open_source
from fastface.clip.window import ACCELERATION, acceleration, follow

ROOT = Path(__file__).resolve().parents[1]
for folder in ("tests", "tests/clip", "tests/drawing"):
    sys.path.insert(0, str(ROOT / folder))

SHAPES = ((1080, 1080), (608, 1080), (1280, 720), (960, 1080))


class Bench:
    """Where things are."""

    def __init__(self, media: Path, keep: Path, scratch: Path, every: int) -> None:
        self.media, self.keep, self.scratch, self.every = media, keep, scratch, every

    def timeline(self, name: str) -> fastface.Timeline:
        kept = self.keep / f"{name}.json"
        if not kept.exists():
            fastface.process(self.media / f"{name}.mp4").to_json(kept)
        return fastface.Timeline.from_json(kept)

    def step(self) -> dict[str, Any]:
        from coded import assert_in_step, make_coded, timeline_of
        from test_in_step import KINDS, MODES, A, coded_as_read

        out: dict[str, Any] = {"seconds": 600}
        for kind in ("ntsc", "vfr"):
            stamps, suffix, sound = KINDS[kind]
            coded = make_coded(self.scratch / f"{kind}.{suffix}", *stamps(600), sound=sound, gop=30)
            timeline = timeline_of(coded, {"Ann": [(a + m, b + m) for m in (0, 300, 540) for a, b in A]})
            for mode, settings in MODES.items():
                clips = timeline.clips(coded.path, "Ann", folder=self.scratch / "out", **settings)
                worst = max(assert_in_step(coded_as_read(coded), clip) for clip in clips)
                frames = sum(clip.frames for clip in clips)
                out[f"{kind}, {mode}"] = {"frames": frames, "wrong_frames": 0, "worst_ms": round(worst * 1000, 3)}
                print(kind, mode, out[f"{kind}, {mode}"], flush=True)
        return out

    def follow(self) -> dict[str, Any]:
        timeline = self.timeline("people")
        truth = json.loads((self.media / "people.json").read_text())
        source = open_source(self.media / "people.mp4")
        out: dict[str, Any] = {"bound": ACCELERATION, "unit": "heights of the window / s^2"}
        for shape in SHAPES:
            inside, highest = [], 0.0
            for person in timeline.identities:
                path = follow(timeline, person.id, source.times, shape, (source.info.width, source.info.height))
                window = path.at(source.times)
                mine = timeline.faces[timeline.faces.identity == person.id]
                for frame, box in zip(mine.frame.tolist(), mine.box, strict=True):
                    middle = (box[:2] + box[2:]) / 2
                    for face in truth["frames"][frame]:
                        true = np.array(face["box"])
                        if (true[:2] <= middle).all() and (middle <= true[2:]).all():
                            w = window[frame]
                            inside.append(bool((w[:2] <= true[:2]).all() and (true[2:] <= w[2:]).all()))
                for run in path.runs:
                    if len(run.times) > 2:
                        highest = max(highest, float(acceleration(run.times, run.window).max()))
            key = f"{shape[0]}x{shape[1]}"
            share = round(float(np.mean(inside)), 4)
            out[key] = {"frames": len(inside), "inside": share, "acceleration": round(highest, 3)}
            print(key, out[key], flush=True)
        return out

    def privacy(self) -> dict[str, Any]:
        from test_cover import found_again

        out: dict[str, Any] = {"every": self.every, "min_face_size": 20}
        for name in ("hamilton", "people"):
            timeline = self.timeline(name)
            for hide in ("blur", "pixelate"):
                scores, places = found_again(
                    self.media / f"{name}.mp4", timeline, hide, self.scratch / "h.mp4", every=self.every,
                    min_face_size=20,
                )  # fmt: skip
                out[f"{name}, {hide}"] = {
                    "places": places,
                    "found": len(scores),
                    "found_with_0.9": sum(s >= 0.9 for s in scores),
                    "highest_score": round(max(scores, default=0.0), 3),
                }
                print(name, hide, out[f"{name}, {hide}"], flush=True)
        return out

    def parallel(self) -> dict[str, Any]:
        timeline = self.timeline("people")
        longest = max(timeline.identities, key=lambda p: p.screen_time).id
        other = next(p.id for p in timeline.identities if p.id != longest)
        out: dict[str, Any] = {"size": "1920x1080", "segment": 2.0, "cores": os.cpu_count()}
        modes = {"exact": {}, "follow": {"follow": (1080, 1080)}, "split": {"split": (longest, other)}}
        for mode, settings in modes.items():
            who = None if "split" in settings else longest
            seconds: dict[int, list[float]] = {1: [], 2: []}
            load = os.getloadavg()[0]
            for workers in (1, 2) * 3:
                start = time.perf_counter()
                clips = timeline.clips(
                    self.media / "people.mp4", who, folder=self.scratch / "p", segment=2.0, workers=workers, **settings
                )  # type: ignore[arg-type]
                seconds[workers].append(time.perf_counter() - start)
            best = {workers: min(times) for workers, times in seconds.items()}
            out[mode] = {
                "files": len(clips),
                "frames": sum(clip.frames for clip in clips),
                "seconds_1": round(best[1], 2),
                "seconds_2": round(best[2], 2),
                "ratio": round(best[1] / best[2], 2),
                "load_before": round(load, 2),
            }
            print(mode, out[mode], flush=True)
        return out


    def gpu(self) -> dict[str, Any]:
        """A condensed clip of a minute and more of 1080p, with a following window: GPU and CPU, on all cores."""
        sys.path.insert(0, str(ROOT / "tests" / "decode"))
        import torch
        from decode_clips import loop

        video = self.scratch / "minutes.mp4"
        loop(self.media / "people.mp4", video, 4 * 60 * 25)
        timeline = fastface.process(video, device="cuda")
        person = max(timeline.identities, key=lambda p: p.screen_time).id
        out: dict[str, Any] = {"gpu": torch.cuda.get_device_name(0), "cores": os.cpu_count(), "window": "608x1080"}
        for device in ("cuda", "cpu") * 3:
            start = time.perf_counter()
            (clip,) = timeline.clips(
                video, person, folder=self.scratch / "g", condense=2.0, follow=(608, 1080), device=device
            )
            seconds = time.perf_counter() - start
            best = out.setdefault(device, {"seconds": seconds})
            best["seconds"] = round(min(best["seconds"], seconds), 2)
            best["times_real_time"] = round(clip.duration / best["seconds"], 1)
            out["clip_seconds"], out["frames"], out["notes"] = round(clip.duration, 2), clip.frames, list(clip.notes)
        print(out, flush=True)
        return out


SECTIONS = ("step", "follow", "privacy", "parallel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=(*SECTIONS, "gpu"), default=SECTIONS)
    parser.add_argument("--media", default=os.environ.get("FASTFACE_MEDIA", "media"))
    parser.add_argument("--keep")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results"))
    args = parser.parse_args()
    target = Path(args.out) / "clips.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    document = json.loads(target.read_text()) if target.exists() else {}
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory() as scratch:
        keep = Path(args.keep or scratch)
        keep.mkdir(parents=True, exist_ok=True)
        bench = Bench(Path(args.media), keep, Path(scratch), args.every)
        for section in args.sections:
            document[section] = {
                "command": f"python3 benchmarks/clips.py --sections {section}",
                "commit": os.environ.get("FASTFACE_COMMIT") or commit.strip(),
                **getattr(bench, section)(),
            }
            target.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
