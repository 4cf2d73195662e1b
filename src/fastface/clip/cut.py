"""Parts of a clip: decoded, turned into what is shown, encoded. Each gives packets that can follow those of another."""

from __future__ import annotations

import threading
from collections.abc import Callable
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


def encode_part(
    source: Source,
    part: Part,
    coding: Coding,
    view_of: ViewOf,
    threads: int,
    stop: threading.Event,
    count: Callable[[int], None],
) -> Encoded:
    """Decode the pictures of a part, and encode what is shown of them. To be called in a thread of its own.

    Args:
        source: the video.
        part: which pictures.
        coding: the same for all parts of a clip.
        view_of: what is shown.
        threads: of the decoder and of the encoder.
        stop: set where the result is no longer wanted.
        count: called with the number of pictures done since it was called last.

    Raises:
        Stopped: it was not wanted any more.
        VideoProcessingError: the picture changes its size.
    """
    reader, aside = Reader(source, threads), Reader(source)  # what is held is read aside, so that the pictures go on
    try:
        encoder = coding.encoder(threads)
        base = source.stamp(part.cut.first) - part.offset
        packets: list[tuple[Any, int]] = []
        view = None
        done = 0
        for number, frame in reader.pictures(*part.cut):
            if stop.is_set():
                raise Stopped
            if view is None:
                view = view_of(Converter(frame, reader.stream.codec_context, source.info.rotation), aside)
            picture = view(number, frame)
            picture.pts, picture.time_base = source.stamp(number) - base, source.base
            packets += [(p, p.pts) for p in encoder.encode(picture)]
            done += 1
            count(1)
        if done:
            packets += [(p, p.pts) for p in encoder.encode(None)]
        return Encoded(packets, part.cut.last - part.cut.first - done)
    finally:
        reader.close()
        aside.close()
