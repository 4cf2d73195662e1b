"""What differs between CPU and GPU: decoding, detecting, cropping and embedding on one kind of memory.

The pipeline talks to an :class:`Executor` and knows no device. Frames stay where the executor put them; only boxes,
scores, thumbnails and embeddings (and, on the CPU, crops) come out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.embed.crops import CROP_SIZE
from fastface.embed.store import CropStore, HostCrops
from fastface.errors import GPUError, InputValidationError
from fastface.given import face_boxes, host_array, rgb_frames
from fastface.models.registry import EmbedderSpec
from fastface.settings import Settings
from fastface.spent import Spent
from fastface.types import Detections, FrameBatch, FrameFaces

SIGNATURE_SHAPE = (18, 32)
"""Rows and columns of the thumbnail that shot detection looks at."""


MAX_FACES = 64
"""Faces of a frame that :meth:`Executor.detect_frames` leaves room for on a GPU, unless it is told."""


@dataclass(frozen=True)
class Seen:
    """What N frames showed. Call :meth:`close` when no more crops are wanted.

    Attributes:
        index: [N] int64, numbers of the frames in the video.
        time: [N] float64, seconds.
        width, height: pixels of the frames as displayed.
        found: the M faces.
        signatures: [N, S] uint8, a thumbnail of each frame.
    """

    index: NDArray[np.int64]
    time: NDArray[np.float64]
    width: int
    height: int
    found: Detections
    signatures: NDArray[np.uint8]
    _crop: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    _close: Callable[[], None]

    def crop(self, which: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places in the store of the crops of the faces with these numbers [m]; once for each face at most."""
        return self._crop(which)

    def close(self) -> None:
        """Let go of what was not asked for."""
        self._close()


class Vectors(Protocol):
    """Embeddings that may still be on their way."""

    def result(self) -> NDArray[np.float32]:
        """Wait for them: [m, dim] float32 unit vectors."""


