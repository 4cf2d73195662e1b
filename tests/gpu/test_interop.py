"""fastface in other GPU pipelines: arrays of torch and CuPy without a copy, on their streams."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fastface
from fastface.decode import LibavDecoder

pytestmark = [pytest.mark.gpu, pytest.mark.media]

EMBEDDER = "facenet-msceleb1m"


@pytest.fixture(scope="module")
def pipeline() -> Iterator[fastface.Pipeline]:
    with fastface.Pipeline(device="cuda", embedder=EMBEDDER) as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def pictures(media: Path) -> np.ndarray:
    with LibavDecoder(media / "hamilton.mp4", batch_size=24, every=5) as decoder:
        return next(iter(decoder)).pixels


def same(found, wanted) -> None:
    import torch

    n = int(wanted.count.max())
    assert found.count.tolist() == wanted.count.tolist()
    for name in ("box", "score", "landmarks"):
        torch.testing.assert_close(getattr(found, name)[:, :n], getattr(wanted, name)[:, :n], atol=0, rtol=0)


def test_detect_equals_the_detector_and_runs_where_the_frames_are(pipeline, pictures):
    import torch

    frames = torch.from_numpy(pictures).cuda()
    found = pipeline.detect(frames)
    wanted = pipeline.executor._detector.detect(
        pipeline.executor.given(frames, np.arange(24), np.arange(24.0), None, False).frames
    )
    assert found.count.sum() == len(wanted) > 10
    assert found.box.is_cuda
    there = torch.arange(found.box.shape[1], device="cuda") < found.count[:, None]
    np.testing.assert_array_equal(found.box[there].cpu().numpy(), wanted.box)
    np.testing.assert_array_equal(found.landmarks[there].cpu().numpy(), wanted.landmarks)
    assert not found.box[~there].any()
    vectors = pipeline.embed(frames, found.box)
    assert vectors.shape == (*found.score.shape, 128)
    torch.testing.assert_close(vectors.norm(dim=2), torch.ones_like(found.score), atol=1e-4, rtol=0)
    assert len(pipeline.detect(frames[:0])) == 0


def test_cupy_arrays_and_what_only_has_the_array_interface(pipeline, pictures):
    import cupy
    import torch

    wanted = pipeline.detect(torch.from_numpy(pictures).cuda())
    array = cupy.asarray(pictures)
    same(pipeline.detect(array), wanted)

    class Bare:
        __cuda_array_interface__ = array.__cuda_array_interface__

    same(pipeline.detect(Bare()), wanted)
    assert cupy.from_dlpack(wanted.box).shape == wanted.box.shape
    assert cupy.from_dlpack(wanted.box).data.ptr == wanted.box.data_ptr()


def test_nv12_is_read_as_the_decoder_reads_it(pipeline, media):
    """The decoder's own NV12, through the public way."""
    executor = pipeline.executor
    with executor.open(media / "crowd.mp4") as decoder:
        batch = next(iter(decoder))
        wanted = executor.detect(batch)
        batch.synchronize()
        found = pipeline.detect(batch.pixels)
        batch.release()
    assert int(found.count.sum()) == len(wanted) > 50
    np.testing.assert_array_equal(found.box[found.score > 0].cpu().numpy(), wanted.box)


@pytest.mark.parametrize("library", ["torch", "cupy", "address"])
def test_with_a_stream_the_caller_synchronises(pipeline, pictures, library):
    """Several streams at once, each with frames that its own work makes, which cannot begin before all is queued (but
    under compute-sanitizer, where launches wait for what their stream has to do)."""
    import cupy
    import torch

    wanted = [pipeline.detect(torch.from_numpy(np.roll(pictures, s, 0)).cuda()) for s in range(3)]
    vectors = [pipeline.embed(torch.from_numpy(np.roll(pictures, s, 0)).cuda(), w.box) for s, w in enumerate(wanted)]
    sources = [torch.from_numpy(np.roll(pictures, s, 0)).pin_memory() for s in range(3)]
    frames = [torch.zeros(pictures.shape, dtype=torch.uint8, device="cuda") for _ in range(3)]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in range(3)]
    queued, waited_long = threading.Event(), []
    if "FASTFACE_SANITIZER" in os.environ:
        queued.set()
    found = []
    for stream, source, target, w in zip(streams, sources, frames, wanted, strict=True):
        same_stream = cupy.cuda.ExternalStream(stream.cuda_stream)
        same_stream.launch_host_func(lambda _: waited_long.append(not queued.wait(60)), None)
        with torch.cuda.stream(stream):
            target.copy_(source, non_blocking=True)
        given = {"torch": stream, "cupy": same_stream, "address": stream.cuda_stream}[library]
        faces = pipeline.detect(target, stream=given, max_faces=w.box.shape[1])
        found.append((faces, pipeline.embed(target, faces.box, stream=given)))
    queued.set()
    for stream in streams:
        stream.synchronize()
    assert waited_long == [False] * 3, "the host waited, though a stream was given"
    for (faces, mine), w, v in zip(found, wanted, vectors, strict=True):
        assert faces.overflow.tolist() == [0]
        same(faces, w)
        torch.testing.assert_close(mine, v, atol=0, rtol=0)


