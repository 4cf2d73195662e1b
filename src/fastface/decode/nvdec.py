"""Decoding by NVDEC (through PyNvVideoCodec) into a ring of NV12 or P016 in device memory, on all engines at once.

One thread demuxes and cuts the file into segments (see `segments.py`); each session has a thread, a decoder and a
non-blocking stream of its own, and takes the next segment when it is through with one. A session is not made anew for a
segment: an empty packet flushes it. One pass over the file by one thread, rather than a seek per session, because it
costs 12 µs a packet (80,000 frames/s), works in every container (transport and elementary streams have no index), and
starts at once; packets that wait are bounded by bytes and by number.

Memory is bounded whatever the length of the video: the ring is allocated once, as blocks of one batch each. In order
(`ordered=True`), sessions that are ahead fill blocks until only a reserve is left, which only the session with the
segment that is due may take: so it always gets on, and a small ring makes decoding slower, never stuck. With
`ordered=False` batches come as they are complete and few blocks suffice; `InOrder` restores the order of results.

Who waits for whom: a session copies each surface into its block on its own stream before the next `Decode()` may
overwrite it, and records `ready` after a block's last frame; the consumer's stream waits for that. The consumer's
`release(stream)` records an event there, and the session that takes the block next lets its stream wait for it. The
host waits for no event.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from fastface.decode.device import NO_PTS, DeviceEvent, DeviceFrameBatch, Unsupported
from fastface.decode.probe import Clock, DecodeStats, describe, open_container, video_stream
from fastface.decode.segments import MIN_FRAMES, Coded, SegmentReader
from fastface.errors import GPUError, GPUMemoryError, InputValidationError, VideoProcessingError
from fastface.types import VideoInfo

BATCH_BYTES = 128 << 20
"""Bytes of NV12 that a batch may hold: 32 frames of 1080p, 10 of 2160p."""

MAX_BATCH = 32

RING_FRACTION = 0.25
"""Part of the free device memory that the ring may take unless `memory` says otherwise."""

EXPECTED_SEGMENT = 256
"""Frames a segment that the ring is laid out for; longer ones are decoded as well."""

QUEUE_BYTES = 256 << 20
QUEUE_PACKETS = 32768
"""What the demuxing thread may be ahead."""

CHUNK = 16
"""Packets that are handed over at once."""

HOLD = 3
"""Batches that the consumer may hold while it asks for the next one."""

MAX_SESSIONS = 14

# cudaVideoCodec and cudaVideoChromaFormat of the Video Codec SDK's cuviddec.h
_CODECS = {"h264": 4, "hevc": 8, "vp8": 9, "vp9": 10, "av1": 11}
_ALIASES = {"libdav1d": "av1", "libaom-av1": "av1", "libvpx-vp9": "vp9", "libvpx": "vp8"}
_REORDERING = frozenset({"h264", "hevc"})
_CHROMA_420 = 1
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


class Session(Protocol):
    """One decoder with its stream; used by one thread."""

    def decode(self, coded: Coded | None, tag: int) -> list[tuple[int, Any]]:
        """Tag and surface of the frames that come out, in the order shown; None as packet flushes."""

    def check(self) -> str | None:
        """What is wrong with the frames' size, if something is."""

    def copy(self, surface: Any, block: Any, slot: int) -> None:
        """Queue the copy of a surface into a block."""

    def wait(self, event: DeviceEvent) -> None:
        """Let the session's stream wait."""

    def record(self, event: DeviceEvent) -> None:
        """Record on the session's stream."""

    def close(self) -> None:
        """Release everything."""


class Backend(Protocol):
    """The device: CUDA, or a stand-in that lets the tests run the rest without one."""

    engines: int
    free_bytes: int

    def allocate(self, blocks: int, batch: int) -> list[Any]:
        """Blocks of [batch, rows, row] samples; MemoryError if there is no room."""

    def event(self) -> DeviceEvent: ...

    def session(self) -> Session: ...

    def synchronize(self) -> None:
        """Let the host wait for the whole device."""

    def close(self) -> None: ...


# ---------------------------------------------------------------------------------------------------------------- CUDA


