#!/usr/bin/env python3
"""How the thresholds of facenet-msceleb1m were calibrated: the curve, a held-out check, and what small and blurred
faces lose. Writes benchmarks/results/calibration-NAME.json, and the calibration that comes with fastface.

    python3 benchmarks/calibration.py VIDEO... [--embedder NAME] [--out DIR] [--package]

Faces are the photographs of the demo (see fastface.demo.photos), by person, and every face of the videos with twenty
pixels of detail, each 0.4 s apart. Nobody may be in two of these. In a video, faces in one frame are different people;
of others nothing is assumed, and whom the timeline takes for one person only counts how many people there are.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import fastface
from fastface.demo.photos import load_photos
from fastface.errors import InputValidationError
from fastface.gallery.photographs import MIN_RESOLUTION, Unclear, embed_photograph
from fastface.match import calibration
from fastface.match.calibration import LabelledFaces

ROOT = Path(__file__).resolve().parents[1]
SPACING = 0.4


def photographs(pipeline: fastface.Pipeline) -> LabelledFaces:
    vectors, person = [], []
    for number, photos in enumerate(load_photos().values()):
        for photo in photos:
            try:
                vectors.append(embed_photograph(photo.image, str(photo.image), pipeline.executor))
                person.append(number)
            except Unclear as error:
                print(error)
    n = len(vectors)
    return LabelledFaces(np.stack(vectors), np.zeros(n, np.int64), np.array(person), np.full(n, -1))


def video(pipeline: fastface.Pipeline, path: str, source: int) -> LabelledFaces:
    """Its faces, as people those for whom the timeline takes them."""
    from fastface.decode import LibavDecoder
    from fastface.embed.quality import resolution

    timeline = pipeline.process(path)
    every = max(1, round(SPACING * timeline.video["average_rate"]))
    vectors, frames, guess = [], [], []
    store = pipeline.executor.crop_store()
    with LibavDecoder(path, every=every) as decoder:
        for batch in decoder:
            found = pipeline.executor.detect(batch)
            good = np.flatnonzero((found.score >= 0.9) & (resolution(found) >= MIN_RESOLUTION))
            for i in good:
                number = int(batch.index[found.row[i]])
                here = np.flatnonzero(timeline.faces.frame == number)
                off = np.abs(timeline.faces.box[here] - found.box[i]).max(1)
                if not len(here) or off.min() > 2:
                    continue  # dismissed as a false detection
                place = pipeline.executor.crop(batch, found.row[[i]], found.box[[i]], store)
                vectors.append(pipeline.executor.embed(store, place).result()[0])
                store.free(place)
                frames.append(number)
                face = here[off.argmin()]
                who = int(timeline.faces.identity[face])
                guess.append(who if who >= 0 else 1000 + int(timeline.faces.track[face]))
    n = len(vectors)
    return LabelledFaces(np.stack(vectors), np.full(n, source), np.array(guess), np.array(frames))


def together(parts: list[LabelledFaces]) -> LabelledFaces:
    columns = ("vector", "source", "person", "frame")
    return LabelledFaces(*(np.concatenate([getattr(p, c) for p in parts]) for c in columns))


def held_out(faces: LabelledFaces, fars: list[float], rounds: int = 400) -> list[dict[str, Any]]:
    """Thresholds from a half of the people, drawn at random, and how often the others are then mistaken."""
    rng = np.random.default_rng(7)
    people, who = np.unique(np.stack([faces.source, faces.person], 1), axis=0, return_inverse=True)
    seen: dict[float, list[float]] = {far: [] for far in fars}
    for _ in range(rounds):
        mine = np.isin(who, rng.permutation(len(people))[: len(people) // 2])
        try:
            curve = calibration.measure("half", *faces[mine].impostors(), 0, "")
        except InputValidationError:
            continue  # too few pairs of people in this half
        others, _ = faces[~mine].impostors()
        for far in fars:
            seen[far].append(float((others >= curve.threshold(far)).mean()))
    return [
        {
            "far": far,
            "halves": len(seen[far]),
            "false_accepts_of_the_other_half": float(np.mean(seen[far])),
            "over_asked": round(float(np.mean(seen[far])) / far, 2),
            "quartiles": [round(float(q), 5) for q in np.quantile(seen[far], [0.25, 0.5, 0.75])],
        }
        for far in fars
    ]


def one_left_out(faces: LabelledFaces, fars: list[float]) -> list[dict[str, Any]]:
    """For each person the threshold from all others, and how often that person is then mistaken for one of them."""
    cosines, pair = faces.impostors()
    people, who = np.unique(np.stack([faces.source, faces.person], 1), axis=0, return_inverse=True)
    first, second = np.divmod(pair, len(people))
    accepted, pairs = dict.fromkeys(fars, 0), 0
    for person in range(len(people)):
        curve = calibration.measure("others", *faces[who != person].impostors(), 0, "")
        mine = cosines[(first == person) | (second == person)]
        pairs += len(mine)
        for far in fars:
            accepted[far] += int((mine >= curve.threshold(far)).sum())
    return [
        {"far": far, "false_accepts": accepted[far] / pairs, "over_asked": round(accepted[far] / pairs / far, 2)}
        for far in fars
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*")
    parser.add_argument("--embedder", default="facenet-msceleb1m")
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results"))
    parser.add_argument("--package", action="store_true", help="write the calibration that comes with fastface, too")
    args = parser.parse_args()
    with fastface.Pipeline(device="cpu", embedder=args.embedder) as pipeline:
        parts = [photographs(pipeline)]
        parts += [video(pipeline, path, number) for number, path in enumerate(args.videos, 1)]
    report(parts, args)


def report(parts: list[LabelledFaces], args: argparse.Namespace) -> None:
    """Everything that is learnt from the faces, written down."""
    faces = together(parts)
    cosines, pair = faces.impostors()
    people = len(np.unique(np.stack([faces.source, faces.person], 1), axis=0))
    names = ", ".join(Path(v).name for v in args.videos)
    source = f"the photographs of fastface.demo.photos ({len(parts[0].person)} of 5 people) and the faces of {names}"
    curve = calibration.measure(args.embedder, cosines, pair, people, source)
    a, b = np.triu_indices(len(parts[0].person), 1)
    same = parts[0].person[a] == parts[0].person[b]
    genuine = (parts[0].vector.astype(np.float64) @ parts[0].vector.T.astype(np.float64))[a, b][same]
    table = [
        {
            "far": float(far),
            "similarity": round(curve.threshold(float(far)), 4),
            "measured": bool(far >= curve.measured_far),
            "genuine_pairs_above": round(float((genuine >= curve.threshold(float(far))).mean()), 4),
        }
        for far in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    ]
    result = {
        "command": "python3 benchmarks/calibration.py " + " ".join(Path(v).name for v in args.videos),
        "embedder": args.embedder,
        "source": source,
        "faces": len(faces.source),
        "people": people,
        "pairs_of_faces": len(cosines),
        "pairs_of_people": len(np.unique(pair)),
        "impostor_mean": round(float(cosines.mean()), 4),
        "impostor_deviation": round(float(cosines.std()), 4),
        "impostor_highest": round(float(cosines.max()), 4),
        "table": table,
        "one_person_left_out": one_left_out(faces, [1e-1, 1e-2, 1e-3]),
        "half_left_out": held_out(faces, [1e-1, 1e-2, 1e-3]),
    }
    print(json.dumps(result, indent=1))
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"calibration-{args.embedder}.json").write_text(json.dumps(result, indent=1) + "\n")
    if args.package:
        calibration.packaged_folder().mkdir(exist_ok=True)
        curve.save(calibration.packaged_folder() / f"{args.embedder}.json")


if __name__ == "__main__":
    main()
