"""Galleries over HTTP: who is known, by videos and by photographs; and what is refused."""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import SETTINGS, refusal, until_over, wait_for
from fastapi.testclient import TestClient
from owners import Served
from PIL import Image

from fastface.gallery import Gallery
from fastface.service.app import ServiceSettings, create_app
from fastface.service.galleries import Galleries, Look
from fastface.service.names import checked_gallery, gallery_file, gallery_name
from fastface.service.place import Place
from fastface.service.worker import WorkerOptions
from fastface.timeline import Timeline
from film import MODEL, PEOPLE, names_of

JPEG = {"content-type": "image/jpeg"}


@pytest.fixture
def gallery(served: Served) -> Iterator[str]:
    """The path of a gallery of ann's that holds nobody."""
    answer = served.ann.post("/v1/galleries", json={"name": "people"})
    assert answer.status_code == 201, answer.text
    assert answer.json() == {"name": "people", "model": None, "size": 0}
    yield "/v1/galleries/people"
    served.ann.delete("/v1/galleries/people")


@pytest.fixture(scope="module")
def who(served: Served, done: dict[str, Any]) -> dict[str, int]:
    """Id in the film by name."""
    timeline = Timeline.from_dict(served.ann.get(done["timeline"]).json())
    return {name: id for id, name in names_of(timeline, served.film).items()}


def enrol(served: Served, gallery: str, person: int, number: int = 1) -> None:
    """By a photograph."""
    answer = served.ann.post(f"{gallery}/people", params={"name": PEOPLE[person]},
                             content=served.photograph(person, number), headers=JPEG)  # fmt: skip
    assert answer.status_code == 201, answer.text