class Executor(Protocol):
    """The stages that touch pixels. A `store` is one that its own :meth:`crop_store` gave."""

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

    def look(self, batches: Iterable[Any], store: Any, spent: Spent) -> Iterator[Seen]:
        """What each batch shows, in the order shown; batches without frames are left out.

        The batches are released. Crops go to `store`, and to `spent` what decoding and detection take.
        """

    embed_at: int
    """Crops that are worth gathering before the network runs."""

    def crop_store(self, first: int | None = None) -> CropStore:
        """Room for crops, at first for this many (None: for those of a video); it goes when nobody has it any more."""

    def crop(self, batch: Any, row: NDArray[np.int64], box: NDArray[np.float32], store: Any) -> NDArray[np.int64]:
        """Cut out the faces of frames row [m] with boxes [m, 4]: their places [m] in the store."""

    def embed(self, store: Any, places: NDArray[np.int64]) -> Vectors:
        """Begin to embed the m crops of these places, which may be freed at once."""

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

    def shortages(self) -> list[str]:
        """What the want of memory did to the last run, in sentences."""

    def close(self) -> None:
        """Release what is kept from one video to the next."""


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

    def look(self, batches: Iterable[Any], store: CropStore, spent: Spent) -> Iterator[Seen]:
        for batch in spent.each("decoding", batches):
            if not len(batch):
                continue
            with spent.on("detection"):
                found = self.detect(batch)

            def crop(
                which: NDArray[np.int64], batch: FrameBatch = batch, found: Detections = found
            ) -> NDArray[np.int64]:
                return self.crop(batch, found.row[which], found.box[which], store)

            yield Seen(
                batch.index, batch.time, batch.width, batch.height, found, self.signatures(batch), crop, lambda: None
            )

    def signatures(self, batch: FrameBatch) -> NDArray[np.uint8]:
        """[N, S] uint8, a thumbnail of each frame."""
        from fastface import _core

        small = _core.resize_area(batch.pixels, *SIGNATURE_SHAPE, threads())
        # resize_area gives MTCNN's input range, (x - 127.5) / 128.
        out: NDArray[np.uint8] = np.rint(small * 128 + 127.5).astype(np.uint8).reshape(len(batch), -1)
        return out

    def crop_store(self, first: int | None = None) -> HostCrops:
        return HostCrops(first or 64)

    def crop(
        self, batch: FrameBatch, row: NDArray[np.int64], box: NDArray[np.float32], store: CropStore
    ) -> NDArray[np.int64]:
        return store.write(self._pixels(batch, row, box))

    def _pixels(self, batch: FrameBatch, row: NDArray[np.int64], box: NDArray[np.float32]) -> NDArray[np.uint8]:
        from fastface import _core
        from fastface.embed.crops import crop_rects

        rects = crop_rects(box, batch.width, batch.height)
        pixels: NDArray[np.uint8] = _core.crop_triangle(batch.pixels, row, rects, CROP_SIZE, threads())
        return pixels

    def embed(self, store: CropStore, places: NDArray[np.int64]) -> Vectors:
        return _Here(self._embedder.embed(store.read(places)))

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
        vectors = self._embedder.embed(self._pixels(batch, row, box))
        return vectors.reshape(*shape, self.spec.dim)

    @staticmethod
    def _no_stream(stream: Any) -> None:
        if stream is not None:
            raise InputValidationError("stream is given, but the pipeline runs on the CPU")

    def memory(self) -> None:
        return None

    def release(self, batch: FrameBatch) -> None:
        """Nothing to do: the memory is the batch's own."""

    def shortages(self) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing to do."""


CAPABILITY = (8, 0)
"""Compute capability that the kernels need: for tensor cores as they use them, and 99 KiB of shared memory a block."""


def threads() -> int:
    """Threads that the C++ core may use: as many as torch does."""
    import torch

    return torch.get_num_threads()


def choose_executor(settings: Settings, device: str) -> tuple[Executor, list[str]]:
    """The executor for a device, and warnings that the choice deserves.

    Args:
        device: "cpu", "cuda", "cuda:1" (the second GPU), or "auto": the GPU if it can be used, else the CPU, which is
            said.

    Raises:
        InputValidationError: another device.
        ModelError: the embedder is missing and cannot be fetched.
        GPUError: "cuda", and no GPU can be used; the message says why.
    """
    from fastface import models

    number, missing = gpu_number(device)
    spec = models.resolve(settings.embedder)
    if number is None:
        warnings = [] if missing is None else [f"device: the CPU was used, because {missing}"]
        return CpuExecutor(settings, spec), warnings
    from fastface.gpu.executor import CudaExecutor

    return CudaExecutor(settings, spec, number), []


def gpu_number(device: str) -> tuple[int | None, str | None]:
    """The number of the GPU that a device stands for, None for the CPU; and why "auto" stands for the CPU.

    Raises:
        InputValidationError: there is no such device.
        GPUError: a GPU is named that cannot be used.
    """
    named = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", device) if isinstance(device, str) else None
    if device not in ("auto", "cpu") and named is None:
        raise InputValidationError(f"device is {device!r}, must be 'auto', 'cpu', 'cuda' or 'cuda:N'")
    if device == "cpu":
        return None, None
    number = int(named[1] or 0) if named else 0
    missing = gpu_problem(number)
    if named and missing:
        raise GPUError(f"device={device!r} cannot be used: {missing}")
    return (None, missing) if missing else (number, None)


def gpu_count() -> int:
    """NVIDIA GPUs that torch finds."""
    import torch

    return torch.cuda.device_count()


def gpu_problem(number: int = 0) -> str | None:
    """Why NVIDIA GPU `number` cannot be used, or None if it can."""
    import importlib.util

    import torch

    if torch.version.cuda is None:
        return "torch is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no NVIDIA GPU"
    for module in ("cupy", "PyNvVideoCodec"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed (pip install 'fastface-gpu[cuda13]' or [cuda12])"
    if number >= (count := gpu_count()):
        return f"there are {count} GPUs, from cuda:0 on"
    if (capability := torch.cuda.get_device_capability(number)) < CAPABILITY:
        needed, has = (".".join(map(str, c)) for c in (CAPABILITY, capability))
        return f"{torch.cuda.get_device_name(number)} has compute capability {has}, must have {needed} or more"
    return None
