"""Parts of a clip: decoded, turned into what is shown, encoded. Each gives packets that can follow those of another."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from fastface.clip.source import Cut, Reader, Source
from fastface.clip.view import ViewOf
from fastface.encode.h264 import Coding
from fastface.encode.planes import Converter


class Stopped(Exception):
    """Another part failed, or the user has had enough."""


@dataclass(frozen=True)
class Part:
    """Pictures that are encoded, or copied, apart from the others.

    Attributes:
        cut: which.
        offset: time stamp in the clip of its first picture.
        copied: whether its packets are taken over as they are.
    """

    cut: Cut
    offset: int
    copied: bool = False


@dataclass(frozen=True)
class Encoded:
    """What became of a part.

    Attributes:
        packets: (packet, time stamp in the clip), in the order of decoding.
        missing: pictures that could not be decoded.
    """

    packets: list[tuple[Any, int]]
    missing: int


Pictures = Callable[[Cut, int], Generator[tuple[int, Any], None, None]]
"""Gives the pictures of a cut as they are shown, (number, av.VideoFrame) in ascending order, with so many threads of a
decoder; what cannot be decoded is missing. Called by several threads at once."""


class OnCpu:
    """Pictures decoded by libav and turned into what is shown by a view."""

    def __init__(self, source: Source, view_of: ViewOf) -> None:
        self._source, self._view_of = source, view_of

    def __call__(self, cut: Cut, threads: int) -> Generator[tuple[int, Any], None, None]:
        source = self._source
        reader, aside = (
            Reader(source, threads),
            Reader(source),
        )  # what is held is read aside, so that the pictures go on
        view = None
        try:
            for number, frame in reader.pictures(*cut):
                if view is None:
                    convert = Converter(frame, reader.stream.codec_context, source.info.rotation)
                    view = self._view_of(convert, aside)
                yield number, view(number, frame)
        finally:
            reader.close()
            aside.close()


def encode_part(
    source: Source,
    part: Part,
    coding: Coding,
    pictures: Pictures,
    threads: int,
    stop: threading.Event,
    count: Callable[[int], None],
) -> Encoded:
    """Decode the pictures of a part, and encode what is shown of them. To be called in a thread of its own.

    Args:
        source: the video.
        part: which pictures.
        coding: the same for all parts of a clip.
        pictures: what is shown.
        threads: of the decoder.
        stop: set where the result is no longer wanted.
        count: called with the number of pictures done since it was called last.

    Raises:
        Stopped: it was not wanted any more.
        VideoProcessingError: the picture changes its size.
    """
    encoder = coding.encoder()
    base = source.stamp(part.cut.first) - part.offset
    packets: list[tuple[Any, int]] = []
    done = 0
    with contextlib.closing(pictures(part.cut, threads)) as coming:
        for number, picture in coming:
            if stop.is_set():
                raise Stopped
            picture.pts, picture.time_base = source.stamp(number) - base, source.base
            packets += [(p, p.pts) for p in encoder.encode(picture)]
            done += 1
            count(1)
    if done:
        packets += [(p, p.pts) for p in encoder.encode(None)]
    return Encoded(packets, part.cut.last - part.cut.first - done)
