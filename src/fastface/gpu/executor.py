"""The stages that touch pixels, on one NVIDIA GPU: frames never leave its memory."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastface.decode import LibavDecoder
from fastface.detect.cuda import CudaMTCNN
from fastface.embed.crops import CROP_SIZE, crop_rects
from fastface.embed.network import load_network, scale_input
from fastface.executor import SIGNATURE_SHAPE
from fastface.gpu.frames import DeviceFrames
from fastface.gpu.precision import exact_float32
from fastface.models.registry import EmbedderSpec
from fastface.settings import Settings
from fastface.types import Detections, FrameBatch

_EMBED_BATCH = 256
_WORKERS = 2  # batches in detection at once
_HOLD = _WORKERS + 4  # batches that the decoder lends: those, one being tracked, and what waits on the way


class CudaExecutor:
    """NVDEC, our kernels and torch on one GPU.

    Detection and embedding have a stream each; a crop is made on the detection stream, and the embedding stream waits
    for it by an event.

    Args:
        settings: see :class:`fastface.settings.Settings`.
        spec: the embedder, in the cache.
        device: number of the GPU.
    """

    def __init__(self, settings: Settings, spec: EmbedderSpec, device: int = 0) -> None:
        self.spec = spec
        self._settings, self._index = settings, device
        self._torch_device = torch.device("cuda", device)
        self.device = torch.cuda.get_device_name(device)
        self._dtype = torch.float16 if settings.precision == "fp16" else torch.float32
        self._detector = CudaMTCNN(settings.detector, device, settings.precision)
        self._network = load_network(spec, self._torch_device, self._dtype)
        self._detecting = torch.cuda.Stream(self._torch_device)
        self._embedding = torch.cuda.Stream(self._torch_device)
        self._local = threading.local()
        self._frames_of: dict[int, DeviceFrames] = {}

    def open(self, path: str | os.PathLike[str], *, fallback: bool = False) -> Any:
        every, batch_size = self._settings.every, self._settings.batch_size
        if fallback:
            return LibavDecoder(path, every=every, batch_size=batch_size)
        from fastface.decode.nvdec import NvdecDecoder

        return NvdecDecoder(path, device_id=self._index, every=every, batch_size=batch_size, hold=_HOLD)

    def _frames(self, batch: Any) -> DeviceFrames:
        """The batch as our kernels read it, once the current stream gets there."""
        stream = torch.cuda.current_stream(self._torch_device)
        if isinstance(batch, FrameBatch):  # decoded by libav
            if id(batch) not in self._frames_of:
                self._frames_of[id(batch)] = DeviceFrames.from_rgb(
                    torch.from_numpy(batch.pixels).to(self._torch_device)
                )
                stream.synchronize()
            return self._frames_of[id(batch)]
        batch.wait(stream.cuda_stream)
        return DeviceFrames.from_nv12(
            torch.from_dlpack(batch.pixels),
            batch.width,
            batch.height,
            matrix=batch.matrix,
            full_range=batch.full_range,
            rotation=batch.rotation,
        )

    def ahead(self, batches: Iterable[Any]) -> Iterator[tuple[Any, Detections, NDArray[np.uint8]]]:
        """Detects in two threads with a stream each: while one waits for counts, the other keeps the GPU busy."""
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="fastface-detect") as pool:
            waiting: deque[tuple[Any, Future[tuple[Detections, NDArray[np.uint8]]]]] = deque()
            for batch in batches:
                waiting.append((batch, pool.submit(self._look, batch)))
                if len(waiting) == _WORKERS:
                    done, future = waiting.popleft()
                    yield done, *future.result()
            for done, future in waiting:
                yield done, *future.result()

    def _look(self, batch: Any) -> tuple[Detections, NDArray[np.uint8]]:
        if not hasattr(self._local, "stream"):
            self._local.stream = torch.cuda.Stream(self._torch_device)
        with torch.cuda.stream(self._local.stream):
            return self._detect(batch), self._signatures(batch)

    def size(self, batch: Any) -> tuple[int, int]:
        if isinstance(batch, FrameBatch) or batch.rotation in (0, 180):
            return batch.width, batch.height
        return batch.height, batch.width

    def detect(self, batch: Any) -> Detections:
        with torch.cuda.stream(self._detecting):
            return self._detect(batch)

    def _detect(self, batch: Any) -> Detections:
        return self._detector.detect(self._frames(batch))

    def _signatures(self, batch: Any) -> NDArray[np.uint8]:
        (small,) = self._detector.pyramid(self._frames(batch), [SIGNATURE_SHAPE], scaled=False, output="float32")
        # The order of the CPU's: colour planes one after the other.
        flat = small.round().to(torch.uint8).contiguous(memory_format=torch.contiguous_format).flatten(1)
        out: NDArray[np.uint8] = flat.cpu().numpy()
        return out

    def crop(self, batch: Any, row: NDArray[np.int64], box: NDArray[np.float32]) -> list[Any]:
        rects = crop_rects(box, *self.size(batch))
        with torch.cuda.stream(self._detecting):
            device_row = torch.from_numpy(row).to(self._torch_device)
            device_rects = torch.from_numpy(rects).to(self._torch_device)
            crops = self._detector.crop_triangle(self._frames(batch), device_row, device_rects, CROP_SIZE)
            return [crop.clone() for crop in crops]

    @torch.inference_mode()
    def embed(self, crops: Sequence[Any]) -> NDArray[np.float32]:
        self._embedding.wait_stream(self._detecting)
        parts = []
        with torch.cuda.stream(self._embedding), exact_float32():
            for i in range(0, len(crops), _EMBED_BATCH):
                batch = torch.stack(list(crops[i : i + _EMBED_BATCH]))
                scaled = scale_input(batch, self.spec.scaling).to(self._dtype)
                parts.append(self._network(scaled.contiguous(memory_format=torch.channels_last)))
            out: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
        for crop in crops:
            crop.record_stream(self._embedding)
        return out

    def release(self, batch: Any) -> None:
        self._frames_of.pop(id(batch), None)
        if not isinstance(batch, FrameBatch):
            batch.release(self._detecting.cuda_stream)