class TestKnowing:
    def test_from_a_photograph_to_names_in_a_video(self, served: Served, gallery: str, root: Path) -> None:
        for person in (0, 1):
            enrol(served, gallery, person)
        document = served.ann.get(gallery).json()
        assert (document["name"], document["model"], document["size"]) == ("people", MODEL, 2)
        assert document["people"] == [{"person": n, "name": n, "vectors": 1} for n in sorted(PEOPLE[:2])]
        answer = served.ann.post("/v1/jobs", json={"path": "film.mp4", "settings": {**SETTINGS, "gallery": "people"}})
        assert answer.status_code == 201, answer.text
        job = until_over(served.ann, answer.json()["jobs"][0]["id"])
        assert job["state"] == "done", job
        timeline = Timeline.from_dict(served.ann.get(job["timeline"]).json())
        named = {p["name"]: p for p in served.ann.get(job["people"]).json()["people"] if p["name"] is not None}
        assert set(named) == set(PEOPLE[:2])
        truth = names_of(timeline, served.film)
        for name, person in named.items():
            assert truth[person["id"]] == name
            assert person["similarity"] > 0.3
        jobs = served.ann.get("/v1/jobs").json()["jobs"]
        assert not [job for job in jobs if job["kind"] == "photo"]  # photographs are not kept
        assert not [p for p in served.place.uploads.iterdir() if not p.suffix]

    def test_from_a_video_to_a_photograph(
        self, served: Served, gallery: str, done: dict[str, Any], who: dict[str, int]
    ) -> None:
        for name, person in who.items():
            body = {"name": name, "job": done["id"], "person": person}
            answer = served.ann.post(f"{gallery}/people", json=body)
            assert answer.json() == {"person": name, "name": name, "vectors": 1}
            again = served.ann.post(f"{gallery}/people", json=body)  # asked again, it is the same
            assert (again.status_code, again.json()["vectors"]) == (201, 1)
        for number, photograph in ((0, 0), (2, 4)):
            answer = served.ann.post(f"{gallery}/search", content=served.photograph(number, photograph), headers=JPEG)
            assert answer.status_code == 200, answer.text
            matches = answer.json()["matches"]
            assert [m["similarity"] for m in matches] == sorted((m["similarity"] for m in matches), reverse=True)
            assert matches[0]["name"] == PEOPLE[number]
            assert [m["known"] for m in matches] == [m["similarity"] >= answer.json()["threshold"] for m in matches]
            assert matches[0]["known"]
            assert not matches[-1]["known"]
            assert len(matches) == len(who)
        one = served.ann.post(f"{gallery}/search?limit=1", json={"job": done["id"], "person": who[PEOPLE[1]]}).json()
        (best,) = one["matches"]
        assert best["name"] == PEOPLE[1]
        assert best["similarity"] == pytest.approx(1.0, abs=1e-4)

    def test_naming_a_person_enrols_them(
        self, served: Served, gallery: str, done: dict[str, Any], who: dict[str, int]
    ) -> None:
        person = who["Madonna"]
        for _ in range(2):
            answer = served.ann.patch(f"{done['people']}/{person}", json={"name": "Madonna", "gallery": "people"})
            assert answer.status_code == 200, answer.text
        try:
            assert served.ann.get(gallery).json()["people"] == [{"person": "Madonna", "name": "Madonna", "vectors": 1}]
            answer = served.ann.post(f"{gallery}/search", content=served.photograph(2, 4), headers=JPEG)
            assert answer.json()["matches"][0]["known"]
            missing = served.ann.patch(f"{done['people']}/{person}", json={"name": "New", "gallery": "none"})
            refusal(missing, 404, "not_found")
            assert "Madonna" in str(served.ann.get(done["people"]).json())  # nothing was changed
        finally:
            served.ann.patch(f"{done['people']}/{person}", json={"name": None})

    def test_renaming_and_forgetting(self, served: Served, gallery: str) -> None:
        enrol(served, gallery, 0)
        enrol(served, gallery, 2)
        ben = f"{gallery}/people/Ben Affleck"
        assert served.ann.patch(ben, json={"name": "Бен"}).json() == {"person": "Бен", "name": "Бен", "vectors": 1}
        refusal(served.ann.patch(ben, json={"name": "x"}), 404, "not_found")
        refusal(served.ann.patch(f"{gallery}/people/Бен", json={"name": "Madonna"}), 409, "name_taken")
        refusal(served.ann.patch(f"{gallery}/people/Бен", json={"name": "unknown-7"}), 422, "gallery")
        assert served.ann.delete(f"{gallery}/people/Бен").json()["name"] == "Бен"
        refusal(served.ann.delete(f"{gallery}/people/Бен"), 404, "not_found")
        assert [p["name"] for p in served.ann.get(gallery).json()["people"]] == ["Madonna"]
        served.ann.delete(f"{gallery}/people/Madonna")
        assert served.ann.get(gallery).json() == {"name": "people", "model": None, "size": 0, "people": []}
        empty = served.ann.post(f"{gallery}/search", content=served.photograph(0), headers=JPEG)
        assert empty.json() == {"matches": [], "threshold": None, "far": None}

    def test_a_gallery_that_is_gone_when_the_job_runs(self, served: Served) -> None:
        served.ann.post("/v1/galleries", json={"name": "short"})
        blocks = served.ann.post("/v1/jobs", json={"path": "long.mp4", "settings": SETTINGS}).json()["jobs"][0]
        wait_for(lambda: served.ann.get(f"/v1/jobs/{blocks['id']}").json()["state"] == "running")
        body = {"path": "film.mp4", "settings": {**SETTINGS, "gallery": "short"}}
        job = served.ann.post("/v1/jobs", json=body).json()["jobs"][0]
        assert served.ann.delete("/v1/galleries/short").status_code == 200
        served.ann.delete(f"/v1/jobs/{blocks['id']}")
        over = until_over(served.ann, job["id"])
        assert over["error"] == {"code": "gallery", "message": "there is no gallery 'short' any more"}


