#!/usr/bin/env python3
"""How right identities are on composed videos whose truth is known: two minutes, five people, 48 shots, and a gallery
of three other photographs of each but one, who is a stranger to it. Writes benchmarks/results/identities.json.

Cast are photographs whose truth is sure: those that fastface would enrol (one clear face, with twenty pixels of
detail), and in which no second face is found when they are enlarged, as the videos do.

    python3 benchmarks/identities.py [--seeds N ...] [--seconds S] [--out DIR] [--keep DIR]

--keep keeps the videos and timelines in a folder, and takes those that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import fastface
from fastface.demo.compose import Encoding
from fastface.demo.photos import load_photos
from fastface.demo.scene import Photo
from fastface.demo.script import compose
from fastface.detect import MTCNN
from fastface.gallery import Gallery
from fastface.gallery.photographs import Unclear, embed_photograph
from fastface.settings import DetectorSettings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from scoring import score  # noqa: E402

SIZE, FPS, ENROLLED = (1280, 720), 25, 3
SECOND_FACE = 0.7  # score from which a second face makes a photograph's truth doubtful


def usable(photo: Photo, pipeline: fastface.Pipeline, strict: MTCNN) -> bool:
    """Whether the truth of a photograph is sure."""
    try:
        embed_photograph(photo.image, str(photo.image), pipeline.executor)
    except Unclear as error:
        print(error)
        return False
    picture = photo.pixels()
    for scale in (1.0, 1.5, 2.0, 3.0, 4.0):
        size = (round(picture.width * scale), round(picture.height * scale))
        found = strict.detect(np.array(picture.resize(size, Image.Resampling.BICUBIC))[None])
        centre = (found.box[:, :2] + found.box[:, 2:]) / 2 / scale
        elsewhere = ((centre < photo.box[:2]) | (centre > photo.box[2:])).any(1)
        if (found.score[elsewhere] >= SECOND_FACE).any():
            print(f"{str(photo.image)!r} shows a second face when it is enlarged {scale:g} times")
            return False
    return True


def one(
    seed: int, seconds: float, folder: Path, pipeline: fastface.Pipeline, stock: dict[str, list[Photo]]
) -> dict[str, Any]:
    """Compose, process, name and score one video."""
    rng = np.random.default_rng(seed)
    gallery, cast = Gallery(pipeline.executor.spec.name), {}
    stranger = sorted(stock)[seed % len(stock)]
    for name, photos in stock.items():
        order = list(rng.permutation(len(photos)))
        if name != stranger:
            gallery.add(name, [photos[order.pop()].image for _ in range(ENROLLED)], pipeline=pipeline)
        cast[name] = [photos[i] for i in order]
    video, truth_file, kept = (folder / f"{seed}-{seconds:g}{s}" for s in (".mp4", ".truth.json", ".json"))
    if not video.exists() or not truth_file.exists():
        truth = compose(video, cast, seed=seed, seconds=seconds, size=SIZE, fps=FPS, audio=False,
                        encoding=Encoding())  # fmt: skip
        truth_file.write_text(json.dumps(truth))
    truth = json.loads(truth_file.read_text())["frames"]
    if not kept.exists():
        pipeline.process(video).to_json(kept)
    timeline = fastface.Timeline.from_json(kept)
    named = timeline.recognise(gallery)
    plain, known = score(timeline, truth), score(named, truth)
    true = sum(map(len, truth))
    enrolled = sum(f["name"] != stranger for faces in truth for f in faces)
    # Of faces that carry a name: found and right, over the mean of those that carry one and those that should.
    carrying = {p.id: p.name for p in named.identities if p.name}
    told = int(np.isin(named.faces.identity, list(carrying)).sum())
    wrong = [p.label for p in named.identities if p.name == stranger]
    out = {
        "seed": seed,
        "frames": len(truth),
        "shots": round(seconds / 2.5),
        "people": len({f["name"] for faces in truth for f in faces}),
        "identities": len(timeline.identities),
        "recall": plain.recall,
        "precision": plain.precision,
        "idf1": plain.idf1,
        "purity": plain.purity,
        "stranger": stranger,
        "idf1_of_names": 2 * known.named * true / (enrolled + told),
        "lowest_similarity": min((p.similarity for p in named.identities if p.name and p.similarity), default=None),
        "threshold": max((p.threshold for p in named.identities if p.name and p.threshold), default=None),
        "stranger_named": bool(wrong) or bool(_names_of(named, truth, stranger)),
    }
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in out.items()}


def _names_of(timeline: fastface.Timeline, truth: list[list[dict[str, Any]]], person: str) -> set[str]:
    """Names that faces of a person carry."""
    from scoring import pairs

    names = {p.id: p.name for p in timeline.identities}
    found: set[str] = set()
    for number, faces in enumerate(truth):
        mine = [f for f in faces if f["name"] == person]
        rows = np.flatnonzero(timeline.faces.frame == number)
        for _, j, _ in pairs(np.array([f["box"] for f in mine]).reshape(-1, 4), timeline.faces.box[rows], 0.4):
            name = names.get(int(timeline.faces.identity[rows[j]]))
            if name:
                found.add(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[301, 302, 303, 304, 305])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--min-face-size", type=int, default=40)
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results"))
    parser.add_argument("--keep")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        device = "auto"
        with fastface.Pipeline(
            device=device, embedder="facenet-msceleb1m", min_face_size=args.min_face_size
        ) as pipeline:
            strict = MTCNN(DetectorSettings())
            stock = {n: [p for p in ps if usable(p, pipeline, strict)] for n, ps in load_photos().items()}
            print({n: len(ps) for n, ps in stock.items()}, flush=True)
            results = []
            for seed in args.seeds:
                results.append(one(seed, args.seconds, folder, pipeline, stock))
                print(json.dumps(results[-1]), flush=True)
            device = pipeline.executor.device
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout
    document = {
        "command": "python3 benchmarks/identities.py",
        "commit": os.environ.get("FASTFACE_COMMIT") or commit.strip(),
        "device": device,
        "embedder": "facenet-msceleb1m",
        "size": list(SIZE),
        "min_face_size": args.min_face_size,
        "enrolled_photographs_each": ENROLLED,
        "photographs": {n: len(ps) for n, ps in stock.items()},
        "videos": results,
    }
    (Path(args.out) / "identities.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
