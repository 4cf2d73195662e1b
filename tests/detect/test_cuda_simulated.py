"""The GPU's kernels without a GPU: compiled for the CPU (see tests/simulated), and compared with the same twins."""

from __future__ import annotations

import copy
import dataclasses
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import test_cuda as cascade_on_a_gpu
import test_cuda_kernels as kernels_on_a_gpu
import test_cuda_networks as networks_on_a_gpu
from cuda_pictures import nv12_of, on_gpu, picture, run

sys.path.insert(0, str(Path(__file__).parents[1]))
from fastface.errors import GPUError
from fastface.gpu import kernels
from fastface.settings import DetectorSettings
from simulated.device import SimulatedGPU, install


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    return SimulatedGPU(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module")
def torch(gpu):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield install(gpu, monkeypatch)


@pytest.fixture(params=["first to last", "last to first"])
def order(gpu, request):
    """A barrier that is missing shows where threads come in another order."""
    gpu.order = request.param == "last to first"
    yield
    gpu.order = 0


def test_refining_and_deciding_networks_equal_torch(torch, cascade, order):
    networks_on_a_gpu.test_refining_and_deciding_networks_equal_torch(torch, cascade)


def test_refining_scan_equals_rnet(torch, half, order):
    networks_on_a_gpu.test_refining_scan_equals_rnet(torch, half)


@pytest.mark.parametrize("size", [(230, 250), (90, 3), (3, 1100), (1300, 40)])
def test_candidates_of_all_sizes_equal_torch(torch, half, order, size):
    networks_on_a_gpu.test_candidates_of_all_sizes_equal_torch(torch, half, size)


@pytest.mark.parametrize("size", [(97, 131), (405, 431)])
def test_scan_and_cells_equal_pnet(torch, half, cascade, order, size):
    networks_on_a_gpu.test_scan_and_cells_equal_pnet(torch, half, cascade, size)


@pytest.mark.parametrize("size", [(47, 52), (90, 31)])
def test_every_cell_of_a_level_equals_pnet(torch, half, order, size):
    networks_on_a_gpu.test_every_cell_of_a_level_equals_pnet(torch, half, size)


@pytest.mark.parametrize("size", [(97, 131), (405, 431)])
def test_pyramid_equals_torch(torch, cascade, half, size):
    kernels_on_a_gpu.test_pyramid_equals_torch(torch, cascade, half, size)


@pytest.mark.parametrize("size", [(405, 431), (12, 13), (17, 300), (420, 12)])
def test_means_are_rounded_once(torch, order, size):
    kernels_on_a_gpu.test_means_are_rounded_once(torch, size)


def test_frames_are_scanned_in_parts(torch, monkeypatch):
    networks_on_a_gpu.test_frames_are_scanned_in_parts(torch, monkeypatch)


def test_memory_is_given_to_others(torch):
    cascade_on_a_gpu.test_memory_is_given_to_others(torch)


@pytest.mark.parametrize("again", [False, True])
def test_a_detector_without_room_gets_anothers(torch, monkeypatch, again):
    """For its first buffers, and for larger ones where something did not fit."""
    from fastface.detect import cuda
    from fastface.gpu.executor import CudaExecutor
    from fastface.gpu.interop import GivenBatch

    first, second = (cuda.CudaMTCNN(DetectorSettings(), precision="fp16") for _ in range(2))
    executor = object.__new__(CudaExecutor)
    executor._lanes, executor._turn = [(first, torch.cuda.Stream()), (second, torch.cuda.Stream())], 0
    batch = GivenBatch(np.arange(4), np.arange(4.0), on_gpu(torch, picture(np.random.default_rng(8), 4, 97, 131)))
    on_its_way = executor._submit(batch)
    made = cuda.Buffers
    if again:
        second.capacity = dataclasses.replace(second.capacity, cells=4)
        pending = executor._submit(batch)

    def scarce(*args, **kwargs):
        if first._buffers is not None:
            raise torch.cuda.OutOfMemoryError("the first has it")
        return made(*args, **kwargs)

    monkeypatch.setattr(cuda, "Buffers", scarce)
    monkeypatch.setattr(cuda, "free_memory", lambda device: "a test has taken it")
    got = executor._with_room(pending.result)[0] if again else executor.detect(batch)
    assert first._buffers is None
    assert first.frames_a_pass == 2
    assert second._buffers.n == 1
    wanted, _ = on_its_way.result()
    for name in ("row", "box", "score", "landmarks"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))


def test_what_an_attempt_took_is_gone_before_the_next(torch, monkeypatch):
    from fastface.detect import cuda

    detector, made, taken, left = cuda.CudaMTCNN(DetectorSettings(), precision="fp16"), cuda.Buffers, [], []

    def scarce(n, *args, **kwargs):
        part = torch.empty(1000)  # as the exception's frames hold what was made before it
        taken.append(weakref.ref(part))
        if n > 1:
            raise torch.cuda.OutOfMemoryError("too much")
        return made(n, *args, **kwargs)

    monkeypatch.setattr(cuda, "Buffers", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: left.append(taken[-1]() is not None))
    detector.detect(on_gpu(torch, picture(np.random.default_rng(8), 4, 97, 131)))
    assert left == [False, False]


