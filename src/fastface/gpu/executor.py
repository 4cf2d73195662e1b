"""The stages that touch pixels, on one NVIDIA GPU: frames never leave its memory."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack

from fastface.decode import LibavDecoder
from fastface.decode.cuda import SessionPool
from fastface.decode.demuxer import Demuxers
from fastface.decode.device import DeviceFrameBatch, InOrder
from fastface.detect.cuda import CudaMTCNN, Pending
from fastface.embed.crops import CROP_SIZE, crop_rects
from fastface.errors import GPUMemoryError, InputValidationError
from fastface.executor import MAX_FACES, SIGNATURE_SHAPE, Seen
from fastface.gpu.crops import DeviceCrops
from fastface.gpu.embedder import SIZES, CudaEmbedder, Vectors
from fastface.gpu.frames import DeviceFrames
from fastface.gpu.interop import GivenBatch, as_frames, as_tensor, crop_rects_on_device, face_boxes, ordered_on
from fastface.gpu.staging import CropQueue
from fastface.models.registry import EmbedderSpec
from fastface.settings import Settings
from fastface.spent import Spent
from fastface.types import Detections, FrameBatch, FrameFaces

T = TypeVar("T")

_LANES = 2
_AHEAD = 5  # batches whose detection is queued
_HOLD = _AHEAD - 1  # of them, when the decoder is asked for the next one
_CROPS_AHEAD = 3072  # crops that may wait for frames before theirs: then the decoder only catches up


@dataclass(frozen=True)
class _Part:
    """What one batch showed; see :class:`Seen`."""

    index: NDArray[np.int64]
    time: NDArray[np.float64]
    size: tuple[int, int]
    found: Detections
    signatures: NDArray[np.uint8]
    places: NDArray[np.int64]  # of the faces' crops


def _together(parts: list[_Part], store: DeviceCrops) -> Seen:
    """What batches that follow each other showed, as one: a batch costs the host as much whatever is in it."""
    if len(parts) == 1:
        whole = parts[0]
    else:
        index, time, signatures, places = (
            np.concatenate([getattr(p, name) for p in parts]) for name in ("index", "time", "signatures", "places")
        )
        found = Detections.of([p.found for p in parts], [len(p.index) for p in parts])
        whole = _Part(index, time, parts[0].size, found, signatures, places)
    places = whole.places
    left = np.ones(len(places), bool)

    def crop(which: NDArray[np.int64]) -> NDArray[np.int64]:
        left[which] = False
        return places[which]

    return Seen(
        whole.index,
        whole.time,
        *whole.size,
        whole.found,
        whole.signatures,
        crop,
        lambda: store.free(places[left]),
    )


class CudaExecutor:
    """NVDEC, our kernels and torch on one GPU.

    Detection, crops and embedding have streams of their own, and precedence in the order of what the decoder waits for:
    a frame is given back when its crops are cut, which waits for no embedding; embedding fills what the others leave.

    Args:
        settings: see :class:`fastface.settings.Settings`.
        spec: the embedder, in the cache.
        device: number of the GPU.
    """

    embed_at = SIZES[0]

    def __init__(self, settings: Settings, spec: EmbedderSpec, device: int = 0) -> None:
        self.spec = spec
        self._settings, self._index = settings, device
        self._torch_device = torch.device("cuda", device)
        self.device = torch.cuda.get_device_name(device)
        dtype = torch.float16 if settings.precision == "fp16" else torch.float32
        self._demuxers = Demuxers()
        with contextlib.suppress(OSError):  # which the first video's result will tell
            self._demuxers.start()
        # The embedder's weights are read, checked and folded while CuPy is imported and the kernels are loaded.
        with ThreadPoolExecutor(1, thread_name_prefix="fastface-weights") as aside:
            embedder = aside.submit(CudaEmbedder, spec, self._torch_device, dtype)
            # Detectors with buffers and a stream each, by turns: where one batch has too little work for the whole GPU,
            # another fills it.
            self._lanes = [
                (
                    CudaMTCNN(settings.detector, device, settings.precision),
                    torch.cuda.Stream(self._torch_device, priority=-1),
                )
                for _ in range(_LANES)
            ]
            self._embedder = embedder.result()
        self._turn = 0
        self._detector, self._detecting = self._lanes[0]
        self._cutting = torch.cuda.Stream(self._torch_device, priority=-2)
        self._embedding = torch.cuda.Stream(self._torch_device)
        self._crops = CropQueue(self._detector)
        self._sessions = SessionPool()
        self._frames_of: dict[int, tuple[FrameBatch, DeviceFrames]] = {}  # by id, which the batch keeps from another
        self._blocks: dict[tuple[int, int], DeviceFrames] = {}  # of the decoder's ring, by address and length

    def open(self, path: str | os.PathLike[str], *, fallback: bool = False, start: int = 0) -> Any:
        every, batch_size = self._settings.every, self._settings.batch_size
        if fallback:
            return LibavDecoder(path, every=every, batch_size=batch_size, start=start)
        from fastface.decode.nvdec import NvdecDecoder

        idle = torch.cuda.memory_reserved(self._index) - torch.cuda.memory_allocated(self._index)
        if 4 * idle > torch.cuda.mem_get_info(self._index)[0]:
            torch.cuda.empty_cache()  # what torch keeps would count as taken
        return NvdecDecoder(
            path,
            device_id=self._index,
            every=every,
            batch_size=batch_size,
            hold=_HOLD,
            start=start,
            ordered=False,
            pool=self._sessions,
            demuxers=self._demuxers,
        )

    def _view(self, batch: Any) -> DeviceFrames:
        """The batch as our kernels read it, once its pixels are there."""
        if isinstance(batch, GivenBatch):
            return batch.frames
        if isinstance(batch, FrameBatch):  # decoded by libav
            if id(batch) not in self._frames_of:
                frames = DeviceFrames.from_rgb(torch.from_numpy(batch.pixels).to(self._torch_device))
                torch.cuda.current_stream(self._torch_device).synchronize()
                self._frames_of[id(batch)] = batch, frames
            return self._frames_of[id(batch)][1]
        key = (batch.pixels.data.ptr, len(batch))
        if key not in self._blocks:
            self._blocks[key] = DeviceFrames.from_nv12(
                from_dlpack(batch.pixels),
                batch.width,
                batch.height,
                matrix=batch.matrix,
                full_range=batch.full_range,
                rotation=batch.rotation,
            )
        return self._blocks[key]

    def look(self, batches: Iterable[Any], store: DeviceCrops, spent: Spent) -> Iterator[Seen]:
        """Batches come as they are decoded. All faces are cut out as soon as they are found, and the frames given back:
        what waits for its turn is crops, not frames. Batches whose turn comes at once are given as one."""
        for detector, _ in self._lanes:
            detector.fewest = detector.frames_a_pass
        order, ahead = InOrder(), 0
        hold_back = getattr(batches, "hold_back", None)
        try:
            for batch, pending in self._queued(batches, spent):
                seen = None if pending is None else self._seen(batch, pending, store, spent)
                self.release(batch)
                due = order.push(batch, seen) if isinstance(batch, DeviceFrameBatch) else [seen]
                ahead += 0 if seen is None else len(seen.places)
                if now := [part for part in due if part is not None]:
                    ahead -= sum(len(part.places) for part in now)
                    yield _together(now, store)
                if hold_back is not None:
                    hold_back(ahead > _CROPS_AHEAD)
        finally:
            # Where the run ends early, detection goes on, and copies to memory that will be somebody else's.
            self._wait()
            self._blocks.clear()  # they keep the ring
            self._frames_of.clear()

    def _queued(self, batches: Iterable[Any], spent: Spent) -> Iterator[tuple[Any, Pending | None]]:
        """Each batch with its detection; queues more before it waits for one, so that the GPU always has work."""
        waiting: deque[tuple[Any, Pending | None]] = deque()
        for batch in spent.each("decoding", batches):
            with spent.on("detection"):
                waiting.append((batch, self._submit(batch) if len(batch) else None))
            while waiting and (len(waiting) == _AHEAD or waiting[0][1] is None or waiting[0][1].done):
                yield waiting.popleft()
        yield from waiting

    def _seen(self, batch: Any, pending: Pending, store: DeviceCrops, spent: Spent) -> _Part:
        with spent.on("detection"):
            found, signatures = self._with_room(pending.result)
        places = self.crop(batch, found.row, found.box, store)
        return _Part(batch.index, batch.time, self.size(batch), found, signatures, places)

    def _submit(self, batch: Any) -> Pending:
        detector, stream = self._lanes[self._turn]
        self._turn = (self._turn + 1) % _LANES
        if isinstance(batch, DeviceFrameBatch):
            batch.wait(stream.cuda_stream)
        frames = self._view(batch)
        return self._with_room(lambda: detector.submit(frames, thumbnail=SIGNATURE_SHAPE, stream=stream))

    def size(self, batch: Any) -> tuple[int, int]:
        if isinstance(batch, GivenBatch):
            return batch.frames.width, batch.frames.height
        if isinstance(batch, FrameBatch) or batch.rotation in (0, 180):
            return batch.width, batch.height
        return batch.height, batch.width

    def _wait(self) -> None:
        """Until all that was queued is done."""
        for stream in (*(stream for _, stream in self._lanes), self._cutting, self._embedding):
            stream.synchronize()

    def detect(self, batch: Any) -> Detections:
        try:
            return self._with_room(self._submit(batch).result)[0]
        except BaseException:
            self._frames_of.pop(id(batch), None)  # nobody will release it
            raise

    def crop_store(self, first: int | None = None) -> DeviceCrops:
        return DeviceCrops(self._torch_device, self._cutting, self._embedding, first)

    def crop(
        self, batch: Any, row: NDArray[np.int64], box: NDArray[np.float32], store: DeviceCrops
    ) -> NDArray[np.int64]:
        places = self._with_room(lambda: store.take(len(row)))
        if len(row):
            rects = crop_rects(box, *self.size(batch))
            self._crops.add(self._view(batch), row, rects, places, store.pixels, store.writing.cuda_stream)
        return places

    def embed(self, store: DeviceCrops, places: NDArray[np.int64]) -> Vectors:
        with store.reading():
            return self._with_room(lambda: self._embedder.later(store.pixels, store.on_device(places)))

    def _with_room(self, work: Callable[[], T]) -> T:
        """`work`, again and again while a detector can give it memory, whose passes get smaller; a detector's own work
        too, for another may have taken all there is."""
        while True:
            try:
                return work()
            except (GPUMemoryError, torch.cuda.OutOfMemoryError) as error:
                traceback.clear_frames(error.__traceback__)  # they hold what the attempt had allocated
                if not any([detector.yield_memory() for detector, _ in self._lanes]):  # of every lane
                    raise

    def given(
        self, frames: Any, index: NDArray[np.int64], time: NDArray[np.float64], matrix: str | None, full_range: bool
    ) -> GivenBatch:
        for _, stream in self._lanes:
            stream.wait_stream(torch.cuda.current_stream(self._torch_device))
        with torch.cuda.stream(self._detecting):
            device_frames = as_frames(frames, self._torch_device, matrix=matrix, full_range=full_range)
        for _, stream in self._lanes[1:]:  # the first one waits for whoever made the frames
            stream.wait_stream(self._detecting)
        if len(device_frames) != len(index):
            raise InputValidationError(f"there are {len(index)} times for {len(device_frames)} frames")
        return GivenBatch(index, time, device_frames)

    def detect_frames(
        self, frames: Any, *, stream: Any, max_faces: int | None, matrix: str | None, full_range: bool
    ) -> FrameFaces:
        most = max_faces or MAX_FACES
        while True:
            with ordered_on(self._detecting, stream, self._torch_device):
                device_frames = as_frames(frames, self._torch_device, matrix=matrix, full_range=full_range)
                found, facts = self._with_room(partial(self._detector.by_frame, device_frames, most))
            if stream is not None:
                return found
            if not int(found.overflow):
                for tensor in vars(found).values():  # ours by allocation, the caller's by use
                    tensor.record_stream(torch.cuda.current_stream(self._torch_device))
                return found
            if not self._detector.grow(facts):
                most = int(found.count.max())  # the caller's own limit holds with a stream only

    @torch.inference_mode()
    def embed_frames(
        self, frames: Any, boxes: Any, rows: Any, *, stream: Any, matrix: str | None, full_range: bool
    ) -> Any:
        with ordered_on(self._embedding, stream, self._torch_device):
            device_frames = as_frames(frames, self._torch_device, matrix=matrix, full_range=full_range)
            box, row, shape = face_boxes(
                as_tensor(boxes, self._torch_device, "boxes"),
                None if rows is None else as_tensor(rows, self._torch_device, "rows"),
                len(device_frames),
            )
            rects = crop_rects_on_device(box, device_frames.width, device_frames.height)
            crops = self._detector.crop_triangle(device_frames, row, rects, CROP_SIZE)
            vectors = self._embedder.embed(crops, torch.arange(len(crops), device=self._torch_device))
        if stream is None:
            vectors.record_stream(torch.cuda.current_stream(self._torch_device))
        return vectors.view(*shape, -1)

    def close(self) -> None:
        self._wait()
        self._sessions.close()
        self._demuxers.close()

    def shortages(self) -> list[str]:
        fewest, usual = min(d.fewest for d, _ in self._lanes), max(d.usual for d, _ in self._lanes)
        detection = f"frames went through detection {fewest} at a time, not {usual}" if fewest < usual else None
        found = [sentence for sentence in (detection, self._embedder.shortage()) if sentence]
        return [f"the GPU's memory was short: {', and '.join(found)}"] if found else []

    def memory(self) -> int:
        free, total = torch.cuda.mem_get_info(self._index)
        return total - free

    def release(self, batch: Any) -> None:
        _, frames = self._frames_of.pop(id(batch), (None, None))
        if frames is not None:
            frames.samples.record_stream(self._cutting)  # which may have crops of them before it
        if isinstance(batch, GivenBatch):
            self._cutting.synchronize()  # the user may write to the frames from here on
        elif not isinstance(batch, FrameBatch):
            batch.release(self._cutting.cuda_stream)  # its detection is over: the result was waited for
