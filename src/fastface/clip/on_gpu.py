"""Windows of a clip cut on a GPU: NVDEC decodes, a kernel cuts, and only what is shown comes to the host.

It takes the place of :class:`fastface.clip.cut.OnCpu`, picture for picture and sample for sample.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.clip.source import Cut, Reader, Source
from fastface.clip.view import Camera, LayoutOf
from fastface.decode.cuda import Session
from fastface.decode.device import Unsupported
from fastface.decode.surfaces import SurfaceReader
from fastface.encode.planes import Planes
from fastface.errors import VideoProcessingError

BATCH = 8
"""Pictures that are cut at once."""


class Cutter(Protocol):
    """Room for a few frames on the device, and what cuts windows out of them; used by one thread at a time."""

    block: Any
    """[BATCH, rows, row] samples of NV12, for the session to copy to."""

    def cut(self, session: Session, frame_of: NDArray[np.int32], window: NDArray[np.float64]) -> NDArray[np.uint8]:
        """[V, height * 3 / 2, width] on the host, after what the session queued; written anew by the next call."""


class OnGpu:
    """The pictures of parts of a clip that shows windows.

    Args:
        source: the video; `plain`, and no packet of it is damaged.
        layout_of: how windows are put together.
        device_id: number of the GPU.
        parts: how many there will be that show pictures; None: nobody knows yet.

    Raises:
        Unsupported: NVDEC cannot decode this stream, or the source is not so.
        GPUError: the GPU, its driver or its library fails.
    """

    def __init__(
        self,
        source: Source,
        layout_of: LayoutOf,
        device_id: int = 0,
        parts: int | None = None,
        *,
        _backend: Any = None,
        _cutter: Any = None,
    ) -> None:
        if not source.plain or source.damaged:
            raise Unsupported("a GPU cuts 8-bit 4:2:0 that is not turned, interlaced or damaged")
        self._source, self._layout_of, self._device = source, layout_of, device_id
        self._surfaces = SurfaceReader(source.path, device_id, parts, _backend=_backend)
        self._make_cutter = _cutter or CudaCutter
        self._lock = threading.Lock()
        self._cutters: list[Cutter] = []

    def __call__(self, cut: Cut, threads: int) -> Generator[tuple[int, Any], None, None]:
        """See :data:`fastface.clip.cut.Pictures`."""
        source = self._source
        if cut.first >= cut.last:
            return
        with contextlib.closing(Reader(source)) as aside:  # of what is held: so that the pictures go on
            layout = self._layout_of(aside)
            cutter = self._take(layout.window)
            begin = max(i for i in source.safe if i <= cut.first)
            first, stop = source.stamp(begin), source.stamp(cut.last)
            numbers: list[int] = []
            try:
                with (
                    self._surfaces.session() as session,
                    contextlib.closing(self._surfaces.pictures(session, first, stop)) as surfaces,
                ):
                    for stamp, surface in surfaces:
                        number = int(np.searchsorted(source.stamps, stamp))
                        if number < cut.first or source.stamps[number] != stamp:
                            continue
                        session.copy(surface, cutter.block, len(numbers))
                        numbers.append(number)
                        if len(numbers) == BATCH:
                            yield from self._shown(layout, cutter, session, numbers)
                            numbers = []
                    if numbers:
                        yield from self._shown(layout, cutter, session, numbers)
            except Unsupported as error:
                raise VideoProcessingError(f"{source.path!r} cannot be cut: {error}") from error
            finally:
                with self._lock:
                    self._cutters.append(cutter)

    def _shown(self, layout: Any, cutter: Cutter, session: Session, numbers: list[int]) -> Iterator[tuple[int, Any]]:
        """Put the windows of some pictures together."""
        wanted = [(slot, n, c) for slot, n in enumerate(numbers) for c in layout.cameras if layout.shows(c, n)]
        cut = cutter.cut(
            session,
            np.array([slot for slot, _, _ in wanted], np.int32),
            np.array([camera.window[n] for _, n, camera in wanted]).reshape(-1, 4),
        )
        place = {(n, id(camera)): v for v, (_, n, camera) in enumerate(wanted)}
        for n in numbers:

            def fill(camera: Camera, out: Planes, n: int = n) -> None:
                flat, at = cut[place[n, id(camera)]].reshape(-1), 0
                for plane in out:
                    plane[...] = flat[at : at + plane.size].reshape(plane.shape)
                    at += plane.size

            yield n, layout.picture(n, fill)

    def _take(self, window: tuple[int, int]) -> Cutter:
        with self._lock:
            if self._cutters:
                return self._cutters.pop()
        made: Cutter = self._make_cutter(self._surfaces, window, self._device)
        return made

    def close(self) -> None:
        """Release the GPU."""
        self._surfaces.close()
        self._cutters.clear()


class CudaCutter:
    """Cuts by :class:`fastface.gpu.window.WindowCutter`, on the session's stream.

    Raises:
        VideoProcessingError: there is no room on the GPU.
    """

    def __init__(self, surfaces: SurfaceReader, window: tuple[int, int], device_id: int) -> None:
        import torch
        from torch.utils.dlpack import from_dlpack

        from fastface.gpu.window import WindowCutter

        form = surfaces.form
        self._torch, self._device = torch, torch.device("cuda", device_id)
        try:
            (self.block,) = surfaces.backend.allocate(1, BATCH)
            self._cutter = WindowCutter(form.width, form.height, window, 2 * BATCH, self._device)
        except (MemoryError, torch.cuda.OutOfMemoryError) as error:
            raise VideoProcessingError(f"there is no room on the GPU to cut windows: {error}") from error
        self._frames = from_dlpack(self.block)
        self._host = torch.empty((2 * BATCH, window[1] * 3 // 2, window[0]), dtype=torch.uint8, pin_memory=True)

    def cut(self, session: Session, frame_of: NDArray[np.int32], window: NDArray[np.float64]) -> NDArray[np.uint8]:
        from fastface.gpu.kernels import Program

        host = self._host[: len(window)]
        if len(window):
            stream = self._torch.cuda.ExternalStream(session.stream, device=self._device)
            with self._torch.cuda.device(self._device), self._torch.cuda.stream(stream):
                cut = self._cutter.queue(self._frames, frame_of, window, session.stream)
                # Not torch's copy: its allocator would note the stream, and look at it when the memory is given back,
                # which may be after the session's end.
                program = Program()
                program.to_host(host, cut)
                program.run(session.stream, self._device.index)
                stream.synchronize()
        out: NDArray[np.uint8] = host.numpy()
        return out