def test_without_a_stream_all_is_there_on_return(pipeline, pictures):
    """Frames whose making is still queued on torch's current stream are waited for, and so is the result."""
    import torch

    wanted = pipeline.detect(torch.from_numpy(pictures).cuda())
    busy, target = torch.rand(4096, 4096, device="cuda"), torch.zeros(pictures.shape, dtype=torch.uint8, device="cuda")
    source = torch.from_numpy(pictures).pin_memory()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(20):
            busy @ busy
        target.copy_(source, non_blocking=True)
        found = pipeline.detect(target)
        assert stream.query()
    with torch.cuda.stream(torch.cuda.Stream()):  # a stream that waits for nobody
        same(found, wanted)


def test_what_does_not_fit_is_said_with_a_stream_and_mended_without(pipeline, pictures):
    import torch

    frames = torch.from_numpy(pictures).cuda()
    whole = pipeline.detect(frames)
    assert int(whole.count.max()) > 1
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    short = pipeline.detect(frames, stream=stream, max_faces=1)
    stream.synchronize()
    assert short.overflow.tolist() == [1]
    assert short.count.tolist() == whole.count.tolist()
    same(pipeline.detect(frames, max_faces=1), whole)


def test_process_frames_equals_process(pipeline, media):
    """RGB of the CPU's decoder, moved to the GPU by a user, against NVDEC: the same timeline."""
    import torch

    wanted = pipeline.process(media / "hamilton.mp4")
    buffer = torch.zeros((20, 360, 640, 3), dtype=torch.uint8, device="cuda")

    def batches():
        with LibavDecoder(media / "hamilton.mp4", batch_size=20) as decoder:
            for batch in decoder:
                buffer[: len(batch)].copy_(torch.from_numpy(batch.pixels))
                yield buffer[: len(batch)], batch.time
                buffer.zero_()

    got = pipeline.process_frames(batches())
    for name in ("frame", "box", "score", "landmarks", "track", "identity"):
        np.testing.assert_array_equal(getattr(got.faces, name), getattr(wanted.faces, name))
    assert got.run["gpu_memory_peak"] > 0


def test_process_frames_waits_for_whoever_makes_the_frames(pipeline, pictures):
    """CuPy arrays whose making is still queued on a stream of CuPy's: both lanes wait for it."""
    cupy = pytest.importorskip("cupy")
    parts = [cupy.asarray(pictures[i : i + 6]) for i in range(0, 24, 6)]
    times = [np.arange(i, i + 6) / 5 for i in range(0, 24, 6)]
    wanted = pipeline.process_frames(zip(parts, times, strict=True))
    busy, stream = cupy.ones((8192, 4096), cupy.float32), cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.runtime.deviceSynchronize()

    def late():
        for part, time in zip(parts, times, strict=True):
            with stream:
                target = cupy.zeros_like(part)
                for _ in range(100):
                    cupy.sin(busy, out=busy)
                target[...] = part
                yield target, time

    got = pipeline.process_frames(late())
    assert len(wanted.faces) > 10
    for name in ("frame", "box", "score", "track", "identity"):
        np.testing.assert_array_equal(getattr(got.faces, name), getattr(wanted.faces, name))


def test_wrong_input_is_refused(pipeline, pictures):
    import torch

    frames = torch.from_numpy(pictures[:2]).cuda()
    cases = [
        (frames.cpu(), "frames is on cpu, must be on cuda:0"),
        (frames.float(), "frames are torch.float32"),
        (frames.transpose(1, 2), "not contiguous"),
        (frames[0], "must be uint8"),
        ([1, 2], "must have __dlpack__"),
    ]
    for value, message in cases:
        with pytest.raises(fastface.InputValidationError, match=message):
            pipeline.detect(value)
    with pytest.raises(fastface.InputValidationError, match="no CUDA stream"):
        pipeline.detect(frames, stream="first")
    with pytest.raises(fastface.InputValidationError, match="boxes are"):
        pipeline.embed(frames, torch.zeros(3, 4, device="cuda"))
