"""How right a timeline is, given the truth of a composed video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fastface.timeline import Timeline


def iou_table(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """[n, m] intersection over union of boxes a [n, 4] and b [m, 4], xyxy."""
    a, b = np.asarray(a, float).reshape(-1, 1, 4), np.asarray(b, float).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inter = np.maximum(sides, 0).prod(-1)
    return inter / ((a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inter)


def pairs(a: NDArray[Any], b: NDArray[Any], least: float) -> list[tuple[int, int, float]]:
    """One-to-one pairs (row of a, row of b, IoU) of the greatest total IoU, those under `least` left out."""
    table = iou_table(a, b)
    return [(i, j, table[i, j]) for i, j in zip(*linear_sum_assignment(-table), strict=True) if table[i, j] >= least]


@dataclass(frozen=True)
class Score:
    """Attributes:
    recall, precision: of faces.
    idf1: of faces that carry the right person (Ristani et al. 2016).
    named: share of the true faces that were found and carry the person's name.
    purity: share of found faces that belong to the person whom their identity mostly shows.
    """

    recall: float
    precision: float
    idf1: float
    named: float
    purity: float


def score(timeline: Timeline, frames: Sequence[Sequence[Mapping[str, Any]]], *, step: int = 1) -> Score:
    """Score every step-th frame; `frames` is the "frames" of a truth. A face is found at IoU >= 0.4."""
    faces = timeline.faces
    names = {p.id: p.name for p in timeline.identities}
    true = found = 0
    together: Counter[tuple[str, int]] = Counter()
    for number in range(0, len(frames), step):
        rows = np.flatnonzero(faces.frame == number)
        true += len(frames[number])
        found += len(rows)
        boxes = np.array([f["box"] for f in frames[number]]).reshape(-1, 4)
        for i, j, _ in pairs(boxes, faces.box[rows], 0.4):
            together[frames[number][i]["name"], int(faces.identity[rows[j]])] += 1
    matched = sum(together.values())
    told = {k: n for k, n in together.items() if k[1] >= 0}
    people, ids = sorted({k[0] for k in told}), sorted({k[1] for k in told})
    table = np.array([[told.get((p, i), 0) for i in ids] for p in people]).reshape(len(people), len(ids))
    right = table[linear_sum_assignment(-table)].sum() if table.size else 0
    return Score(
        recall=matched / max(true, 1),
        precision=matched / max(found, 1),
        idf1=2 * float(right) / max(true + found, 1),
        named=sum(n for (person, i), n in told.items() if names[i] == person) / max(true, 1),
        purity=float(table.max(0).sum() / table.sum()) if table.size else 0.0,
    )