class TestRefused:
    @pytest.mark.parametrize(
        "name",
        ["", " ", "../x", "..", ".hidden", "a/b", "a\\b", "a\0b", "a\nb", " a", "a ", "a  b", "x" * 65, "é" * 33,
         "CON:", "a%2fb", "\ud800", "<b>", "~"],
    )  # fmt: skip
    def test_names_that_no_gallery_can_have(self, served: Served, name: str) -> None:
        before = sorted(map(str, served.place.folder.rglob("*.gallery")))
        answer = served.ann.post("/v1/galleries", content=json.dumps({"name": name}).encode(),
                                 headers={"content-type": "application/json"})  # fmt: skip
        assert answer.status_code == 422, answer.text
        assert sorted(map(str, served.place.folder.rglob("*.gallery"))) == before
        settings = json.dumps({"path": "film.mp4", "settings": {"gallery": name}}).encode()
        answer = served.ann.post("/v1/jobs", content=settings, headers={"content-type": "application/json"})
        assert answer.status_code == 422, answer.text

    @pytest.mark.parametrize("name", ["..%2f..%2fjobs.sqlite", "%2e%2e", "none", "a%00b", "x" * 500, "..%2fbob%2fhis"])
    def test_galleries_that_are_none(self, served: Served, done: dict[str, Any], name: str) -> None:
        body = {"job": done["id"], "person": 0}
        served.bob.post("/v1/galleries", json={"name": "his"})
        for method, path, more in (
            ("GET", "", {}), ("DELETE", "", {}), ("POST", "/search", {"json": body}),
            ("POST", "/people", {"json": {**body, "name": "x"}}), ("DELETE", "/people/x", {}),
            ("PATCH", "/people/x", {"json": {"name": "y"}}),
            ("POST", "/search", {"content": served.photograph(0), "headers": JPEG}),
        ):  # fmt: skip
            answer = served.ann.request(method, f"/v1/galleries/{name}{path}", **more)
            assert answer.status_code in (404, 405), (method, path, answer.text)
            assert str(served.place.folder) not in answer.text
        assert served.bob.get("/v1/galleries/his").status_code == 200

    def test_others_galleries(self, served: Served, gallery: str, done: dict[str, Any]) -> None:
        enrol(served, gallery, 0)
        assert served.bob.get("/v1/galleries").json()["galleries"] in ([], [{"name": "his", "model": None, "size": 0}])
        refusal(served.bob.get(gallery), 404, "not_found")
        refusal(served.bob.delete(gallery), 404, "not_found")
        refusal(served.bob.post(f"{gallery}/search", content=served.photograph(0), headers=JPEG), 404, "not_found")
        refusal(served.bob.patch(f"{gallery}/people/{PEOPLE[0]}", json={"name": "x"}), 404, "not_found")
        settings = {"path": "film.mp4", "settings": {"gallery": "people"}}
        refusal(served.bob.post("/v1/jobs", json=settings), 422, "bad_input")
        served.bob.post("/v1/galleries", json={"name": "people"})  # the same name is another gallery
        assert served.bob.get(gallery).json()["size"] == 0
        body = {"job": done["id"], "person": 0}  # and somebody else's job is none
        refusal(served.bob.post(f"{gallery}/search", json=body), 404, "not_found")
        refusal(served.bob.post(f"{gallery}/people", json={**body, "name": "x"}), 404, "not_found")
        assert served.bob.delete(gallery).status_code == 200
        assert served.ann.get(gallery).json()["size"] == 1

    @pytest.mark.parametrize(
        "content",
        [b"", b"GIF89a" + bytes(99), b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.4", b"%!PS-Adobe",
         bytes(999), b"\xff\xd8\xff\xe0" + bytes(99), b"PK\x03\x04" + bytes(99)],
    )  # fmt: skip
    def test_photographs_that_are_none(self, served: Served, gallery: str, content: bytes) -> None:
        uploads = set(served.place.uploads.iterdir())
        refusal(served.ann.post(f"{gallery}/search", content=content, headers=JPEG), 422, "bad_input")
        refusal(served.ann.post(f"{gallery}/people?name=x", content=content, headers=JPEG), 422, "bad_input")
        assert set(served.place.uploads.iterdir()) == uploads

    def test_a_photograph_that_breaks_off(self, served: Served, gallery: str) -> None:
        """Its head is right: only the worker can tell."""
        half = served.photograph(0)[:5000]
        error = refusal(served.ann.post(f"{gallery}/search", content=half, headers=JPEG), 422, "bad_input")
        assert "cannot be read as an image" in error["message"]
        assert str(served.place.folder) not in error["message"]

    def test_a_small_file_of_a_huge_picture(self, served: Served, gallery: str) -> None:
        def chunk(kind: bytes, data: bytes) -> bytes:
            return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

        side = (40_000).to_bytes(4, "big")
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", side + side + bytes([8, 2, 0, 0, 0])) + chunk(b"IDAT", b"")
        refusal(served.ann.post(f"{gallery}/search", content=bomb, headers=JPEG), 422, "bad_input")

    def test_photographs_without_one_clear_face(self, served: Served, gallery: str) -> None:
        def sent(picture: Image.Image) -> dict[str, Any]:
            out = io.BytesIO()
            picture.save(out, "PNG")
            answer = served.ann.post(f"{gallery}/people?name=x", content=out.getvalue(),
                                     headers={"content-type": "image/png"})  # fmt: skip
            return refusal(answer, 422, "unclear")

        assert sent(Image.new("RGB", (300, 200), (90, 120, 60)))["details"] == {"reason": "no face"}
        both = Image.new("RGB", (1000, 500))
        for x, person in ((0, 0), (500, 2)):
            both.paste(Image.open(io.BytesIO(served.photograph(person))).resize((500, 500)), (x, 0))
        assert sent(both)["details"] == {"reason": "several faces"}
        assert served.ann.get(gallery).json()["size"] == 0

    def test_what_is_no_request(self, served: Served, gallery: str, done: dict[str, Any]) -> None:
        body = {"job": done["id"], "person": 0}
        for path, wrong in (("/search", {}), ("/search", {"job": 1, "person": 0}), ("/search", {**body, "person": -1}),
                            ("/search", {**body, "person": "0"}), ("/search", {**body, "more": 1}), ("/people", body),
                            ("/search", {"job": done["id"]})):  # fmt: skip
            refusal(served.ann.post(gallery + path, json=wrong), 422, "invalid_request")
        refusal(served.ann.post(f"{gallery}/search", json={**body, "person": 99}), 404, "not_found")
        refusal(served.ann.post(f"{gallery}/search", json={"job": "0" * 32, "person": 0}), 404, "not_found")
        refusal(served.ann.post(f"{gallery}/search?limit=0", json=body), 422, "invalid_request")
        for name in ("", "a/b", "unknown-1", "..", "x" * 201):
            answer = served.ann.post(f"{gallery}/people", json={**body, "name": name})
            assert answer.status_code == 422, (name, answer.text)
            answer = served.ann.post(f"{gallery}/people", params={"name": name}, content=served.photograph(0),
                                     headers=JPEG)  # fmt: skip
            assert answer.status_code == 422, (name, answer.text)
        refusal(served.ann.post(f"{gallery}/people", content=served.photograph(0), headers=JPEG), 422, "bad_input")
        for kind in ("text/plain", "image/svg+xml", "image/gif", "multipart/form-data; boundary=x", ""):
            answer = served.ann.post(f"{gallery}/search", content=b"x", headers={"content-type": kind})
            refusal(answer, 415, "content_type")
        refusal(served.ann.post("/v1/galleries", json={"name": "people"}), 409, "exists")

    def test_a_gallery_of_another_embedder(self, served: Served, gallery: str, done: dict[str, Any]) -> None:
        vector = np.zeros(512, np.float32)
        vector[0] = 1
        Galleries(served.place).enrol("ann", "people", "Ann", Look("facenet-vggface2", vector))
        for path, body in (("/search", {}), ("/people", {"name": "x"})):
            answer = served.ann.post(gallery + path, json={"job": done["id"], "person": 0, **body})
            assert "cannot be compared" in refusal(answer, 422, "gallery")["message"]
        answer = served.ann.post("/v1/jobs", json={"path": "film.mp4", "settings": {**SETTINGS, "gallery": "people"}})
        over = until_over(served.ann, answer.json()["jobs"][0]["id"])
        assert over["error"]["code"] == "gallery"

    def test_a_damaged_file_tells_nothing_of_the_folder(self, served: Served, gallery: str) -> None:
        (served.place.galleries / "ann" / "people.gallery").write_bytes(b"nothing")
        error = refusal(served.ann.get(gallery), 422, "gallery")
        assert str(served.place.folder) not in error["message"]
        refusal(served.ann.get("/v1/galleries"), 422, "gallery")
        (served.place.galleries / "ann" / "people.gallery").unlink()


