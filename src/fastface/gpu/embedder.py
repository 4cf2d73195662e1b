"""The embedder on a GPU: the whole network as one CUDA graph per batch size, so that the host launches it once."""

from __future__ import annotations

import threading
import traceback
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastface import models
from fastface.cuda_driver import free_memory
from fastface.embed.scaling import IMAGE_SIZE
from fastface.errors import GPUMemoryError
from fastface.faults import out_of_memory
from fastface.gpu.layers import scale_faces
from fastface.gpu.network import FusedNetwork
from fastface.gpu.precision import exact_float32
from fastface.models.registry import EmbedderSpec

SIZES = (256, 32, 8)
"""Faces of a graph; what is left over is padded. The last only where the memory is short."""

_BEGIN = 64
"""Faces that go through the first layers at once, whose memory the next may use."""

_ROOM = 1 << 30
"""Bytes by which the free memory must have grown before a size is tried again."""


class Vectors:
    """Embeddings that are being computed."""

    def __init__(self, host: Tensor, event: torch.cuda.Event) -> None:
        self._host, self._event = host, event

    def result(self) -> NDArray[np.float32]:
        """Wait for them: [m, dim] float32 unit vectors."""
        self._event.synchronize()
        return self._host.numpy()


class CudaEmbedder:
    """An embedder of :mod:`fastface.models` on one GPU.

    Args:
        spec: which one; it must be in the cache.
        device: where.
        dtype: float16 or float32.
    """

    def __init__(self, spec: EmbedderSpec, device: torch.device, dtype: torch.dtype) -> None:
        self.spec, self.device, self._dtype = spec, device, dtype
        self._network = FusedNetwork(models.load_state(spec), spec.dim, device, dtype)
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        # Memory that the graphs share, for they run one after the other; and the stream that they were captured on.
        self._pool: Any = None
        self._side = torch.cuda.Stream(device)
        self._refused: dict[int, int] = {}  # sizes for which there was no room, and the bytes that were free then
        self._busy = torch.cuda.Event()  # the last use of the graphs' memory
        self._lock = threading.Lock()

    def forward(self, crops: Tensor) -> Tensor:
        """[m, 3, 160, 160] uint8 to [m, dim] float32, on torch's current stream, at any batch size."""
        parts = [self._network.begin(scale_faces(part, self.spec.scaling, self._dtype)) for part in crops.split(_BEGIN)]
        return self._network.end(torch.cat(parts))

    def _graph(self, size: int) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        if size not in self._graphs:
            static = torch.zeros((size, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8, device=self.device)
            torch.cuda.synchronize(self.device)
            side = self._side
            with torch.cuda.stream(side):
                for _ in range(2):  # cuDNN chooses its algorithms before the capture
                    self.forward(static)
            side.synchronize()
            torch.cuda.empty_cache()  # what the trial runs used, and the graph, in the graphs' pool, will want
            graph = torch.cuda.CUDAGraph()
            # Decoding threads go on meanwhile, so only this thread's calls count.
            with torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
                out = self.forward(static)
            self._pool = graph.pool()
            self._graphs[size] = (graph, static, out)
        return self._graphs[size]

    def _size_for(self, faces: int) -> int:
        """The graph that so many faces take: the largest, or one that is large enough."""
        if self._refused:
            free = torch.cuda.mem_get_info(self.device)[0]
            self._refused = {size: then for size, then in self._refused.items() if free < then + _ROOM}
        sizes = [size for size in SIZES[:-1] if size not in self._refused] or list(SIZES[-1:])
        return min((size for size in sizes if size >= faces), default=sizes[0])

    def shortage(self) -> str | None:
        """What the want of memory made slower, in a sentence; None if nothing."""
        return f"faces were embedded {self._size_for(SIZES[0])} at a time" if self._refused else None

    @torch.inference_mode()
    def embed(self, pixels: Tensor, places: Tensor) -> Tensor:
        """Embed crops, on torch's current stream.

        Args:
            pixels: [K, 3, 160, 160] uint8; places: [m] int64, which of them.

        Returns:
            [m, dim] float32 unit vectors, on the device.

        Raises:
            GPUMemoryError: there is not even room for a few faces.
        """
        out = torch.empty((len(places), self.spec.dim), device=self.device)
        done = 0
        stream = torch.cuda.current_stream(self.device)
        with self._lock, exact_float32():
            stream.wait_event(self._busy)
            while done < len(places):
                size = self._size_for(len(places) - done)
                try:
                    graph, static, vectors = self._graph(size)
                except RuntimeError as error:  # torch's own, or cuDNN's, which finds no room for its workspace
                    traceback.clear_frames(error.__traceback__)  # they hold what the attempt had allocated
                    torch.cuda.synchronize(self.device)
                    torch.cuda.empty_cache()
                    if not out_of_memory(error) and torch.cuda.mem_get_info(self.device)[0] > _ROOM:
                        raise  # it is no want of memory
                    if size == SIZES[-1]:
                        raise GPUMemoryError(
                            f"there is no room to embed {size} faces: {free_memory(self.device)}"
                        ) from error
                    self._refused[size] = torch.cuda.mem_get_info(self.device)[0]
                    continue
                part = places[done : done + size]
                torch.index_select(_wide(pixels), 0, part, out=_wide(static)[: len(part)])
                graph.replay()
                out[done : done + size] = vectors[: len(part)]
                done += size
            self._busy.record(stream)
        return out

    @torch.inference_mode()
    def later(self, pixels: Tensor, places: Tensor) -> Vectors:
        """Queue :meth:`embed` and the copy to the host on torch's current stream."""
        vectors = self.embed(pixels, places)
        host = torch.empty(vectors.shape, dtype=torch.float32, pin_memory=True)
        host.copy_(vectors, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        return Vectors(host, event)


def _wide(pixels: Tensor) -> Tensor:
    """Crops as [n, 9600] int64, which are copied eight bytes at a time."""
    return pixels.flatten(1).view(torch.int64)