class _DecodeCaps(ctypes.Structure):
    """CUVIDDECODECAPS of cuviddec.h."""

    _fields_ = (
        ("codec", ctypes.c_int),
        ("chroma", ctypes.c_int),
        ("depth_minus_8", ctypes.c_uint),
        ("reserved1", ctypes.c_uint * 3),
        ("supported", ctypes.c_ubyte),
        ("engines", ctypes.c_ubyte),
        ("output_formats", ctypes.c_ushort),
        ("max_width", ctypes.c_uint),
        ("max_height", ctypes.c_uint),
        ("max_macroblocks", ctypes.c_uint),
        ("min_width", ctypes.c_ushort),
        ("min_height", ctypes.c_ushort),
        ("histogram", ctypes.c_ubyte),
        ("counter_depth", ctypes.c_ubyte),
        ("max_bins", ctypes.c_ushort),
        ("reserved3", ctypes.c_uint * 10),
    )


@functools.lru_cache(maxsize=64)
def decoder_caps(device_id: int, codec: str, bit_depth: int) -> dict[str, int]:
    """What the driver says of 4:2:0 video of a codec and bit depth on a device.

    Asked of the driver's library itself: PyNvVideoCodec's GetDecoderCaps makes a context on device 0 whatever it is
    asked.

    Raises:
        GPUError: the driver's decoding library is missing or fails.
    """
    import cupy

    try:
        library = ctypes.CDLL("libnvcuvid.so.1")
    except OSError as error:
        raise GPUError(
            f"the driver's video library libnvcuvid.so.1 cannot be loaded ({error}); in a container, "
            "NVIDIA_DRIVER_CAPABILITIES must include 'video'"
        ) from error
    caps = _DecodeCaps(codec=_CODECS[codec], chroma=_CHROMA_420, depth_minus_8=bit_depth - 8)
    with cupy.cuda.Device(device_id):
        cupy.cuda.runtime.free(0)  # makes the device's primary context current
        status = library.cuvidGetDecoderCaps(ctypes.byref(caps))
    if status:
        raise GPUError(f"the driver cannot say what it decodes (cuvidGetDecoderCaps gave {status})")
    return {
        name: int(getattr(caps, name))
        for name in (
            "supported",
            "engines",
            "output_formats",
            "max_width",
            "max_height",
            "max_macroblocks",
            "min_width",
            "min_height",
        )
    }


class _CudaEvent:
    def __init__(self, cupy: Any) -> None:
        self._runtime = cupy.cuda.runtime
        self._event = cupy.cuda.Event(block=False, disable_timing=True)

    def record(self, stream: int) -> None:
        self._runtime.eventRecord(self._event.ptr, stream)

    def wait(self, stream: int) -> None:
        self._runtime.streamWaitEvent(stream, self._event.ptr, 0)

    def synchronize(self) -> None:
        self._event.synchronize()


class _CudaSession:
    def __init__(self, cupy: Any, library: Any, device_id: int, form: Format) -> None:
        self._cupy, self._library, self._form = cupy, library, form
        self._device = cupy.cuda.Device(device_id)
        self._device.use()  # of this thread; a session never leaves it
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._decoder = library.CreateDecoder(
            gpuid=device_id,
            codec=getattr(library.cudaVideoCodec, form.codec.upper()),
            cudacontext=0,  # the primary context, which CuPy and torch use
            cudastream=self._stream.ptr,
            usedevicememory=True,
        )
        self._packet = library.PacketData()
        self._end = library.PacketData()
        self._copy = cupy.cuda.runtime.memcpyAsync
        self._kind = cupy.cuda.runtime.memcpyDeviceToDevice
        self._bytes = form.frame_bytes

    def decode(self, coded: Coded | None, tag: int) -> list[tuple[int, Any]]:
        if coded is None:
            frames = self._decoder.Decode(self._end)
        else:
            packet = self._packet
            packet.bsl_data, packet.bsl = coded.address, coded.size
            packet.pts = packet.dts = tag
            packet.key = coded.key
            frames = self._decoder.Decode(packet)  # reads the bytes before it returns
        return [(int(f.getPTS()), f) for f in frames] if frames else []

    def check(self) -> str | None:
        width, height = self._decoder.GetWidth(), self._decoder.GetHeight()
        size = self._decoder.GetFrameSize()
        if (width, height) != (self._form.row, self._form.height):
            return f"the picture changes size in mid-stream (to {width}x{height})"
        if size != self._bytes:
            return f"frames have {size} bytes instead of {self._bytes}"
        return None

    def copy(self, surface: Any, block: Any, slot: int) -> None:
        # Surfaces are NV12 or P016 without padding, which is how the ring is laid out.
        self._copy(
            block.data.ptr + slot * self._bytes,
            int(surface.GetPtrToPlane(0)),
            self._bytes,
            self._kind,
            self._stream.ptr,
        )

    def wait(self, event: DeviceEvent) -> None:
        event.wait(self._stream.ptr)

    def record(self, event: DeviceEvent) -> None:
        event.record(self._stream.ptr)

    def close(self) -> None:
        self._stream.synchronize()
        self._decoder = self._packet = self._end = None
        self._stream = None


