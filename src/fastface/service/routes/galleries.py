"""Galleries: people whom an owner knows, enrolled from videos and photographs, and searched."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request

from fastface.service.context import Context
from fastface.service.galleries import Galleries, Look
from fastface.service.gate import Refused
from fastface.service.names import MAX_NAME, checked_person
from fastface.service.photos import Photos
from fastface.service.schemas import (
    ERRORS,
    EXAMPLE_ENROLLED,
    EXAMPLE_GALLERY,
    EXAMPLE_ID,
    EXAMPLE_MATCHES,
    PHOTOGRAPHS,
    EnrolIn,
    EnrolledOut,
    GalleriesOut,
    GalleryIn,
    GalleryName,
    GalleryOut,
    GalleryPeopleOut,
    KnownId,
    MatchesOut,
    RenameIn,
    SearchIn,
    body_of,
    ok,
)
from fastface.service.uploads import content_type, json_body, read_json, whole_body

_JOB = {"job": EXAMPLE_ID, "person": 0}

NewGallery = Annotated[GalleryIn, Depends(json_body(GalleryIn))]
NewName = Annotated[RenameIn, Depends(json_body(RenameIn))]


def router(context: Context) -> APIRouter:
    """/v1/galleries"""
    paths = APIRouter(prefix="/v1/galleries", tags=["galleries"])
    galleries, photos = Galleries(context.place), Photos(context)

    @paths.get("", response_model=GalleriesOut,
               responses={**ERRORS, 200: ok({"galleries": [EXAMPLE_GALLERY]}, "by name")})  # fmt: skip
    def list_galleries(request: Request) -> GalleriesOut:
        """Galleries."""
        return GalleriesOut(galleries=galleries.all(request.state.owner))

    @paths.post("", status_code=201, response_model=GalleryOut,
                openapi_extra=body_of({"name": "family"}, model=GalleryIn),
                responses={**ERRORS, 201: ok({**EXAMPLE_GALLERY, "model": None, "size": 0}, "it")})  # fmt: skip
    def create_gallery(request: Request, asked: NewGallery) -> GalleryOut:
        """Make a gallery; its people are added by POST .../people."""
        return galleries.create(request.state.owner, asked.name)

    @paths.get("/{g}", response_model=GalleryPeopleOut,
               responses={**ERRORS, 200: ok({**EXAMPLE_GALLERY, "people": [EXAMPLE_ENROLLED]}, "it")})  # fmt: skip
    def get_gallery(request: Request, g: GalleryName) -> GalleryPeopleOut:
        """A gallery with its people."""
        return galleries.get(request.state.owner, g)

    @paths.delete("/{g}", response_model=GalleryOut, responses={**ERRORS, 200: ok(EXAMPLE_GALLERY, "as it was")})
    def delete_gallery(request: Request, g: GalleryName) -> GalleryOut:
        """Forget a gallery and all who are in it."""
        return galleries.remove(request.state.owner, g)

    @paths.post("/{g}/people", status_code=201, response_model=EnrolledOut,
                openapi_extra=body_of({**_JOB, "name": "Ann"}, model=EnrolIn, photograph=True),
                responses={**ERRORS, 201: ok(EXAMPLE_ENROLLED, "the person, as known now")})  # fmt: skip
    async def enrol(
        request: Request,
        g: GalleryName,
        name: str | None = Query(None, max_length=MAX_NAME, description="of the person, with a photograph"),
    ) -> EnrolledOut:
        """Enrol a person of a video, or of a photograph that shows one clear face."""
        owner = request.state.owner
        if content_type(request) == "application/json":
            asked = read_json(EnrolIn, await whole_body(request))
            person = asked.name
            await anyio.to_thread.run_sync(galleries.get, owner, g)
            look = await anyio.to_thread.run_sync(photos.of, asked.job, owner, asked.person)
        else:
            _must_be_photograph(request)
            person = checked_person(name)  # before a worker looks at the photograph for nothing
            look = await _sent(request, g)
        return await anyio.to_thread.run_sync(galleries.enrol, owner, g, person, look)

    @paths.patch("/{g}/people/{p}", response_model=EnrolledOut,
                 openapi_extra=body_of({"name": "Ann"}, model=RenameIn),
                 responses={**ERRORS, 200: ok(EXAMPLE_ENROLLED, "the person, as called now")})  # fmt: skip
    def rename(request: Request, g: GalleryName, p: KnownId, asked: NewName) -> EnrolledOut:
        """Give somebody another name."""
        return galleries.rename(request.state.owner, g, p, asked.name)

    @paths.delete("/{g}/people/{p}", response_model=EnrolledOut,
                  responses={**ERRORS, 200: ok(EXAMPLE_ENROLLED, "as it was")})  # fmt: skip
    def forget(request: Request, g: GalleryName, p: KnownId) -> EnrolledOut:
        """Forget somebody."""
        return galleries.forget(request.state.owner, g, p)

    @paths.post("/{g}/search", response_model=MatchesOut, openapi_extra=body_of(_JOB, model=SearchIn, photograph=True),
                responses={**ERRORS, 200: ok(EXAMPLE_MATCHES, "the most similar first")})  # fmt: skip
    async def search(
        request: Request, g: GalleryName, limit: int = Query(10, ge=1, le=1000, description="matches")
    ) -> MatchesOut:
        """Who in the gallery a person of a video, or of a photograph, looks like."""
        owner = request.state.owner
        if content_type(request) == "application/json":
            asked = read_json(SearchIn, await whole_body(request))
            await anyio.to_thread.run_sync(galleries.get, owner, g)
            look = await anyio.to_thread.run_sync(photos.of, asked.job, owner, asked.person)
        else:
            _must_be_photograph(request)
            look = await _sent(request, g)
        return await anyio.to_thread.run_sync(galleries.search, owner, g, look, limit)

    async def _sent(request: Request, gallery: str) -> Look:
        await anyio.to_thread.run_sync(galleries.get, request.state.owner, gallery)  # 404 before any work
        return await photos.sent(request)

    return paths


def _must_be_photograph(request: Request) -> None:
    # No page of the web may send these without being allowed to (CORS).
    if content_type(request) not in PHOTOGRAPHS:
        raise Refused(415, "content_type", f"send application/json, or a photograph as {', '.join(PHOTOGRAPHS)}")
