"""People of a job's timeline: told, named, and what they look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastface.service.context import Context
from fastface.service.galleries import Galleries, Look
from fastface.service.gate import Refused
from fastface.service.names import checked_person
from fastface.service.schemas import PeopleOut, PersonOut

if TYPE_CHECKING:
    from fastface.timeline import Identity, Timeline


def people_of(context: Context, id: str, owner: str) -> PeopleOut:
    """The people of a job's video, who is longest on screen first.

    Raises:
        UnknownJob, Refused: there is no such timeline.
    """
    _, result = context.done(id, owner, "process")
    timeline, pictured = context.timeline(result), context.place.pictured(result)
    people = sorted(timeline.identities, key=lambda p: (-p.screen_time, p.id))
    duration = timeline.video.get("duration")
    return PeopleOut(duration=duration, people=[_person(id, person, person.id in pictured) for person in people])


def name_person(
    context: Context, galleries: Galleries, id: str, owner: str, person: int, name: str | None, gallery: str | None
) -> PersonOut:
    """Give a person of a job's video a name, in its timeline and perhaps in a gallery. Done twice it is as done once.

    Raises:
        UnknownJob, Refused: there is no such person or gallery, or somebody else has the name.
        InputValidationError: nobody can be called so.
        GalleryError: the gallery is of another embedder.
    """
    if name is None and gallery is not None:
        raise Refused(422, "invalid_request", "whoever is enrolled in a gallery needs a name")
    name = None if name is None else checked_person(name)
    with context.place.locked("job", id):
        _, result = context.done(id, owner, "process")
        timeline = context.timeline(result)
        _must(timeline, person)
        if taken := [p.id for p in timeline.identities if name is not None and p.name == name and p.id != person]:
            raise Refused(409, "name_taken", f"person {taken[0]} of this video is called {name!r}", person=taken[0])
        timeline = timeline.rename(person, name)
        if gallery is not None and name is not None:
            # First: where this fails, nothing was changed; where the rest fails, asking again changes the rest only.
            galleries.enrol(owner, gallery, name, look_of(timeline, person))
        context.place.save_timeline(result, timeline)
    return _person(id, _must(timeline, person), person in context.place.pictured(result))


def look_of(timeline: Timeline, person: int) -> Look:
    """What a person of a timeline looks like.

    Raises:
        Refused: there is no such person, or their faces are too poor.
    """
    from fastface.match.identify import MIN_LEGIBILITY
    from fastface.match.remember import directions, model_of

    _must(timeline, person)
    vectors, legible = directions(timeline)
    place = [p.id for p in timeline.identities].index(person)
    if legible[place] < MIN_LEGIBILITY:
        raise Refused(422, "too_poor", "the faces of this person are too poor to know somebody by them")
    return Look(model_of(timeline), vectors[place])


def _must(timeline: Timeline, person: int) -> Identity:
    for identity in timeline.identities:
        if identity.id == person:
            return identity
    raise Refused(404, "not_found", "there is no such person in this video")


def _person(job: str, person: Identity, pictured: bool) -> PersonOut:
    spans = [[round(s.start, 6), round(s.end, 6)] for s in person.instances]
    return PersonOut(
        id=person.id,
        name=person.name,
        seconds=round(person.screen_time, 6),
        first=spans[0][0] if spans else None,
        last=spans[-1][1] if spans else None,
        spans=spans,
        similarity=None if person.similarity is None else round(person.similarity, 4),
        thumbnail=f"/v1/jobs/{job}/thumbnails/{person.id}" if pictured else None,
    )
