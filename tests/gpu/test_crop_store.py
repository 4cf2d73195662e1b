"""Crops that one stream writes and another reads: neither overtakes the other, and the host waits for neither."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fastface.embed.store import SHAPE
from stores import check_growing

pytestmark = pytest.mark.gpu


@pytest.fixture
def held():
    """Holds a stream until it is told to let go; gives how, and asserts that nobody waited for it in the meantime."""
    import cupy

    go_on, waited_long = threading.Event(), list[bool]()

    def hold(stream) -> threading.Event:
        wait = lambda _: waited_long.append(not go_on.wait(60))  # noqa: E731
        cupy.cuda.ExternalStream(stream.cuda_stream).launch_host_func(wait, None)
        return go_on

    yield hold
    go_on.set()
    assert waited_long == [False], "the host waited for a stream"


@pytest.fixture
def store():
    import torch

    from fastface.gpu.crops import DeviceCrops

    for kernel in (lambda x: x.fill_(7), lambda x: x[torch.zeros(2, dtype=torch.int64, device="cuda")]):
        kernel(torch.zeros((2, *SHAPE), dtype=torch.uint8, device="cuda"))  # CUDA loads it, for which it may wait
    return DeviceCrops(torch.device("cuda"), torch.cuda.Stream(), torch.cuda.Stream(), 8)


def test_a_place_is_written_anew_when_it_was_read(store, held, rng):
    import torch

    pixels = rng.integers(0, 256, (8, *SHAPE), dtype=np.uint8)
    places = store.write(pixels)
    which = torch.from_numpy(places).cuda()
    torch.cuda.synchronize()
    with store.reading():
        go_on = held(torch.cuda.current_stream())
        seen = store.pixels[which]
    store.free(places)
    assert sorted(store.take(8)) == sorted(places)
    with torch.cuda.stream(store.writing):
        store.pixels.fill_(7)
    go_on.set()
    torch.cuda.synchronize()
    np.testing.assert_array_equal(seen.cpu().numpy(), pixels)
    assert (store.pixels == 7).all()


def test_a_place_is_read_when_it_was_written(store, held):
    import torch

    places = store.take(8)
    which = torch.from_numpy(places).cuda()
    torch.cuda.synchronize()
    with torch.cuda.stream(store.writing):
        go_on = held(store.writing)
        store.pixels.fill_(7)
    with store.reading():
        seen = store.pixels[which]
    go_on.set()
    torch.cuda.synchronize()
    assert (seen == 7).all()


def test_crops_stay_while_the_store_grows(store, rng):
    check_growing(store, rng, 10, 4)
