"""What came of a job over HTTP: people, names, pictures and clips; and what is refused."""

from __future__ import annotations

import io
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from asking import SETTINGS, refusal, until_over, wait_for
from owners import Served
from PIL import Image

from fastface.timeline import Timeline
from film import names_of


def own(served: Served, done: dict[str, Any]) -> dict[str, Any]:
    """A job with a copy of the film's timeline, to change; nothing is computed."""
    place, jobs = served.place, served.jobs
    source = jobs.get(done["id"])
    (job,), _ = jobs.submit("ann", [source.request])
    claim = wait_for(lambda: jobs.claim("test", 60))
    while claim.job.id != job.id:  # somebody else's, which waits for the worker
        jobs.give_back(claim)
        claim = wait_for(lambda: jobs.claim("test", 60))
    name = place.result_name(claim)
    place.result(name).write_bytes(place.result(source.result).read_bytes())
    place.faces(name).write_bytes(place.faces(source.result).read_bytes())
    assert jobs.finish(claim, name)
    return served.ann.get(f"/v1/jobs/{job.id}").json()  # type: ignore[no-any-return]


def pictures(content: bytes) -> tuple[list[Any], int, int]:
    """The frames of an MP4, and their size."""
    with av.open(io.BytesIO(content)) as container:
        frames = list(container.decode(video=0))
    return frames, frames[0].width, frames[0].height


class TestPeople:
    def test_who_is_there_and_when(self, served: Served, done: dict[str, Any]) -> None:
        people = served.ann.get(done["people"]).json()["people"]
        timeline = Timeline.from_dict(served.ann.get(done["timeline"]).json())
        assert {p["id"] for p in people} == set(names_of(timeline, served.film))
        assert [p["seconds"] for p in people] == sorted((p["seconds"] for p in people), reverse=True)
        for person in people:
            wanted = timeline.identity(person["id"])
            assert person["spans"] == [[s.start, s.end] for s in wanted.instances]
            assert (person["first"], person["last"]) == (wanted.instances[0].start, wanted.instances[-1].end)
            assert person["name"] is None
            assert person["thumbnail"] == f"{done['people'].replace('people', 'thumbnails')}/{person['id']}"

    def test_pictures(self, served: Served, done: dict[str, Any]) -> None:
        listed = served.ann.get(f"/v1/jobs/{done['id']}/thumbnails").json()["thumbnails"]
        people = served.ann.get(done["people"]).json()["people"]
        assert {t["person"]: t["url"] for t in listed} == {p["id"]: p["thumbnail"] for p in people}
        timeline = Timeline.from_dict(served.ann.get(done["timeline"]).json())
        wanted = timeline.thumbnails(served.film.path, size=160)
        for entry in listed:
            answer = served.ann.get(entry["url"])
            assert answer.headers["content-type"] == "image/jpeg"
            picture = Image.open(io.BytesIO(answer.content))
            assert picture.size == (160, 160)
            difference = np.array(picture.convert("RGB"), float) - wanted[entry["person"]]
            assert abs(difference).mean() < 10  # the same face, but for what JPEG takes away
        for person, status, code in (("99", 404, "not_found"), ("-1", 422, "invalid_request"),
                                     ("x", 422, "invalid_request"), (str(2**60), 422, "invalid_request"),
                                     ("..%2f..%2fjobs.sqlite", 404, "not_found")):  # fmt: skip
            refusal(served.ann.get(f"/v1/jobs/{done['id']}/thumbnails/{person}"), status, code)

    def test_naming(self, served: Served, done: dict[str, Any]) -> None:
        job = own(served, done)
        a, b = (p["id"] for p in served.ann.get(job["people"]).json()["people"][:2])
        answer = served.ann.patch(f"{job['people']}/{a}", json={"name": "  Änn <b> "})
        assert answer.status_code == 200, answer.text
        assert answer.json()["name"] == "Änn <b>"
        assert {p["id"]: p["name"] for p in served.ann.get(job["people"]).json()["people"]}[a] == "Änn <b>"
        timeline = Timeline.from_dict(served.ann.get(job["timeline"], params={"embeddings": True}).json())
        assert timeline.identity("Änn <b>").id == a
        assert timeline.embeddings is not None
        error = refusal(served.ann.patch(f"{job['people']}/{b}", json={"name": "Änn <b>"}), 409, "name_taken")
        assert error["details"] == {"person": a}
        assert served.ann.patch(f"{job['people']}/{a}", json={"name": None}).json()["name"] is None
        assert served.ann.patch(f"{job['people']}/{b}", json={"name": "Änn <b>"}).status_code == 200

    def test_many_name_at_once(self, served: Served, done: dict[str, Any]) -> None:
        """Each writes all of the timeline; none may undo what another said."""
        job = own(served, done)
        people = [p["id"] for p in served.ann.get(job["people"]).json()["people"]]
        wanted: dict[int, str] = {}

        def name_one(who: int) -> Any:
            return served.ann.patch(f"{job['people']}/{who}", json={"name": wanted[who]})

        for turn in range(5):
            wanted = {who: f"person {who} in turn {turn}" for who in people}
            with ThreadPoolExecutor(len(people)) as pool:
                answers = list(pool.map(name_one, people))
            assert {a.status_code for a in answers} == {200}
            assert {p["id"]: p["name"] for p in served.ann.get(job["people"]).json()["people"]} == wanted
        assert not [f for f in os.listdir(served.place.results) if f.startswith(".")]

    @pytest.mark.parametrize(
        "body",
        [{}, {"name": 1}, {"name": ["x"]}, {"name": "x", "more": 1}, {"name": "x" * 201},
         {"name": None, "gallery": "g"}],
    )  # fmt: skip
    def test_what_is_no_name(self, served: Served, done: dict[str, Any], body: dict[str, Any]) -> None:
        refusal(served.ann.patch(f"{done['people']}/0", json=body), 422, "invalid_request")

    @pytest.mark.parametrize("name", ["", " ", "a/b", "..", "a\nb", "a\0b", "\\", "\u202e"])
    def test_names_that_nobody_can_have(self, served: Served, done: dict[str, Any], name: str) -> None:
        refusal(served.ann.patch(f"{done['people']}/0", json={"name": name}), 422, "bad_input")

    def test_forged_ids(self, served: Served, done: dict[str, Any]) -> None:
        for person in ("99", str(2**53 - 1)):
            refusal(served.ann.patch(f"{done['people']}/{person}", json={"name": "x"}), 404, "not_found")
        for person in ("-1", "1.5", "1e3", "x", "null", "0x0"):
            refusal(served.ann.patch(f"{done['people']}/{person}", json={"name": "x"}), 422, "invalid_request")

    def test_only_json_is_read(self, served: Served, done: dict[str, Any]) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = served.ann.patch(f"{done['people']}/0", content=b'{"name": "x"}', headers={"content-type": kind})
            refusal(answer, 415, "content_type")
        large = b'{"name": "' + b"x" * (1 << 20) + b'"}'
        answer = served.ann.patch(f"{done['people']}/0", content=large, headers={"content-type": "application/json"})
        refusal(answer, 413, "too_large")

    def test_others_people(self, served: Served, done: dict[str, Any]) -> None:
        base = f"/v1/jobs/{done['id']}"
        for path in ("/people", "/thumbnails", "/thumbnails/0", "/clips", "/clip"):
            refusal(served.bob.get(base + path), 404, "not_found")
        refusal(served.bob.patch(f"{base}/people/0", json={"name": "x"}), 404, "not_found")
        refusal(served.bob.post(f"{base}/clips", json={"person": 0}), 404, "not_found")