def test_crops_on_their_way(torch, cascade, monkeypatch):
    """Each call's table arrives whole: more of them than may wait, some larger than a table; frames of two sizes."""
    from fastface import _core
    from fastface.gpu import staging

    monkeypatch.setattr(staging, "torch", torch)
    monkeypatch.setattr(staging, "CROP_SIZE", 8)
    monkeypatch.setattr(staging, "ROOM", 6)
    monkeypatch.setattr(staging, "_SLOTS", 3)
    queue, rng = staging.CropQueue(cascade), np.random.default_rng(2)
    for number, count in enumerate((3, 1, 40, 0, 6, 7, 13, 2)):
        pixels = picture(rng, 2, 40 + 8 * (number % 2), 50)
        corner = rng.integers(0, 20, (count, 2))
        rect = np.concatenate([corner, corner + rng.integers(1, 20, (count, 2))], 1).astype(np.int32)
        row, place = rng.integers(0, 2, count), rng.permutation(64)[:count]
        out = torch.zeros((64, 3, 8, 8), dtype=torch.uint8)
        queue.add(on_gpu(torch, pixels), row, rect, place, out, 0)
        wanted = _core.crop_triangle(pixels, row, rect, 8).astype(int)
        assert np.abs(out.numpy()[place] - wanted).max(initial=0) <= 1
        assert not np.delete(out.numpy(), place, 0).any()


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_nv12_is_converted_and_rotated(torch, cascade, matrix, full, rotation):
    kernels_on_a_gpu.test_nv12_is_converted_and_rotated(torch, cascade, matrix, full, rotation)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_crops_of_nv12_are_those_of_its_colours(torch, cascade, wide, rotation):
    kernels_on_a_gpu.test_crops_of_nv12_are_those_of_its_colours(torch, cascade, wide, rotation)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("size", [(66, 50), (67, 51), (3, 5)])
def test_rows_of_any_alignment(torch, cascade, size, wide):
    kernels_on_a_gpu.test_rows_of_any_alignment(torch, cascade, size, wide)


def test_p016_equals_nv12(torch, cascade):
    kernels_on_a_gpu.test_p016_equals_nv12(torch, cascade)


def test_crops_equal_twins(torch, cascade, order):
    kernels_on_a_gpu.test_crops_equal_twins(torch, cascade)


def test_empty_rectangles_give_zeros(torch, cascade):
    kernels_on_a_gpu.test_empty_rectangles_give_zeros(torch, cascade)


@pytest.mark.parametrize("minimum", [False, True])
@pytest.mark.parametrize("most", [40, 900])
def test_nms_equals_twin(torch, cascade, order, minimum, most):
    kernels_on_a_gpu.test_nms_equals_twin(torch, cascade, minimum, most)


def test_nms_over_lists_of_items_and_its_limits(torch, cascade, order):
    kernels_on_a_gpu.test_nms_over_lists_of_items_and_its_limits(torch, cascade)


def test_no_face_and_tiny_frames(torch, cascade):
    cascade_on_a_gpu.test_no_face_and_tiny_frames(torch, cascade)


@pytest.mark.media
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_the_cascade_equals_the_cpu(torch, media, precision):
    """Faces of a real picture, from its pixels to landmarks."""
    from fastface.decode import LibavDecoder
    from fastface.detect import MTCNN
    from fastface.detect.cuda import CudaMTCNN

    settings = DetectorSettings(min_face_size=30)
    with LibavDecoder(media / "hamilton.mp4", every=40, batch_size=1) as decoder:
        pixels = next(iter(decoder)).pixels
    wanted = MTCNN(settings).detect(pixels)
    got = CudaMTCNN(settings, precision=precision).detect(on_gpu(torch, pixels))
    assert len(wanted) >= 1
    assert got.row.tolist() == wanted.row.tolist()
    np.testing.assert_allclose(got.box, wanted.box, atol=2e-3)
    np.testing.assert_allclose(got.score, wanted.score, atol=2e-5)
    np.testing.assert_allclose(got.landmarks, wanted.landmarks, atol=2e-3)
    np.testing.assert_allclose(got.appearance, wanted.appearance, atol=2e-3)


