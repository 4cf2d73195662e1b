"""Sound tracks of what is written: AAC, or packets as they are."""

from __future__ import annotations

from typing import Any

from fastface.decode.probe import decode_packet

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def aac_stream(container: Any, context: Any) -> tuple[Any, Any]:
    """A stream of AAC for an output container, and what brings decoded sound into its form.

    Args:
        container: to write to.
        context: of the decoder. Rate and channels stay as they are where AAC knows them; else it is 48 kHz, or stereo.

    Returns:
        (stream, av.AudioResampler to planar float).
    """
    import av

    rate = context.sample_rate if context.sample_rate in _AAC_RATES else 48000
    layout = _LAYOUTS.get(context.layout.nb_channels, "stereo")
    stream = container.add_stream("aac", rate=rate, layout=layout)
    return stream, av.AudioResampler(format="fltp", layout=layout, rate=rate)


class Passing:
    """One sound track on its way through: packets as they are, or encoded anew where the container refuses them."""

    def __init__(self, source: Any, container: Any, suffix: str, notes: list[str]) -> None:
        self.container, self.resampler = container, None
        try:
            self.stream = container.add_stream_from_template(source)
        except ValueError:
            self.stream, self.resampler = aac_stream(container, source.codec_context)
            notes.append(
                f"the sound is {source.codec_context.name}, which does not fit into {suffix}: "
                f"it was encoded anew as AAC"
            )

    def take(self, packet: Any) -> None:
        if self.resampler is None:
            if packet.dts is not None:
                packet.stream = self.stream
                self.container.mux(packet)
            return
        for frame in decode_packet(packet):
            self._encode(frame)

    def _encode(self, frame: Any) -> None:
        assert self.resampler is not None
        for piece in self.resampler.resample(frame):
            self.container.mux(self.stream.encode(piece))

    def end(self) -> None:
        if self.resampler is not None:
            self._encode(None)
            self.container.mux(self.stream.encode(None))
