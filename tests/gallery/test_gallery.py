"""Who is known: adding, naming, merging, and one file that is whole or not there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fastface.errors import GalleryError, InputValidationError
from fastface.gallery import Gallery
from fastface.gallery.gallery import MAX_REMEMBERED


def unit(rng: np.random.Generator, n: int, dim: int = 16) -> np.ndarray:
    x = rng.normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def gallery(rng: np.random.Generator) -> Gallery:
    return Gallery("a model", {"Bob": unit(rng, 2), "Ann": unit(rng, 3)})


def same(a: Gallery, b: Gallery) -> None:
    assert (a.model, list(a.people), a.next_unknown) == (b.model, list(b.people), b.next_unknown)
    for name in a.people:
        np.testing.assert_array_equal(a.people[name], b.people[name])


def test_vectors_of_one_person_add_up(gallery: Gallery, rng: np.random.Generator) -> None:
    more = unit(rng, 4)
    gallery.add_vectors("Ann", more)
    assert gallery.people["Ann"].shape == (7, 16)
    np.testing.assert_array_equal(gallery.people["Ann"][3:], more)
    mean = gallery.people["Ann"].mean(0)
    np.testing.assert_allclose(gallery.centroid("Ann"), mean / np.linalg.norm(mean), atol=1e-6)


def test_rename_merge_remove(gallery: Gallery) -> None:
    ann, bob = gallery.people["Ann"], gallery.people["Bob"]
    gallery.rename("Bob", "Robert")
    assert list(gallery.people) == ["Robert", "Ann"]
    gallery.merge("Ann", "Robert")
    assert list(gallery.people) == ["Ann"]
    np.testing.assert_array_equal(gallery.people["Ann"], np.concatenate([ann, bob]))
    gallery.remove("Ann")
    assert len(gallery) == 0
    assert "Ann" not in gallery


def test_what_is_taken_out_stays_as_it_was(gallery: Gallery, rng: np.random.Generator) -> None:
    before = gallery.people
    gallery.add_vectors("Eve", unit(rng, 1))
    assert list(before) == ["Bob", "Ann"]
    with pytest.raises(ValueError):
        before["Ann"][0, 0] = 1.0


def test_people_without_a_name_keep_their_id(gallery: Gallery, rng: np.random.Generator, tmp_path: Path) -> None:
    vectors = unit(rng, 3)
    assert [gallery.add_unknown(v) for v in vectors] == ["unknown-1", "unknown-2", "unknown-3"]
    assert gallery.unknown == ("unknown-1", "unknown-2", "unknown-3")
    assert gallery.name_of("unknown-2") is None
    assert gallery.name_of("Ann") == "Ann"
    gallery.rename("unknown-3", "Eve")
    gallery.remove("unknown-2")
    gallery.save(tmp_path / "a.gallery")
    again = Gallery.load(tmp_path / "a.gallery")
    assert again.add_unknown(vectors[1]) == "unknown-4", "a number is used once, also after it is gone and saved"
    assert repr(again) == "Gallery('a model', 3 people, 2 unknown)"


def test_what_is_remembered_of_one_unknown_is_bounded(gallery: Gallery, rng: np.random.Generator) -> None:
    person = gallery.add_unknown(unit(rng, 1)[0])
    seen = unit(rng, MAX_REMEMBERED + 3)
    for vector in seen:
        gallery.seen_again(person, vector)
    np.testing.assert_array_equal(gallery.people[person], seen[3:])


def test_nearest_is_the_nearest_centroid(gallery: Gallery, rng: np.random.Generator) -> None:
    names, similarity = gallery.nearest(unit(rng, 20))
    queries = unit(np.random.default_rng(5), 20)
    names, similarity = gallery.nearest(queries)
    want = {name: queries.astype(float) @ gallery.centroid(name) for name in gallery.people}
    for i, (name, got) in enumerate(zip(names, similarity, strict=True)):
        assert name == max(want, key=lambda n: want[n][i])
        assert got == pytest.approx(want[name][i], abs=1e-6)


def test_the_order_of_enrolment_changes_nothing(rng: np.random.Generator) -> None:
    people = {f"p{i}": unit(rng, int(n)) for i, n in enumerate(rng.integers(1, 6, 40))}
    people["twin a"] = people["twin b"] = people["p7"].copy()
    queries = np.concatenate([unit(rng, 50), people["p7"], people["p9"]])
    wanted = Gallery("m", people).nearest(queries)
    for _ in range(10):
        order = rng.permutation(list(people))
        mixed = {str(n): people[str(n)][rng.permutation(len(people[str(n)]))] for n in order}
        names, similarity = Gallery("m", mixed).nearest(queries)
        assert names == wanted[0]
        np.testing.assert_array_equal(similarity, wanted[1])
        one_by_one = [Gallery("m", mixed).nearest(q[None]) for q in queries]
        assert [n for (n,), _ in one_by_one] == names
        np.testing.assert_array_equal(np.concatenate([s for _, s in one_by_one]), similarity)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda g: g.rename("Eve", "Ann"), "nobody is called 'Eve' in this gallery; there is Ann, Bob"),
        (lambda g: g.rename("Bob", "Ann"), r"somebody is called 'Ann' already; merge\('Ann', 'Bob'\)"),
        (lambda g: g.rename("Bob", " "), "name is empty"),
        (lambda g: g.rename("Bob", "unknown-7"), "an id of people without a name"),
        (lambda g: g.merge("Ann", "Ann"), "twice"),
        (lambda g: g.merge("Ann", "Eve"), "nobody is called 'Eve'"),
        (lambda g: g.remove("Eve"), "nobody is called 'Eve'"),
        (lambda g: g.add("unknown-3", ["a.jpg"]), "an id of people without a name"),
        (lambda g: g.add_vectors("Eve", np.eye(4, dtype=np.float32)), r"different dimensions: \[4, 16\]"),
        (lambda g: g.nearest(np.eye(4, dtype=np.float32)), r"shape \[4, 4\], must be \[n, 16\]"),
        (lambda g: Gallery("m").nearest(np.eye(4, dtype=np.float32)), "holds nobody"),
    ],
)
def test_what_is_refused_leaves_everything_as_it_was(gallery: Gallery, act: object, message: str) -> None:
    before = dict(gallery.people)
    with pytest.raises(GalleryError, match=message):
        act(gallery)  # type: ignore[operator]
    assert dict(gallery.people) == before


def test_readers_see_a_whole_gallery_while_another_thread_changes_it(rng: np.random.Generator) -> None:
    """Each change adds two people at one place; a reader must never get a name without its centroid."""
    gallery = Gallery("m", {"a": unit(rng, 1)})
    vectors, stop, wrong = unit(rng, 200), threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            names, centroids = gallery.centroids()
            if len(names) != len(centroids) or names != tuple(sorted(names)):
                wrong.append(names)
            found, _ = gallery.nearest(vectors[:1])
            if len(found) != 1:
                wrong.append(tuple(found))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i, vector in enumerate(vectors):
        gallery.add_vectors(f"p{i}", vector[None])
        if i % 3 == 2:
            gallery.remove(f"p{i - 1}")
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


class TestFile:
    def test_there_and_back(self, gallery: Gallery, tmp_path: Path) -> None:
        gallery.add_unknown(gallery.centroid("Ann"))
        gallery.rename("Ann", "Žofie / 2\n")
        gallery.save(tmp_path / "a.gallery")
        same(Gallery.load(tmp_path / "a.gallery"), gallery)
        Gallery("m").save(tmp_path / "empty.gallery")
        same(Gallery.load(tmp_path / "empty.gallery"), Gallery("m"))

    def test_another_model_is_refused_with_a_sentence(self, gallery: Gallery) -> None:
        with pytest.raises(GalleryError, match=r"made with 'a model', this run uses 'b'.*cannot be compared"):
            gallery.check_model("b")

    def test_what_is_no_gallery(self, gallery: Gallery, tmp_path: Path) -> None:
        from safetensors.numpy import save_file

        with pytest.raises(GalleryError, match="there is no gallery"):
            Gallery.load(tmp_path / "no")
        (tmp_path / "text").write_text("no")
        with pytest.raises(GalleryError, match="is no gallery, or damaged"):
            Gallery.load(tmp_path / "text")
        save_file({"vectors": np.eye(3, dtype=np.float32)}, tmp_path / "other")
        with pytest.raises(GalleryError, match="its schema is None"):
            Gallery.load(tmp_path / "other")
        header = {"schema": "fastface.gallery/1", "model": "m", "next_unknown": "1"}
        for people in ([["a", 2]], [["a", 1], ["b", -1], ["c", 3]], [["a", 1], ["a", 2]], [["a"]], {"a": 3}, None):
            told = header | {"people": json.dumps(people)}
            save_file({"vectors": np.eye(3, dtype=np.float32)}, tmp_path / "bad", told)
            with pytest.raises(GalleryError):
                Gallery.load(tmp_path / "bad")
        one = header | {"people": json.dumps([["a", 3]])}
        for wrong, message in (
            ({"next_unknown": "0"}, "next_unknown is 0, must be at least 1"),
            ({"next_unknown": "9" * 5000}, "or damaged"),
            ({"people": "[" * 100_000}, "or damaged: maximum recursion"),
            ({"people": '[["a", 1e999]]'}, "whole number of vectors"),
            ({"people": "[[null, 3]]"}, "whole number of vectors"),
            ({"people": '[["\\ud800", 3]]'}, "bad' is damaged: a person's name is .* must be text"),
            ({"people": '[[" ", 3]]'}, "bad' is damaged: a person's name is empty"),
        ):
            save_file({"vectors": np.eye(3, dtype=np.float32)}, tmp_path / "bad", one | wrong)
            with pytest.raises(GalleryError, match=message):
                Gallery.load(tmp_path / "bad")
        gallery.save(tmp_path / "cut")
        content = (tmp_path / "cut").read_bytes()
        for size in (0, 7, 100, len(content) - 1):
            (tmp_path / "cut").write_bytes(content[:size])
            with pytest.raises(GalleryError):
                Gallery.load(tmp_path / "cut")

    def test_a_folder_that_is_not_there(self, gallery: Gallery, tmp_path: Path) -> None:
        with pytest.raises(InputValidationError, match="does not exist"):
            gallery.save(tmp_path / "no" / "a.gallery")

    def test_killed_while_saving(self, tmp_path: Path) -> None:
        """Processes that do nothing but save are killed, a hundred: there is always one gallery or the other."""
        code = """
import os, random, signal, sys, time
import numpy as np
from fastface.gallery import Gallery

path = sys.argv[1]
rng = np.random.default_rng(1)
def people(n):
    x = rng.normal(size=(n, 128)).astype(np.float32)
    return {"ann": x / np.linalg.norm(x, axis=1, keepdims=True)}
small, large = Gallery("m", people(100)), Gallery("m", people(20000))
small.save(path)
sizes, cut = [], 0
for _ in range(100):
    child = os.fork()
    if not child:
        while True:
            large.save(path)
            small.save(path)
    time.sleep(random.uniform(0.005, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    sizes.append(len(Gallery.load(path).people["ann"]))
    cut += any(name != os.path.basename(path) for name in os.listdir(os.path.dirname(path)))
print(*sorted(set(sizes)), len(sizes), cut)
"""
        path = tmp_path / "a.gallery"
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        *sizes, kills, cut = map(int, done.stdout.split())
        assert set(sizes) <= {100, 20000}
        assert kills == 100
        assert cut > 10, "hardly any was killed in the middle of writing"