def test_split_products_are_as_exact_as_float32(torch, cascade):
    """O-Net's features against float64: no further off than torch's in float32, which rounds each sum."""
    from fastface.detect import geometry, ops
    from fastface.detect.cuda import CudaMTCNN
    from fastface.detect.cuda.buffers import Fact
    from fastface.detect.mtcnn import load_nets

    pixels = picture(np.random.default_rng(12), 1, 200, 260)
    loose = CudaMTCNN(DetectorSettings(thresholds=(0.5, 0.1, 0.1)), precision="fp32")
    b, result = run(torch, loose, on_gpu(torch, pixels))
    count = int(result.read(1)[0][Fact.DECIDE])
    box, frame = b.decide_box[:count], b.decide_frame[:count].long()
    rects = geometry.pixel_rects(box, 200, 260)
    seen = geometry.not_empty(rects)
    assert int(seen.sum()) >= 5
    crops = ops.crop_area(torch.from_numpy(pixels), frame[seen], rects[seen].contiguous(), 48)
    onet = load_nets(torch.device("cpu"), torch.float32)[2]
    def features(net, x):
        for i in (1, 2, 3):
            x = getattr(net, f"pool{i}")(getattr(net, f"prelu{i}")(getattr(net, f"conv{i}")(x)))
        return net.prelu4(net.conv4(x)).flatten(1)

    with torch.inference_mode():
        plain = features(onet, crops)
        exact = features(copy.deepcopy(onet).double(), crops.double())
    ours = (b.decide_features[:count][seen] - exact).square().mean().sqrt()
    theirs = (plain - exact).square().mean().sqrt()
    print(f"rms error of O-Net's features: {ours:.2g}, float32 {theirs:.2g}")
    assert ours <= theirs < 1e-6


_RACE = """
namespace fastface {
extern "C" __global__ void turn(int* out) {
  extern __shared__ __align__(16) int seen[];
  seen[threadIdx.x] = threadIdx.x;
  BARRIER
  out[threadIdx.x] = seen[(threadIdx.x + 32) % 64];
}
extern "C" __global__ void beyond(int* out) {
  extern __shared__ __align__(16) int seen[];
  out[threadIdx.x] = seen[threadIdx.x];
}
}  // namespace fastface
"""


def test_the_simulation_sees_what_is_wrong(tmp_path, monkeypatch):
    """A missing barrier, shared memory that was never written, and more of it than there is."""
    (tmp_path / "cuda").mkdir()
    for name, barrier in (("good", "__syncthreads();"), ("bad", "")):
        (tmp_path / "cuda" / f"{name}.cu").write_text(_RACE.replace("BARRIER", barrier))
    gpu = SimulatedGPU(tmp_path, sources=tmp_path)
    fake = install(gpu, monkeypatch)
    turned = (np.arange(64) + 32) % 64

    def outcome(file, function, shared=256):
        out = fake.zeros(64, dtype=fake.int32)
        kernels.launch(0, 0, gpu.kernel(file, function), (1,), 64, out, shared_memory=shared)
        return out.tolist()

    for gpu.order in (0, 1):
        assert outcome("good", "turn") == turned.tolist()
    gpu.order = 0
    first = outcome("bad", "turn")
    gpu.order = 1
    assert first != turned.tolist() or outcome("bad", "turn") != turned.tolist()
    assert outcome("good", "beyond") == [-1] * 64  # as NaN, in a float
    with pytest.raises(GPUError, match="could not be queued"):
        outcome("good", "turn", gpu.shared_limit + 1)


@pytest.mark.parametrize("size", [(64, 96), (150, 50), (400, 300)])
def test_windows_equal_pillow(torch, gpu, monkeypatch, size):
    """Sample for sample, where a window is made smaller and larger, at the picture's edges, odd sizes too."""
    from fastface.clip.view import sampled
    from fastface.gpu import window as module

    monkeypatch.setattr(module, "kernel", gpu.kernel)
    rng = np.random.default_rng(31)
    width, height, n = 143, 95, 3
    frames = nv12_of(rng, n, height, width, 144)
    windows = np.array([[0, 0, width, height], [10.3, 7.9, 60.25, 80.1], [100.5, 60.5, 143, 95], [0.01, 40, 20, 52.7],
                        [71.0, 11.0, 83.0, 29.0]])  # fmt: skip
    frame_of = np.array([0, 1, 2, 2, 0], np.int32)
    cutter = module.WindowCutter(width, height, size, 6, torch.device("cpu"))
    got = cutter.queue(torch.from_numpy(frames), frame_of, windows, 0).numpy()
    w, h = size
    for v, number in enumerate(frame_of):
        y, uv = frames[number, :height, :width], frames[number, height:]
        planes = (y, uv[:, 0::2], uv[:, 1::2])
        wanted = np.empty((h, w), np.uint8), np.empty((h // 2, w // 2), np.uint8), np.empty((h // 2, w // 2), np.uint8)
        sampled(planes, windows[v], wanted)
        np.testing.assert_array_equal(got[v].ravel(), np.concatenate([p.ravel() for p in wanted]))
    with pytest.raises(ValueError, match="7 windows, must be at most 6"):
        cutter.queue(torch.from_numpy(frames), np.zeros(7, np.int32), np.zeros((7, 4)), 0)