def test_a_photograph_that_nobody_looks_at(root: Path, tmp_path: Path, served: Served) -> None:
    """Without a worker: the call ends in time and says the job, which can be given once it is done."""
    settings = ServiceSettings(tmp_path / "s", root, require_keys=False, photo_seconds=0.3, max_photo_bytes=1_000_000,
                               worker=WorkerOptions(embedder=MODEL, threads=1))  # fmt: skip
    client = TestClient(create_app(settings), base_url="http://localhost")
    client.post("/v1/galleries", json={"name": "g"})
    refusal(client.post("/v1/galleries/g/search", content=bytes(1_000_001), headers=JPEG), 413, "too_large")
    answer = client.post("/v1/galleries/g/people?name=Ben", content=served.photograph(0), headers=JPEG)
    id = refusal(answer, 504, "photograph_waits")["details"]["job"]
    assert client.get(f"/v1/jobs/{id}").json()["kind"] == "photo"
    refusal(client.post("/v1/galleries/g/people", json={"name": "Ben", "job": id}), 409, "not_done")
    with TestClient(create_app(replace(settings, devices=["cpu"])), base_url="http://localhost") as working:
        assert until_over(working, id)["state"] == "done"
        answer = working.post("/v1/galleries/g/people", json={"name": "Ben", "job": id})
        assert answer.json() == {"person": "Ben", "name": "Ben", "vectors": 1}
        refusal(working.get(f"/v1/jobs/{id}/people"), 409, "wrong_kind")
    place = Place(settings.folder, root)
    (result,) = place.results.iterdir()
    document = json.loads(result.read_text())
    (face,) = document["faces"]
    assert (document["schema"], document["model"], document["chosen"]) == ("fastface.photo/1", MODEL, 0)
    picture = Image.open(io.BytesIO(served.photograph(0)))
    assert (document["width"], document["height"]) == picture.size
    assert np.linalg.norm(face["embedding"]) == pytest.approx(1, abs=1e-3)
    photo = served.film.stock[PEOPLE[0]][0]
    assert np.abs(np.array(face["box"]) - photo.box).max() < 0.25 * (face["box"][2] - face["box"][0])
    assert face["score"] >= 0.9
    assert face["quality"] >= 20
    assert client.delete(f"/v1/jobs/{id}").status_code == 200
    assert list(place.results.iterdir()) == list(place.uploads.iterdir()) == []


