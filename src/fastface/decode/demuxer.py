"""Demuxing in a process of its own.

libav reads a packet in microseconds, but PyAV lets go of the interpreter's lock four times on the way, and takes it
again among the threads of ten sessions: at thousands of frames a second that is what bounds a video, and costs the
others the lock. A process beside this one reads with :class:`SegmentReader` at its own pace and writes packets, many at
a time, to a pipe, whose room is all that it may be ahead. Decoders read them where they come out of it.

A request is two lines of JSON: the file, which is opened while this process looks at it as well, then how it is to be
cut, or null. The answer is messages: numbers of rows, of bytes of JSON and of payload (_HEAD); the rows (_ROW); JSON
about what happened meanwhile (_Note); the packets, which the rows say where to find.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, TypedDict

import numpy as np

from fastface.decode.device import NO_PTS, Unsupported
from fastface.decode.probe import DecodeStats, VideoFile
from fastface.decode.segments import Coded, SegmentReader
from fastface.decode.threads import Stopped
from fastface.errors import InputValidationError, VideoProcessingError
from fastface.faults import first_line

CHUNK = 64
"""Packets a message, at most."""

CHUNK_BYTES = 1 << 20
"""Bytes of packets after which a message goes; as many as Linux lets a pipe hold."""

_HEAD = struct.Struct("<IIQ")
_ROW = np.dtype([(n, "<i8") for n in ("segment", "base", "at", "size", "pts", "dts", "duration", "key", "shown")])
_ERRORS: dict[str, type[Exception]] = {
    error.__name__: error for error in (InputValidationError, VideoProcessingError, Unsupported)
}
# Ctrl-C is for the other process, whose pipes then end.
_START = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from fastface.decode.demuxer import serve
serve()
"""


class _Note(TypedDict, total=False):
    """What a message says beside packets."""

    skipped: int  # packets left out since the last note
    warnings: list[str]  # new ones
    new_sequence: int  # see SegmentReader
    error: list[str]  # name of its class, message: nothing follows
    end: bool  # nothing follows


class Demuxer:
    """A process that reads one file after another, for one thread at a time.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self) -> None:
        if not sys.executable or getattr(sys, "frozen", False):
            raise OSError(f"{sys.executable!r} is no Python interpreter")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self.answers = self._process.stdin, self._process.stdout
        _widen(self.answers.fileno())

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, line: Any) -> None:
        """Send a line of a request. Where the process has ended, the answers end as well."""
        with contextlib.suppress(OSError):
            self._requests.write(json.dumps(line).encode() + b"\n")
            self._requests.flush()

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()

    def close(self) -> None:
        """End the process and release its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self.answers):
            with contextlib.suppress(OSError):  # a request that nobody took
                pipe.close()

    def ended(self) -> str:
        """How the process ended, in words."""
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"status {code}"


