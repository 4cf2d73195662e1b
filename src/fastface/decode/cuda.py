"""The device behind the GPU decoder: what it must offer, and CUDA with NVDEC (CuPy and PyNvVideoCodec)."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Hashable
from typing import Any, Protocol

from fastface.cuda_driver import driver
from fastface.decode.device import DeviceEvent, Unsupported
from fastface.decode.format import CODECS, Format
from fastface.decode.segments import Coded
from fastface.errors import GPUError
from fastface.faults import first_line

_CHROMA_420 = 1
"""cudaVideoChromaFormat of the Video Codec SDK's cuviddec.h."""


_HIGH = -5
"""A stream's priority, above any other; CUDA takes the highest that there is."""


class Session(Protocol):
    """One decoder with its stream; used by one thread at a time."""

    @property
    def stream(self) -> int:
        """Address of the stream."""

    def adopt(self) -> None:
        """The calling thread uses it from here on."""

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

    @property
    def free_bytes(self) -> int:
        """Of the device's memory, now."""

    def allocate(self, blocks: int, batch: int) -> list[Any]:
        """Blocks of [batch, rows, row] samples; MemoryError if there is no room."""

    def event(self) -> DeviceEvent: ...

    def session(self) -> Session: ...

    def synchronize(self) -> None:
        """Let the host wait for the whole device."""

    def close(self) -> None: ...


class SessionPool:
    """Sessions that are through with a video, for the next one of the same kind: to make one and to end one takes tens
    of milliseconds each.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Hashable, list[Session]] = {}
        self._closed = False

    def take(self, kind: Hashable) -> Session | None:
        """A session that decoded a stream of this kind; None if there is none."""
        with self._lock:
            idle = self._idle.get(kind)
            return idle.pop() if idle else None

    def count(self, kind: Hashable) -> int:
        """Sessions of this kind that wait."""
        with self._lock:
            return len(self._idle.get(kind, ()))

    def give(self, kind: Hashable, session: Session) -> None:
        """A session that was flushed. Sessions of another kind go: what is kept is of one video."""
        with self._lock:
            gone = [s for other, idle in self._idle.items() if other != kind for s in idle]
            self._idle = {kind: self._idle.get(kind, [])}
            (gone if self._closed else self._idle[kind]).append(session)
        for one in gone:
            one.close()

    def close(self) -> None:
        """Release all of them, and whatever is given back later."""
        with self._lock:
            self._closed = True
            gone = [s for idle in self._idle.values() for s in idle]
            self._idle = {}
        for one in gone:
            one.close()


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
    caps = _DecodeCaps(codec=CODECS[codec], chroma=_CHROMA_420, depth_minus_8=bit_depth - 8)
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
        self._driver = driver()

    # CuPy gives the interpreter's lock away for both; where no context is current it is CuPy that finds one.

    def record(self, stream: int) -> None:
        if self._driver.cuEventRecord(self._event.ptr, stream):
            self._runtime.eventRecord(self._event.ptr, stream)

    def wait(self, stream: int) -> None:
        if self._driver.cuStreamWaitEvent(stream, self._event.ptr, 0):
            self._runtime.streamWaitEvent(stream, self._event.ptr, 0)

    def synchronize(self) -> None:
        self._event.synchronize()


class _CudaSession:
    def __init__(self, cupy: Any, library: Any, device_id: int, form: Format) -> None:
        self._cupy, self._library, self._form = cupy, library, form
        self._device = cupy.cuda.Device(device_id)
        self.adopt()
        # A frame's few copies must not queue behind the consumer's large kernels: NVDEC would stand still meanwhile.
        self._stream = cupy.cuda.Stream(non_blocking=True, priority=_HIGH)
        self._decoder = library.CreateDecoder(
            gpuid=device_id,
            codec=getattr(library.cudaVideoCodec, form.codec.upper()),
            cudacontext=0,  # the primary context, which CuPy and torch use
            cudastream=self._stream.ptr,
            usedevicememory=True,
        )
        self._packet = library.PacketData()
        self._end = library.PacketData()
        self._copy = driver().cuMemcpyDtoDAsync_v2
        self._bytes = form.frame_bytes

    @property
    def stream(self) -> int:
        return int(self._stream.ptr)

    def adopt(self) -> None:
        self._device.use()

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
        status = self._copy(
            block.data.ptr + slot * self._bytes, int(surface.GetPtrToPlane(0)), self._bytes, self._stream.ptr
        )
        if status:
            raise GPUError(f"a frame could not be copied within the GPU (cuMemcpyDtoDAsync gave {status})")

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
            raise GPUError(f"PyNvVideoCodec cannot be used: {first_line(error)}") from error
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

    @property
    def free_bytes(self) -> int:
        """Of the GPU's memory, now."""
        with self._cupy.cuda.Device(self._device_id):
            return int(self._cupy.cuda.runtime.memGetInfo()[0])

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
