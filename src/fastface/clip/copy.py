"""What `--fast` takes over without decoding it: whole groups of pictures, between two places where a cut can be.

What is left at both ends of a cut is encoded. In H.264 both can be in one stream: the encoder's parameter sets get an
id that the source does not use, and the file's header holds both. Other codecs are copied where both ends of every cut
fall on such places, else all is encoded.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from fastface.clip.cut import Encoded, Part
from fastface.clip.source import Cut, Source
from fastface.decode.headers import Look, headers_of
from fastface.decode.probe import open_container, video_stream
from fastface.encode.h264 import Coding
from fastface.errors import VideoProcessingError

_COPIED = ("h264", "hevc", "vp9", "libvpx-vp9", "av1", "libdav1d")
"""Codecs that MP4 holds."""

_MOST_SETS = 31  # the highest id of a sequence parameter set (ITU-T H.264, 7.4.2.1.1)


def refusal(source: Source, cuts: Sequence[Cut]) -> str | None:
    """Why nothing of these cuts can be copied, in a sentence; None: something can."""
    codec = source.info.codec
    if codec not in _COPIED:
        return f"{codec} cannot be copied into MP4: all was encoded"
    if source.info.rotation:
        return f"the video is turned by {source.info.rotation} degrees for display: all was encoded"
    if codec == "h264" and source.plain and _free_id(source) is not None:
        copied = any(_inner(source, cut) for cut in cuts)
        return None if copied else "no cut holds a whole group of pictures: all was encoded"
    if all(source.is_safe(cut.first) and source.is_safe(cut.last) for cut in cuts):
        return None
    kind = "the pictures of this video" if codec == "h264" else f"pictures of {codec}"
    return f"{kind} can be copied only where a cut falls on a key picture, and one does not: all was encoded"


def _inner(source: Source, cut: Cut) -> Cut | None:
    """The pictures of a cut that can be copied."""
    safe = [*source.safe, len(source.stamps)]
    first = safe[bisect.bisect_left(safe, cut.first)]
    last = safe[max(bisect.bisect_right(safe, cut.last) - 1, 0)]
    return Cut(first, last) if first < last else None


def fast_pieces(source: Source, cut: Cut, most: int) -> Iterator[tuple[Cut, bool]]:
    """A cut divided into pictures that are encoded (False) and about `most` each that are copied (True)."""
    inner = _inner(source, cut)
    if inner is None:
        yield cut, False
        return
    if cut.first < inner.first:
        yield Cut(cut.first, inner.first), False
    first = inner.first
    for last in [*source.safe[bisect.bisect_right(source.safe, first) :], inner.last]:
        if last >= inner.last or last - first >= most:
            yield Cut(first, min(last, inner.last)), True
            first = last
        if last >= inner.last:
            break
    if inner.last < cut.last:
        yield Cut(inner.last, cut.last), False


def fast_coding(source: Source) -> Coding:
    """How the ends are encoded so that they can be in one stream with what is copied."""
    return replace(source.coding, sets=_free_id(source) or 0)


def copying_stream(source: Source, container: Any, encoded_header: bytes | None) -> Any:
    """Add a stream for copied packets to an output container.

    Args:
        source: the video.
        container: to write to.
        encoded_header: Annex B parameter sets of what is encoded; None where nothing is.
    """
    with open_container(source.path) as file:
        stream = container.add_stream_from_template(video_stream(file, source.path), opaque=True)
        if encoded_header is not None:
            stream.codec_context.extradata = _parameter_sets(source) + encoded_header
        return stream


def copy_part(source: Source, part: Part, count: Callable[[int], None]) -> Encoded:
    """The packets of a part whose ends are places where the video can be cut.

    Raises:
        VideoProcessingError: they are not where they were.
    """
    first, last = source.stamp(part.cut.first), source.stamp(part.cut.last)
    ends = part.cut.last == len(source.stamps)
    packets: list[tuple[Any, int]] = []
    with open_container(source.path) as file:
        stream = video_stream(file, source.path)
        name = headers_of("h264", source.extradata).filter if source.info.codec == "h264" else None
        annex_b = BitStreamFilterContext(name, stream) if name else None
        for packet in _from_key(file, stream, first):
            if packet.pts == last and not ends:
                break
            stamp = packet.pts - first + part.offset
            packets += [(piece, stamp) for piece in (annex_b.filter(packet) if annex_b else [packet])]
    pictures = part.cut.last - part.cut.first
    if len(packets) != pictures:
        raise VideoProcessingError(
            f"{len(packets)} packets of {source.path!r} were found from {source.seconds(first):.3f} s on, must be "
            f"{pictures}: it cannot be copied without decoding; leave out fast"
        )
    count(pictures)
    return Encoded(packets, 0)


def _from_key(file: Any, stream: Any, stamp: int) -> Iterator[Any]:
    """Packets from the key one with this time stamp on, in the order of decoding."""
    for attempt in (stamp, None):
        if attempt is not None:
            with contextlib.suppress(av.error.FFmpegError):
                file.seek(attempt, stream=stream, backward=True)
        else:
            file.seek(file.start_time or 0)
        found = False
        for packet in file.demux(stream):
            if not packet.size:
                continue
            found = found or (packet.pts == stamp and packet.is_keyframe)
            if found:
                yield packet
            elif packet.dts is not None and packet.dts > stamp:
                break
        if found:
            return


def _parameter_sets(source: Source) -> bytes:
    """Those of the source's container in Annex B."""
    return headers_of("h264", source.extradata).prefix(Look(entry=True))[0]


def _free_id(source: Source) -> int | None:
    """An id that no sequence or picture parameter set of the source has; None: it cannot be told."""
    used = set()
    for unit in _parameter_sets(source).split(b"\0\0\0\1")[1:]:
        kind = unit[0] & 0x1F
        # ITU-T H.264, 7.3.2.1.1 and 7.3.2.2: an SPS has profile, constraints and level in front of its id.
        used.add(_exp_golomb(unit[4:] if kind in (7, 15) else unit[1:]))
    return next((i for i in range(1, _MOST_SETS + 1) if i not in used), None) if used else None


def _exp_golomb(data: bytes) -> int:
    """The ue(v) at the beginning of some bytes (ITU-T H.264, 9.1)."""
    bits = "".join(f"{byte:08b}" for byte in data[:8])
    zeros = len(bits) - len(bits.lstrip("0"))
    return int(bits[zeros : 2 * zeros + 1] or "1", 2) - 1
