"""`fastface calibrate`: which cosine stands for which false-accept rate."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `calibrate` to a command line's subcommands."""
    parser = subparsers.add_parser(
        "calibrate",
        help="measure an embedder's false-accept rates on your own photographs",
        description="Compares the faces of different people and keeps how often each similarity comes up between "
        "strangers; from then on --far means that on this machine. The more people there are, and the more they are "
        "like those of your videos, the better: 150 with one photograph each give 11,175 pairs, enough for 1e-3.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="holds a folder of photographs per person")
    parser.add_argument("--embedder", default="auto", metavar="NAME", help="see `fastface models list` (default: auto)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument("-o", "--output", metavar="OUT", help="write it there (.json), and do not use it")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what `fastface calibrate` says; returns the exit code."""
    import numpy as np

    from fastface.match import calibration
    from fastface.models import cache
    from fastface.pipeline import Pipeline

    with Pipeline(embedder=args.embedder, device=args.device) as pipeline:
        gallery = pipeline.gallery(args.folder)
        model = pipeline.executor.spec.name
    for warning in gallery.warnings:
        print(warning)
    vectors = list(gallery.people.values())
    person = np.repeat(np.arange(len(vectors)), [len(v) for v in vectors])
    none = np.full(len(person), -1)
    faces = calibration.LabelledFaces(np.concatenate(vectors), np.zeros(len(person), np.int64), person, none)
    curve = calibration.measure(model, *faces.impostors(), len(vectors), f"photographs of {args.folder}")
    path = Path(args.output) if args.output else calibration.user_folder() / f"{model}.json"
    if not args.output:
        cache.make(path.parent)
    curve.save(path)
    print(f"{curve.pairs} pairs of {curve.people} people; similarity by false-accept rate:")
    for far in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        print(f"  {far:.0e}  {curve.threshold(far):.3f}" + ("" if far >= curve.measured_far else "  (extrapolated)"))
    print(f"written: {path}")
    return 0
