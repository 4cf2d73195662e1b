"""What differs between CPU and GPU: decoding, detecting, cropping and embedding on one kind of memory.

The pipeline talks to an :class:`Executor` and knows no device. Frames stay where the executor put them; only boxes,
scores, thumbnails and embeddings (and, on the CPU, crops) come out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.embed.crops import CROP_SIZE
from fastface.errors import GPUError, InputValidationError
from fastface.given import face_boxes, host_array, rgb_frames
from fastface.models.registry import EmbedderSpec
from fastface.settings import Settings
from fastface.types import Detections, FrameBatch, FrameFaces

SIGNATURE_SHAPE = (18, 32)
"""Rows and columns of the thumbnail that shot detection looks at."""


MAX_FACES = 64
"""Faces of a frame that :meth:`Executor.detect_frames` leaves room for on a GPU, unless it is told."""


class Vectors(Protocol):
    """Embeddings that may still be on their way."""

    def result(self) -> NDArray[np.float32]:
        """Wait for them: [m, dim] float32 unit vectors."""


class Executor(Protocol):
    """The stages that touch pixels."""

    device: str
    """What runs it, for the result: "cpu", or the GPU's name."""

    spec: EmbedderSpec

    def open(self, path: str | os.PathLike[str], *, fallback: bool = False, start: int = 0) -> Any:
        """A decoder of the file: iterable of batches, with `info`, `stats`, `name` and `close`.

        `fallback` asks for libav, whatever the executor's own decoder is; frames before number `start` are decoded, but
        not given.

        Raises:
            Unsupported: the executor's own decoder cannot decode this stream; iterating may raise it, too.
        """

    def detect(self, batch: Any) -> Detections:
        """The faces of a batch."""

    def ahead(self, batches: Iterable[Any]) -> Iterator[tuple[Any, Detections, NDArray[np.uint8]]]:
        """Each batch with its faces and with [N, S] uint8, a thumbnail of each frame; in order."""

    embed_at: int
    """Crops that are worth gathering before the network runs."""

    def crop(self, batch: Any, row: NDArray[np.int64], box: NDArray[np.float32]) -> Sequence[Any]:
        """m crops of 160 x 160, each with memory of its own: the faces of frames row [m] with boxes [m, 4]."""

    def stored(self, crops: Sequence[Any]) -> NDArray[np.uint8]:
        """Crops of :meth:`crop` as [n, 3, 160, 160] uint8 in host memory, for a checkpoint."""

    def restored(self, pixels: NDArray[np.uint8]) -> Sequence[Any]:
        """The crops that :meth:`stored` stored."""

    def embed(self, crops: Sequence[Any]) -> Vectors:
        """Begin to embed m crops of :meth:`crop`."""

    def size(self, batch: Any) -> tuple[int, int]:
        """Width and height as displayed."""

    def given(
        self, frames: Any, index: NDArray[np.int64], time: NDArray[np.float64], matrix: str | None, full_range: bool
    ) -> Any:
        """A batch of frames that the user decoded; see :meth:`fastface.Pipeline.process_frames`."""

    def detect_frames(
        self, frames: Any, *, stream: Any, max_faces: int | None, matrix: str | None, full_range: bool
    ) -> FrameFaces:
        """See :meth:`fastface.Pipeline.detect`."""

    def embed_frames(
        self, frames: Any, boxes: Any, rows: Any, *, stream: Any, matrix: str | None, full_range: bool
    ) -> Any:
        """See :meth:`fastface.Pipeline.embed`."""

    def memory(self) -> int | None:
        """Bytes of the GPU's memory that are in use now, by all processes; None on the CPU."""

    def release(self, batch: Any) -> None:
        """The batch is done with; its memory may be used again."""


@dataclass(frozen=True)
class _Here:
    """Embeddings that are there."""

    vectors: NDArray[np.float32]

    def result(self) -> NDArray[np.float32]:
        return self.vectors


