"""Clips of a video: the one place that knows all of the stages."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from fastface.clip.copy import fast_coding
from fastface.clip.cut import OnCpu, Pictures
from fastface.clip.join import Clip, write_file
from fastface.clip.plan import Wishes, plan
from fastface.clip.pool import Pool, Progress, cores
from fastface.clip.source import Source, open_source
from fastface.clip.view import Camera, Follow, LayoutOf, Sampled, Split, Whole
from fastface.clip.window import follow
from fastface.decode.device import Unsupported
from fastface.encode.container import check_size, checked_target
from fastface.encode.h264 import Coding
from fastface.errors import InputValidationError
from fastface.executor import gpu_number
from fastface.faults import translates
from fastface.timeline import Identity, Timeline

SPLIT_SIZE = (1920, 1080)
"""Pixels of a split screen, of which each person has a half."""

_TIME_TOLERANCE = 0.5  # seconds by which a timeline may differ from the video before it must be that of another


@translates
def make_clips(
    timeline: Timeline,
    video: str | os.PathLike[str],
    person: int | str | None,
    folder: str | os.PathLike[str],
    wishes: Wishes,
    workers: int | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> tuple[Clip, ...]:
    """See :meth:`fastface.Timeline.clips`."""
    if workers is not None and workers < 1:
        raise InputValidationError(f"workers is {workers!r}, must be at least 1")
    number, _ = gpu_number(device)
    people = wishes.people(timeline, person)
    source = open_source(video)
    check_size(timeline.video, source.info.width, source.info.height, source.path)
    _check_length(timeline, source)
    files, note = plan(timeline, source, people, Path(folder), wishes)
    coding, layout_of = _look(timeline, source, people, wishes)
    if wishes.fast and note is None:
        coding = fast_coding(source)
    notes = [note] if note else []
    if source.damaged:
        notes.append(f"{source.damaged} packets of {source.path!r} are damaged and were left out")
    _make_folder(Path(folder))
    for file in files:
        checked_target(file.path, source.path)
    parts = [part for file in files for part in file.parts]
    with contextlib.ExitStack() as stack:
        pictures = _pictures(source, layout_of, len(parts), number, notes, stack)
        pool = stack.enter_context(Pool(source, parts, coding, pictures, workers or cores(), progress))
        encoded = iter(pool)
        return tuple(write_file(source, file, encoded, coding, tuple(notes)) for file in files)


def _pictures(
    source: Source,
    layout_of: LayoutOf | None,
    parts: int,
    gpu: int | None,
    notes: list[str],
    stack: contextlib.ExitStack,
) -> Pictures:
    """What gives the pictures; where it is not the GPU that was asked for, a note says why."""
    if layout_of is None:  # whole pictures: a GPU would only carry them to and fro
        return OnCpu(source, lambda convert, reader: Whole(convert))
    if gpu is not None:
        from fastface.clip.on_gpu import OnGpu

        try:
            on_gpu = OnGpu(source, layout_of, gpu, parts)
        except Unsupported as error:
            notes.append(f"the pictures of {source.path!r} were decoded on the CPU: {error}")
        else:
            stack.callback(on_gpu.close)
            return on_gpu
    return OnCpu(source, lambda convert, reader: Sampled(convert, layout_of(reader)))


def _check_length(timeline: Timeline, source: Source) -> None:
    told = float(timeline.video.get("duration") or source.duration)
    lost = bool(timeline.run.get("frames_skipped"))  # then the last frames may be among them
    if told > source.duration + _TIME_TOLERANCE or (told < source.duration - _TIME_TOLERANCE and not lost):
        raise InputValidationError(
            f"the timeline is of a video of {told:.3f} s, {source.path!r} has {source.duration:.3f} s"
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputValidationError(f"cannot write to the folder {str(folder)!r}: {error.strerror}") from error


def _look(
    timeline: Timeline, source: Source, people: Sequence[Identity], wishes: Wishes
) -> tuple[Coding, LayoutOf | None]:
    """How pictures are coded, and which windows are shown of them; None: all of the picture."""
    if wishes.follow is None and wishes.split is None:
        return source.coding, None
    width, height = SPLIT_SIZE
    shape = wishes.follow or (width // 2, height)
    if missing := [p.label for p in people if not (timeline.faces.identity == p.id).any()]:
        raise InputValidationError(f"there is no face of {missing[0]} that a window could follow")
    size, pixel = (source.info.width, source.info.height), float(source.coding.aspect)
    cameras = [Camera.of(follow(timeline, p.id, source.times, shape, size, pixel), source) for p in people]
    if wishes.follow is not None:
        return source.coding.sized(shape), lambda reader: Follow(cameras[0], shape)
    both = (cameras[0], cameras[1])
    return source.coding.sized(SPLIT_SIZE), lambda reader: Split(reader, both, SPLIT_SIZE)