class CudaBackend:
    """CuPy and PyNvVideoCodec.

    Raises:
        GPUError: one of them, the driver or the device is missing.
        Unsupported: NVDEC does not decode this format.
    """

    def __init__(self, device_id: int, form: Format) -> None:
        try:
            import cupy
        except ImportError as error:
            raise GPUError(f"CuPy is missing ({error}); install fastface-gpu[cuda13] or [cuda12]") from error
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise GPUError(f"no NVIDIA GPU can be used: {error}") from error
        if not 0 <= device_id < count:
            raise GPUError(f"device_id is {device_id}, but there are {count} GPUs (from 0)")
        try:
            import PyNvVideoCodec
        except Exception as error:  # it raises RuntimeError where the driver's libraries are missing
            raise GPUError(f"PyNvVideoCodec cannot be used: {str(error).strip().splitlines()[0]}") from error
        self._cupy, self._library = cupy, PyNvVideoCodec
        self._device_id, self._form = device_id, form
        caps = decoder_caps(device_id, form.codec, form.bit_depth)
        self.engines = max(1, caps["engines"])
        what = f"{form.codec} of {form.bit_depth} bits, 4:2:0"
        if not caps["supported"]:
            raise Unsupported(f"this GPU does not decode {what}")
        size = f"{form.coded_width}x{form.coded_height}"
        if form.coded_width > caps["max_width"] or form.coded_height > caps["max_height"]:
            raise Unsupported(f"this GPU decodes {what} up to {caps['max_width']}x{caps['max_height']}, not {size}")
        if form.coded_width < caps["min_width"] or form.coded_height < caps["min_height"]:
            raise Unsupported(f"this GPU decodes {what} from {caps['min_width']}x{caps['min_height']} on, not {size}")
        if (form.coded_width >> 4) * (form.coded_height >> 4) > caps["max_macroblocks"]:
            raise Unsupported(f"this GPU does not decode {what} of as many macroblocks as {size}")
        if not caps["output_formats"] & (1 if form.bit_depth == 8 else 2):
            raise Unsupported(f"this GPU gives {what} in another format than NV12 or P016")
        with cupy.cuda.Device(device_id):
            self.free_bytes = int(cupy.cuda.runtime.memGetInfo()[0])

    def allocate(self, blocks: int, batch: int) -> list[Any]:
        form, cupy = self._form, self._cupy
        with cupy.cuda.Device(self._device_id):
            try:
                # Past CuPy's pool, so that it goes back to the device when the last array is gone.
                memory = cupy.cuda.Memory(blocks * batch * form.frame_bytes)
            except (cupy.cuda.memory.OutOfMemoryError, cupy.cuda.runtime.CUDARuntimeError) as error:
                raise MemoryError(str(error)) from error
            ring = cupy.ndarray((blocks, batch, form.rows, form.row), form.dtype, cupy.cuda.MemoryPointer(memory, 0))
            return [ring[i] for i in range(blocks)]

    def event(self) -> DeviceEvent:
        with self._cupy.cuda.Device(self._device_id):
            return _CudaEvent(self._cupy)

    def session(self) -> Session:
        return _CudaSession(self._cupy, self._library, self._device_id, self._form)

    def synchronize(self) -> None:
        self._cupy.cuda.Device(self._device_id).synchronize()

    def close(self) -> None:
        pass


