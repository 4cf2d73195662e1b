"""Places for crops: taken, freed, taken again; the array grows and keeps what is in it."""

from __future__ import annotations

from collections import deque

import numpy as np

from fastface.embed.store import SHAPE, HostCrops, Places
from stores import check_growing


def test_no_place_is_given_twice(rng: np.random.Generator) -> None:
    places, held = Places(8), np.zeros(0, np.int64)
    for _ in range(300):
        if len(held) and rng.random() < 0.5:
            which = rng.random(len(held)) < 0.5
            places.free(held[which])
            held = held[~which]
        else:
            count = int(rng.integers(0, 12))
            if size := places.lacks(count):
                assert size >= places.size + 1
                places.grow(size)
            held = np.concatenate([held, places.take(count)])
        assert places.used == len(held) == len(np.unique(held))
        assert held.size == 0 or (held.min() >= 0 and held.max() < places.size)


def test_who_is_free_for_longest_is_taken_first(rng: np.random.Generator) -> None:
    places, free, held = Places(4), deque[int](), list[int]()
    for _ in range(1000):
        if held and rng.random() < 0.5:
            count = int(rng.integers(1, len(held) + 1))
            places.free(np.array(held[:count], np.int64))
            free.extend(held[:count])
            del held[:count]
        else:
            count, before = int(rng.integers(0, 7)), places.size
            if size := places.lacks(count):
                places.grow(size)
                free.extendleft(reversed(range(before, size)))  # those that were never taken
            taken = places.take(count).tolist()
            assert taken == [free.popleft() for _ in range(count)]
            held += taken


def test_crops_stay_while_the_store_grows(rng: np.random.Generator) -> None:
    check_growing(HostCrops(), rng, 40, 15)


def test_freed_places_are_used_again() -> None:
    store = HostCrops()
    for _ in range(50):
        store.free(store.write(np.zeros((60, *SHAPE), np.uint8)))
    assert len(store.pixels) <= 64
