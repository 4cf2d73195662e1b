"""People whom an owner knows: the galleries of a service, and what may be done with them at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.service.gate import Refused
from fastface.service.names import checked_gallery, checked_person
from fastface.service.place import Place
from fastface.service.schemas import EnrolledOut, GalleryOut, GalleryPeopleOut, MatchesOut, MatchOut

if TYPE_CHECKING:
    from fastface.gallery import Gallery

MAX_GALLERIES = 100
MAX_PEOPLE = 10_000
MAX_VECTORS = 1000


@dataclass(frozen=True)
class Look:
    """What somebody looks like.

    Attributes:
        model: name of the embedder.
        vector: [dim] float32, unit.
    """

    model: str
    vector: NDArray[np.float32]


class Galleries:
    """Galleries by owner and name. Each change is made to the file as it is at that moment, and by one at a time.

    Every call raises Refused with 404 where there is no such gallery, or nobody of that name in it.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def all(self, owner: str) -> list[GalleryOut]:
        """An owner's galleries, by name."""
        out = []
        for name in self._place.gallery_names(owner):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                out.append(GalleryOut(**_facts(name, self._place.gallery(owner, name))))
        return out

    def get(self, owner: str, name: str) -> GalleryPeopleOut:
        """A gallery with its people, by name."""
        gallery = self._read(owner, name)
        people = [_enrolled(gallery, person) for person in sorted(gallery.people)]
        return GalleryPeopleOut(**_facts(name, gallery), people=people)

    def create(self, owner: str, name: str) -> GalleryOut:
        """A gallery of nobody.

        Raises:
            InputValidationError: a gallery cannot be called so.
            Refused: there is one of this name, or there are as many as may be.
        """
        from fastface.gallery import Gallery

        name = checked_gallery(name)
        with self._place.locked("gallery", owner):  # of all galleries of this owner
            names = self._place.gallery_names(owner)
            if name in names:
                raise Refused(409, "exists", f"there is a gallery {name!r} already")
            if len(names) >= MAX_GALLERIES:
                raise Refused(409, "too_many_galleries", f"there are {len(names)} galleries, which is the most")
            self._place.save_gallery(owner, name, Gallery(""))  # it takes the model of the first who is enrolled
        return GalleryOut(name=name, model=None, size=0)

    def remove(self, owner: str, name: str) -> GalleryOut:
        """Forget a gallery; gives it as it was."""
        with self._place.locked("gallery", owner, name):
            gallery = self._read(owner, name)
            self._place.remove_gallery(owner, name)
        return GalleryOut(**_facts(name, gallery))

    def enrol(self, owner: str, name: str, person: str, look: Look) -> EnrolledOut:
        """Add what a person looks like, who may be there already. The same look again changes nothing.

        Raises:
            InputValidationError: nobody can be called so.
            GalleryError: the gallery is of another embedder.
            Refused: it is full.
        """
        from fastface.gallery import Gallery

        person = checked_person(person)
        with self._changing(owner, name) as gallery:
            if gallery.name_of(person) is None:
                raise Refused(422, "bad_input", f"a person cannot be called {person!r}: that is an id")
            if not len(gallery):
                gallery = Gallery(look.model, next_unknown=gallery.next_unknown)
            gallery.check_model(look.model)
            known = gallery.people.get(person)
            if known is None or not np.isclose(known, look.vector, atol=1e-6).all(1).any():
                if len(gallery) >= MAX_PEOPLE or (known is not None and len(known) >= MAX_VECTORS):
                    raise Refused(409, "full", f"a gallery has {MAX_PEOPLE} people at most, of {MAX_VECTORS} vectors")
                gallery.add_vectors(person, look.vector[None])
                self._place.save_gallery(owner, name, gallery)
            return _enrolled(gallery, person)

    def rename(self, owner: str, name: str, person: str, new: str) -> EnrolledOut:
        """Give a person another name.

        Raises:
            InputValidationError: nobody can be called so.
            GalleryError: the name is the id of people without one.
            Refused: somebody else has it.
        """
        new = checked_person(new)
        with self._changing(owner, name) as gallery:
            _must(gallery, person)
            if new != person and new in gallery:
                raise Refused(409, "name_taken", f"somebody is called {new!r} already")
            gallery.rename(person, new)
            self._place.save_gallery(owner, name, gallery)
            return _enrolled(gallery, new)

    def forget(self, owner: str, name: str, person: str) -> EnrolledOut:
        """Remove a person; gives them as they were."""
        with self._changing(owner, name) as gallery:
            _must(gallery, person)
            before = _enrolled(gallery, person)
            gallery.remove(person)
            self._place.save_gallery(owner, name, gallery)
            return before

    def search(self, owner: str, name: str, look: Look, limit: int) -> MatchesOut:
        """Who looks most like that.

        Raises:
            GalleryError: the gallery is of another embedder.
        """
        from fastface import models
        from fastface.match.naming import similarity_threshold

        gallery = self._read(owner, name)
        if not len(gallery):
            return MatchesOut(matches=[], threshold=None, far=None)
        gallery.check_model(look.model)
        threshold, far, _ = similarity_threshold(models.get(gallery.model), len(gallery), far=None, fixed=None)
        people, centroids = gallery.centroids()
        cosines = np.clip(centroids @ look.vector, -1, 1)
        matches = [
            MatchOut(
                person=people[i],
                name=gallery.name_of(people[i]),
                similarity=round(float(cosines[i]), 4),
                known=bool(cosines[i] >= threshold),
            )
            for i in np.argsort(-cosines, kind="stable")[:limit].tolist()
        ]
        return MatchesOut(matches=matches, threshold=round(threshold, 4), far=far)

    def _read(self, owner: str, name: str) -> Gallery:
        try:
            return self._place.gallery(owner, name)
        except FileNotFoundError as error:
            raise Refused(404, "not_found", "there is no such gallery") from error

    @contextlib.contextmanager
    def _changing(self, owner: str, name: str) -> Iterator[Gallery]:
        """The gallery as it is, while nobody else changes it."""
        with self._place.locked("gallery", owner, name):
            yield self._read(owner, name)


def _facts(name: str, gallery: Gallery) -> dict[str, Any]:
    return {"name": name, "model": gallery.model if len(gallery) else None, "size": len(gallery)}


def _must(gallery: Gallery, person: str) -> None:
    if person not in gallery:
        raise Refused(404, "not_found", "there is no such person in the gallery")


def _enrolled(gallery: Gallery, person: str) -> EnrolledOut:
    return EnrolledOut(person=person, name=gallery.name_of(person), vectors=len(gallery.people[person]))
