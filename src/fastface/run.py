"""What grows while one video goes through: tracks, faces, the choice of those to embed, sums of their vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from fastface.embed.quality import face_quality
from fastface.embed.sampler import BestFaces, Samples, TrackEmbedder
from fastface.errors import InputValidationError
from fastface.executor import Executor, Seen
from fastface.settings import Settings
from fastface.spent import Spent
from fastface.track import FaceTracker
from fastface.types import Embeddings, Faces

_COLUMNS = ("frame", "time", "box", "score", "landmarks", "track", "identity")


class Run:
    """What grows while one video goes through.

    Args:
        executor: what computes.
        settings: see :class:`fastface.settings.Settings`.
        interval: seconds from one frame that is looked at to the next.
        next_frame: number of the first frame that will be added.

    Attributes:
        next_frame: number of the first frame that was not added yet.
        embeddings: of the tracks, once the run is finished.
        spent: what the time went into.
        memory, host_memory: bytes, the most that was seen in use of the GPU's memory (None without one) and of this
            process.
    """

    def __init__(self, executor: Executor, settings: Settings, interval: float, next_frame: int = 0) -> None:
        self.executor, self.settings, self.interval, self.next_frame = executor, settings, interval, next_frame
        self.embeddings = Embeddings.empty(executor.spec.dim)
        self.tracker = FaceTracker(interval)
        self.crops = executor.crop_store()
        crops = self.crops  # no reference to the run itself: its memory goes as soon as nobody has it
        self.spent = Spent()
        self.embedder = TrackEmbedder(
            lambda places: executor.embed(crops, places), executor.spec.dim, executor.embed_at, crops, self.spent
        )
        self._best = BestFaces(settings.faces_per_track, self.crops)
        self._parts: list[Faces] = []
        self._batches = 0
        self.memory: int | None = None
        self.host_memory = 0
        self._process = psutil.Process()

    def look_at_memory(self) -> None:
        """Note how much memory is in use, now and then: it costs a call to the driver and one to the system."""
        batches = self._batches
        if batches % 32 == 0 or batches & batches - 1 == 0:  # it grows at the beginning
            now = self.executor.memory()
            self.memory = now if self.memory is None or now is None else max(self.memory, now)
            self.host_memory = max(self.host_memory, self._process.memory_info().rss)
        self._batches += 1

    def add(self, seen: Seen) -> None:
        """Track and sample one batch.

        Raises:
            GPUMemoryError: its faces wait for the network, and there is no room for it. The batch was added all the
                same, so :meth:`state` is whole.
        """
        found = seen.found
        track = self.tracker.update(seen.time, seen.signatures, found)
        if len(found):
            self._sample(seen, track)
            self._parts.append(
                Faces(
                    frame=seen.index[found.row],
                    time=seen.time[found.row],
                    box=found.box,
                    score=found.score,
                    landmarks=found.landmarks,
                    track=track,
                    identity=np.full(len(found), -1, np.int64),
                )
            )
        seen.close()
        self._gather(self.tracker.take_finished())
        self.next_frame = int(seen.index[-1]) + self.settings.every
        self.embedder.work()

    def _sample(self, seen: Seen, track: NDArray[np.int64]) -> None:
        found = seen.found
        quality, legible = face_quality(found, seen.width, seen.height)
        if self.settings.embed == "every":
            place = seen.crop(np.arange(len(found)))
            self.embedder.add(Samples(track, quality.astype(np.float64), legible.astype(np.float64), place))
        else:
            self._best.offer(track, seen.time[found.row], quality, legible, seen.crop)

    def _gather(self, tracks: NDArray[np.int64]) -> None:
        if len(tracks):
            self.embedder.add(self._best.take(tracks))

    def state(self) -> dict[str, NDArray[Any]]:
        """All that is known between two batches."""
        faces = self.faces()
        parts = {
            "tracker": self.tracker.state(),
            "best": self._best.state(),
            "embedder": self.embedder.state(),
            "faces": {name: getattr(faces, name) for name in _COLUMNS},
        }
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on where :meth:`state` was taken.

        Raises:
            InputValidationError: something is missing, or not as it must be.
        """

        def part(name: str) -> dict[str, NDArray[Any]]:
            return {key.removeprefix(f"{name}."): a for key, a in state.items() if key.startswith(f"{name}.")}

        try:
            self.tracker.restore(part("tracker"))
            self._best.restore(part("best"))
            self.embedder.restore(part("embedder"))
            self._parts = [Faces(**{name: state[f"faces.{name}"] for name in _COLUMNS})]
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise InputValidationError(f"the checkpoint is damaged: {error!r}") from error

    def finish(self) -> None:
        """The video is over: every track ends.

        Raises:
            GPUMemoryError: as :meth:`add`.
        """
        self._gather(self.tracker.take_finished(last=True))
        self.embeddings = self.embedder.finish()

    def faces(self) -> Faces:
        """All faces so far, without identities."""
        if not self._parts:
            return Faces.empty()
        faces = Faces(**{n: np.concatenate([getattr(p, n) for p in self._parts]) for n in _COLUMNS})
        self._parts = [faces]
        return faces