class CpuExecutor:
    """libav, torch and the C++ core on the CPU: the reference.

    Args:
        settings: see :class:`fastface.settings.Settings`.
        spec: the embedder, in the cache.
    """

    device = "cpu"
    embed_at = 32

    def __init__(self, settings: Settings, spec: EmbedderSpec) -> None:
        from fastface.detect import MTCNN
        from fastface.embed.embedder import Embedder

        self.spec = spec
        self._settings = settings
        self._detector = MTCNN(settings.detector)
        self._embedder = Embedder(spec)

    def open(self, path: str | os.PathLike[str], *, fallback: bool = False, start: int = 0) -> Any:
        from fastface.decode import LibavDecoder

        settings = self._settings
        return LibavDecoder(path, every=settings.every, batch_size=settings.batch_size, start=start)

    def detect(self, batch: FrameBatch) -> Detections:
        return self._detector.detect(batch.pixels)

    def ahead(self, batches: Iterable[Any]) -> Iterator[tuple[Any, Detections, NDArray[np.uint8]]]:
        for batch in batches:
            yield batch, self.detect(batch), self.signatures(batch)

    def signatures(self, batch: FrameBatch) -> NDArray[np.uint8]:
        """[N, S] uint8, a thumbnail of each frame."""
        from fastface import _core

        small = _core.resize_area(batch.pixels, *SIGNATURE_SHAPE, threads())
        # resize_area gives MTCNN's input range, (x - 127.5) / 128.
        out: NDArray[np.uint8] = np.rint(small * 128 + 127.5).astype(np.uint8).reshape(len(batch), -1)
        return out

    def crop(self, batch: FrameBatch, row: NDArray[np.int64], box: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
        from fastface import _core
        from fastface.embed.crops import crop_rects

        rects = crop_rects(box, batch.width, batch.height)
        return [crop.copy() for crop in _core.crop_triangle(batch.pixels, row, rects, CROP_SIZE, threads())]

    def stored(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        return np.array(crops, np.uint8).reshape(len(crops), 3, CROP_SIZE, CROP_SIZE)

    def restored(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        return [crop.copy() for crop in pixels]

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> Vectors:
        return _Here(self._embedder.embed(np.stack(crops)))

    def size(self, batch: FrameBatch) -> tuple[int, int]:
        return batch.width, batch.height

    def given(
        self, frames: Any, index: NDArray[np.int64], time: NDArray[np.float64], matrix: str | None, full_range: bool
    ) -> FrameBatch:
        pixels = rgb_frames(frames, matrix, full_range)
        if len(pixels) != len(index):
            raise InputValidationError(f"there are {len(index)} times for {len(pixels)} frames")
        return FrameBatch(index, time, pixels)

    def detect_frames(
        self, frames: Any, *, stream: Any, max_faces: int | None, matrix: str | None, full_range: bool
    ) -> FrameFaces:
        self._no_stream(stream)
        pixels = rgb_frames(frames, matrix, full_range)
        found = self._detector.detect(pixels) if len(pixels) else Detections.empty()
        count = np.bincount(found.row, minlength=len(pixels)).astype(np.int32)
        places = int(count.max(initial=0))
        place = np.arange(len(found)) - (np.cumsum(count) - count)[found.row]
        out = FrameFaces(
            count,
            np.zeros((len(pixels), places, 4), np.float32),
            np.zeros((len(pixels), places), np.float32),
            np.zeros((len(pixels), places, 5, 2), np.float32),
            np.zeros(1, np.int32),
        )
        for column, values in ((out.box, found.box), (out.score, found.score), (out.landmarks, found.landmarks)):
            column[found.row, place] = values
        return out

    def embed_frames(
        self, frames: Any, boxes: Any, rows: Any, *, stream: Any, matrix: str | None, full_range: bool
    ) -> NDArray[np.float32]:
        self._no_stream(stream)
        pixels, box = rgb_frames(frames, matrix, full_range), host_array(boxes, "boxes")
        row = None if rows is None else host_array(rows, "rows")
        shape, box, row = face_boxes(box, row, len(pixels))
        batch = FrameBatch(np.arange(len(pixels)), np.zeros(len(pixels)), pixels)
        if not len(row):
            return np.zeros((*shape, self.spec.dim), np.float32)
        vectors = self.embed(self.crop(batch, row, box)).result()
        return vectors.reshape(*shape, self.spec.dim)

    @staticmethod
    def _no_stream(stream: Any) -> None:
        if stream is not None:
            raise InputValidationError("stream is given, but the pipeline runs on the CPU")

    def memory(self) -> None:
        return None

    def release(self, batch: FrameBatch) -> None:
        """Nothing to do: the memory is the batch's own."""


def threads() -> int:
    """Threads that the C++ core may use: as many as torch does."""
    import torch

    return torch.get_num_threads()


def choose_executor(settings: Settings, device: str) -> tuple[Executor, list[str]]:
    """The executor for a device, and warnings that the choice deserves.

    Args:
        device: "cpu", "cuda", or "auto": the GPU if it can be used, else the CPU, which is said.

    Raises:
        InputValidationError: another device.
        ModelError: the embedder is missing and cannot be fetched.
        GPUError: "cuda", and no GPU can be used; the message says why.
    """
    from fastface import models

    if device not in ("auto", "cpu", "cuda"):
        raise InputValidationError(f"device is {device!r}, must be 'auto', 'cpu' or 'cuda'")
    missing = None if device == "cpu" else gpu_problem()
    if device == "cuda" and missing:
        raise GPUError(f"device='cuda' cannot be used: {missing}")
    spec = models.resolve(settings.embedder)
    if device == "cpu":
        return CpuExecutor(settings, spec), []
    if missing:
        return CpuExecutor(settings, spec), [f"device: the CPU was used, because {missing}"]
    from fastface.gpu.executor import CudaExecutor

    return CudaExecutor(settings, spec), []


def gpu_problem() -> str | None:
    """Why no NVIDIA GPU can be used, or None if one can."""
    import importlib.util

    import torch

    if torch.version.cuda is None:
        return "torch is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no NVIDIA GPU"
    for module in ("cupy", "PyNvVideoCodec"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed (pip install 'fastface-gpu[cuda13]' or [cuda12])"
    return None
