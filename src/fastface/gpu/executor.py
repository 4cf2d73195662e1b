"""The stages that touch pixels, on one NVIDIA GPU: frames never leave its memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
from fastface.models.registry import EmbedderSpec
from fastface.settings import Settings
from fastface.types import Detections, FrameBatch

_EMBED_BATCH = 256


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
        self._current: tuple[Any, DeviceFrames] | None = None

    def open(self, path: str | os.PathLike[str], *, fallback: bool = False) -> Any:
        every, batch_size = self._settings.every, self._settings.batch_size
        if fallback:
            return LibavDecoder(path, every=every, batch_size=batch_size)
        from fastface.decode.nvdec import NvdecDecoder

        return NvdecDecoder(path, device_id=self._index, every=every, batch_size=batch_size)

    def _frames(self, batch: Any) -> DeviceFrames:
        """The batch as our kernels read it, ready on the detection stream (which is the current one)."""
        if self._current is None or self._current[0] is not batch:
            if isinstance(batch, FrameBatch):  # decoded by libav
                pixels = torch.from_numpy(batch.pixels).to(self._torch_device)
                frames = DeviceFrames.from_rgb(pixels)
            else:
                batch.wait(self._detecting.cuda_stream)
                frames = DeviceFrames.from_nv12(
                    torch.from_dlpack(batch.pixels),
                    batch.width,
                    batch.height,
                    matrix=batch.matrix,
                    full_range=batch.full_range,
                    rotation=batch.rotation,
                )
            self._current = (batch, frames)
        return self._current[1]

    def size(self, batch: Any) -> tuple[int, int]:
        if isinstance(batch, FrameBatch) or batch.rotation in (0, 180):
            return batch.width, batch.height
        return batch.height, batch.width

    def detect(self, batch: Any) -> Detections:
        with torch.cuda.stream(self._detecting):
            return self._detector.detect(self._frames(batch))

    def signatures(self, batch: Any) -> NDArray[np.uint8]:
        with torch.cuda.stream(self._detecting):
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
        with (
            torch.cuda.stream(self._embedding),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False),
        ):
            for i in range(0, len(crops), _EMBED_BATCH):
                batch = torch.stack(list(crops[i : i + _EMBED_BATCH]))
                scaled = scale_input(batch, self.spec.scaling).to(self._dtype)
                parts.append(self._network(scaled.contiguous(memory_format=torch.channels_last)))
            out: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
        for crop in crops:
            crop.record_stream(self._embedding)
        return out

    def release(self, batch: Any) -> None:
        self._current = None
        if not isinstance(batch, FrameBatch):
            batch.release(self._detecting.cuda_stream)
