"""What differs between CPU and GPU: decoding, detecting, cropping and embedding on one kind of memory.

The pipeline talks to an :class:`Executor` and knows no device. Frames stay where the executor put them; only boxes,
scores, thumbnails and embeddings (and, on the CPU, crops) come out.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.models.registry import EmbedderSpec
from fastface.settings import Settings
from fastface.types import Detections, FrameBatch

SIGNATURE_SHAPE = (18, 32)
"""Rows and columns of the thumbnail that shot detection looks at."""


class Executor(Protocol):
    """The stages that touch pixels."""

    device: str
    """What runs it, for the result: "cpu", or the GPU's name."""

    spec: EmbedderSpec

    def open(self, path: str | os.PathLike[str]) -> Any:
        """A decoder of the file: iterable of frame batches, with `info`, `stats`, `name` and `close`."""

    def detect(self, batch: FrameBatch) -> Detections:
        """The faces of a batch."""

    def signatures(self, batch: FrameBatch) -> NDArray[np.float32]:
        """[N, S] float32 in [0, 1], a thumbnail of each frame."""

    def crop(self, batch: FrameBatch, row: NDArray[np.int64], box: NDArray[np.float32]) -> NDArray[np.uint8]:
        """[m, 3, 160, 160] uint8: the faces of frames row [m] with boxes [m, 4], for :meth:`embed`."""

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[m, dim] float32 unit vectors."""


class CpuExecutor:
    """libav, torch and the C++ core on the CPU: the reference.

    Args:
        settings: see :class:`fastface.settings.Settings`.
        spec: the embedder, in the cache.
    """

    device = "cpu"

    def __init__(self, settings: Settings, spec: EmbedderSpec) -> None:
        from fastface.detect import MTCNN
        from fastface.embed.embedder import Embedder

        self.spec = spec
        self._settings = settings
        self._detector = MTCNN(settings.detector)
        self._embedder = Embedder(spec)

    def open(self, path: str | os.PathLike[str]) -> Any:
        from fastface.decode import LibavDecoder

        return LibavDecoder(path, every=self._settings.every, batch_size=self._settings.batch_size)

    def detect(self, batch: FrameBatch) -> Detections:
        return self._detector.detect(batch.pixels)

    def signatures(self, batch: FrameBatch) -> NDArray[np.float32]:
        from fastface import _core

        small = _core.resize_area(batch.pixels, *SIGNATURE_SHAPE, threads())
        # resize_area gives MTCNN's input range, about [-1, 1].
        out: NDArray[np.float32] = (small * 0.5 + 0.5).reshape(len(batch), -1)
        return out

    def crop(self, batch: FrameBatch, row: NDArray[np.int64], box: NDArray[np.float32]) -> NDArray[np.uint8]:
        from fastface import _core
        from fastface.embed.crops import CROP_SIZE, crop_rects

        rects = crop_rects(box, batch.width, batch.height)
        crops: NDArray[np.uint8] = _core.crop_triangle(batch.pixels, row, rects, CROP_SIZE, threads())
        return crops

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._embedder.embed(crops)


def threads() -> int:
    """Threads that the C++ core may use: as many as torch does."""
    import torch

    return torch.get_num_threads()
