"""Decoding by NVDEC (through PyNvVideoCodec) into a ring of NV12 or P016 in device memory, on all engines at once.

One thread demuxes and cuts the file into segments (see `segments.py`), or takes them from a process that does (see
`demuxer.py`); each session has a thread, a decoder and a non-blocking stream of its own, and takes the next segment
when it is through with one. A session is not made anew for a segment: an empty packet flushes it. One pass over the
file by one thread, rather than a seek per session, because it costs 12 µs a packet (80,000 frames/s), works in every
container (transport and elementary streams have no index), and starts at once; packets that wait (`packets.py`) are
bounded by bytes and by number.

Memory is bounded whatever the length of the video: the ring (`ring.py`) is allocated once, as blocks of one batch each.
In order (`ordered=True`), sessions that are ahead fill blocks until only a reserve is left, which only the session with
the segment that is due may take: so it always gets on, and a small ring makes decoding slower, never stuck. With
`ordered=False` batches come as they are complete and few blocks suffice; `InOrder` restores the order of results, and
a consumer that has too many of them waiting lets only the session with the segment that is due go on (`hold_back`).

Who waits for whom: a session copies each surface into its block on its own stream before the next `Decode()` may
overwrite it, and records `ready` after a block's last frame; the consumer's stream waits for that. The consumer's
`release(stream)` records an event there, and the session that takes the block next lets its stream wait for it. The
host waits for no event.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastface.decode.cuda import Backend, CudaBackend, Session, SessionPool
from fastface.decode.demuxer import ApartReader, Demuxers
from fastface.decode.device import NO_PTS, DeviceFrameBatch, Unsupported
from fastface.decode.format import REORDERING, examine
from fastface.decode.packets import PacketQueue, Work
from fastface.decode.parts import Account, Part, Parts
from fastface.decode.probe import Clock, DecodeStats, VideoFile
from fastface.decode.ring import Block, Ring
from fastface.decode.segments import MIN_FRAMES, Coded, SegmentReader
from fastface.decode.threads import Stopped, Threads
from fastface.errors import GPUError, GPUMemoryError, InputValidationError, VideoProcessingError
from fastface.faults import first_line, out_of_memory

CHUNK = 16
"""Packets that are handed over at once."""

HOLD = 3
"""Batches that the consumer may hold while it asks for the next one."""

MAX_SESSIONS = 14

SESSION_FRAMES = 23
"""Frames whose memory an NVDEC session takes, measured with H.264 of 1080p."""

_RESIZING = frozenset({"vp8", "vp9", "av1"})
"""Pictures of these may change their size without new parameter sets, which the demuxing thread would see."""


def _failure(error: Exception) -> type[GPUError]:
    return GPUMemoryError if out_of_memory(error) else GPUError


class NvdecDecoder:
    """Decodes the first video stream of a file into batches in device memory.

    Threads start in the constructor, which returns when the first batch is decoded or something failed. Batches are
    lent: give each back with `batch.release(stream)`, and hold at most `hold` of them when asking for the next. Use it
    in a `with` block, or call `close()`, which stops the threads and releases the decoders; the ring is freed with
    the last batch.

    Args:
        path: a file.
        device_id: number of the GPU.
        sessions: decoders at work at once; None takes one more than the GPU has NVDEC engines, at most 14, or fewer
            where memory is short.
        every: give every n-th frame only (the others are decoded, but not copied).
        batch_size: frames a batch; None chooses by size (at most 32 and about 50 MB). Batches do not reach over
            segments, so some are smaller.
        start: frames before this number are decoded and counted, but not given.
        ordered: give batches in the order shown; False gives them as they are complete (see `InOrder`).
        hold: batches that the consumer may hold while it asks for the next one.
        memory: bytes that the ring may take; None chooses by segments in flight, at most a quarter of what is free.
        min_frames: packets that a segment has at least.
        pool: where sessions come from and go to; None: they are made and released here.
        demuxers: processes of which one demuxes; None: a thread does.

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
        GPUMemoryError: there is no room for the smallest ring, or for a session.
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
        start: int = 0,
        ordered: bool = True,
        hold: int = HOLD,
        memory: int | None = None,
        min_frames: int = MIN_FRAMES,
        pool: SessionPool | None = None,
        demuxers: Demuxers | None = None,
        _backend: Any = None,
    ) -> None:
        for label, value in (("every", every), ("batch_size", batch_size), ("sessions", sessions), ("hold", hold)):
            if value is not None and value < 1:
                raise InputValidationError(f"{label} is {value}, must be at least 1")
        self.stats = DecodeStats()
        self._every, self._start, self._ordered = every, start, ordered
        self._threads = Threads()
        self._apart = None if demuxers is None else self._beside(demuxers, os.fspath(path))
        try:
            self._file = VideoFile(path, self.stats)
        except BaseException:
            self._end_reader()
            raise
        try:
            stream = examine(self._file)
            self.info = stream.info
            self._form, self._time_base, self._origin = stream.form, stream.time_base, stream.origin
            self._backend: Backend = (_backend or CudaBackend)(device_id, self._form)
            # A session goes on with the parameter sets that it knows, so they are a part of its kind.
            self._pool = pool or SessionPool()
            self._owns_pool = pool is None
            self._kind = (device_id, self._form, stream.parameters)
            self.sessions = sessions or self._sessions_that_fit(min(MAX_SESSIONS, self._backend.engines + 1))
            self._ring = Ring(
                self._threads,
                self._backend,
                self._form.frame_bytes,
                batch_size=batch_size,
                sessions=self.sessions,
                ordered=ordered,
                every=every,
                hold=hold,
                frame_count=self.info.frame_count,
                memory=memory,
            )
            self.batch_size, self.ring_bytes = self._ring.batch_size, self._ring.size
            self._reader: SegmentReader | ApartReader
            how: dict[str, Any] = {"min_frames": min_frames, "cut": self.sessions > 1, "origin": self._origin}
            if self._apart is None:
                self._reader = SegmentReader(self._file, **how)
            else:
                self._apart.read(self.stats, **how)
                self._reader = self._apart
        except BaseException:
            self._file.close()
            self._end_reader()
            raise
        self._packets = PacketQueue(self._threads, self.sessions)
        self._parts = Parts(self._threads, ordered=ordered)
        self._account = Account(self.stats)
        self._iterated = False
        try:
            self._threads.start(self._demux, "demux")
            for i in range(self.sessions):
                self._threads.start(self._session, f"nvdec-{i}")
            self._await_first()
        except BaseException:
            self.close()
            raise

    def _sessions_that_fit(self, wanted: int) -> int:
        """As many sessions as are wanted, or as there are already and a quarter of the free memory has room for."""
        room = self._backend.free_bytes // 4 // (SESSION_FRAMES * self._form.frame_bytes)
        room += self._pool.count(self._kind)
        if room >= wanted:
            return wanted
        self.stats.warn(f"the GPU's memory is short, so it decodes in {max(1, room)} sessions, not {wanted}")
        return max(1, room)

    def _beside(self, demuxers: Demuxers, path: str) -> ApartReader | None:
        try:
            return demuxers.open(path)
        except OSError as error:
            self.stats.warn(f"no process could be started to demux beside this one ({error}), so a thread did")
            return None

    def _end_reader(self) -> None:
        if self._apart is not None:
            self._apart.close()
            self._apart = None

    # The demuxing thread

    def _demux(self) -> None:
        work: Work | None = None
        chunk: list[Coded] = []
        reader = iter(self._reader)
        try:
            for coded in reader:
                if work is None or coded.segment != work.number:
                    if work is not None:
                        self._packets.put(work, chunk, complete=True)
                        chunk = []
                    work = self._packets.begin(coded.segment, coded.base)
                if self._reader.new_sequence is not None:
                    raise Unsupported(
                        "the stream's sequence parameters change in mid-stream "
                        f"(about frame {self._reader.new_sequence})"
                    )
                chunk.append(coded)
                if len(chunk) == CHUNK:
                    self._packets.put(work, chunk, complete=False)
                    chunk = []
            if work is not None:
                self._packets.put(work, chunk, complete=True)
        finally:
            reader.close()  # type: ignore[attr-defined]
        self._packets.end(0 if work is None else work.number + 1)

    # A session's thread

    def _session(self) -> None:
        session: Session | None = None
        tag, flushed = 0, True
        try:
            while self._packets.claim():
                if session is None and (session := self._open_session()) is None:
                    return
                flushed = False
                tag = self._decode(session, self._packets.take(), tag)
                flushed = True
        finally:
            # One that had no segment in hand when the decoder was closed is as good as one that saw the end.
            if session is not None and flushed:
                self._pool.give(self._kind, session)
            elif session is not None:
                session.close()

    def _open_session(self) -> Session | None:
        """A session; None if there can be no more, and others do the work that was claimed for it.

        Raises:
            GPUError: there are no others (GPUMemoryError: for want of memory).
        """
        if (session := self._pool.take(self._kind)) is not None:
            session.adopt()
            return session
        try:
            return self._backend.session()
        except Exception as error:
            why = first_line(error)
            if not self._packets.give_up():
                raise _failure(error)(f"an NVDEC session cannot be opened: {why}") from error
            with self._threads.lock:
                self.stats.warn(f"fewer NVDEC sessions than wanted could be opened ({why})")
            return None

    def _decode(self, session: Session, work: Work, tag: int) -> int:
        """Decode one segment and hand its parts over; gives the last tag used."""
        origin = None if self._origin is None else self._origin * self._time_base
        clock = Clock(self.stats, self.info.average_rate, self._time_base, origin=origin, started=work.number > 0)
        records: dict[int, tuple[int | None, int | None, bool]] = {}
        part = Part(work.number, 0)
        number = work.base
        unchecked = True
        every, batch_size, start = self._every, self.batch_size, self._start
        reorders = self._form.codec in REORDERING

        def deliver(frames: list[tuple[int, Any]]) -> None:
            nonlocal part, number, unchecked
            for stamp, surface in frames:
                pts, duration, shown = records.pop(stamp, (None, None, True))
                if unchecked:
                    unchecked = self._form.codec in _RESIZING
                    if (wrong := session.check()) is not None:
                        raise Unsupported(f"{wrong}, which the GPU decoder does not follow")
                if not shown:
                    continue
                time = clock(pts, duration)
                part.times.append(time)
                if number % every == 0 and number >= start:
                    if len(part.index) == batch_size:
                        mine = part.times.pop()
                        self._submit(session, part, clock.end)
                        part = Part(work.number, part.number + 1, times=[mine])
                    if part.block is None:
                        part.block = self._ring.take(work.number)
                        if part.block.wait:
                            session.wait(part.block.freed)
                    session.copy(surface, part.block.pixels, len(part.index))
                    part.index.append(number)
                    part.time.append(time)
                    part.pts.append(NO_PTS if pts is None else pts)
                number += 1

        try:
            for chunk in self._packets.chunks(work):
                for coded in chunk:
                    tag += 1
                    # NVDEC gives the stamps of pictures that it reorders back in ascending order, whichever picture
                    # carried which: so those codecs must carry their real time stamps. (What repeats is moved on.)
                    stamp = coded.pts if reorders and coded.pts is not None else tag
                    while stamp in records:
                        stamp += 1
                    records[stamp] = (coded.pts, coded.duration, coded.shown)
                    deliver(session.decode(coded, stamp))
            deliver(session.decode(None, 0))
        except (Stopped, Unsupported, GPUError, VideoProcessingError):
            raise
        except Exception as error:
            if "not supported" in str(error).lower():
                raise Unsupported(f"NVDEC refuses the stream: {first_line(error)}") from error
            told = f"NVDEC failed at frame {number} of {self._file.path!r}: {first_line(error)}"
            raise _failure(error)(told) from error
        part.final = True
        part.lost = work.shown - (number - work.base)
        self._submit(session, part, clock.end)
        return tag

    def _submit(self, session: Session, part: Part, end: float) -> None:
        part.end = end
        if part.block is not None:
            session.record(part.block.ready)
        self._parts.put(part)

    # The consumer

    def _await_first(self) -> None:
        with self._threads.lock:
            while not (self._parts.has(self._ring.due) or self._threads.error):
                if self._packets.ended and self._packets.segments == 0:
                    break
                self._parts.wait()
        if self._threads.error is not None:
            raise self._threads.error

    def _next_part(self) -> Part | None:
        """The next part, or None at the end."""
        with self._threads.lock:
            while True:
                if self._threads.error is not None:
                    raise self._threads.error
                if self._threads.stopped:
                    raise GPUError("the decoder was closed while its batches were being taken")
                if (part := self._parts.pop(self._ring.due)) is not None:
                    if part.final:
                        self._ring.finish(part.segment)
                    if part.block is not None:
                        self._ring.lend()
                    return part
                if self._packets.ended and self._parts.finished == self._packets.segments:
                    return None
                self._ring.check_held()
                self._parts.wait()

    def __iter__(self) -> Iterator[DeviceFrameBatch]:
        """The batches; can be iterated over once.

        Raises:
            GPUError: the GPU or its library fails (GPUMemoryError: for want of memory).
            VideoProcessingError: not a single frame came out.
            Unsupported: the stream turns into one that NVDEC cannot decode; start again with libav.
            RuntimeError: more than `hold` batches are held.
        """
        if self._iterated:
            raise RuntimeError("the batches of a decoder can be taken once; open the file again")
        self._iterated = True
        while (part := self._next_part()) is not None:
            self._account.add(part)
            if part.index or not self._ordered:
                yield self._batch(part)
        if not self.stats.frames:
            raise Unsupported("NVDEC gave not a single frame, although libav does")

    def _batch(self, part: Part) -> DeviceFrameBatch:
        info, form, block = self.info, self._form, part.block
        n = len(part.index)
        return DeviceFrameBatch(
            index=np.array(part.index, np.int64),
            time=np.array(part.time, np.float64),
            pts=np.array(part.pts, np.int64),
            pixels=self._ring.nothing if block is None else block.pixels[:n],
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

    def _release(self, lent: list[Block | None], stream: int | None) -> None:
        block = lent.pop() if lent else None
        if block is not None:
            self._ring.give_back(block, stream)

    def hold_back(self, yes: bool) -> None:
        """Whether frames that are not due in the order shown shall wait (with `ordered=False`).

        For a consumer that keeps something for the frames that came too early, and has enough of it.
        """
        self._ring.hold_back(yes)

    def close(self) -> None:
        """Stop the threads, wait for them, and release decoders, streams and the file.

        Batches that are still held stay readable.
        """
        if self._apart is not None:
            self._apart.cancel()
        self._threads.stop()
        self._file.close()
        self._end_reader()
        self._parts.clear()
        self._packets.clear()
        self._ring.close()
        if self._owns_pool:
            self._pool.close()
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