def test_many_enrol_at_once(tmp_path: Path, rng: np.random.Generator) -> None:
    """Nobody is lost, whoever writes the file; several places stand for several processes."""
    places = [Place(tmp_path) for _ in range(3)]
    Galleries(places[0]).create("ann", "g")
    vectors = rng.normal(size=(30, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def add(number: int) -> None:
        Galleries(places[number % 3]).enrol("ann", "g", f"p{number % 10}", Look("m", vectors[number]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(30)))
    people = Gallery.load(tmp_path / "galleries" / "ann" / "g.gallery").people
    assert {name: len(v) for name, v in people.items()} == {f"p{i}": 3 for i in range(10)}
    assert os.listdir(tmp_path / "galleries" / "ann") == ["g.gallery"]


def test_how_much_a_gallery_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastface.service.galleries.MAX_GALLERIES", 2)
    monkeypatch.setattr("fastface.service.galleries.MAX_PEOPLE", 2)
    monkeypatch.setattr("fastface.service.galleries.MAX_VECTORS", 2)
    from fastface.service.gate import Refused

    galleries, eye = Galleries(Place(tmp_path)), np.eye(4, dtype=np.float32)
    for name in ("a", "b"):
        galleries.create("ann", name)
    with pytest.raises(Refused, match="2 galleries, which is the most"):
        galleries.create("ann", "c")
    for number in (0, 1):
        galleries.enrol("ann", "a", "Ann", Look("m", eye[number]))
    assert galleries.enrol("ann", "a", "Ann", Look("m", eye[1])).vectors == 2
    with pytest.raises(Refused, match="2 people at most"):
        galleries.enrol("ann", "a", "Ann", Look("m", eye[2]))
    galleries.enrol("ann", "a", "Bob", Look("m", eye[3]))
    with pytest.raises(Refused, match="2 people at most"):
        galleries.enrol("ann", "a", "Cem", Look("m", eye[3]))
    assert galleries.get("ann", "a").size == 2


def test_files_of_galleries() -> None:
    for name in ("a", "Größe 2", "家族", "x.y-z_0", "e\u0301"):
        checked = checked_gallery(name)
        file = gallery_file(checked)
        assert gallery_name(file) == checked
        assert file.isascii()
        assert os.path.basename(file) == file
        assert len(file) < 255
    assert checked_gallery("e\u0301") == checked_gallery("é")