class Demuxers:
    """Processes that have done with a video, for the next one: one takes some tenths of a second to start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Demuxer] = []
        self._closed = False

    def start(self) -> None:
        """Have one ready.

        Raises:
            OSError: no process can be started.
        """
        self.give(Demuxer())

    def open(self, path: str) -> ApartReader:
        """A reader for a file, which its process begins to open.

        Raises:
            OSError: no process can be started.
        """
        return ApartReader(self, self._take(), path)

    def _take(self) -> Demuxer:
        with self._lock:
            while self._idle:
                demuxer = self._idle.pop()
                if demuxer.alive:
                    return demuxer
                demuxer.close()
        return Demuxer()

    def give(self, demuxer: Demuxer) -> None:
        """One that has done all that it was asked for."""
        with self._lock:
            if not self._closed:
                self._idle.append(demuxer)
                return
        demuxer.close()

    def close(self) -> None:
        """End all of them, and whatever is given back later."""
        with self._lock:
            self._closed = True
            gone, self._idle = self._idle, []
        for demuxer in gone:
            demuxer.close()


class ApartReader:
    """The packets of a file as :class:`SegmentReader` gives them, read by another process.

    Args:
        demuxers: to which the process goes back.
        demuxer: the process.
        path: a file.

    Attributes:
        new_sequence: as of :class:`SegmentReader`.
    """

    def __init__(self, demuxers: Demuxers, demuxer: Demuxer, path: str) -> None:
        self.new_sequence: int | None = None
        self._demuxers, self._demuxer = demuxers, demuxer
        self._lock = threading.Lock()
        self._asked = self._done = self._cancelled = False
        self._path = path
        demuxer.ask(os.path.abspath(path))

    def read(self, stats: DecodeStats, *, min_frames: int, cut: bool, origin: int | None) -> None:
        """Say how: see :class:`SegmentReader`."""
        self._stats = stats
        self._asked = True
        self._demuxer.ask({"min_frames": min_frames, "cut": cut, "origin": origin})

    def __iter__(self) -> Iterator[Coded]:
        """The packets in decode order, once.

        Raises:
            InputValidationError, Unsupported: as :class:`SegmentReader` does.
            Stopped: the reader was cancelled.
            VideoProcessingError: also, the process ended.
            RuntimeError: something else failed in it.
        """
        answers = self._demuxer.answers
        while True:
            rows, noted, size = _HEAD.unpack(self._take(_HEAD.size))
            table = np.frombuffer(self._take(rows * _ROW.itemsize), _ROW)
            note: _Note = json.loads(self._take(noted)) if noted else {}
            data = np.empty(size, np.uint8)
            if answers.readinto(data) != size:  # type: ignore[attr-defined]
                self._broken()
            self._heed(note)
            if note.get("end") or "error" in note:
                with self._lock:
                    self._done = True
            if "error" in note:
                kind, message = note["error"]
                raise _ERRORS.get(kind, RuntimeError)(message)
            address = int(data.ctypes.data)
            for segment, base, at, length, pts, dts, duration, key, shown in table.tolist():
                yield Coded(
                    segment,
                    base,
                    data[at : at + length],
                    address + at,
                    length,
                    None if pts == NO_PTS else pts,
                    None if dts == NO_PTS else dts,
                    duration or None,
                    key == 1,
                    shown == 1,
                )
            if note.get("end"):
                return

    def _heed(self, note: _Note) -> None:
        self._stats.skipped += note.get("skipped", 0)
        for sentence in note.get("warnings", ()):
            self._stats.warn(sentence)
        self.new_sequence = note.get("new_sequence", self.new_sequence)

    def _take(self, size: int) -> bytes:
        data: bytes = self._demuxer.answers.read(size)
        if len(data) != size:
            self._broken()
        return data

    def _broken(self) -> None:
        if self._cancelled:
            raise Stopped
        raise VideoProcessingError(f"the process that demuxed {self._path!r} ended ({self._demuxer.ended()})")

    def cancel(self) -> None:
        """From another thread: the packets end, with Stopped if some are left."""
        with self._lock:
            self._cancelled = True
            if self._asked and not self._done:
                self._demuxer.kill()

    def close(self) -> None:
        """Give the process back, or end it if it is not through; nobody may be reading any more."""
        if not self._asked:
            self._asked = self._done = True
            self._demuxer.ask(None)
        if self._done and self._demuxer.alive:
            self._demuxers.give(self._demuxer)
        else:
            self._demuxer.close()


def _widen(pipe: int) -> None:
    """Give a pipe the room of a message, where the system knows how."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
    except (ImportError, AttributeError, OSError):
        pass  # the process waits a little more often


# The other process


def serve() -> None:
    """Answer requests until there are no more."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whoever prints must not write into the answers
    while path := requests.readline():
        file: VideoFile | Exception
        try:
            file = VideoFile(json.loads(path), DecodeStats())
        except Exception as error:
            file = error
        how = json.loads(requests.readline() or b"null")
        try:
            if isinstance(file, Exception):
                raise file
            if how is None:
                file.close()
            else:
                _answer(answers, SegmentReader(file, **how))
        except BrokenPipeError:
            return
        except Exception as error:
            if how is not None:
                _send(answers, [], {"error": [type(error).__name__, first_line(error)]})


def _answer(answers: Any, reader: SegmentReader) -> None:
    """All packets of a file."""
    told = _Told(reader)
    chunk: list[Coded] = []
    size = 0
    for coded in reader:
        chunk.append(coded)
        size += coded.size
        if len(chunk) == CHUNK or size >= CHUNK_BYTES or reader.new_sequence != told.new_sequence:
            _send(answers, chunk, told.note())
            chunk, size = [], 0
    _send(answers, chunk, {**told.note(), "end": True})


class _Told:
    """What the other process knows already."""

    def __init__(self, reader: SegmentReader) -> None:
        self._reader, self._stats = reader, reader.stats
        self._skipped = self._warnings = 0
        self.new_sequence: int | None = None

    def note(self) -> _Note:
        """What it does not."""
        note: _Note = {}
        stats = self._stats
        if stats.skipped > self._skipped:
            note["skipped"] = stats.skipped - self._skipped
        if len(stats.warnings) > self._warnings:
            note["warnings"] = stats.warnings[self._warnings :]
        if (sequence := self._reader.new_sequence) is not None and sequence != self.new_sequence:
            note["new_sequence"] = sequence
        self._skipped, self._warnings, self.new_sequence = stats.skipped, len(stats.warnings), sequence
        return note


def _send(answers: Any, chunk: list[Coded], note: _Note) -> None:
    rows, at = [], 0
    for c in chunk:
        pts, dts = (NO_PTS if stamp is None else stamp for stamp in (c.pts, c.dts))
        rows.append((c.segment, c.base, at, c.size, pts, dts, c.duration or 0, c.key, c.shown))
        at += c.size
    noted = json.dumps(note).encode() if note else b""
    answers.write(_HEAD.pack(len(rows), len(noted), at) + np.array(rows, _ROW).tobytes() + noted)
    for c in chunk:
        answers.write(c.data)
    answers.flush()
