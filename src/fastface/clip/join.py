"""Parts put one after the other into one file, with the sound between them; no picture is encoded again."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from fastface.clip.copy import copying_stream
from fastface.clip.cut import Encoded, Part
from fastface.clip.plan import File
from fastface.clip.sound import Sounds
from fastface.clip.source import Source
from fastface.encode.container import muxer_options
from fastface.encode.h264 import REORDER, Coding
from fastface.errors import VideoProcessingError
from fastface.files import replacing
from fastface.timeline import Span


@dataclass(frozen=True)
class Clip:
    """A file that was written.

    Attributes:
        path: of the file.
        spans: what it shows of the source video, in order.
        duration: seconds.
        frames: how many pictures it has.
        copied: how many of these were taken over as they are.
        notes: what could not be done as it was asked for, in sentences.
    """

    path: Path
    spans: tuple[Span, ...]
    duration: float
    frames: int
    copied: int
    notes: tuple[str, ...]


def decode_stamps(parts: Iterable[list[int]], reorder: int) -> Iterator[list[int]]:
    """When each packet is to be decoded: ascending, and none after it is shown.

    The time stamps in the order shown, `reorder` packets later: this holds over the seams of parts, whatever the
    encoders of the parts wrote.

    Args:
        parts: of each part the time stamps of its packets, in the order of decoding; every stamp of a part is above
            all those of the parts before.
        reorder: how many packets decoding is ahead of showing, at most.

    Yields:
        As many stamps for each part.
    """
    shown: deque[int] = deque()
    for stamps in parts:
        ordered = sorted(stamps)
        if not shown and ordered:
            shown.extend(range(ordered[0] - reorder, ordered[0]))
        out = []
        for stamp in ordered:
            shown.append(stamp)
            out.append(shown.popleft())
        yield out


def durations(stamps: list[int], end: int) -> list[int]:
    """How long each picture is shown: to the next one, the last to `end`.

    Args:
        stamps: in the order of decoding.
        end: time stamp at which the part ends.
    """
    ordered = [*sorted(stamps), end]
    after = dict(itertools.pairwise(ordered))
    return [after[stamp] - stamp for stamp in stamps]


def write_file(source: Source, file: File, encoded: Iterator[Encoded], coding: Coding, notes: tuple[str, ...]) -> Clip:
    """Write a file.

    Args:
        source: the video.
        file: what goes into it.
        encoded: what became of its parts, in order.
        coding: of what was encoded.
        notes: to be added to the clip's.

    Raises:
        InputValidationError: the file cannot be written.
        VideoProcessingError: not one of its pictures can be decoded.
    """
    frames = missing = 0
    ends = [p.offset + source.stamp(p.cut.last) - source.stamp(p.cut.first) for p in file.parts]
    options = muxer_options(file.path.suffix, [source.base])
    with replacing(file.path) as temporary, av.open(str(temporary), "w", options=options) as container:
        stream = _stream(source, file, coding, container)
        with contextlib.closing(Sounds(source, file.cuts, container)) as sounds:
            container.start_encoding()
            heard = sounds.packets([*(end * source.base for end in ends[:-1]), None])
            stamped = _stamped(file.parts, encoded, max(REORDER, source.reorder))
            for (result, stamps), end in zip(stamped, ends, strict=True):
                lengths = durations([pts for _, pts in result.packets], end)
                for (packet, pts), dts, length in zip(result.packets, stamps, lengths, strict=True):
                    packet.stream, packet.time_base = stream, source.base
                    packet.pts, packet.dts, packet.duration = pts, dts, length
                    container.mux(packet)
                container.mux(next(heard, []))
                frames, missing = frames + len(result.packets), missing + result.missing
            if not frames:
                raise VideoProcessingError(f"not one picture for {str(file.path)!r} can be decoded")
    if missing:
        notes = (*notes, f"{missing} pictures of {source.path!r} cannot be decoded; those before them stand longer")
    spans = tuple(
        Span(source.seconds(source.stamp(c.first)), source.seconds(source.stamp(c.last)), c.first, c.last)
        for c in file.cuts
    )
    copied = sum(p.cut.last - p.cut.first for p in file.parts if p.copied)
    return Clip(file.path, spans, float(ends[-1] * source.base), frames, copied, notes)


def _stream(source: Source, file: File, coding: Coding, container: Any) -> Any:
    """The picture's stream of a file."""
    if not any(part.copied for part in file.parts):
        stream = coding.stream(container)
        stream.codec_context.thread_count = 1  # it is opened for its header only: parts bring their own
        return stream
    header = coding.header() if source.info.codec == "h264" else None
    return copying_stream(source, container, header)


def _stamped(parts: Sequence[Part], encoded: Iterator[Encoded], reorder: int) -> Iterator[tuple[Encoded, list[int]]]:
    """What became of each part, and when its packets are to be decoded."""
    waiting: deque[Encoded] = deque()

    def stamps() -> Iterator[list[int]]:
        for _ in parts:
            waiting.append(next(encoded))
            yield [pts for _, pts in waiting[-1].packets]

    for out in decode_stamps(stamps(), reorder):
        yield waiting.popleft(), out
