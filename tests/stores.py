"""What holds for a store of crops wherever its memory is."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastface.embed.store import SHAPE


def check_growing(store: Any, rng: np.random.Generator, more: int, fewer: int) -> None:
    """Crops stay while the store grows: six times so many are written, and so many freed."""
    known: dict[int, np.ndarray] = {}
    for _ in range(6):
        pixels = rng.integers(0, 256, (more, *SHAPE), dtype=np.uint8)
        known |= dict(zip(store.write(pixels).tolist(), pixels, strict=True))
        gone = rng.choice(sorted(known), fewer, replace=False)
        store.free(gone)
        for place in gone.tolist():
            del known[place]
    assert store.used == len(known) == 6 * (more - fewer)
    places = np.array(sorted(known))
    np.testing.assert_array_equal(store.read(places), np.stack([known[p] for p in places.tolist()]))
