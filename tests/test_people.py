"""People across videos: remembered, named, searched for, from real photographs in a composed film."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

import fastface
from fastface.cli import main
from fastface.errors import GalleryError, InputValidationError
from fastface.gallery import Gallery
from fastface.match.identify import MIN_LEGIBILITY
from fastface.timeline import Timeline
from film import MODEL, PEOPLE, Film, names_of, true_spans


@pytest.fixture(scope="module")
def pipeline(embedder_spec: object) -> Iterator[fastface.Pipeline]:
    with fastface.Pipeline(device="cpu", embedder=MODEL, min_face_size=30) as made:
        yield made


def others(film: Film, name: str, n: int = 3) -> list[str]:
    """Photographs of a person that are not in the film."""
    return [str(photo.image) for photo in film.stock[name][4 : 4 + n]]


@pytest.fixture(scope="module")
def enrolled(film: Film, pipeline: fastface.Pipeline) -> Gallery:
    """Everybody but Madonna, three photographs each."""
    gallery = Gallery(MODEL)
    for name in PEOPLE:
        if name != "Madonna":
            assert gallery.add(name, others(film, name), pipeline=pipeline) == ()
    return gallery


def copy(gallery: Gallery) -> Gallery:
    return Gallery(gallery.model, gallery.people, next_unknown=gallery.next_unknown)


class TestEnrolment:
    def test_what_cannot_be_used_is_said_and_the_rest_is_kept(
        self, film: Film, pipeline: fastface.Pipeline, tmp_path: Path
    ) -> None:
        good = film.stock["Madonna"][0]
        picture = good.pixels()
        box = np.array(good.box)
        size = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
        picture.filter(ImageFilter.GaussianBlur(size / 64 * 2.2)).save(tmp_path / "blurred.png")
        small = picture.resize((int(picture.width * 15 / size), int(picture.height * 15 / size)), 1)
        canvas = Image.new("RGB", (200, 200), (90, 110, 100))
        canvas.paste(small, (50, 50))
        canvas.save(tmp_path / "small.png")
        Image.new("RGB", (200, 200), (90, 120, 60)).save(tmp_path / "nobody.png")
        files = [tmp_path / n for n in ("blurred.png", "small.png", "nobody.png", "gone.png")]
        gallery = Gallery(MODEL)
        with fastface.Pipeline(device="cpu", embedder=MODEL, min_face_size=12) as keen:
            refused = gallery.add("Madonna", [files[0], good.image, *files[1:], np.array(picture)], pipeline=keen)
        assert [(Path(r.file).name, r.reason) for r in refused] == [
            ("blurred.png", "too blurred"), ("small.png", "too small"), ("nobody.png", "no face"),
            ("gone.png", "unreadable")]  # fmt: skip
        assert len(gallery.people["Madonna"]) == 2
        assert len(gallery.warnings) == 4
        with pytest.raises(GalleryError, match=r"no usable photograph of 'Eve': .*nobody\.png' shows no face"):
            gallery.add("Eve", [files[2]], pipeline=pipeline)
        assert "Eve" not in gallery

    def test_arrays_of_another_kind(self, pipeline: fastface.Pipeline) -> None:
        with pytest.raises(GalleryError, match=r"image 1 is float64 \[4, 4\], must be uint8 \[H, W, 3\], RGB"):
            Gallery(MODEL).add("Eve", [np.zeros((4, 4))], pipeline=pipeline)

    def test_a_pipeline_of_another_model(self, pipeline: fastface.Pipeline) -> None:
        with pytest.raises(GalleryError, match="made with 'facenet-casia'"):
            Gallery("facenet-casia").add("Eve", ["a.jpg"], pipeline=pipeline)

    def test_a_large_photograph_gives_the_vector_of_a_smaller_one(
        self, film: Film, pipeline: fastface.Pipeline
    ) -> None:
        picture = film.stock["Jerry Seinfeld"][0].pixels()
        scale = 2500 / max(picture.size)
        large = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BICUBIC)
        gallery = Gallery(MODEL)
        gallery.add("a", [np.array(picture)], pipeline=pipeline)
        gallery.add("b", [np.array(large)], pipeline=pipeline)
        assert float(gallery.centroid("a") @ gallery.centroid("b")) > 0.9


class TestAcrossVideos:
    def test_the_second_video_gives_the_same_people_the_same_ids(
        self, run: Callable[..., Timeline], film: Film, enrolled: Gallery, tmp_path: Path
    ) -> None:
        """Two looks at the film stand for two videos: the second knows whom the first left behind."""
        gallery = copy(enrolled)
        first = gallery.update(run())
        by_name = {name: first.identity(i) for i, name in names_of(first, film).items()}
        assert {name: p.name for name, p in by_name.items()} == {n: None if n == "Madonna" else n for n in PEOPLE}
        stranger = by_name["Madonna"]
        assert (stranger.gallery_id, stranger.label) == ("unknown-1", "unknown-1")
        assert gallery.unknown == ("unknown-1",)

        gallery.save(tmp_path / "people.gallery")
        later = Gallery.load(tmp_path / "people.gallery")
        second = later.update(run(every=3))
        assert second.identity("unknown-1").similarity >= second.identity("unknown-1").threshold
        assert names_of(second, film)[second.identity("unknown-1").id] == "Madonna"
        assert later.unknown == ("unknown-1",)
        assert len(later.people["unknown-1"]) == 2, "what the second video showed is remembered as well"

        later.rename("unknown-1", "Madonna")
        third = run(every=3).recognise(later)
        assert names_of(third, film)[third.identity("Madonna").id] == "Madonna"

    def test_a_run_with_the_gallery_names_as_recognise_does(
        self, run: Callable[..., Timeline], film: Film, enrolled: Gallery
    ) -> None:
        gallery = copy(enrolled)
        gallery.update(run())
        told = fastface.process(film.path, device="cpu", embedder=MODEL, min_face_size=40, gallery=gallery)
        again = run().recognise(gallery)
        want = {(p.gallery_id, p.name, p.instances) for p in told.identities}
        assert {(p.gallery_id, p.name, p.instances) for p in again.identities} == want
        assert {p.gallery_id for p in told.identities} == {*PEOPLE, "unknown-1"} - {"Madonna"}
        for p in told.identities:
            assert p.similarity == pytest.approx(again.identity(p.gallery_id).similarity, abs=0.02)

    def test_one_person_who_became_two_is_one_by_name(
        self, run: Callable[..., Timeline], film: Film, enrolled: Gallery
    ) -> None:
        timeline = run()
        who = next(i for i, n in names_of(timeline, film).items() if n == "Jerry Seinfeld")
        tracks = [t.id for t in timeline.tracks if t.identity == who]
        assert len(tracks) >= 2
        halves = timeline.split(who, tracks[:1])
        assert len(halves.identities) == len(timeline.identities) + 1
        whole = halves.recognise(enrolled)
        assert whole.identity("Jerry Seinfeld").instances == timeline.identity(who).instances

    def test_faces_too_poor_to_tell_are_not_remembered(self, run: Callable[..., Timeline]) -> None:
        timeline = run()
        assert timeline.embeddings is not None
        poor = np.full(len(timeline.embeddings), MIN_LEGIBILITY - 0.01, np.float32)
        gallery = Gallery(MODEL)
        blurred = gallery.update(replace(timeline, embeddings=replace(timeline.embeddings, legibility=poor)))
        assert len(gallery) == 0
        assert {p.gallery_id for p in blurred.identities} == {None}

    def test_shuffling_the_gallery_changes_nobody(
        self, run: Callable[..., Timeline], enrolled: Gallery, rng: np.random.Generator
    ) -> None:
        wanted = run().recognise(enrolled)
        for _ in range(5):
            names = rng.permutation(list(enrolled.people)).tolist()
            mixed = Gallery(MODEL, {n: rng.permutation(enrolled.people[n]) for n in names})
            assert run().recognise(mixed).to_json() == wanted.to_json()

    def test_threads_and_batches_change_nobody(self, film: Film, enrolled: Gallery, embedder_spec: object) -> None:
        import torch

        def people(threads: int, batch_size: int) -> list[object]:
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            try:
                timeline = fastface.process(film.path, device="cpu", embedder=MODEL, min_face_size=40, every=4,
                                            gallery=enrolled, batch_size=batch_size)  # fmt: skip
            finally:
                torch.set_num_threads(before)
            return [timeline.faces.identity.tolist(), [(p.id, p.name, p.instances) for p in timeline.identities]]

        assert people(1, 3) == people(2, 16)

    @pytest.mark.parametrize("kind", ["device", "approximate"])
    def test_the_way_of_searching_changes_nobody(
        self, run: Callable[..., Timeline], enrolled: Gallery, kind: str
    ) -> None:
        other = copy(enrolled)
        other.use_index(kind, **({"device": "cpu"} if kind == "device" else {}))  # type: ignore[arg-type]
        assert run().recognise(other).to_json() == run().recognise(enrolled).to_json()

    def test_what_is_refused(self, run: Callable[..., Timeline], enrolled: Gallery) -> None:
        with pytest.raises(GalleryError, match=f"'facenet-casia', those of the timeline of .* of '{MODEL}'"):
            run().recognise(Gallery("facenet-casia"))
        bare = Timeline.from_json(run().to_json())
        with pytest.raises(InputValidationError, match="has no embeddings: its document was written without"):
            bare.recognise(enrolled)
        with pytest.raises(InputValidationError, match="has no embeddings"):
            enrolled.update(bare)


class TestSearch:
    def test_in_a_timeline_without_the_video(
        self, run: Callable[..., Timeline], film: Film, pipeline: fastface.Pipeline, tmp_path: Path
    ) -> None:
        run().to_json(tmp_path / "film.json")
        run(every=3).to_json(tmp_path / "third.json", embeddings="inside")
        photographs = others(film, "Madonna")
        result = fastface.search(photographs, [tmp_path / "film.json", tmp_path / "third.json"], pipeline=pipeline)
        assert len(result.found) == 2
        assert result.compared >= 2 * len(PEOPLE)
        for found in result.found:
            assert 1 >= found.similarity >= found.threshold == result.threshold
            assert all(s.similarity > 0.3 for s in found.spans)
        spans = [[(s.start_frame, s.end_frame) for s in found.spans] for found in result.found]
        assert true_spans(film)["Madonna"] in spans, "of the timeline of every frame"
        assert np.abs(np.array(spans[0]) - np.array(spans[1])).max() <= 2

    def test_in_a_video(self, film: Film, pipeline: fastface.Pipeline) -> None:
        with fastface.Pipeline(device="cpu", embedder=MODEL, min_face_size=40, every=3) as quick:
            result = fastface.search(others(film, "Jerry Seinfeld"), str(film.path), pipeline=quick)
        (found,) = result.found
        want = true_spans(film)["Jerry Seinfeld"]
        assert np.abs(np.array([(s.start_frame, s.end_frame) for s in found.spans]) - np.array(want)).max() <= 2
        assert found.path == str(film.path)
        assert len(result.timelines) == 1

    def test_somebody_who_is_not_there(self, run: Callable[..., Timeline], film: Film, photos, pipeline) -> None:
        elton = sorted(photos["Elton John"], key=lambda p: p.box[1] - p.box[3])[:3]
        assert fastface.search([p.image for p in elton], run(), pipeline=pipeline).found == ()

    def test_the_threshold_rises_with_how_many_are_looked_at(
        self, run: Callable[..., Timeline], film: Film, pipeline: fastface.Pipeline
    ) -> None:
        photographs = others(film, "Madonna", 1)
        one = fastface.search(photographs, run(), pipeline=pipeline)
        many = fastface.search(photographs, [run()] * 30, pipeline=pipeline)
        strict = fastface.search(photographs, run(), far=1e-6, pipeline=pipeline)
        assert many.threshold > one.threshold
        assert strict.threshold > one.threshold
        assert (one.far, strict.far) == (1e-3, 1e-6)

    def test_what_is_refused(self, run: Callable[..., Timeline], film: Film, pipeline, tmp_path: Path) -> None:
        photographs = others(film, "Madonna", 1)
        with pytest.raises(InputValidationError, match="nothing to search"):
            fastface.search(photographs, [], pipeline=pipeline)
        run().to_json(tmp_path / "a.json", embeddings="no")
        with pytest.raises(InputValidationError, match="has no embeddings"):
            fastface.search(photographs, tmp_path / "a.json", pipeline=pipeline)
        with pytest.raises(GalleryError, match="no usable photograph of 'the person'"):
            fastface.search(tmp_path / "no.jpg", run(), pipeline=pipeline)


class TestCommandLine:
    """As a user would: enrol, process, remember, name, search."""

    def test_gallery_and_search(
        self, run: Callable[..., Timeline], film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "200")
        known = "people.gallery"
        cpu = ["--device", "cpu"]
        jerry, ben = "Jerry Seinfeld", "Ben Affleck"
        (tmp_path / "faces" / ben).mkdir(parents=True)
        for photograph in others(film, ben):
            shutil.copy(photograph, tmp_path / "faces" / ben)
        Image.new("RGB", (99, 99)).save(tmp_path / "faces" / ben / "zzz.png")
        assert main(["gallery", "add", known, jerry, *others(film, jerry), "--embedder", MODEL, *cpu]) == 0
        assert main(["gallery", "add-folder", known, "faces", *cpu]) == 0
        out = capsys.readouterr().out
        assert f"{jerry}: 3 photographs enrolled" in out
        assert f"{ben}: 3 photographs enrolled" in out
        assert "left out: 'faces/Ben Affleck/zzz.png' shows no face" in out

        run().to_json("film.json")
        assert main(["gallery", "update", known, "film.json"]) == 0
        assert "unknown-1" in capsys.readouterr().out
        names = names_of(Timeline.from_json("film.json"), film)
        stranger = Timeline.from_json("film.json").identity("unknown-1")
        assert names[stranger.id] in {"Madonna", "Mindy Kaling"}
        assert main(["gallery", "rename", known, "unknown-1", names[stranger.id]]) == 0
        assert main(["gallery", "merge", known, jerry, ben]) == 0
        assert main(["gallery", "remove", known, "unknown-2"]) == 0
        capsys.readouterr()
        assert main(["gallery", "list", known]) == 0
        out = capsys.readouterr().out
        assert "2 people by name, 0 unknown" in out
        assert jerry in out
        assert ben not in out

        assert main(["search", *others(film, ben), "film.json", "-o", "found.json", *cpu]) == 0
        assert "(>= 0." in capsys.readouterr().out
        document = json.loads((tmp_path / "found.json").read_text())
        (found,) = document["found"]
        assert found["name"] == ben, "the timeline was named before those two were made one in the gallery"
        assert [(i["start_frame"], i["end_frame"]) for i in found["instances"]] == true_spans(film)[ben]

    def test_a_person_without_a_photograph_does_not_lose_the_others(
        self, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, embedder_spec: object
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("Ann", "Zoe"):
            (tmp_path / "faces" / name).mkdir(parents=True)
            Image.new("RGB", (99, 99)).save(tmp_path / "faces" / name / "a.png")
        shutil.copy(others(film, "Madonna")[0], tmp_path / "faces" / "Zoe")
        command = ["gallery", "add-folder", "a.gallery", "faces", "--embedder", MODEL, "--device", "cpu"]
        assert main(command) == 3
        assert "no usable photograph of 'Ann'" in capsys.readouterr().err
        assert list(Gallery.load("a.gallery").people) == ["Zoe"]

    def test_remember(self, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedder_spec: object) -> None:
        monkeypatch.chdir(tmp_path)
        command = ["process", str(film.path), "--gallery", "new.gallery", "--remember", "--every", "3", "--quiet",
                   "--min-face-size", "40", "--embedder", MODEL, "--device", "cpu"]  # fmt: skip
        assert main([*command, "-o", "a.json", "--embeddings", "inside"]) == 0
        assert Gallery.load("new.gallery").unknown == tuple(f"unknown-{i}" for i in range(1, 5))
        assert main([*command, "-o", "b.json"]) == 0
        a, b = Timeline.from_json("a.json"), Timeline.from_json("b.json")
        assert [p.gallery_id for p in a.identities] == [p.gallery_id for p in b.identities]
        assert len(Gallery.load("new.gallery")) == 4
        assert (tmp_path / "b.npz").exists()
        assert not (tmp_path / "a.npz").exists()

    def test_what_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
        monkeypatch.chdir(tmp_path)
        Gallery(MODEL).save("a.gallery")
        for arguments, message in (
            (["search", "a.mp4"], "0 photographs and 1 videos"),
            (["search", "a.jpg", "a.mp4", "-o", "x.txt"], "must end in .json"),
            (["gallery", "list", "no.gallery"], "there is no gallery 'no.gallery'"),
            (["gallery", "rename", "a.gallery", "x", "y"], "nobody is called 'x'"),
            (["gallery", "add", "a.gallery", "x", "x.jpg", "--embedder", "facenet-casia"], "was made with"),
            (["process", "a.mp4", "--remember"], "--remember needs --gallery FILE"),
            (["process", "a.mp4", "--gallery", ".", "--remember"], "--remember needs --gallery FILE"),
        ):
            assert main(arguments) == 3
            assert message in capsys.readouterr().err

    def test_calibrate(
        self, film: Film, photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, embedder_spec: object
    ) -> None:
        """Five people are too few, and that is said."""
        for name in PEOPLE[:2]:
            (tmp_path / "faces" / name).mkdir(parents=True)
            for photograph in others(film, name):
                shutil.copy(photograph, tmp_path / "faces" / name)
        assert main(["calibrate", str(tmp_path / "faces"), "--embedder", MODEL, "--device", "cpu"]) == 3
        assert "2 people, 9 pairs of their faces, are too few" in capsys.readouterr().err
