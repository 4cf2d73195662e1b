#!/usr/bin/env python3
"""Checks and times the GPU decoder; one line of JSON per measure, exit code 1 if a frame is wrong.

    check_nvdec.py --make DIR               makes and checks the clips of tests/decode/decode_clips.py (640x360)
    check_nvdec.py FILE...                  checks files: 1 session against libav, N sessions against 1, bit for bit
    check_nvdec.py --loop 3000 FILE...      and times each, looped by remuxing, with 1, 4, 8, 12 and 14 sessions

A frame is compared by a checksum over every sample, weighted by place: computed by a CuPy kernel on the device and by
NumPy from what libav gives.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "decode")]

import av  # noqa: E402
from decode_clips import CLIPS, loop, make_all  # noqa: E402
from fake_gpu import FakeGpu, packed  # noqa: E402

from fastface.decode.device import NO_PTS, InOrder, Unsupported  # noqa: E402
from fastface.decode.nvdec import NvdecDecoder  # noqa: E402

FAILED: list[str] = []


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def weights(width: int, height: int) -> np.ndarray:
    """[rows * row] uint32, odd and different for neighbours; 0 for the column that rounds an odd width up."""
    row, rows = (width + 1) // 2 * 2, height + (height + 1) // 2
    w = (np.arange(row * rows, dtype=np.uint64) * 2654435761 % (1 << 32)).astype(np.uint32) | 1
    w = w.reshape(rows, row)
    if width % 2:
        w[:height, width] = 0
    return w.ravel()


class Sums:
    """Checksums of a batch's frames, [N] uint64, on the device (or on the host, for trying the script without one)."""

    def __init__(self, width: int, height: int, fake: bool) -> None:
        self.w = weights(width, height)
        self.kernel: Any = None
        if not fake:
            import cupy

            self.w = cupy.asarray(self.w)
            self.kernel = cupy.ReductionKernel(
                "T x, uint32 w", "uint64 y", "(unsigned long long)x * w", "a + b", "y = a", "0", "weighted_sum"
            )
            cupy.cuda.Device().synchronize()

    def __call__(self, pixels: Any) -> Any:
        n = len(pixels)
        flat = pixels.reshape(n, -1)
        if self.kernel is None:
            return (flat.astype(np.uint64) * self.w).sum(1, dtype=np.uint64)
        return self.kernel(flat, self.w[None], axis=1)


