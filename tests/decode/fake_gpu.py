"""A stand-in for CUDA and NVDEC: libav decodes, blocks are NumPy arrays, events remember what was done."""

from __future__ import annotations

import threading
import time
from typing import Any

import av
import numpy as np

from fastface.decode.format import Format


def packed(frame: Any) -> np.ndarray:
    """[rows, row] of a frame (av.VideoFrame, 4:2:0) as NV12 or P016, as it stands in the ring."""
    depth = frame.format.components[0].bits
    row, rows = (frame.width + 1) // 2 * 2, frame.height + (frame.height + 1) // 2
    dtype = np.uint8 if depth == 8 else np.uint16
    out = np.zeros((rows, row), dtype)
    planes = []
    for plane in frame.planes:
        samples = np.frombuffer(bytes(plane), dtype).reshape(-1, abs(plane.line_size) // np.dtype(dtype).itemsize)
        planes.append(samples[: plane.height, : plane.width])
    out[: frame.height, : frame.width] = planes[0]
    out[frame.height :, 0::2], out[frame.height :, 1::2] = planes[1], planes[2]
    return out if depth == 8 else out << (16 - depth)


class FakeEvent:
    def __init__(self) -> None:
        self.records: list[int] = []
        self.waits: list[int] = []

    def record(self, stream: int) -> None:
        self.records.append(stream)

    def wait(self, stream: int) -> None:
        self.waits.append(stream)

    def synchronize(self) -> None:
        pass


class FakeSession:
    def __init__(self, backend: FakeGpu) -> None:
        self.backend = backend
        self.context: Any = None
        self._stream: int | None = threading.get_ident()
        self.lent: list[np.ndarray] = []
        backend.opened += 1

    @property
    def stream(self) -> int:
        assert self._stream is not None, "the session was closed"
        return self._stream

    def adopt(self) -> None:
        self._stream = threading.get_ident()

    def decode(self, coded: Any, tag: int) -> list[tuple[int, Any]]:
        assert threading.get_ident() == self.stream, "a session belongs to one thread"
        for surface in self.lent:  # what was lent before is overwritten, as the real one does
            surface[:] = 0xAA
        self.lent = []
        if self.context is None:
            codec = self.backend.form.codec
            self.context = av.CodecContext.create("libdav1d" if codec == "av1" else codec, "r")
        if coded is None:
            frames = self._libav(None)
            # libdav1d's threads want the interpreter's lock to free these packets; PyAV frees the decoder with it held.
            self.context.flush_buffers()
            self.context = None
        else:
            self.backend.fail_at -= 1
            if self.backend.fail_at == 0:
                raise RuntimeError(self.backend.message)
            packet = av.Packet(bytes(coded.data))
            packet.pts = packet.dts = tag
            frames = self._libav(packet)
        time.sleep(self.backend.delay)
        out = [(f.pts, packed(f)) for f in frames]
        self.lent = [surface for _, surface in out]
        return out

    def _libav(self, packet: Any) -> list[Any]:
        try:
            return list(self.context.decode(packet))
        except av.error.FFmpegError:
            if not self.backend.forgiving:
                raise
            return []

    def check(self) -> str | None:
        form = self.backend.form
        shape = self.lent[0].shape if self.lent else (form.rows, form.row)
        return None if shape == (form.rows, form.row) else f"the picture changes size in mid-stream (to {shape})"

    def copy(self, surface: np.ndarray, block: np.ndarray, slot: int) -> None:
        assert self.stream
        block[slot] = surface

    def wait(self, event: FakeEvent) -> None:
        event.wait(self.stream)

    def record(self, event: FakeEvent) -> None:
        event.record(self.stream)

    def close(self) -> None:
        self._stream = None
        self.backend.closed += 1


class FakeGpu:
    """Made by `FakeGpu.maker(...)`, which is what NvdecDecoder takes as `_backend`."""

    engines = 2
    free_bytes = 1 << 30
    forgiving = False  # whether a damaged packet gives no frame, as with NVDEC, rather than an error

    def __init__(self, form: Format) -> None:
        self.form = form
        self.opened = self.closed = self.synchronized = 0
        self.fail_at = -1
        self.message = "it broke"
        self.delay = 0.0
        self.room: int | None = None
        self.most_sessions: int | None = None
        self.blocks = 0

    @classmethod
    def maker(cls, **settings: Any) -> Any:
        made: list[FakeGpu] = []

        def make(device_id: int, form: Format) -> FakeGpu:
            gpu = cls(form)
            for name, value in settings.items():
                setattr(gpu, name, value)
            made.append(gpu)
            return gpu

        make.made = made  # type: ignore[attr-defined]
        return make

    def allocate(self, blocks: int, batch: int) -> list[np.ndarray]:
        if self.room is not None and blocks > self.room:
            raise MemoryError("no room")
        self.blocks = blocks
        return [np.full((batch, self.form.rows, self.form.row), 0x55, self.form.dtype) for _ in range(blocks)]

    def event(self) -> FakeEvent:
        return FakeEvent()

    def session(self) -> FakeSession:
        if self.most_sessions is not None and self.opened >= self.most_sessions:
            raise RuntimeError("out of memory")
        return FakeSession(self)

    def synchronize(self) -> None:
        self.synchronized += 1

    def close(self) -> None:
        pass