# -------------------------------------------------------------------------------------------------------- the stream


@dataclass(frozen=True)
class _Stream:
    info: VideoInfo
    form: Format
    time_base: Fraction
    origin: int | None


def _probe(path: str, stats: DecodeStats) -> _Stream:
    """What the file holds, with its first frame decoded by libav: the same VideoInfo and origin of time as on the CPU.

    Raises:
        InputValidationError, VideoProcessingError: as LibavDecoder.
        Unsupported: NVDEC would not give the same frames.
    """
    container = open_container(path)
    try:
        stream = video_stream(container, path)
        skipped = 0
        first = None
        packets = container.demux(stream)
        while first is None:
            try:
                frames = next(packets).decode()
            except StopIteration:
                break
            except av.error.FFmpegError:
                skipped += 1
                continue
            first = next(iter(frames), None)
        if first is None:
            raise VideoProcessingError(
                f"not a single frame of {path!r} can be decoded ({skipped} packets were damaged)"
            )
        info = describe(path, container, stream, first, stats)
        context = stream.codec_context
        name = _ALIASES.get(info.codec, info.codec)
        if name not in _CODECS:
            raise Unsupported(f"NVDEC is not used for {info.codec}")
        if info.pixel_format not in _DEPTHS:
            raise Unsupported(f"NVDEC is not used for {info.pixel_format}")
        if first.interlaced_frame:
            raise Unsupported("NVDEC would deinterlace this interlaced video")
        coded_width = context.coded_width or first.width
        coded_height = context.coded_height or first.height
        form = Format(name, _DEPTHS[info.pixel_format], first.width, first.height, coded_width, coded_height)
        time_base = stream.time_base
        origin = first.pts
    finally:
        container.close()
    if (coded_width, coded_height) != (first.width, first.height) and _cropped_at_origin(path, name):
        raise Unsupported("the picture is cropped on the left or at the top, which PyNvVideoCodec ignores")
    return _Stream(info, form, time_base, origin)


def _cropped_at_origin(path: str, codec: str) -> bool:
    """Whether an H.264 or HEVC stream that is cropped at all is cropped on the left or at the top.

    libav writes the parameter sets anew twice, as they are and with both offsets 0: if that makes no
    difference, they were 0.
    """
    if codec not in ("h264", "hevc"):
        return False
    out: list[bytes] = []
    for options in ("", "=crop_left=0:crop_top=0"):
        with open_container(path) as container:
            stream = video_stream(container, path)
            try:
                rewrite = BitStreamFilterContext(f"{codec}_mp4toannexb,{codec}_metadata{options}", stream)
                packet = next(p for p in container.demux(stream) if p.size)
                packet.is_keyframe = True  # parameter sets are put in front of these only
                out.append(b"".join(bytes(p) for p in rewrite.filter(packet)))
            except (av.error.FFmpegError, StopIteration):
                return True  # cannot be told: let libav do it
    return out[0] != out[1]


# --------------------------------------------------------------------------------------------------------- scheduling


@dataclass(eq=False)
class _Block:
    """One batch's place in the ring."""

    pixels: Any
    ready: DeviceEvent
    freed: DeviceEvent
    wait: bool = False  # whether `freed` must be waited for before writing


@dataclass(eq=False)
class _Work:
    """A segment on its way from the demuxing thread to a session."""

    number: int
    base: int
    chunks: deque[list[Coded]] = field(default_factory=deque)
    complete: bool = False
    shown: int = 0


@dataclass(eq=False)
class _Part:
    """Frames of a segment that are decoded; `block` is None if none of them was asked for."""

    segment: int
    number: int
    final: bool
    block: _Block | None
    index: list[int]
    time: list[float]
    pts: list[int]
    times: list[float]  # of every frame, asked for or not, since the part before
    end: float = 0.0
    lost: int = 0


