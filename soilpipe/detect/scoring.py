"""Comparing detections with labels: greedy matching, precision, recall, F1, and the threshold that suits best.

Detections are taken by falling score; each takes the free label that it overlaps most (IoU 0.5 or more). So what a
detection is matched with depends on better ones only, and one matching serves every threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from soilpipe.detect.base import Detections
from soilpipe.detect.decode import overlaps
from soilpipe.detect.touching import AT_ONCE, touching

THRESHOLDS = np.round(np.arange(0.05, 0.955, 0.01), 2)
NEARLY = 0.02  # F1 that may be given up for a number of detections that is right
RECALLS = np.linspace(0, 1, 101)

Near = Sequence[tuple[np.ndarray, np.ndarray]]
"""For each detection the labels that it touches (indices) and how much (IoU, or nearness of the centres)."""
Agree = Callable[[int, np.ndarray], np.ndarray]
"""(detection, labels) -> mask: whether a label may be taken by this detection at all."""


@dataclass(frozen=True)
class Matches:
    """Detections of one or more images beside their labels, detections by falling score.

    scores   (n,) float32
    correct  (n,) bool: matched a label
    ignored  (n,) bool: lies on what does not count (a crowd, an animal of another subset)
    truths   number of labels that count
    """

    scores: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray
    truths: int


def match(
    detections: Detections,
    boxes: np.ndarray,
    labels: np.ndarray | None,
    ignored: np.ndarray,
    *,
    iou: float = 0.5,
    centres: bool = False,
) -> Matches:
    """Match the detections of one image.

    boxes (m, 4) labels' boxes; `labels` (m,) taxa of them, which must then agree, or None: any taxon will do;
    `ignored` (m,) bool: labels that count neither as found nor as missed. With `centres`, a detection matches where
    its centre lies in the box and the box's centre in its own, whatever the overlap.
    """
    order = np.argsort(-detections.scores, kind="stable")
    found = detections.boxes[order]
    named = detections.labels[order]
    agree: Agree | None = None if labels is None else lambda row, columns: labels[columns] == named[row]
    least = 1e-9 if centres else iou
    matched, put_aside = pair(near(found, boxes, least=least, centres=centres), ignored, least=least, agree=agree)
    put_aside |= (matched < 0) & inside_any(found, boxes[ignored])
    return Matches(detections.scores[order], matched >= 0, put_aside, int((~ignored).sum()))


def near(found: np.ndarray, boxes: np.ndarray, *, least: float, centres: bool = False) -> Near:
    """Which of the (m, 4) boxes each of the (n, 4) detections touches with at least this likeness, and how much."""
    return touching(found, boxes, _mutual_centres if centres else overlaps, least)


def pair(
    pairs: Near, ignored: np.ndarray, *, least: float, agree: Agree | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Which label each detection takes, detections in the order of the falling score.

    (n,) int64, -1 for none; and (n,) bool: it takes none, but touches one of those `ignored`, (m,) bool.
    """
    free = ~ignored
    matched = np.full(len(pairs), -1, np.int64)
    put_aside = np.zeros(len(pairs), bool)
    for row, (columns, likeness) in enumerate(pairs):
        if not len(columns):
            continue
        if agree is None and len(columns) == 1:  # by far the commonest, and worth saying: images have ten thousands
            only = columns[0]
            if likeness[0] >= least and free[only]:
                matched[row], free[only] = only, False
            elif likeness[0] >= least:
                put_aside[row] = ignored[only]
            continue
        enough = likeness >= least
        if agree is not None:
            enough &= agree(row, columns)
        if not enough.any():
            continue
        columns, likeness = columns[enough], likeness[enough]
        open_ = free[columns]
        if open_.any():
            best = int(columns[open_][likeness[open_].argmax()])
            matched[row] = best
            free[best] = False
        else:
            put_aside[row] = bool(ignored[columns].any())
    return matched, put_aside