class TestClips:
    def cut(self, served: Served, done: dict[str, Any], **body: Any) -> list[dict[str, Any]]:
        answer = served.ann.post(f"/v1/jobs/{done['id']}/clips", json=body)
        assert answer.status_code == 201, answer.text
        return [until_over(served.ann, job["id"]) for job in answer.json()["jobs"]]

    def test_all_moments_of_a_person(self, served: Served, done: dict[str, Any]) -> None:
        person = served.ann.get(done["people"]).json()["people"][0]
        (clip,) = self.cut(served, done, person=person["id"])
        assert (clip["kind"], clip["source"], clip["state"]) == ("clip", done["id"], "done"), clip
        assert (clip["timeline"], clip["people"]) == (None, None)
        assert clip["name"] == f"film, person {person['id'] + 1}.mp4"
        answer = served.ann.get(clip["clip"])
        assert answer.headers["content-type"] == "video/mp4"
        frames, width, height = pictures(answer.content)
        assert (width, height) == (640, 360)
        assert len(frames) == round(person["seconds"] * 25)
        part = served.ann.get(clip["clip"], headers={"range": "bytes=100-199"})
        assert part.status_code == 206
        assert part.content == answer.content[100:200]
        assert part.headers["content-range"] == f"bytes 100-199/{len(answer.content)}"
        refusal(served.bob.get(clip["clip"]), 404, "not_found")
        assert not list(served.place.work.glob(f"{clip['id']}*"))

    def test_a_job_for_each_moment(self, served: Served, done: dict[str, Any]) -> None:
        people = served.ann.get(done["people"]).json()["people"]
        person = max(people, key=lambda p: len(p["spans"]))
        assert len(person["spans"]) >= 2
        clips = self.cut(served, done, person=person["id"], join=False, follow=[180, 320])
        assert len(clips) == len(person["spans"])
        for clip, (start, end) in zip(clips, person["spans"], strict=True):
            frames, width, height = pictures(served.ann.get(clip["clip"]).content)
            assert (width, height) == (180, 320)
            assert len(frames) == round((end - start) * 25)
        listed = served.ann.get(f"/v1/jobs/{done['id']}/clips").json()["jobs"]
        assert [job["id"] for job in listed][: len(clips)] == [job["id"] for job in clips][::-1]
        first = served.ann.get(f"/v1/jobs/{done['id']}/clips", params={"limit": 1}).json()
        assert first["jobs"] == listed[:1]
        rest = served.ann.get(f"/v1/jobs/{done['id']}/clips", params={"after": first["next"]}).json()
        assert rest["jobs"] == listed[1:]
        assert served.ann.get(f"/v1/jobs/{clips[0]['id']}/clips").json() == {"jobs": [], "next": None}

    def test_between_two_times(self, served: Served, done: dict[str, Any]) -> None:
        person = served.ann.get(done["people"]).json()["people"][0]
        start, end = person["spans"][0]
        (clip,) = self.cut(served, done, person=person["id"], start=start + 0.2, end=end - 0.2)
        frames, _, _ = pictures(served.ann.get(clip["clip"]).content)
        assert abs(len(frames) - (end - start - 0.4) * 25) <= 1

    def test_two_people_and_the_whole(self, served: Served, done: dict[str, Any]) -> None:
        a, b = (p["id"] for p in served.ann.get(done["people"]).json()["people"][:2])
        (both,) = self.cut(served, done, split=[a, b], start=0.0, end=0.4)
        assert pictures(served.ann.get(both["clip"]).content)[1:] == (1920, 1080)
        (short,) = self.cut(served, done, condense=0.1)
        assert short["name"] == "film, condensed.mp4"
        assert pictures(served.ann.get(short["clip"]).content)[1:] == (640, 360)

    def test_by_a_name_that_changes(self, served: Served, done: dict[str, Any]) -> None:
        job = own(served, done)
        who = served.ann.get(job["people"]).json()["people"][0]["id"]
        served.ann.patch(f"{job['people']}/{who}", json={"name": "../<Ann>".replace("/", "")})
        (clip,) = self.cut(served, job, person="..<Ann>")
        assert clip["settings"]["person"] == who
        assert clip["name"] == "film, ..<Ann>.mp4"
        assert clip["state"] == "done"

    def test_a_key(self, served: Served, done: dict[str, Any]) -> None:
        body, key = {"person": 0, "pad": 0.1}, {"idempotency-key": "clip"}
        first = served.ann.post(f"/v1/jobs/{done['id']}/clips", json=body, headers=key)
        again = served.ann.post(f"/v1/jobs/{done['id']}/clips", json=body, headers=key)
        assert (first.status_code, again.status_code) == (201, 200)
        assert [j["id"] for j in first.json()["jobs"]] == [j["id"] for j in again.json()["jobs"]]
        other = served.ann.post(f"/v1/jobs/{done['id']}/clips", json={"person": 0}, headers=key)
        refusal(other, 409, "key_conflict")
        until_over(served.ann, first.json()["jobs"][0]["id"])

    @pytest.mark.parametrize(
        ("body", "message"),
        [({"person": 99}, "no person 99"), ({"person": "../x"}, "no person"), ({}, "person is None"),
         ({"person": 0, "split": [0, 1]}, "split is"), ({"split": [0, 0]}, "two different people"),
         ({"person": 0, "follow": [1, 1]}, "follow is"), ({"person": 0, "follow": [100_000, 100_000]}, "follow is"),
         ({"person": 0, "fast": True, "follow": [64, 64]}, "not both"),
         ({"person": 0, "start": 5, "end": 5}, "start is"),
         ({"person": 0, "start": 1e6}, "is there between"), ({"condense": 1, "end": 3}, "condense is")],
    )  # fmt: skip
    def test_what_cannot_be_cut(self, served: Served, done: dict[str, Any], body: dict[str, Any], message: str) -> None:
        error = refusal(served.ann.post(f"/v1/jobs/{done['id']}/clips", json=body), 422, "bad_input")
        assert message in error["message"]

    @pytest.mark.parametrize(
        "body",
        [{"person": 0, "pad": -1}, {"person": 0, "max_gap": 1e30}, {"person": 0, "join": "yes"}, {"person": [0]},
         {"person": True}, {"person": 0, "output": "/etc"}, {"person": 0, "workers": 99}, {"follow": [1, 2, 3]}, []],
    )  # fmt: skip
    def test_what_is_no_clip(self, served: Served, done: dict[str, Any], body: Any) -> None:
        refusal(served.ann.post(f"/v1/jobs/{done['id']}/clips", json=body), 422, "invalid_request")
        nan = served.ann.post(f"/v1/jobs/{done['id']}/clips", content=b'{"person": 0, "pad": NaN}',
                              headers={"content-type": "application/json"})  # fmt: skip
        refusal(nan, 422, "invalid_request")

    def test_of_what_is_no_video(self, served: Served, done: dict[str, Any]) -> None:
        (clip,) = self.cut(served, done, person=0, end=1.0)
        for path in ("/people", "/timeline", "/thumbnails", "/thumbnails/0"):
            refusal(served.ann.get(f"/v1/jobs/{clip['id']}{path}"), 409, "wrong_kind")
        refusal(served.ann.post(f"/v1/jobs/{clip['id']}/clips", json={"person": 0}), 409, "wrong_kind")
        refusal(served.ann.patch(f"/v1/jobs/{clip['id']}/people/0", json={"name": "x"}), 409, "wrong_kind")
        refusal(served.ann.get(f"/v1/jobs/{done['id']}/clip"), 409, "wrong_kind")

    def test_a_job_that_is_not_done(self, served: Served) -> None:
        answer = served.ann.post("/v1/jobs", json={"path": "long.mp4", "settings": SETTINGS})
        job = answer.json()["jobs"][0]
        base = f"/v1/jobs/{job['id']}"
        for answer in (served.ann.get(f"{base}/people"), served.ann.get(f"{base}/thumbnails/0"),
                       served.ann.post(f"{base}/clips", json={"person": 0}),
                       served.ann.patch(f"{base}/people/0", json={"name": "x"})):  # fmt: skip
            refusal(answer, 409, "not_done")
        served.ann.delete(base)
        until_over(served.ann, job["id"])

    def test_the_video_goes_with_its_job(self, served: Served, root: Path) -> None:
        """What was sent is kept for clips, and gone with the job; a clip that is done stays."""
        before = set(served.place.uploads.iterdir())
        content = (root / "film.mp4").read_bytes()
        answer = served.ann.post("/v1/jobs", params={"name": "mine.mp4", "settings": json.dumps(SETTINGS)},
                                 content=content, headers={"content-type": "video/mp4"})  # fmt: skip
        job = until_over(served.ann, answer.json()["jobs"][0]["id"])
        (upload,) = set(served.place.uploads.iterdir()) - before
        (clip,) = self.cut(served, job, person=0, end=1.0)
        upload.rename(upload.with_suffix(".away"))
        refusal(served.ann.post(f"/v1/jobs/{job['id']}/clips", json={"person": 0}), 409, "video_gone")
        upload.with_suffix(".away").rename(upload)
        assert served.ann.delete(f"/v1/jobs/{job['id']}").status_code == 200
        assert set(served.place.uploads.iterdir()) == before
        assert not list(served.place.results.glob(f"{job['id']}*"))
        assert served.ann.get(clip["clip"]).status_code == 200
        refusal(served.ann.get(f"/v1/jobs/{job['id']}/clips"), 404, "not_found")
        assert served.ann.delete(f"/v1/jobs/{clip['id']}").status_code == 200
        assert not list(served.place.results.glob(f"{clip['id']}*"))

    def test_a_clip_whose_job_is_removed_fails(self, served: Served, done: dict[str, Any], root: Path) -> None:
        job = own(served, done)
        blocks = served.ann.post("/v1/jobs", json={"path": "long.mp4", "settings": SETTINGS}).json()["jobs"][0]
        wait_for(lambda: served.ann.get(f"/v1/jobs/{blocks['id']}").json()["state"] == "running")
        clip = served.ann.post(f"/v1/jobs/{job['id']}/clips", json={"person": 0}).json()["jobs"][0]
        served.ann.delete(f"/v1/jobs/{job['id']}")
        served.ann.delete(f"/v1/jobs/{blocks['id']}")
        over = until_over(served.ann, clip["id"])
        assert over["error"]["code"] == "bad_input"
        assert "was removed" in over["error"]["message"]

    def test_a_clip_is_cancelled_while_it_is_cut(self, served: Served, root: Path) -> None:
        answer = served.ann.post("/v1/jobs", json={"path": "long.mp4", "settings": {"min_face_size": 60, "every": 400}})
        job = until_over(served.ann, answer.json()["jobs"][0]["id"])
        assert job["state"] == "done"
        clip = served.ann.post(f"/v1/jobs/{job['id']}/clips", json={"condense": 1000.0}).json()["jobs"][0]
        wait_for(lambda: served.ann.get(f"/v1/jobs/{clip['id']}").json()["progress"]["frames_done"])
        begin = time.monotonic()
        served.ann.delete(f"/v1/jobs/{clip['id']}")
        assert until_over(served.ann, clip["id"])["state"] == "cancelled"
        print(f"ended after {time.monotonic() - begin:.2f} s")
        wait_for(lambda: not list(served.place.work.glob(f"{clip['id']}*")))
        assert not list(served.place.results.glob(f"{clip['id']}*"))
