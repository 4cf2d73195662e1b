"""The cascade on an NVIDIA GPU: the same results as :mod:`fastface.detect.mtcnn`, from frames in device memory.

All of it is queued on a stream at once and never asks the host: buffers have a fixed capacity, counts stay on the
device, and kernels return at once beyond them. Where something does not fit, the result says so and that pass runs
again with larger buffers, so nothing is dropped.

P-Net, which sees every pixel, computes in half precision on tensor cores (precision="fp16") and only points at cells, a
little below the threshold; those cells are scored again in float32, and everything after them is float32, so that the
faces are the same.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastface.cuda_driver import free_memory
from fastface.detect.cuda.buffers import FACTS, Buffers, Capacity, Fact, Result
from fastface.detect.cuda.cascade import Cascade, levels
from fastface.detect.cuda.operations import Operations
from fastface.errors import GPUMemoryError
from fastface.gpu.frames import DeviceFrames
from fastface.gpu.kernels import Program, recorded_event
from fastface.settings import DetectorSettings
from fastface.types import Detections, FrameFaces

FRAMES_A_PASS = 32
"""Frames that go through the cascade at once, at most."""

PIXELS_A_PASS = 16 * 1920 * 1080
"""The same in pixels: more are not faster, and take more memory."""

_LOOK = 16
"""Submissions from one look at the free memory to the next, where it was short."""


class Pending:
    """Detection that was queued; :meth:`result` waits for it."""

    def __init__(
        self, detector: CudaMTCNN, passes: list[tuple[DeviceFrames, Result]], stream: torch.cuda.Stream
    ) -> None:
        self._detector, self._passes, self._stream = detector, passes, stream

    @property
    def done(self) -> bool:
        """Whether :meth:`result` would not have to wait."""
        return all(result.event.query() for _, result in self._passes)

    def result(self) -> tuple[Detections, NDArray[np.uint8]]:
        """The faces, and thumbnails [N, T] uint8 (T is 0 if none were asked for). Can be called once.

        Raises:
            GPUMemoryError: what did not fit finds no room for larger buffers either; then it can be called again.
        """
        return self._detector._collect(self._passes, self._stream)


def _detections(records: NDArray[np.float32]) -> Detections:
    """Records [M, 81] as record_faces writes them: frames in any order, the faces of each in theirs."""
    records = records[np.argsort(records[:, 0], kind="stable")]
    return Detections(
        row=records[:, 0].astype(np.int64),
        box=records[:, 1:5].copy(),
        score=records[:, 5].copy(),
        landmarks=records[:, 6:16].reshape(-1, 5, 2).copy(),
        sharpness=records[:, 16].copy(),
        appearance=records[:, 17:].copy(),
    )


class CudaMTCNN(Operations):
    """facenet-pytorch's detector on one GPU.

    Args:
        settings: see :class:`fastface.settings.DetectorSettings`.
        device: number of the GPU.
        precision: "fp16" or "fp32", of the scan for candidates; what decides is float32 either way.
    """

    name = "mtcnn"

    def __init__(self, settings: DetectorSettings, device: int = 0, precision: str = "fp16") -> None:
        super().__init__(device)
        self.settings, self.precision = settings, precision
        self._cascade = Cascade(self, settings, precision)
        self.capacity = Capacity()
        self.frames_a_pass = self.fewest = FRAMES_A_PASS
        self.usual = 1  # frames a pass of the last size, where there is memory
        self._submitted = 0
        self._buffers: Buffers | None = None
        self._busy = recorded_event(self.device)  # the last use of the buffers
        self._results: list[Result] = []
        self._out = weakref.WeakSet[Result]()  # those that were not collected yet
        self._lock = threading.RLock()
        torch.cuda.synchronize(self.device)  # other streams will read the weights

    def detect(self, frames: DeviceFrames) -> Detections:
        """Find the faces of N frames; waits for the result, which is on the host, for it is small."""
        return self.submit(frames).result()[0]

    def submit(
        self, frames: DeviceFrames, *, thumbnail: tuple[int, int] | None = None, stream: torch.cuda.Stream | None = None
    ) -> Pending:
        """Queue the detection of N frames; the host does not wait.

        Args:
            frames: must stay as they are until the result is there.
            thumbnail: rows and columns of a small copy of each frame that is wanted as well.
            stream: where; None: torch's current one.

        Raises:
            GPUMemoryError: there is not even room for one frame.
        """
        stream = stream or torch.cuda.current_stream(self.device)
        with self._lock:
            self._grow_back()
            passes = [(part, result) for part, _, result in self._passes(frames, thumbnail, stream)]
        return Pending(self, passes, stream)

    def _on(self, stream: torch.cuda.Stream) -> contextlib.AbstractContextManager[Any]:
        """What torch allocates and computes in the block is of this stream."""
        within = contextlib.ExitStack()
        within.enter_context(torch.cuda.stream(stream))
        within.enter_context(torch.inference_mode())
        return within

    def _passes(
        self, frames: DeviceFrames, thumbnail: tuple[int, int] | None, stream: torch.cuda.Stream, *, fetch: bool = True
    ) -> Iterator[tuple[DeviceFrames, Buffers, Result]]:
        """Queue all passes, each as large as there is memory for: its frames, buffers and result."""
        begin = 0
        while begin < len(frames):
            b = self._buffers_for(min(len(frames) - begin, self._most(frames)), frames, stream)
            part = frames.part(begin, min(begin + b.n, len(frames)))
            try:
                result = self._run(part, b, thumbnail, stream, fetch=fetch)
            except torch.cuda.OutOfMemoryError as error:  # float32's P-Net allocates on its way
                stream.synchronize()
                self._buffers = b = None  # type: ignore[assignment]
                self._results.clear()
                self._make_smaller(len(part), frames, error)
                continue
            yield part, b, result
            begin += len(part)

    def _most(self, frames: DeviceFrames) -> int:
        """Frames of this size that go through at once."""
        self.usual = min(FRAMES_A_PASS, max(1, PIXELS_A_PASS // (frames.height * frames.width)))
        return min(self.frames_a_pass, self.usual)

    def _grow_back(self) -> None:
        """Where passes were made smaller for want of memory, and there is memory again: twice as many frames."""
        self._submitted += 1
        old = self._buffers
        if self.frames_a_pass == FRAMES_A_PASS or old is None or self._submitted % _LOOK:
            return
        free = torch.cuda.mem_get_info(self.device)[0]
        if free > 3 * self.frames_a_pass * old.nbytes // old.n:
            self.frames_a_pass = min(FRAMES_A_PASS, 2 * self.frames_a_pass)

    @torch.inference_mode()
    def by_frame(self, frames: DeviceFrames, most: int) -> tuple[FrameFaces, list[Tensor]]:
        """Queue the detection of N frames on torch's current stream, with the result in device memory.

        Args:
            most: faces a frame that there is room for.

        Returns:
            The faces, and [16] int32 of each pass, see `Fact`: what did not fit.
        """
        n, stream = len(frames), torch.cuda.current_stream(self.device)

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        out = FrameFaces(
            count=zeros(n, dtype=torch.int32),
            box=zeros(n, most, 4),
            score=zeros(n, most),
            landmarks=zeros(n, most, 5, 2),
            overflow=zeros(1, dtype=torch.int32),
        )
        kept, begin = zeros(n, FACTS, dtype=torch.int32), 0  # now: later the buffers may have taken all memory
        facts: list[Tensor] = []
        with self._lock:
            for part, b, result in self._passes(frames, None, stream, fetch=False):
                facts.append(kept[len(facts)].copy_(result.facts()))
                if len(b.plan):
                    here = slice(begin, begin + len(part))
                    self.launch(
                        self.kernel("describe", "faces_by_frame"), (len(part),), 64,
                        b.face_kept, b.face_start, b.face_count, facts[-1], Fact.FAILED, Fact.CELLS_FULL + 1,
                        b.decide_refined, b.decide_score, b.decide_landmarks, most, out.count[here], out.box[here],
                        out.score[here], out.landmarks[here], out.overflow,
                    )  # fmt: skip
                self._busy.record(stream)
                self._give_back(result)  # whoever takes it next waits for this stream
                begin += len(part)
        return out, facts

    def grow(self, facts: Sequence[Tensor]) -> bool:
        """Make room for what did not fit; False if all did. Waits for the device."""
        with self._lock:
            short = [f for f in (t.cpu().numpy() for t in facts) if f[Fact.FAILED : Fact.CELLS_FULL + 1].any()]
            for f in short:
                self.capacity = self.capacity.at_least(self.capacity.grown(f, self.max_sort))
            return bool(short)

    def _collect(
        self, passes: Sequence[tuple[DeviceFrames, Result]], stream: torch.cuda.Stream
    ) -> tuple[Detections, NDArray[np.uint8]]:
        found, small = [], []
        for frames, result in passes:
            facts, thumbnails, records = result.read(len(frames))
            if any(facts[Fact.FAILED : Fact.CELLS_FULL + 1].tolist()):  # NumPy's own takes longer for five
                with self._lock:
                    self.capacity = self.capacity.at_least(result.capacity.grown(facts, self.max_sort))
                    self._out.discard(result)
                    result.forget()  # or the old buffers would be there beside the new ones
                    again = self.submit(frames, stream=stream)
                part = again.result()[0]
            else:
                self._give_back(result)
                part = _detections(records)
            if len(passes) == 1:
                return part, thumbnails
            found.append(part)
            small.append(thumbnails)
        if not found:
            return Detections.empty(), np.zeros((0, 0), np.uint8)
        return Detections.of(found, [len(frames) for frames, _ in passes]), np.concatenate(small)

    def _give_back(self, result: Result) -> None:
        with self._lock:
            self._out.discard(result)
            if result.buffers is not None and result.buffers is self._buffers:
                self._results.append(result)

    def yield_memory(self) -> bool:
        """Give the buffers back, for others that have no memory; the next pass makes them for half as many frames.

        Waits for what is queued, whose results stay.

        Returns:
            Whether there was anything to give back.
        """
        with self._lock:
            old = self._buffers
            if old is None:
                return False
            self._busy.synchronize()
            for result in self._out:
                result.forget()
            self._results.clear()
            self._buffers = None
            self._at_most(max(1, old.n // 2))
            torch.cuda.empty_cache()
            return True

    def _at_most(self, frames: int) -> None:
        """A pass has so many frames at most from here on."""
        self.frames_a_pass = frames
        self.fewest = min(self.fewest, frames)

    def _result(self, buffers: Buffers, thumbnail: int, stream: torch.cuda.Stream) -> Result:
        for result in self._results:
            if result.thumbnail == thumbnail:
                self._results.remove(result)
                return result
        with self._on(stream):
            return Result(buffers, thumbnail, self.device)

    def _buffers_for(self, n: int, frames: DeviceFrames, stream: torch.cuda.Stream) -> Buffers:
        """Buffers for at least n frames of this size, or for as many as there is room for."""
        size = (frames.height, frames.width)
        old = self._buffers
        if old is not None and (old.height, old.width) == size and old.n >= n and old.capacity == self.capacity:
            return old
        if old is not None:
            self._busy.synchronize()
            if (old.height, old.width) == size:
                n = max(n, min(old.n, self.frames_a_pass))
            self._buffers = old = None
            self._results.clear()
        while True:
            try:
                with self._on(stream):
                    self._buffers = Buffers(
                        n, *size, self.settings, self.capacity, self.device, half=self.precision == "fp16"
                    )
                stream.synchronize()  # tables are there for all streams
                return self._buffers
            except torch.cuda.OutOfMemoryError as error:
                n = self._make_smaller(n, frames, error)

    def _make_smaller(self, n: int, frames: DeviceFrames, error: Exception) -> int:
        """There is no room for a pass of n frames: how many to try next.

        Raises:
            GPUMemoryError: n is 1.
        """
        traceback.clear_frames(error.__traceback__)  # they hold what the attempt had allocated
        torch.cuda.empty_cache()
        if n == 1:
            raise GPUMemoryError(
                f"there is no room to detect faces in a single frame of {frames.width} x {frames.height}: "
                f"{free_memory(self.device)}"
            ) from error
        self._at_most(n // 2)
        return n // 2

    def _run(
        self,
        frames: DeviceFrames,
        b: Buffers,
        thumbnail: tuple[int, int] | None,
        stream: torch.cuda.Stream,
        *,
        fetch: bool = True,
    ) -> Result:
        """Queue one pass, and the copy of its result to the host."""
        result = self._result(b, 3 * thumbnail[0] * thumbnail[1] if thumbnail else 0, stream)
        geometry = self.geometry_of(frames)
        key = (len(frames), geometry.data_ptr(), frames.depth, fetch)
        if key not in result.programs:
            program = Program()
            program.wait(self._busy)
            program.zero(result.facts())
            program.zero(b.cell_count)
            self._cascade.add(program, len(frames), frames.depth, geometry, b, thumbnail, result)
            if fetch:
                result.fetch(program)
            program.record(self._busy)
            result.programs[key] = program
        # In half precision no step of it is torch's, and to say so takes longer than to queue them.
        with self._on(stream) if self.precision == "fp32" else contextlib.nullcontext():
            result.programs[key].run(stream.cuda_stream, self.device.index, frames.samples)
        self._out.add(result)
        return result


__all__ = ["CudaMTCNN", "Pending", "levels"]
