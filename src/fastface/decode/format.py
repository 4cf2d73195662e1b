"""What a file must be like for NVDEC to give the same frames as libav, and what a session must be able to decode."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from fastface.decode.device import Unsupported
from fastface.decode.probe import VideoFile, describe
from fastface.types import VideoInfo

CODECS = {"h264": 4, "hevc": 8, "vp8": 9, "vp9": 10, "av1": 11}
"""Number of each codec that NVDEC is used for (cudaVideoCodec of the Video Codec SDK's cuviddec.h)."""

REORDERING = frozenset({"h264", "hevc"})

_ALIASES = {"libdav1d": "av1", "libaom-av1": "av1", "libvpx-vp9": "vp9", "libvpx": "vp8"}
_DEPTHS = {"yuv420p": 8, "yuvj420p": 8, "nv12": 8, "yuv420p10le": 10, "yuv420p12le": 12}


@dataclass(frozen=True)
class Format:
    """What a session must be able to decode.

    Attributes:
        codec: "h264", "hevc", "vp8", "vp9" or "av1".
        bit_depth: 8, 10 or 12.
        width, height: of the picture, cropped.
        coded_width, coded_height: with what is cropped.
    """

    codec: str
    bit_depth: int
    width: int
    height: int
    coded_width: int
    coded_height: int

    @property
    def row(self) -> int:
        """Samples in a row of a frame in the ring."""
        return (self.width + 1) // 2 * 2

    @property
    def rows(self) -> int:
        """Rows of a frame in the ring."""
        return self.height + (self.height + 1) // 2

    @property
    def dtype(self) -> type:
        return np.uint8 if self.bit_depth == 8 else np.uint16

    @property
    def frame_bytes(self) -> int:
        return self.row * self.rows * (1 if self.bit_depth == 8 else 2)


@dataclass(frozen=True)
class Stream:
    """What a session is to decode.

    Attributes:
        info: of the video.
        form: of its frames.
        time_base: seconds of one unit of its time stamps.
        origin: time stamp of the first frame shown.
        parameters: the parameter sets that the container has.
    """

    info: VideoInfo
    form: Format
    time_base: Fraction
    origin: int | None
    parameters: bytes


def examine(file: VideoFile) -> Stream:
    """What the file holds, with its first frame decoded by libav: the same VideoInfo and origin of time as on the CPU.

    Raises:
        VideoProcessingError: not a single frame can be decoded.
        Unsupported: NVDEC would not give the same frames.
    """
    first = file.first_frame()
    info = describe(file, first)
    name = _ALIASES.get(info.codec, info.codec)
    if name not in CODECS:
        raise Unsupported(f"NVDEC is not used for {info.codec}")
    if info.pixel_format not in _DEPTHS:
        raise Unsupported(f"NVDEC is not used for {info.pixel_format}")
    if first.interlaced_frame:
        raise Unsupported("NVDEC would deinterlace this interlaced video")
    context = file.stream.codec_context
    coded_width = context.coded_width or first.width
    coded_height = context.coded_height or first.height
    form = Format(name, _DEPTHS[info.pixel_format], first.width, first.height, coded_width, coded_height)
    if (coded_width, coded_height) != (first.width, first.height) and _cropped_at_origin(file, name):
        raise Unsupported("the picture is cropped on the left or at the top, which PyNvVideoCodec ignores")
    return Stream(info, form, file.stream.time_base, first.pts, bytes(context.extradata or b""))


def _cropped_at_origin(file: VideoFile, codec: str) -> bool:
    """Whether an H.264 or HEVC stream that is cropped at all is cropped on the left or at the top.

    libav writes the parameter sets anew twice, as they are and with both offsets 0: if that makes no
    difference, they were 0.
    """
    if codec not in ("h264", "hevc"):
        return False
    out: list[bytes] = []
    for options in ("", "=crop_left=0:crop_top=0"):
        packet = file.first_packet()
        if packet is None:
            return True
        try:
            rewrite = BitStreamFilterContext(f"{codec}_mp4toannexb,{codec}_metadata{options}", file.stream)
            packet.is_keyframe = True  # parameter sets are put in front of these only
            out.append(b"".join(bytes(p) for p in rewrite.filter(packet)))
        except av.error.FFmpegError:
            return True  # cannot be told: let libav do it
    return out[0] != out[1]
