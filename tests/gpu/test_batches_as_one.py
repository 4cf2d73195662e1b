"""Batches that are given as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastface.gpu.executor import _Part, _together
from fastface.types import Detections


class Store:
    """Notes what is freed."""

    def __init__(self) -> None:
        self.freed: list[int] = []

    def free(self, places: np.ndarray) -> None:
        self.freed += places.tolist()


def parts(rng: np.random.Generator) -> list[_Part]:
    """Three batches of a video: of 2 frames and 3 faces, of 3 frames and none, of 4 frames and 5 faces."""
    out, frame, place = [], 10, 100
    for frames, faces in ((2, 3), (3, 0), (4, 5)):
        f = np.float32
        found = Detections(
            np.sort(rng.integers(0, frames, faces)), rng.random((faces, 4), f), rng.random(faces, f),
            rng.random((faces, 5, 2), f), rng.random(faces, f), rng.random((faces, 64), f),
        )  # fmt: skip
        index = np.arange(frame, frame + frames)
        signatures = rng.integers(0, 256, (frames, 6), np.uint8)
        out.append(_Part(index, index / 25, (64, 48), found, signatures, np.arange(place, place + faces)))
        frame, place = frame + frames, place + faces
    return out


@pytest.mark.parametrize("which", [slice(0, 1), slice(None)])
def test_it_is_as_of_one_batch(rng: np.random.Generator, which: slice) -> None:
    several = parts(rng)[which]
    store: Any = Store()
    seen = _together(several, store)
    assert (seen.width, seen.height) == (64, 48)
    assert seen.index.tolist() == [i for p in several for i in p.index.tolist()]
    assert seen.time.tolist() == [t for p in several for t in p.time.tolist()]
    np.testing.assert_array_equal(seen.signatures, np.concatenate([p.signatures for p in several]))
    # A face's frame is the one that it was found in.
    assert seen.index[seen.found.row].tolist() == [i for p in several for i in p.index[p.found.row].tolist()]
    for name in ("box", "score", "landmarks", "sharpness", "appearance"):
        np.testing.assert_array_equal(
            getattr(seen.found, name), np.concatenate([getattr(p.found, name) for p in several])
        )
    # Crops that are asked for belong to whoever asks, the others go.
    places = [place for p in several for place in p.places.tolist()]
    wanted = [len(places) - 1, 0]
    assert seen.crop(np.array(wanted)).tolist() == [places[i] for i in wanted]
    assert store.freed == []
    seen.close()
    assert store.freed == [place for i, place in enumerate(places) if i not in wanted]