class _Stopped(Exception):
    """The decoder is being closed, or another thread failed."""


class NvdecDecoder:
    """Decodes the first video stream of a file into batches in device memory.

    Threads start in the constructor, which returns when the first batch is decoded or something failed. Batches are
    lent: give each back with `batch.release(stream)`, and hold at most `hold` of them when asking for the next. Use it
    in a `with` block, or call `close()`, which stops the threads and releases the decoders; the ring is freed with
    the last batch.

    Args:
        path: a file.
        device_id: number of the GPU.
        sessions: decoders at work at once; None takes one more than the GPU has NVDEC engines, at most 14.
        every: give every n-th frame only (the others are decoded, but not copied).
        batch_size: frames a batch; None chooses by size (at most 32 and about 128 MB). Batches do not reach over
            segments, so some are smaller.
        ordered: give batches in the order shown; False gives them as they are complete (see `InOrder`).
        hold: batches that the consumer may hold while it asks for the next one.
        memory: bytes that the ring may take; None chooses by segments in flight, at most a quarter of what is free.
        min_frames: packets that a segment has at least.

    Attributes:
        info: as LibavDecoder gives it.
        stats: counts, warnings and times, growing while batches are taken.
        batch_size, sessions: as chosen.
        ring_bytes: device memory of the ring.

    Raises:
        InputValidationError: no such file, not media, no video stream, an argument that is not allowed.
        VideoProcessingError: not a single frame can be decoded.
        Unsupported: NVDEC cannot decode this stream.
        GPUError: the GPU, its driver or its library fails.
        GPUMemoryError: not even the smallest ring fits.
    """

    name = "nvdec"
    threaded = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        device_id: int = 0,
        sessions: int | None = None,
        every: int = 1,
        batch_size: int | None = None,
        ordered: bool = True,
        hold: int = HOLD,
        memory: int | None = None,
        min_frames: int = MIN_FRAMES,
        _backend: Any = None,
    ) -> None:
        for label, value in (("every", every), ("batch_size", batch_size), ("sessions", sessions), ("hold", hold)):
            if value is not None and value < 1:
                raise InputValidationError(f"{label} is {value}, must be at least 1")
        self.stats = DecodeStats()
        self._path = os.fspath(path)
        self._every, self._ordered, self._hold = every, ordered, hold
        stream = _probe(self._path, self.stats)
        self.info = stream.info
        self._form, self._time_base, self._origin = stream.form, stream.time_base, stream.origin
        form = self._form
        self._backend: Backend = (_backend or CudaBackend)(device_id, form)
        self.batch_size = batch_size or max(1, min(MAX_BATCH, BATCH_BYTES // form.frame_bytes))
        self.sessions = sessions or min(MAX_SESSIONS, self._backend.engines + 1)
        self._allocate(memory, halve=batch_size is None)

        self._lock = threading.Lock()
        self._packets = threading.Condition(self._lock)  # sessions wait for packets
        self._space = threading.Condition(self._lock)  # the demuxing thread waits for room
        self._blocks = threading.Condition(self._lock)  # sessions wait for a block
        self._results = threading.Condition(self._lock)  # the consumer waits for a batch
        self._todo: deque[_Work] = deque()
        self._queued_bytes = self._queued_packets = 0
        self._demuxed = False
        self._count = 0  # segments, once all is demuxed
        self._parts: dict[int, deque[_Part]] = {}
        self._arrived: deque[_Part] = deque()
        self._head = 0  # the segment that is due
        self._finals = 0
        self._held = 0
        self._late: dict[int, tuple[list[float], float, bool]] = {}  # times of segments that are not due yet
        self._merged = 0
        self._error: BaseException | None = None
        self._stop = False
        self._iterated = False
        self._reader: SegmentReader | None = None
        self._threads: list[threading.Thread] = []
        try:
            self._reader = SegmentReader(
                self._path, min_frames=min_frames, cut=self.sessions > 1, origin=self._origin, stats=self.stats
            )
            self._start(self._demux, "demux")
            for i in range(self.sessions):
                self._start(self._session, f"nvdec-{i}")
            self._await_first()
        except BaseException:
            self.close()
            raise

    def _allocate(self, memory: int | None, *, halve: bool) -> None:
        """Make the ring; with `halve`, of smaller batches if there is no room for the smallest one."""
        block_bytes = self.batch_size * self._form.frame_bytes
        self._reserve = self._hold + 1
        least = self._reserve + (1 if self._ordered else self.sessions)
        ahead = -(-EXPECTED_SEGMENT // (self.batch_size * self._every)) if self._ordered else 2
        if self.info.frame_count:
            ahead = min(ahead, -(-self.info.frame_count // (self.batch_size * self._every)))
        wanted = self._reserve + self.sessions * max(1, ahead)
        budget = int(self._backend.free_bytes * RING_FRACTION) if memory is None else memory
        blocks = max(least, min(wanted, budget // block_bytes))
        while True:
            try:
                pixels = self._backend.allocate(blocks, self.batch_size)
                break
            except MemoryError as error:
                if blocks > least:
                    blocks = max(least, blocks // 2)
                elif halve and self.batch_size > 1:
                    self.batch_size //= 2
                    return self._allocate(memory, halve=True)
                else:
                    raise GPUMemoryError(
                        f"{blocks * block_bytes / 1e6:.0f} MB of device memory for {blocks} batches of "
                        f"{self.batch_size} frames cannot be had; free some, or use a smaller batch_size "
                        "or fewer sessions"
                    ) from error
        self.ring_bytes = blocks * block_bytes
        self._free = [_Block(p, self._backend.event(), self._backend.event()) for p in pixels]
        self._nothing = pixels[0][:0]

    def _start(self, target: Any, name: str) -> None:
        thread = threading.Thread(target=self._guard, args=(target,), name=f"fastface-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guard(self, target: Any) -> None:
        try:
            target()
        except _Stopped:
            pass
        except BaseException as error:
            with self._lock:
                self._error = self._error or error
                self._notify_all()

    def _notify_all(self) -> None:
        for condition in (self._packets, self._space, self._blocks, self._results):
            condition.notify_all()

    def _check_running(self) -> None:
        if self._stop or self._error is not None:
            raise _Stopped

    # The demuxing thread

    def _demux(self) -> None:
        assert self._reader is not None
        work: _Work | None = None
        chunk: list[Coded] = []
        reader = iter(self._reader)
        try:
            for coded in reader:
                if work is None or coded.segment != work.number:
                    if work is not None:
                        self._hand_over(work, chunk, complete=True)
                        chunk = []
                    work = _Work(coded.segment, coded.base)
                    with self._lock:
                        self._todo.append(work)
                        self._packets.notify_all()
                if self._reader.new_sequence is not None:
                    raise Unsupported(
                        "the stream's sequence parameters change in mid-stream "
                        f"(about frame {self._reader.new_sequence})"
                    )
                chunk.append(coded)
                if len(chunk) == CHUNK:
                    self._hand_over(work, chunk, complete=False)
                    chunk = []
            if work is not None:
                self._hand_over(work, chunk, complete=True)
        finally:
            reader.close()  # type: ignore[attr-defined]
        with self._lock:
            self._demuxed = True
            self._count = 0 if work is None else work.number + 1
            self._notify_all()

    def _hand_over(self, work: _Work, chunk: list[Coded], *, complete: bool) -> None:
        size = sum(c.size for c in chunk)
        with self._lock:
            while self._queued_packets and (
                self._queued_bytes + size > QUEUE_BYTES or self._queued_packets + len(chunk) > QUEUE_PACKETS
            ):
                self._check_running()
                self._space.wait()
            self._check_running()
            if chunk:
                work.chunks.append(chunk)
                work.shown += sum(c.shown for c in chunk)
                self._queued_bytes += size
                self._queued_packets += len(chunk)
            work.complete = complete
            self._packets.notify_all()

    # A session's thread

    def _session(self) -> None:
        session: Session | None = None
        tag = 0
        try:
            while (work := self._next_work()) is not None:
                if session is None:
                    session = self._open_session()
                tag = self._decode(session, work, tag)
        finally:
            if session is not None:
                session.close()

    def _open_session(self) -> Session:
        try:
            return self._backend.session()
        except Exception as error:
            raise GPUError(f"an NVDEC session cannot be opened: {_first_line(error)}") from error

    def _next_work(self) -> _Work | None:
        with self._lock:
            while True:
                self._check_running()
                if self._todo:
                    return self._todo.popleft()
                if self._demuxed:
                    return None
                self._packets.wait()

    def _chunks(self, work: _Work) -> Iterator[list[Coded]]:
        while True:
            with self._lock:
                while not work.chunks:
                    self._check_running()
                    if work.complete:
                        return
                    self._packets.wait()
                self._check_running()
                chunk = work.chunks.popleft()
                self._queued_bytes -= sum(c.size for c in chunk)
                self._queued_packets -= len(chunk)
                self._space.notify()
            yield chunk

    def _take_block(self, segment: int) -> _Block:
        with self._lock:
            while True:
                self._check_running()
                due = not self._ordered or segment == self._head
                if len(self._free) > (0 if due else self._reserve):
                    return self._free.pop()
                self._blocks.wait()

    def _decode(self, session: Session, work: _Work, tag: int) -> int:
        """Decode one segment and hand its parts over; gives the last tag used."""
        first = work.number == 0
        origin = None if self._origin is None else self._origin * self._time_base
        clock = Clock(self.stats, self.info.average_rate, origin=origin, started=not first)
        records: dict[int, tuple[int | None, int | None, bool]] = {}
        part = _Part(work.number, 0, False, None, [], [], [], [])
        number = work.base
        unchecked = True

        def deliver(frames: list[tuple[int, Any]]) -> None:
            nonlocal part, number, unchecked
            for stamp, surface in frames:
                pts, duration, shown = records.pop(stamp, (None, None, True))
                if unchecked:
                    unchecked = False
                    if (wrong := session.check()) is not None:
                        raise Unsupported(f"{wrong}, which the GPU decoder does not follow")
                if not shown:
                    continue
                time = clock(pts, duration, self._time_base)
                part.times.append(time)
                if number % self._every == 0:
                    if len(part.index) == self.batch_size:
                        mine = part.times.pop()
                        self._submit(session, part, clock.end)
                        part = _Part(work.number, part.number + 1, False, None, [], [], [], [mine])
                    if part.block is None:
                        part.block = self._take_block(work.number)
                        if part.block.wait:
                            session.wait(part.block.freed)
                    session.copy(surface, part.block.pixels, len(part.index))
                    part.index.append(number)
                    part.time.append(time)
                    part.pts.append(NO_PTS if pts is None else pts)
                number += 1

        try:
            for chunk in self._chunks(work):
                for coded in chunk:
                    tag += 1
                    # NVDEC gives the stamps of pictures that it reorders back in ascending order, whichever picture
                    # carried which: so those codecs must carry their real time stamps. (What repeats is moved on.)
                    stamp = coded.pts if self._form.codec in _REORDERING and coded.pts is not None else tag
                    while stamp in records:
                        stamp += 1
                    records[stamp] = (coded.pts, coded.duration, coded.shown)
                    deliver(session.decode(coded, stamp))
            deliver(session.decode(None, 0))
        except (_Stopped, Unsupported, GPUError, VideoProcessingError):
            raise
        except Exception as error:
            if "not supported" in str(error).lower():
                raise Unsupported(f"NVDEC refuses the stream: {_first_line(error)}") from error
            raise GPUError(f"NVDEC failed at frame {number} of {self._path!r}: {_first_line(error)}") from error
        part.final = True
        part.lost = work.shown - (number - work.base)
        self._submit(session, part, clock.end)
        return tag

    def _submit(self, session: Session, part: _Part, end: float) -> None:
        part.end = end
        if part.block is not None:
            session.record(part.block.ready)
        with self._lock:
            if self._ordered:
                self._parts.setdefault(part.segment, deque()).append(part)
            else:
                self._arrived.append(part)
            self._results.notify_all()

    # The consumer

    def _await_first(self) -> None:
        with self._lock:
            while not (self._arrived or self._parts.get(0) or self._error):
                if self._demuxed and self._count == 0:
                    break
                self._results.wait()
        if self._error is not None:
            raise self._error

    def _next_part(self) -> _Part | None:
        """The next part, or None at the end."""
        with self._lock:
            while True:
                if self._error is not None:
                    raise self._error
                if self._stop:
                    raise GPUError("the decoder was closed while its batches were being taken")
                queue = self._parts.get(self._head) if self._ordered else self._arrived
                if queue:
                    part = queue.popleft()
                    if part.final and self._ordered:
                        del self._parts[self._head]
                        self._head += 1
                        self._blocks.notify_all()
                    self._finals += part.final
                    if part.block is not None:
                        self._held += 1
                    return part
                if self._demuxed and self._finals == self._count:
                    return None
                if self._held > self._hold:
                    raise RuntimeError(
                        f"{self._held} batches are held, more than hold={self._hold}: "
                        "release them before asking for more"
                    )
                self._results.wait()

    def _account(self, part: _Part) -> None:
        """Put a part's counts and times where they belong; times of later segments wait for the earlier ones."""
        self.stats.frames += len(part.times)
        if part.lost > 0:
            self.stats.skipped += part.lost
            self.stats.warn("damaged packets were left out by the GPU decoder")
        times, _, _ = self._late.setdefault(part.segment, ([], 0.0, False))
        times += part.times
        self._late[part.segment] = (times, part.end, part.final)
        while self._merged in self._late:
            times, end, final = self._late[self._merged]
            self.stats.times += times
            if times:
                self.stats.end = end
            times.clear()
            if not final:
                break
            del self._late[self._merged]
            self._merged += 1

    def __iter__(self) -> Iterator[DeviceFrameBatch]:
        """The batches; can be iterated over once.

        Raises:
            GPUError: the GPU or its library fails.
            VideoProcessingError: not a single frame came out.
            Unsupported: the stream turns into one that NVDEC cannot decode; start again with libav.
            RuntimeError: more than `hold` batches are held.
        """
        if self._iterated:
            raise RuntimeError("the batches of a decoder can be taken once; open the file again")
        self._iterated = True
        while (part := self._next_part()) is not None:
            self._account(part)
            if part.index or not self._ordered:
                yield self._batch(part)
        if not self.stats.frames:
            raise Unsupported("NVDEC gave not a single frame, although libav does")

    def _batch(self, part: _Part) -> DeviceFrameBatch:
        info, form, block = self.info, self._form, part.block
        n = len(part.index)
        return DeviceFrameBatch(
            index=np.array(part.index, np.int64),
            time=np.array(part.time, np.float64),
            pts=np.array(part.pts, np.int64),
            pixels=self._nothing if block is None else block.pixels[:n],
            bit_depth=form.bit_depth,
            matrix=info.matrix,
            full_range=info.full_range,
            width=form.width,
            height=form.height,
            rotation=info.rotation,
            ready=_ALWAYS if block is None else block.ready,
            segment=part.segment,
            part=part.number,
            final=part.final,
            _give_back=functools.partial(self._release, [block]),
        )

    def _release(self, lent: list[_Block | None], stream: int | None) -> None:
        block = lent.pop() if lent else None
        if block is None:
            return
        if stream is None:
            self._backend.synchronize()
            block.wait = False
        else:
            block.freed.record(stream)
            block.wait = True
        with self._lock:
            self._held -= 1
            self._free.append(block)
            self._blocks.notify_all()

    def close(self) -> None:
        """Stop the threads, wait for them, and release decoders, streams and the file.

        Batches that are still held stay readable.
        """
        with self._lock:
            self._stop = True
            self._notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._threads = []
        if self._reader is not None:
            self._reader.close()
        self._parts, self._free = {}, []
        self._arrived.clear()
        self._todo.clear()
        self._nothing = None
        self._backend.close()

    def __enter__(self) -> NvdecDecoder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Always:
    """An event that has happened."""

    def record(self, stream: int) -> None:
        pass

    def wait(self, stream: int) -> None:
        pass

    def synchronize(self) -> None:
        pass


_ALWAYS = _Always()


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