def by_libav(path: Path) -> tuple[list[int], list[int]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        pts, sums, w = [], [], None
        for frame in container.decode(stream):
            if w is None:
                w = weights(frame.width, frame.height).astype(np.uint64)
            pts.append(NO_PTS if frame.pts is None else frame.pts)
            sums.append(int((packed(frame).ravel() * w).sum(dtype=np.uint64)))
    return pts, sums


def by_nvdec(path: Path, fake: bool, *, checksum: bool = True, **options: Any) -> dict[str, Any]:
    """Decode; with pts and checksum of each frame, in the order shown, and seconds."""
    if fake:
        options["_backend"] = FakeGpu.maker()
        stream: Any = 0
    else:
        import cupy

        stream = cupy.cuda.Stream(non_blocking=True)
    begin = time.perf_counter()
    with NvdecDecoder(path, **options) as decoder:
        opened = time.perf_counter()
        sums = Sums(decoder._form.width, decoder._form.height, fake) if checksum else None
        first = time.perf_counter()
        order, pts, index, out, batches, mark = InOrder(), [], [], [], 0, (0, first)
        for batch in decoder:
            batches += 1
            batch.wait(stream)
            value = None
            if sums is not None and len(batch):
                if fake:
                    value = sums(batch.pixels)
                else:
                    with stream:
                        value = sums(batch.pixels)
            due = order.push(batch, (batch.index, batch.pts, value))
            batch.release(stream)
            if not mark[0] and decoder.stats.frames >= (decoder.info.frame_count or 0) // 4:
                mark = (decoder.stats.frames, time.perf_counter())
            for i, p, v in due:
                index += i.tolist()
                pts += p.tolist()
                out.append(v)
        if not fake:
            stream.synchronize()
        end = time.perf_counter()
        values = [int(v) for s in out if s is not None for v in (s if fake else s.get())]
        closing = time.perf_counter()
    return {
        "pts": pts,
        "index": index,
        "sums": values,
        "frames": len(index),
        "decoded": decoder.stats.frames,
        "skipped": decoder.stats.skipped,
        "warnings": decoder.stats.warnings,
        "batches": batches,
        "segments": decoder._reader.segments,
        "sessions": decoder.sessions,
        "open_s": round(opened - begin, 4),
        "seconds": end - begin - (first - opened),
        "steady_fps": round((decoder.stats.frames - mark[0]) / max(1e-9, end - mark[1]), 1),
        "close_s": round(time.perf_counter() - closing, 4),
        "ring_mb": round(decoder.ring_bytes / 1e6),
    }


def facts(run: dict[str, Any]) -> dict[str, Any]:
    keep = ("frames", "skipped", "warnings", "batches", "segments", "sessions", "open_s", "close_s", "ring_mb")
    return {k: run[k] for k in keep}


def check(path: Path, fake: bool, sessions: list[int], min_frames: int | None) -> None:
    pts, sums = by_libav(path)
    options: dict[str, Any] = {} if min_frames is None else {"min_frames": min_frames}
    for n in sessions:
        for ordered in (True, False):
            name = f"{path.name}: {n} sessions, {'ordered' if ordered else 'unordered'}"
            try:
                run = by_nvdec(path, fake, sessions=n, ordered=ordered, **options)
            except Unsupported as error:
                say(check="bit exact", file=path.name, sessions=n, unsupported=error.reason)
                break
            except Exception as error:
                FAILED.append(name)
                say(check="bit exact", file=path.name, sessions=n, ordered=ordered, ok=False, error=repr(error),
                    trace=traceback.format_exc()[-1500:])  # fmt: skip
                continue
            wrong = [i for i, (a, b) in enumerate(zip(run["sums"], sums, strict=False)) if a != b]
            ok = (
                run["sums"] == sums
                and run["pts"] == pts
                and run["index"] == list(range(len(sums)))
                and run["skipped"] == 0
            )
            if not ok:
                FAILED.append(name)
            say(check="bit exact", file=path.name, ordered=ordered, ok=ok, want_frames=len(sums), **facts(run),
                pts_equal=run["pts"] == pts, wrong=len(wrong), first_wrong=wrong[:5],
                **({} if run["pts"] == pts else {"pts_got": run["pts"][:8], "pts_want": pts[:8]}))  # fmt: skip


def speed(path: Path, frames: int, fake: bool, sessions: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        long = Path(folder) / f"long{path.suffix}"
        total = loop(path, long, frames)
        want: list[int] | None = None
        for n in sessions:
            for ordered, checksum in ((True, True), (True, False), (False, True), (False, False)):
                run = by_nvdec(long, fake, sessions=n, ordered=ordered, checksum=checksum)
                ok = run["frames"] == total and run["skipped"] == 0
                if checksum:
                    want = want or run["sums"]
                    ok = ok and run["sums"] == want
                if not ok:
                    FAILED.append(f"{path.name}: speed, {n} sessions")
                say(measure="decode", file=path.name, ordered=ordered, checksum=checksum, ok=ok,
                    fps=round(total / run["seconds"], 1),
                    steady_fps=run["steady_fps"], seconds=round(run["seconds"], 4),
                    **facts(run))  # fmt: skip


def machine(fake: bool) -> None:
    line: dict[str, Any] = {
        "machine": "fake" if fake else "gpu",
        "python": sys.version.split()[0],
        "av": av.__version__,
    }
    if not fake:
        import cupy
        import PyNvVideoCodec as nvc

        from fastface.decode.cuda import decoder_caps

        line["device"] = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        line["driver"] = cupy.cuda.runtime.driverGetVersion()
        line["cupy"], line["pynvvideocodec"] = cupy.__version__, nvc.__version__
        line["caps"] = {
            f"{codec}/{depth}": decoder_caps(0, codec, depth)
            for codec in ("h264", "hevc", "vp8", "vp9", "av1")
            for depth in (8, 10, 12)
        }
        theirs = dict(nvc.GetDecoderCaps(gpuid=0, codec=nvc.cudaVideoCodec.HEVC, bitdepth=10))
        line["their_caps_hevc_10"] = {k: int(v) for k, v in theirs.items()}
    say(**line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--make", type=Path, metavar="DIR", help="make the clips there and check them")
    parser.add_argument("--clips", nargs="*", default=[n for n in CLIPS if not n.startswith("mpeg")])
    parser.add_argument("--loop", type=int, metavar="N", help="time the files, looped to at least N frames")
    parser.add_argument("--sessions", type=int, nargs="*", default=[1, 4, 8, 12, 14])
    parser.add_argument("--no-check", action="store_true", help="only time")
    parser.add_argument("--fake", action="store_true", help="libav in NVDEC's place, to try the script without a GPU")
    arguments = parser.parse_args()
    machine(arguments.fake)
    if arguments.make:
        for name in arguments.clips:
            try:
                path = make_all(arguments.make, [name], width=640, height=360)[name]
            except Exception as error:  # an encoder that this PyAV does not have
                say(check="bit exact", file=name, not_made=repr(error))
                continue
            check(path, arguments.fake, [1, 4], 25)
    for path in arguments.files:
        if not arguments.no_check:
            check(path, arguments.fake, [1, 8], None)
        if arguments.loop:
            speed(path, arguments.loop, arguments.fake, arguments.sessions)
    say(result="failed" if FAILED else "ok", failed=FAILED)
    return 1 if FAILED else 0


if __name__ == "__main__":
    sys.exit(main())
