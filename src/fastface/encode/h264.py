"""Pictures to H.264, by libx264."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from fastface.encode.planes import Converter
from fastface.errors import VideoProcessingError

REORDER = 2
"""Pictures by which decoding may run ahead of showing, with the preset used here (B-frames, B-pyramid)."""

_OPTIONS = {"preset": "veryfast", "crf": "18"}
_GLOBAL_HEADER = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER: parameter sets are kept apart, not put into each key packet


@dataclass(frozen=True)
class Coding:
    """How pictures are coded. Two encoders of one coding give the same parameter sets, so that what they made can be
    put one after the other.

    Attributes:
        size: (width, height), even.
        rate: pictures a second, about; what counts are their time stamps.
        base: seconds of one unit of these.
        full: whether Y covers [0, 255]; None where the stream does not say.
        matrix, primaries, transfer: libav's numbers; None where the stream has none.
        aspect: width of a pixel over its height.
        sets: id of the parameter sets, which must differ where others are in the same stream.
    """

    size: tuple[int, int]
    rate: Fraction
    base: Fraction
    full: bool | None = None
    matrix: int | None = None
    primaries: int | None = None
    transfer: int | None = None
    aspect: Fraction = Fraction(1)
    sets: int = 0

    @classmethod
    def of(cls, converter: Converter, context: Any, rate: Fraction, base: Fraction) -> Coding:
        """What fits the pictures of a converter, whose decoder's context is given."""
        aspect = context.sample_aspect_ratio or Fraction(1)
        told = {1: False, 2: True}.get(int(context.color_range))
        return cls(
            size=converter.out,
            rate=rate,
            base=base,
            full=True if converter.full else False if converter.rgb else told,
            matrix=converter.tag,
            primaries=None if converter.rgb else int(context.color_primaries),
            transfer=None if converter.rgb else int(context.color_trc),
            aspect=1 / aspect if converter.rotation in (90, 270) else aspect,
        )

    def sized(self, size: tuple[int, int]) -> Coding:
        """The same, for pictures of another size and square pixels."""
        return replace(self, size=size, aspect=Fraction(1))

    def stream(self, container: Any) -> Any:
        """Add a stream to an output container; either it encodes, or packets of :meth:`encoder` are put into it."""
        stream = _with_libx264(lambda: container.add_stream("libx264", rate=self.rate, options=self._options()))
        self._apply(stream.codec_context)
        return stream

    def encoder(self) -> Any:
        """An encoder without a container (av.VideoCodecContext). It has one thread: parts of a clip are encoded beside
        each other."""
        import av

        context: Any = _with_libx264(lambda: av.CodecContext.create("libx264", "w"))
        context.options = self._options()
        context.framerate = self.rate
        context.flags |= _GLOBAL_HEADER
        context.thread_count = 1
        self._apply(context)
        return context

    def header(self) -> bytes:
        """The parameter sets that every encoder of this coding gives, in Annex B."""
        encoder = self.encoder()
        encoder.open()
        return bytes(encoder.extradata)

    def _options(self) -> dict[str, str]:
        from fastface import _core

        # With libx264's code for AVX-512 the same pictures do not always give the same bytes (seen with libx264 165 and
        # its lookahead, one thread); with that for AVX2 they do, as fast.
        more = ["asm=avx2"] if _core.has_avx512() else []
        more += [f"sps-id={self.sets}"] if self.sets else []
        return {**_OPTIONS, "x264-params": ":".join(more)} if more else dict(_OPTIONS)

    def _apply(self, context: Any) -> None:
        # Not slices, PyAV's default: they take 16% more bytes.
        context.thread_type = "FRAME"
        context.width, context.height, context.pix_fmt = *self.size, "yuv420p"
        context.time_base = self.base
        context.color_range = 0 if self.full is None else 1 + self.full
        for name, value in (("colorspace", self.matrix), ("color_primaries", self.primaries),
                            ("color_trc", self.transfer)):  # fmt: skip
            if value is not None:
                setattr(context, name, value)
        if self.aspect != 1:
            context.sample_aspect_ratio = self.aspect


def _with_libx264(make: Any) -> Any:
    import av

    try:
        return make()
    except (ValueError, av.error.FFmpegError) as error:
        raise VideoProcessingError("cannot encode H.264: this PyAV was built without libx264") from error
