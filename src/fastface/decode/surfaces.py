"""Pictures of some stretches of a file, each decoded by NVDEC in one thread with one session."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator, Iterator
from typing import Any

from fastface.decode.cuda import Backend, CudaBackend, Session, SessionPool
from fastface.decode.device import Unsupported
from fastface.decode.format import REORDERING, examine
from fastface.decode.probe import DecodeStats, VideoFile
from fastface.decode.segments import SegmentReader
from fastface.errors import FastFaceError, GPUError
from fastface.faults import first_line

BACK = (0.0, 1.0, 5.0, 30.0)
"""Seconds before a picture from which decoding is tried until it comes out; then the whole file."""


class SurfaceReader:
    """Decodes stretches of a video on a GPU; several threads may do so at once.

    Args:
        path: a file.
        device_id: number of the GPU.
        stretches: how many there will be, so that sessions are ended as soon as none is to come, while others decode
            still; None: at :meth:`close`.

    Attributes:
        form: of the frames, see :class:`fastface.decode.format.Format`.
        backend: the device.

    Raises:
        InputValidationError: no such file, not media, no video stream.
        VideoProcessingError: not a single frame can be decoded.
        Unsupported: NVDEC cannot decode this stream.
        GPUError: the GPU, its driver or its library fails.
    """

    def __init__(
        self, path: str | os.PathLike[str], device_id: int = 0, stretches: int | None = None, *, _backend: Any = None
    ) -> None:
        self._path, self._to_come = path, stretches
        self._lock = threading.Lock()
        with contextlib.closing(VideoFile(path, DecodeStats())) as file:
            stream = examine(file)
        self.form, self._time_base = stream.form, stream.time_base
        self.backend: Backend = (_backend or CudaBackend)(device_id, stream.form)
        self._kind = (device_id, stream.form, stream.parameters)
        self._pool = SessionPool()

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A session for a stretch, for this thread; within the block its surfaces may be read.

        Raises:
            GPUError: the GPU or its library fails.
        """
        session = self._pool.take(self._kind)
        if self._to_come is not None:
            with self._lock:
                self._to_come -= 1
                over = self._to_come == 0
            if over:
                self._pool.close()
        if session is None:
            session = self.backend.session()
        session.adopt()
        try:
            yield session
        except GeneratorExit:  # who wanted pictures has had enough
            self._pool.give(self._kind, session)
            raise
        except BaseException:
            session.close()
            raise
        self._pool.give(self._kind, session)

    def pictures(self, session: Session, first: int, stop: int) -> Generator[tuple[int, Any], None, None]:
        """The frames with time stamps first <= pts < stop, in the order shown: time stamp and surface, which is
        overwritten when the next one is asked for. Before the session's block ends this must be through, or closed.

        Args:
            session: of :meth:`session`.
            first: at which a decoder can begin, if the first frame shall not be missing.
            stop: in the stream's time base.

        Raises:
            Unsupported: the picture changes its size.
            GPUError: the GPU or its library fails.
        """
        try:
            for back in (*BACK, None):
                with contextlib.closing(self._from(session, first, stop, back)) as frames:
                    frame = next(frames, None)
                    # Seeking is only as good as the container's index: what it misses is looked for further back.
                    if back is not None and (frame is None or frame[0] != first):
                        continue
                    if frame is not None:
                        yield frame
                        yield from frames
                    return
        except (FastFaceError, Unsupported):
            raise
        except Exception as error:
            raise GPUError(f"NVDEC failed in {os.fspath(self._path)!r}: {first_line(error)}") from error

    def _from(
        self, session: Session, first: int, stop: int, back: float | None
    ) -> Generator[tuple[int, Any], None, None]:
        """Time stamps and surfaces from `first` to `stop`, decoded from so many seconds before; None: from the
        beginning."""
        file = VideoFile(self._path, DecodeStats())
        try:
            if back is not None:
                file.seek(first - round(back / self._time_base))
            for stamp, surface in self._decode(session, SegmentReader(file, cut=False), stop):
                if stamp >= first:
                    yield stamp, surface
        except GeneratorExit:
            session.decode(None, 0)  # it has none left for whoever is next
            raise
        finally:
            file.close()

    def _decode(self, session: Session, reader: SegmentReader, stop: int) -> Iterator[tuple[int, Any]]:
        """Time stamps and surfaces up to `stop`; the session has none left then."""
        reorders = self.form.codec in REORDERING
        records: dict[int, int | None] = {}
        unchecked = True
        for tag, coded in enumerate(reader, 1):
            mark = coded.pts if reorders and coded.pts is not None else tag
            records[mark] = coded.pts if coded.shown else None
            for known, surface in session.decode(coded, mark):
                if unchecked and (wrong := session.check()) is not None:
                    raise Unsupported(f"{wrong}, which the GPU decoder does not follow")
                unchecked = False
                stamp = records.pop(known, None)
                if stamp is not None and stamp >= stop:
                    session.decode(None, 0)
                    return
                if stamp is not None:
                    yield stamp, surface
        for known, surface in session.decode(None, 0):
            stamp = records.pop(known, None)
            if stamp is not None and stamp < stop:
                yield stamp, surface

    def close(self) -> None:
        """Release the sessions."""
        self._pool.close()
