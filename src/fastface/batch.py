"""Many videos over all devices: a thread and a pipeline per device, one video each at a time.

Where several GPUs take part, each pipeline is in a process of its own (:mod:`fastface.device_process`): the
interpreter's lock is held for most of the time that one GPU works.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fastface.errors import GPUError, InputValidationError, shown
from fastface.watch import Cancelled, Watch, check, watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastface.gallery import Gallery
    from fastface.timeline import Timeline

    _Make = Callable[[str, contextlib.ExitStack], Callable[[str], Timeline]]
    """Makes what processes videos on a device, which is kept as long as it is used."""

LONG = 4.0
"""A video is long if it is this many times as large as the median."""

_LOOK = 0.1  # seconds between two looks at the memory


@dataclass(frozen=True)
class BatchResult:
    """What became of one video: a timeline, or the error that it ended with.

    Attributes:
        index: number of the video in the order given.
        path: as it was given.
        timeline: None where there is an error.
        error: None where there is a timeline. One of `fastface.errors`, or whatever else was raised.
        device: what it ran on: "cpu", "cuda:0", ...
        seconds: it took.
    """

    index: int
    path: str
    timeline: Timeline | None
    error: Exception | None
    device: str
    seconds: float


def process_many(
    paths: Iterable[str | os.PathLike[str]],
    *,
    devices: Literal["all"] | Sequence[str] = "all",
    gallery: Gallery | str | os.PathLike[str] | None = None,
    host_memory_limit: int | None = None,
    gpu_memory_limit: int | None = None,
    progress: Callable[[BatchResult], None] | None = None,
    **settings: Any,
) -> list[BatchResult]:
    """Find out who is on screen in many videos; one that fails does not stop the others.

        for result in fastface.process_many(paths):
            print(result.path, result.timeline or result.error)

    Args:
        paths: video files.
        devices, host_memory_limit, gpu_memory_limit, settings: see :class:`fastface.BatchProcessor`.
        gallery: see :meth:`fastface.Pipeline.process`.
        progress: called with each result as it comes.

    Returns:
        A result for each path, in the order given.

    Raises:
        InputValidationError: a setting is out of its range, or there is no such device.
        GPUError: "all" was not asked for, and a GPU that is named is not there.
        GalleryError: the gallery cannot be read.
    """
    results = []
    batch = BatchProcessor(
        devices=devices, host_memory_limit=host_memory_limit, gpu_memory_limit=gpu_memory_limit, **settings
    )
    for result in batch.run(paths, gallery=gallery):
        if progress is not None:
            progress(result)
        results.append(result)
    return sorted(results, key=lambda r: r.index)


class BatchProcessor:
    """Processes many videos over several devices.

    Each device has one pipeline and does one video at a time; several GPUs have a process each. Long videos and short
    ones share them: neither waits until all of the other are over (see :class:`FairOrder`). Before a video is begun
    while others run, there must be memory for it; with nothing running, it is begun all the same.

    Args:
        devices: "all" (every NVIDIA GPU; the CPU where there is none), or names: "cpu", "cuda:0", ... A name that is
            given twice gets two pipelines.
        host_memory_limit: bytes that this process and those of the GPUs may use for another video to be begun; None:
            three quarters of what the machine has.
        gpu_memory_limit: bytes of a GPU that may be in use for a video to be begun on it while others run; None: nine
            tenths of it.
        settings: of :class:`fastface.Pipeline`, but `device`.

    Raises:
        InputValidationError: a setting is out of its range, or a device is unknown.
        GPUError: a GPU that is named is not there.
    """

    def __init__(
        self,
        *,
        devices: Literal["all"] | Sequence[str] = "all",
        host_memory_limit: int | None = None,
        gpu_memory_limit: int | None = None,
        **settings: Any,
    ) -> None:
        for name, value in (("host_memory_limit", host_memory_limit), ("gpu_memory_limit", gpu_memory_limit)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputValidationError(f"{name} is {value!r}, must be None or a number of bytes from 1")
        if "device" in settings:
            raise InputValidationError(f"device is {settings['device']!r}, but a batch takes devices=[...]")
        self.devices = named_devices(devices)
        self._host_limit, self._gpu_limit, self._settings = host_memory_limit, gpu_memory_limit, settings

    def run(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        gallery: Gallery | str | os.PathLike[str] | None = None,
    ) -> Iterator[BatchResult]:
        """Process videos and give each result as it comes; closing the iterator ends what runs.

        Args:
            paths: video files.
            gallery: see :meth:`fastface.Pipeline.process`; it is read once.

        Raises:
            InputValidationError: paths is one path, or a setting is out of its range.
            GalleryError: the gallery cannot be read.
        """
        if isinstance(paths, (str, bytes, os.PathLike)):
            raise InputValidationError(f"paths is {shown(paths)}, must be several paths")
        return self._run([os.fspath(path) for path in paths], gallery)

    def _run(self, names: list[str], gallery: Gallery | str | os.PathLike[str] | None) -> Iterator[BatchResult]:
        _check_settings(self._settings)
        if gallery is not None and isinstance(gallery, (str, os.PathLike)):
            from fastface.gallery import Gallery

            if os.path.isdir(gallery):
                embedder = self._settings.get("embedder", "auto")
                gallery = Gallery.from_folder(gallery, embedder=embedder, device=self.devices[0])
            else:
                gallery = Gallery.load(gallery)
        devices = self.devices[: len(names)]
        shared = _Shared(FairOrder([_size(name) for name in names], len(self.devices)))
        with contextlib.ExitStack() as kept:
            make = self._here(gallery)
            if sum(device != "cpu" for device in devices) > 1:
                folder = kept.enter_context(tempfile.TemporaryDirectory(prefix="fastface-"))
                make = self._apart(gallery, folder)
            threads = [
                threading.Thread(target=self._work, args=(device, names, make, shared), name=f"fastface-{device}")
                for device in devices
            ]
            for thread in threads:
                thread.daemon = True
                thread.start()
            try:
                for _ in names:
                    yield shared.results.get()
            finally:
                shared.cancelled.set()
                for thread in threads:
                    thread.join()

    def _work(self, device: str, names: list[str], make: _Make, shared: _Shared) -> None:
        """What a device's thread does."""
        with contextlib.suppress(Cancelled), watching(Watch(shared.cancelled.is_set)), contextlib.ExitStack() as kept:
            process: Callable[[str], Timeline] | None = None
            while (index := self._next(device, shared)) is not None:
                begin, timeline, error = time.monotonic(), None, None
                try:
                    if process is None:
                        process = make(device, kept)
                    timeline = process(names[index])
                except Exception as caught:
                    error = caught
                    if isinstance(caught, GPUError):
                        process = None  # what a GPU's failure leaves behind is not used again
                        kept.close()
                finally:
                    shared.over(index)
                seconds = round(time.monotonic() - begin, 3)
                shared.results.put(BatchResult(index, names[index], timeline, error, device, seconds))
                del timeline, error

    def _here(self, gallery: Gallery | None) -> _Make:
        """Pipelines of this process."""
        from fastface.pipeline import Pipeline

        def make(device: str, kept: contextlib.ExitStack) -> Callable[[str], Timeline]:
            if device != "cpu":
                import torch

                torch.cuda.set_device(torch.device(device))  # of this thread
            pipeline = kept.enter_context(Pipeline(device=device, **self._settings))
            return lambda path: pipeline.process(path, gallery=gallery, progress=lambda done, total: check())

        return make

    def _apart(self, gallery: Gallery | None, folder: str) -> _Make:
        """Pipelines of GPUs in a process each."""
        from fastface.device_process import DeviceProcess

        here, known = self._here(gallery), None
        if gallery is not None:
            known = os.path.join(folder, "gallery"), gallery.warnings
            gallery.save(known[0])

        def make(device: str, kept: contextlib.ExitStack) -> Callable[[str], Timeline]:
            if device == "cpu":
                return here(device, kept)
            return kept.enter_context(DeviceProcess({**self._settings, "device": device}, known)).process

        return make

    def _next(self, device: str, shared: _Shared) -> int | None:
        """Number of the video that this device is to do; waits for memory, and for its turn."""
        while True:
            check()
            with shared.lock:
                if not shared.order.left:
                    return None
                if not shared.order.running or self._room(device):
                    index = shared.order.take()
                    if index is not None:
                        return index
            shared.cancelled.wait(_LOOK)

    def _room(self, device: str) -> bool:
        """Whether there is memory for another video beside those that run."""
        import psutil

        limit = self._host_limit or psutil.virtual_memory().total * 3 // 4
        used = 0
        for process in (here := psutil.Process(), *here.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                used += process.memory_info().rss
        if used > limit:
            return False
        if device == "cpu":
            return True
        import torch

        free, total = torch.cuda.mem_get_info(torch.device(device))
        return bool(total - free <= (self._gpu_limit or total * 9 // 10))


class _Shared:
    """What the devices' threads share."""

    def __init__(self, order: FairOrder) -> None:
        self.order = order
        self.lock = threading.Lock()
        self.cancelled = threading.Event()
        self.results: queue.Queue[BatchResult] = queue.Queue()

    def over(self, index: int) -> None:
        with self.lock:
            self.order.over(index)


class FairOrder:
    """Which video is next, so that neither long nor short ones wait for all of the other kind.

    Videos of more than :data:`LONG` times the median size are long. Of both kinds the one is next that was given less
    work so far, short ones first; and while short ones wait, one device at least is not given a long one. Within a kind
    the order is as given. Sizes are bytes: what a video costs is not known before it is decoded.

    Args:
        sizes: of the videos.
        devices: that take them.
    """

    def __init__(self, sizes: Sequence[int], devices: int) -> None:
        self._sizes, self._devices = list(sizes), devices
        median = sorted(sizes)[len(sizes) // 2] if sizes else 0
        self._long = {i for i, size in enumerate(sizes) if size > LONG * median}
        self._queues = {
            kind: deque(i for i in range(len(sizes)) if (i in self._long) == kind) for kind in (False, True)
        }
        self._given = {False: 0, True: 0}
        self.running: set[int] = set()

    @property
    def left(self) -> int:
        """Videos that were not taken yet."""
        return sum(len(q) for q in self._queues.values())

    def take(self) -> int | None:
        """Number of the next video; None: there is none that this device may have now."""
        short, long = self._queues[False], self._queues[True]
        kind = not short or (bool(long) and self._given[True] < self._given[False])
        if kind and short and len(self.running & self._long) >= max(1, self._devices - 1):
            kind = False  # with one device, none runs while one is asked for
        if not self._queues[kind]:
            return None
        index = self._queues[kind].popleft()
        self._given[kind] += self._sizes[index]
        self.running.add(index)
        return index

    def over(self, index: int) -> None:
        """A video is done."""
        self.running.discard(index)


def _size(name: str) -> int:
    """Bytes of a file; 0 where it cannot be asked, which its own run will say."""
    try:
        return os.stat(name).st_size
    except (OSError, ValueError):
        return 0


def _check_settings(settings: dict[str, Any]) -> None:
    """Say what is wrong with the settings once, and not with each video."""
    from fastface.settings import DetectorSettings, Settings

    values = dict(settings)
    detector = {k: values.pop(k) for k in ("min_face_size", "thresholds", "factor") if k in values}
    try:
        Settings(detector=DetectorSettings(**detector), **values)
    except TypeError as error:
        raise InputValidationError(f"there is no such setting of a pipeline: {error}") from error


def named_devices(devices: Literal["all"] | Sequence[str]) -> tuple[str, ...]:
    """The names of the devices that are asked for; see :class:`BatchProcessor`.

    Raises:
        InputValidationError: it is no such name, or there is none.
        GPUError: a GPU that is named is not there.
    """
    from fastface.executor import gpu_count, gpu_problem

    if devices == "all":
        return tuple(f"cuda:{i}" for i in range(gpu_count()) if not gpu_problem(i)) or ("cpu",)
    names = (devices,) if isinstance(devices, str) else tuple(devices)
    if not names:
        raise InputValidationError("devices names none; give 'all', or names such as 'cpu' and 'cuda:0'")
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"cpu|cuda:[0-9]{1,3}", name):
            raise InputValidationError(f"devices holds {name!r}, must be 'all', or names such as 'cpu' and 'cuda:0'")
    for name in names:
        if name != "cpu" and (problem := gpu_problem(int(name.partition(":")[2]))):
            raise GPUError(f"{name} cannot be used: {problem}")
    return names
