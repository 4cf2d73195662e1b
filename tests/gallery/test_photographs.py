"""Known people from photographs: who is enrolled, what is left out and why."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastface
from fastface.demo.scene import Photo
from fastface.errors import GalleryError
from fastface.gallery import Gallery
from fastface.gallery.photographs import read_photograph

MODEL = "facenet-msceleb1m"


@pytest.fixture(scope="module")
def pipeline(embedder_spec: object) -> Iterator[fastface.Pipeline]:
    with fastface.Pipeline(device="cpu", embedder=MODEL, min_face_size=30) as made:
        yield made


@pytest.fixture
def folder(photos: dict[str, list[Photo]], tmp_path: Path) -> Path:
    """Two people, two photographs each."""
    for name in ("Madonna", "Jerry Seinfeld"):
        (tmp_path / "known" / name).mkdir(parents=True)
        for photo in largest(photos[name])[:2]:
            shutil.copy(str(photo.image), tmp_path / "known" / name)
    return tmp_path / "known"


def largest(photos: list[Photo]) -> list[Photo]:
    return sorted(photos, key=lambda p: p.box[1] - p.box[3])


def test_everybody_is_enrolled(pipeline: fastface.Pipeline, folder: Path, photos: dict[str, list[Photo]]) -> None:
    (folder / "readme.txt").write_text("no folder, no person")
    (folder / ".hidden").mkdir()
    (folder / "Madonna" / "notes.txt").write_text("no photograph")
    gallery = pipeline.gallery(folder)
    assert gallery.model == MODEL
    assert gallery.warnings == ()
    assert len(gallery) == 2
    assert list(gallery.people) == ["Jerry Seinfeld", "Madonna"]
    for vectors in gallery.people.values():
        assert vectors.shape == (2, 128)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for name in gallery.people:
        other = largest(photos[name])[2]
        shutil.copy(str(other.image), folder.parent / "other.jpg")
        (folder.parent / "one" / name).mkdir(parents=True)
        shutil.move(folder.parent / "other.jpg", folder.parent / "one" / name)
    for name, (vector,) in pipeline.gallery(folder.parent / "one").people.items():
        (who,), (similarity,) = gallery.nearest(vector[None])
        assert who == name
        assert similarity > 0.4


def test_a_face_that_fills_the_photograph_is_found(
    pipeline: fastface.Pipeline, photos: dict[str, list[Photo]], tmp_path: Path
) -> None:
    (tmp_path / "Madonna").mkdir()
    photo = largest(photos["Madonna"])[0]
    x1, y1, x2, y2 = map(int, photo.box)
    photo.pixels().crop((x1, y1, x2, y2)).save(tmp_path / "Madonna" / "a.png")
    assert len(pipeline.gallery(tmp_path).people["Madonna"]) == 1


def test_what_cannot_be_used_is_left_out_and_said(
    pipeline: fastface.Pipeline, folder: Path, photos: dict[str, list[Photo]]
) -> None:
    """No face, two faces, no picture."""
    target = folder / "Madonna"
    Image.new("RGB", (200, 200), (90, 120, 60)).save(target / "1-nobody.png")
    a, b = (largest(photos[n])[0].pixels().resize((300, 300)) for n in ("Madonna", "Jerry Seinfeld"))
    both = Image.new("RGB", (600, 300))
    both.paste(a, (0, 0))
    both.paste(b, (300, 0))
    both.save(target / "2-both.png")
    (target / "3-broken.jpg").write_bytes(b"not a picture")
    gallery = pipeline.gallery(folder)
    assert len(gallery.people["Madonna"]) == 2
    nobody, two, broken = gallery.warnings
    assert "1-nobody.png' shows no face; it was left out" in nobody
    assert "2-both.png' shows 2 faces, must show one; it was left out" in two
    assert "3-broken.jpg' cannot be read as an image" in broken


def test_a_small_face_behind_the_person_does_not_matter(
    pipeline: fastface.Pipeline, photos: dict[str, list[Photo]], tmp_path: Path
) -> None:
    (tmp_path / "Madonna").mkdir()
    big, small = largest(photos["Madonna"])[0].pixels(), largest(photos["Jerry Seinfeld"])[0].pixels()
    both = Image.new("RGB", (640, 500))
    both.paste(big.resize((int(500 * big.width / big.height), 500)), (0, 0))
    both.paste(small.resize((int(160 * small.width / small.height), 160)), (500, 0))
    both.save(tmp_path / "Madonna" / "a.png")
    gallery = pipeline.gallery(tmp_path)
    assert gallery.warnings == ()
    alone = tmp_path / "alone"
    (alone / "Madonna").mkdir(parents=True)
    big.save(alone / "Madonna" / "b.png")
    assert (gallery.people["Madonna"] @ pipeline.gallery(alone).people["Madonna"].T).item() > 0.8


def test_a_person_without_a_usable_photograph_is_an_error(pipeline: fastface.Pipeline, folder: Path) -> None:
    (folder / "Nobody").mkdir()
    with pytest.raises(GalleryError, match=r"no usable photograph of 'Nobody': none given \(wanted: \.bmp, \.jpeg"):
        pipeline.gallery(folder)
    Image.new("RGB", (200, 200), (90, 120, 60)).save(folder / "Nobody" / "a.png")
    with pytest.raises(GalleryError, match=r"no usable photograph of 'Nobody': .*a\.png' shows no face"):
        pipeline.gallery(folder)


def test_folders_that_are_none(pipeline: fastface.Pipeline, tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match=r"no' is not a folder; it must hold a folder per person"):
        pipeline.gallery(tmp_path / "no")
    with pytest.raises(GalleryError, match="holds no folder"):
        pipeline.gallery(tmp_path)


def test_a_gallery_of_another_model_is_refused(pipeline: fastface.Pipeline, tmp_path: Path) -> None:
    other = Gallery("facenet-vggface2", {"ann": np.eye(512, dtype=np.float32)[:1]})
    (tmp_path / "a.mp4").write_bytes(b"something")
    with pytest.raises(GalleryError, match=f"made with 'facenet-vggface2', this run uses '{MODEL}'"):
        pipeline.process(tmp_path / "a.mp4", gallery=other)


def test_photographs_are_turned_as_their_exif_data_say(tmp_path: Path) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 20:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    upright = read_photograph(tmp_path / "a.png")
    assert upright.shape == (40, 20, 3)
    assert upright[:20].max() == 0
    assert upright[20:].min() == 255


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = Image.new("L", (8, 6), 100)
    picture = Image.new("I;16", (8, 6), 100 * 256) if mode == "I;16" else grey.convert("RGB").convert(mode)
    picture.save(tmp_path / ("a.tif"))
    assert read_photograph(tmp_path / "a.tif").shape == (6, 8, 3)


@pytest.mark.parametrize(
    ("people", "message"),
    [
        ({"": np.eye(4, dtype=np.float32)}, "a person's name is empty"),
        ({"ann": np.zeros((0, 4), np.float32)}, r"vectors of 'ann' have shape \[0, 4\], must be \[n >= 1, dim\]"),
        ({"ann": np.ones(4, np.float32) / 2}, r"vectors of 'ann' have shape \[4\]"),
        ({"ann": np.ones((1, 4), np.float32)}, "vectors of 'ann' are not of norm 1"),
        ({"ann": np.eye(4, dtype=np.float32), "bob": np.eye(5, dtype=np.float32)}, r"different dimensions: \[4, 5\]"),
    ],
)
def test_vectors_are_checked(people: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(GalleryError, match=message):
        Gallery("a model", people)