def inside_any(found: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """(n,) bool: at least half of the detection lies in one of the (m, 4) regions, as COCO treats crowds."""
    inside = np.zeros(len(found), bool)
    rows = max(1, AT_ONCE // max(1, len(regions)))
    for start in range(0, len(found) if len(regions) else 0, rows):
        some = found[start : start + rows]
        lower = np.maximum(some[:, None, :2], regions[None, :, :2])
        upper = np.minimum(some[:, None, 2:], regions[None, :, 2:])
        shared = np.prod(np.clip(upper - lower, 0, None), axis=2)
        area = np.prod(some[:, 2:] - some[:, :2], axis=1)[:, None]
        inside[start : start + rows] = (shared >= 0.5 * np.maximum(area, 1e-9)).any(axis=1)
    return inside


def _mutual_centres(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m): 1 / (1 + distance of the centres in px) where each centre lies in the other box, else 0."""

    def centres(boxes: np.ndarray) -> np.ndarray:
        return (boxes[:, :2] + boxes[:, 2:]) / 2

    def inside(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        within = (points[:, None] >= boxes[None, :, :2]) & (points[:, None] <= boxes[None, :, 2:])
        return np.asarray(within.all(axis=2))

    middle_a, middle_b = centres(a.astype(np.float64)), centres(b.astype(np.float64))
    distance = np.linalg.norm(middle_a[:, None] - middle_b[None], axis=2)
    return np.where(inside(middle_a, b) & inside(middle_b, a).T, 1 / (1 + distance), 0.0)


def pool(parts: Sequence[Matches]) -> Matches:
    """The matches of several images together, by falling score."""
    scores = np.concatenate([part.scores for part in parts]) if parts else np.zeros(0, np.float32)
    order = np.argsort(-scores, kind="stable")
    return Matches(
        scores[order],
        np.concatenate([part.correct for part in parts])[order] if parts else np.zeros(0, bool),
        np.concatenate([part.ignored for part in parts])[order] if parts else np.zeros(0, bool),
        sum(part.truths for part in parts),
    )


def precision_recall_f1(matches: Matches, threshold: float) -> tuple[float, float, float]:
    """At a score threshold; 0 where there is nothing to divide by."""
    kept = (matches.scores >= threshold) & ~matches.ignored
    right, claimed = int((kept & matches.correct).sum()), int(kept.sum())
    precision = right / claimed if claimed else 0.0
    recall = right / matches.truths if matches.truths else 0.0
    f1 = 2 * right / (claimed + matches.truths) if claimed + matches.truths else 0.0
    return precision, recall, f1


def best_threshold(matches: Matches) -> tuple[float, float]:
    """The threshold that counts best among those of nearly the best F1, and its F1.

    F1 changes little over a wide range of thresholds in which the number of detections may double. So of all
    thresholds whose F1 lies within `NEARLY` of the best, the one whose number of detections comes nearest to the number
    of labels is taken; of equal ones the middle one of the first run.
    """
    f1, claims = _f1_and_claims(matches)
    wrong_by = np.where(f1 >= f1.max() - NEARLY, np.abs(claims - matches.truths), np.inf)
    chosen = _middle_of_first_run(wrong_by == wrong_by.min())
    return float(THRESHOLDS[chosen]), float(f1[chosen])


def threshold_of_best_f1(matches: Matches) -> tuple[float, float]:
    """The threshold of the best F1, whatever it counts, and that F1; of equal ones the middle one of the first run."""
    f1, _ = _f1_and_claims(matches)
    chosen = _middle_of_first_run(f1 == f1.max())
    return float(THRESHOLDS[chosen]), float(f1[chosen])


def _f1_and_claims(matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """At each of THRESHOLDS: F1, and how many detections there are."""
    counted = np.sort(matches.scores[~matches.ignored])
    right = np.sort(matches.scores[~matches.ignored & matches.correct])
    claims = len(counted) - np.searchsorted(counted, THRESHOLDS.astype(np.float32), side="left")
    hits = len(right) - np.searchsorted(right, THRESHOLDS.astype(np.float32), side="left")
    return 2 * hits / np.maximum(1, claims + matches.truths), claims


def _middle_of_first_run(suits: np.ndarray) -> int:
    first = last = int(suits.argmax())
    while last + 1 < len(suits) and suits[last + 1]:
        last += 1
    return (first + last) // 2


def average_precision(matches: Matches) -> float:
    """COCO's average precision of the pooled matches: interpolated precision at 101 levels of recall; NaN without
    labels."""
    if not matches.truths:
        return float("nan")
    counted = ~matches.ignored
    right = np.cumsum(matches.correct[counted], dtype=float)
    return interpolated_precision(right, np.arange(1.0, len(right) + 1), matches.truths)


def interpolated_precision(right: np.ndarray, claimed: np.ndarray, truths: float) -> float:
    """COCO's average precision from running sums over detections by falling score: those right, and all.

    Sums may be weighted. Precision at a recall is the best at that recall or any higher; mean over 101 recalls.
    """
    precision = np.divide(right, claimed, out=np.zeros(len(right)), where=claimed > 0)
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(precision[np.searchsorted(right / truths, RECALLS, side="left")].mean())
