"""The network that turns face crops into unit vectors, in batches."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fastface.embed.network import load_network
from fastface.embed.scaling import IMAGE_SIZE, scale_input
from fastface.models.registry import EmbedderSpec
from fastface.watch import check

# Few sizes, because oneDNN compiles kernels for each new one.
_BATCHES = (32, 8, 1)


class Embedder:
    """An embedder of :mod:`fastface.models`, loaded.

    Args:
        spec: which one; it must be in the cache.
        device: where it runs.
    """

    def __init__(self, spec: EmbedderSpec, device: str | torch.device = "cpu") -> None:
        self.spec = spec
        self.device = torch.device(device)
        self._network = load_network(spec, self.device)

    @property
    def dim(self) -> int:
        return self.spec.dim

    @torch.inference_mode()
    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed faces.

        Args:
            crops: [M, 3, 160, 160] uint8, RGB.

        Returns:
            [M, dim] float32, unit vectors.
        """
        if crops.ndim != 4 or crops.shape[1:] != (3, IMAGE_SIZE, IMAGE_SIZE) or crops.dtype != np.uint8:
            raise ValueError(
                f"crops are {crops.dtype} of shape {list(crops.shape)}, must be uint8 of shape [M, 3, 160, 160]"
            )
        out = np.empty((len(crops), self.dim), np.float32)
        done = 0
        while done < len(crops):
            check()
            count = next(b for b in _BATCHES if b <= len(crops) - done)
            batch = torch.from_numpy(crops[done : done + count]).to(self.device)
            scaled = scale_input(batch, self.spec.scaling).contiguous(memory_format=torch.channels_last)
            out[done : done + count] = self._network(scaled).cpu().numpy()
            done += count
        return out
