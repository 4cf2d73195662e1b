"""Who is known: people by name, and people seen before whose name nobody has said yet."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastface.errors import GalleryError
from fastface.gallery.photographs import IMAGE_SUFFIXES, Refused, embed_photographs, photographs_in
from fastface.match.index import ExactIndex, Index, make_index

if TYPE_CHECKING:
    from fastface.pipeline import Pipeline
    from fastface.timeline import Timeline

_UNKNOWN = re.compile(r"unknown-([1-9][0-9]*)")

MAX_REMEMBERED = 16
"""Vectors that are kept of somebody unknown, one a video; the oldest goes first."""


class Gallery:
    """People and the vectors of their faces, made by one embedder.

    A person is known by a name, or, seen in a video and never named, by an id such as "unknown-7" that stays the same
    over all videos until somebody calls :meth:`rename`. People are compared by their *centroid*, the direction of the
    mean of their vectors: of all ways to compare several photographs that one tells people apart best
    (docs/identities.md).

    Several threads may read a gallery while one changes it; what they see is always whole. Several processes may load
    a file while another saves it.

    Args:
        model: name of the embedder.
        people: name -> [n, dim] float32 unit vectors, n >= 1.
        warnings: photographs that were left out, and why.

    Attributes:
        model: as above.
        warnings: as above; they stand in the result of each run that uses this gallery.

    Raises:
        GalleryError: a name is empty, or vectors are not unit vectors of one dimension.
    """

    def __init__(
        self,
        model: str,
        people: Mapping[str, NDArray[np.float32]] | None = None,
        warnings: Iterable[str] = (),
        *,
        next_unknown: int = 1,
    ) -> None:
        self.model = model
        self.warnings = tuple(warnings)
        self._lock = threading.RLock()
        self._people: dict[str, NDArray[np.float32]] = {}
        self._centroids: tuple[tuple[str, ...], NDArray[np.float32]] | None = None
        self._index: tuple[tuple[str, ...], Index] | None = None
        self._make_index: Callable[[int], Index] = ExactIndex
        self._next_unknown = max([next_unknown, *(number + 1 for number in map(_number, people or {}) if number)])
        for name, vectors in (people or {}).items():
            self._put({**self._people, _checked_name(name): self._checked(name, vectors)})

    def __len__(self) -> int:
        return len(self._people)

    def __contains__(self, name: object) -> bool:
        return name in self._people

    def __repr__(self) -> str:
        unknown = len(self.unknown)
        return f"Gallery({self.model!r}, {len(self) - unknown} people" + (f", {unknown} unknown)" if unknown else ")")

    @property
    def people(self) -> Mapping[str, NDArray[np.float32]]:
        """Name, or id of somebody unknown -> [n, dim] float32 unit vectors, in the order of enrolment; as it is now."""
        return MappingProxyType(self._people)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Ids of those whose name nobody has said yet."""
        return tuple(name for name in self._people if _number(name))

    @property
    def next_unknown(self) -> int:
        """Number that the next unknown person will get; numbers are never used twice."""
        return self._next_unknown

    @property
    def dim(self) -> int | None:
        """Length of a vector; None while nobody is there."""
        return next((v.shape[1] for v in self._people.values()), None)

    def name_of(self, person: str) -> str | None:
        """The name of somebody who is in the gallery; None where nobody has said it yet."""
        return None if _number(person) else person

    # Changing it

    def add(
        self, name: str, images: Iterable[Any], *, pipeline: Pipeline | None = None, device: str = "auto"
    ) -> tuple[Refused, ...]:
        """Enrol photographs of a person, who may be there already.

        Each photograph must show exactly one clear face. Those that do not are left out and reported; the others
        count.

        Args:
            name: whose photographs these are.
            images: paths, or [H, W, 3] uint8 RGB arrays.
            pipeline: whose models are used; without one, models are loaded for this call.
            device: of that pipeline.

        Returns:
            The photographs that were left out, and why.

        Raises:
            GalleryError: not one photograph can be used (the message names each and its reason), the name is empty or
                the id of somebody unknown, or the pipeline has another embedder.
        """
        if _number(_checked_name(name)):
            raise GalleryError(f"a person cannot be called {name!r}: that is an id of people without a name")
        if isinstance(images, (str, os.PathLike)):
            images = [images]
        if pipeline is None:
            from fastface.pipeline import Pipeline

            with Pipeline(embedder=self.model, device=device) as pipeline:
                return self._enrol(name, images, pipeline.executor)
        self.check_model(pipeline.executor.spec.name)
        return self._enrol(name, images, pipeline.executor)

    def _enrol(self, name: str, images: Iterable[Any], executor: Any) -> tuple[Refused, ...]:
        vectors: list[NDArray[np.float32]] = []
        refused: list[Refused] = []
        for _, vector, problem in embed_photographs(images, executor):
            if vector is not None:
                vectors.append(vector)
            if problem is not None:
                refused.append(problem)
        if not vectors:
            why = "; ".join(r.message for r in refused) or f"none given (wanted: {', '.join(sorted(IMAGE_SUFFIXES))})"
            raise GalleryError(f"no usable photograph of {name!r}: {why}")
        with self._lock:
            self.add_vectors(name, np.stack(vectors))
            self.warnings += tuple(f"gallery: {r.message}; it was left out" for r in refused)
        return tuple(refused)

    def add_vectors(self, name: str, vectors: NDArray[np.float32]) -> None:
        """Add vectors of a person, who may be there already.

        Args:
            name: of the person.
            vectors: [n >= 1, dim] float32 unit vectors of this gallery's embedder.

        Raises:
            GalleryError: the name is empty, or these are not such vectors.
        """
        with self._lock:
            mine = self._checked(_checked_name(name), vectors)
            before = self._people.get(name)
            self._put({**self._people, name: mine if before is None else np.concatenate([before, mine])})

    def remove(self, name: str) -> None:
        """Forget a person.

        Raises:
            GalleryError: nobody has this name.
        """
        with self._lock:
            self._find(name)
            self._put({n: v for n, v in self._people.items() if n != name})

    def rename(self, old: str, new: str) -> None:
        """Give somebody a (new) name; so does one who was unknown get theirs.

        Raises:
            GalleryError: nobody is called `old`, somebody is called `new` already (see :meth:`merge`), or `new` is
                empty or the id of somebody unknown.
        """
        with self._lock:
            self._find(old)
            if _number(_checked_name(new)):
                raise GalleryError(f"a person cannot be called {new!r}: that is an id of people without a name")
            if new in self._people and new != old:
                raise GalleryError(f"somebody is called {new!r} already; merge({new!r}, {old!r}) makes them one")
            self._put({new if n == old else n: v for n, v in self._people.items()})

    def merge(self, into: str, *others: str) -> None:
        """Make several people one, who keeps the name `into`.

        Raises:
            GalleryError: nobody has one of these names, or one is given twice.
        """
        with self._lock:
            names = [into, *others]
            vectors = [self._find(name) for name in names]
            if len(set(names)) < len(names):
                raise GalleryError(f"{names} names somebody twice")
            kept = {n: v for n, v in self._people.items() if n not in others}
            self._put({**kept, into: np.concatenate(vectors)})

    def update(
        self, timeline: Timeline, *, far: float | None = None, similarity_threshold: float | None = None
    ) -> Timeline:
        """Remember the people of a timeline, so that they are the same in the next.

        Whom the gallery knows gets name and id from it. The others, if their faces can be told at all, are remembered
        under new ids ("unknown-8").

        Args:
            timeline: with its embeddings (see :attr:`fastface.Timeline.embeddings`), of this gallery's embedder.
            far, similarity_threshold: see :class:`fastface.Pipeline`.

        Returns:
            The timeline with names, ids, similarities and thresholds as the gallery has them now.

        Raises:
            GalleryError: the timeline is of another embedder.
            InputValidationError: the timeline has no embeddings.
        """
        from fastface.match.remember import remember

        with self._lock:
            return remember(self, timeline, far=far, fixed=similarity_threshold)

    def add_unknown(self, vector: NDArray[np.float32]) -> str:
        """Remember somebody new by a unit vector [dim]; returns the id.

        Raises:
            GalleryError: it is no such vector.
        """
        with self._lock:
            person = f"unknown-{self._next_unknown}"
            self.add_vectors(person, vector[None])
            self._next_unknown += 1
            return person

    def seen_again(self, person: str, vector: NDArray[np.float32]) -> None:
        """Another unit vector [dim] of somebody unknown; the oldest of more than sixteen is dropped.

        Raises:
            GalleryError: nobody has this id, or it is no such vector.
        """
        with self._lock:
            kept = np.concatenate([self._find(person), self._checked(person, vector[None])])[-MAX_REMEMBERED:]
            self._put({**self._people, person: kept})

    # Comparing

    def centroid(self, name: str) -> NDArray[np.float32]:
        """[dim] float32, unit: the direction of the mean of a person's vectors.

        Raises:
            GalleryError: nobody has this name.
        """
        return _direction(self._find(name))

    def centroids(self) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """All names, sorted, and [people, dim] float32, their centroids."""
        with self._lock:
            if self._centroids is None:
                names = tuple(sorted(self._people))
                rows = [_direction(self._people[name]) for name in names]
                self._centroids = names, np.array(rows, np.float32).reshape(len(names), self.dim or 0)
            return self._centroids

    def nearest(self, vectors: NDArray[np.float32]) -> tuple[list[str], NDArray[np.float32]]:
        """Whom faces resemble most: of equals, the one whose name comes first.

        Args:
            vectors: [n, dim] float32 unit vectors.

        Returns:
            n names, and [n] float32, the cosines with their centroids.

        Raises:
            GalleryError: the gallery is empty, or the vectors are of another dimension.
        """
        names, index = self._indexed()
        if index is None:
            raise GalleryError("the gallery holds nobody")
        if vectors.ndim != 2 or vectors.shape[1] != index.dim:
            raise GalleryError(f"vectors have shape {list(vectors.shape)}, must be [n, {index.dim}]")
        ids, cosines = index.search(vectors)
        return [names[i] for i in ids[:, 0].tolist()], cosines[:, 0]

    def use_index(self, kind: Literal["exact", "device", "approximate"], **settings: Any) -> None:
        """Search for people in another way: on a GPU, or approximately; see :mod:`fastface.match.index`.

        Args:
            kind: "exact" is what a gallery begins with.
            settings: of that index.

        Raises:
            ValueError: no such kind, or a setting is out of its range.
            GPUError, GalleryError: what it needs is not there.
        """
        make_index(kind, 1, **settings)  # so that what is missing is said now
        with self._lock:
            self._make_index = lambda dim: make_index(kind, dim, **settings)
            self._index = None

    def _indexed(self) -> tuple[tuple[str, ...], Index | None]:
        """All names, sorted, and their centroids, numbered in that order; None while there is nobody."""
        with self._lock:
            if self._index is None and self._people:
                names, centroids = self.centroids()
                index = self._make_index(centroids.shape[1])
                index.add(centroids, np.arange(len(names)))
                self._index = names, index
            return self._index or ((), None)

    def check_model(self, model: str) -> None:
        """Raise unless the gallery was made with this embedder.

        Raises:
            GalleryError: it was not; vectors of different models cannot be compared.
        """
        if model != self.model:
            raise GalleryError(
                f"the gallery was made with {self.model!r}, this run uses {model!r}: vectors of different models "
                f"cannot be compared; make the gallery again or ask for embedder={self.model!r}"
            )

    # Files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everybody to one file (safetensors); what was there is replaced at once or not at all.

        Raises:
            InputValidationError: `path` cannot be written; what was there stays as it was.
        """
        from fastface.gallery.file import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Gallery:
        """Read a file that :meth:`save` wrote.

        Raises:
            GalleryError: there is no such file, or it is no gallery.
        """
        from fastface.gallery.file import load

        return load(path)

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str], *, embedder: str = "auto", device: str = "auto") -> Gallery:
        """Make a gallery from a folder that holds one folder of photographs per person, named after the person.

        Args:
            folder: with a subfolder per person; files that are not images are ignored.
            embedder: name of the model, or "auto"; the video must be processed with the same.
            device: "auto", "cpu" or "cuda".

        Raises:
            GalleryError: no such folder, nobody in it, or a person none of whose photographs shows one clear face;
                the message names each file and its reason.
        """
        from fastface.pipeline import Pipeline

        with Pipeline(embedder=embedder, device=device) as pipeline:
            return pipeline.gallery(folder)

    def add_folder(self, folder: str | os.PathLike[str], *, pipeline: Pipeline) -> tuple[Refused, ...]:
        """Enrol a folder that holds one folder of photographs per person; see :meth:`from_folder` and :meth:`add`.

        Raises:
            GalleryError: as those; who could be enrolled was.
        """
        root = Path(folder)
        if not root.is_dir():
            raise GalleryError(f"the gallery {str(root)!r} is not a folder; it must hold a folder per person")
        folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        if not folders:
            raise GalleryError(f"the gallery {str(root)!r} holds no folder; it must hold a folder per person")
        refused: list[Refused] = []
        nobody: list[str] = []
        for person in folders:
            try:
                refused += self.add(person.name, photographs_in(person), pipeline=pipeline)
            except GalleryError as error:
                nobody.append(str(error))
        if nobody:
            raise GalleryError("; ".join(nobody))
        return tuple(refused)

    def _find(self, name: str) -> NDArray[np.float32]:
        if name not in self._people:
            known = ", ".join(sorted(self._people)) or "nobody"
            raise GalleryError(f"nobody is called {name!r} in this gallery; there is {known}")
        return self._people[name]

    def _put(self, people: dict[str, NDArray[np.float32]]) -> None:
        """The new state, in place of the old one at once: readers hold the old one or the new one."""
        self._people, self._centroids, self._index = people, None, None

    def _checked(self, name: str, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or not vectors.size:
            raise GalleryError(f"the vectors of {name!r} have shape {list(vectors.shape)}, must be [n >= 1, dim]")
        if not np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3):
            raise GalleryError(f"the vectors of {name!r} are not of norm 1")
        if self.dim not in (None, vectors.shape[1]):
            raise GalleryError(f"vectors have different dimensions: {sorted({int(self.dim or 0), vectors.shape[1]})}")
        vectors.setflags(write=False)
        return vectors


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise GalleryError("a person's name is empty")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise GalleryError(f"a person's name is {name!r}, must be text that can be written as UTF-8") from error
    return name


def _number(name: str) -> int | None:
    """7 of "unknown-7", None of a name."""
    match = _UNKNOWN.fullmatch(name)
    return int(match[1]) if match else None


def _direction(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    # Each column in ascending order: the sum, to its last bit, does not depend on the order of the vectors.
    mean = np.sort(vectors.astype(np.float64), axis=0).mean(0)
    out: NDArray[np.float32] = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    return out
