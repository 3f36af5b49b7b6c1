"""Figures beyond average precision: sizes, false alarms, counts and what a score is worth.

Lengths are the longer side of a box. Detections `at work` are those at or above the working threshold of their taxon,
which are the ones that are counted; the others stand in curves only. `Per unit` is per image, or per block where a
single large scan was cut into blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from soilpipe.detect.claims import (
    ASIDE,
    RIGHT,
    Claims,
    Interval,
    average_precision,
    divided,
    interval,
    value_of,
)

EDGES_MM = (0.3, 0.45, 0.7, 1.0, 2.0, 5.0, 10.0, 30.0)
EDGES_PX = (16.0, 32.0, 64.0, 96.0, 192.0, 384.0)
FALSE_ALARMS_AT = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
CURVE_POINTS = 200
BINS = 10
ENOUGH_OF_A_SIZE = 10  # labels without which a size class says nothing about a limit
FOUND = 0.5  # recall from which animals of a length count as found


@dataclass(frozen=True)
class Lengths:
    """Of each detection (n,) and each label (m,): its length, px or mm.

    found (m,) bool: by a detection at work; unit (m,) int64; counted (m,) bool: no crowd. label (n,) int64: which label
    a detection took, -1 for none.
    """

    of_detections: np.ndarray
    of_labels: np.ndarray
    found: np.ndarray
    unit: np.ndarray
    counted: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class SizeFigures:
    """Animals of shortest <= length < longest (None: no upper end). ap50, ap75, ap (mean of ten IoUs): labels of other
    sizes count neither way, nor do false alarms of other sizes."""

    shortest: float
    longest: float | None
    animals: int
    found: int
    recall: float | None
    recall_interval: Interval | None
    ap50: float | None
    shortest_label: float | None
    ap75: float | None = None
    ap: float | None = None


Stricter = Sequence[tuple[Claims, np.ndarray]]
"""The claims at each of the nine IoUs above 0.5, and which label each detection took there, (n,) int64, -1 for none."""
AT_75 = 4  # of them


def by_size(
    claims: Claims, lengths: Lengths, edges: Sequence[float], drawn: np.ndarray, stricter: Stricter = ()
) -> tuple[SizeFigures, ...]:
    """Recall at work and average precision of each class of length that has labels, shortest first.

    `claims` are those at IoU 0.5; without `stricter` ones, ap75 and ap are None.
    """
    found = []
    bounds = [0.0, *edges, np.inf]
    for low, high in pairwise(bounds):
        inside = lengths.counted & (lengths.of_labels >= low) & (lengths.of_labels < high)
        if not inside.any():
            continue
        sized = (lengths.of_detections >= low) & (lengths.of_detections < high)
        truths = np.bincount(lengths.unit[inside], minlength=len(claims.truths))
        parts = [_of_class(each, label, sized, inside, truths) for each, label in ((claims, lengths.label), *stricter)]
        precisions = [value_of(part, average_precision) for part in parts]
        animals, hits = int(inside.sum()), int(lengths.found[inside].sum())
        hits_of = np.bincount(lengths.unit[inside & lengths.found], minlength=len(truths))
        found.append(
            SizeFigures(
                shortest=float(low),
                longest=None if np.isinf(high) else float(high),
                animals=animals,
                found=hits,
                recall=hits / animals,
                recall_interval=interval(divided(drawn @ hits_of, drawn @ truths)),
                ap50=precisions[0],
                shortest_label=float(lengths.of_labels[inside].min()),
                ap75=precisions[1 + AT_75] if stricter else None,
                ap=float(np.mean([value or 0.0 for value in precisions])) if stricter else None,
            )
        )
    return tuple(found)


def _of_class(claims: Claims, label: np.ndarray, sized: np.ndarray, inside: np.ndarray, truths: np.ndarray) -> Claims:
    """What concerns the labels `inside` a class: detections of these, and of no label those of its size."""
    own, took = sized.copy(), label >= 0
    own[took] = inside[label[took]]
    return Claims(claims.scores, np.where(own, claims.outcome, ASIDE).astype(np.int8), claims.unit, truths)


def shortest_found(sizes: Sequence[SizeFigures]) -> float | None:
    """The shortest length from which on animals are found: of the classes with ten labels or more, the first whose
    recall is 0.5 or more and none of whose longer ones falls below; its lower end, or its shortest label where that is
    longer. None where the longest such class already fails."""
    told = [size for size in sizes if size.animals >= ENOUGH_OF_A_SIZE]
    least = None
    for size in reversed(told):
        if size.recall is None or size.recall < FOUND:
            break
        least = max(size.shortest, size.shortest_label or 0.0)
    return least


@dataclass(frozen=True)
class Froc:
    """Recall against false alarms, from the strictest threshold to the loosest; per_100cm2 None without a scale.

    recall_at: at most so many false alarms per image -> recall; recall_at_per_100cm2 the same by area.
    """

    thresholds: tuple[float, ...]
    recall: tuple[float, ...]
    per_image: tuple[float, ...]
    per_100cm2: tuple[float, ...]
    recall_at: dict[str, float]
    recall_at_per_100cm2: dict[str, float]


def froc(claims: Claims, images: int, area_cm2: float) -> Froc:
    """Over all detections that were kept; at most 200 points of it are told."""
    counted = claims.outcome != ASIDE
    scores = claims.scores[counted]
    right = np.cumsum(claims.outcome[counted] == RIGHT)
    wrong = np.arange(1, len(scores) + 1) - right
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.zeros(0, np.int64)
    truths = max(1, int(claims.truths.sum()))
    recalls, alarms = right[last] / truths, wrong[last]
    told = _thinned(len(last))
    by_area = alarms / area_cm2 * 100

    def at(values: np.ndarray) -> dict[str, float]:
        return {f"{most:g}": float(recalls[values <= most].max(initial=0.0)) for most in FALSE_ALARMS_AT}

    return Froc(
        thresholds=tuple(scores[last][told].astype(float).tolist()),
        recall=tuple(recalls[told].tolist()),
        per_image=tuple((alarms[told] / images).tolist()),
        per_100cm2=tuple(by_area[told].tolist()),
        recall_at=at(alarms / images),
        recall_at_per_100cm2=at(by_area),
    )


def _thinned(points: int) -> np.ndarray:
    """Which of so many points of a curve are told, at most 200: dense where scores are high, with both ends."""
    if points <= CURVE_POINTS:
        return np.arange(points)
    return np.unique(np.geomspace(1, points, CURVE_POINTS).round().astype(np.int64) - 1)


def precision_recall_curve(claims: Claims) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Thresholds, recall and precision from the strictest threshold to the loosest, at most 200 points."""
    counted = claims.outcome != ASIDE
    scores = claims.scores[counted].astype(float)
    right = np.cumsum(claims.outcome[counted] == RIGHT)
    claimed = np.arange(1, len(scores) + 1)
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.zeros(0, np.int64)
    last = last[_thinned(len(last))]
    truths = max(1, int(claims.truths.sum()))
    return (
        tuple(scores[last].tolist()),
        tuple((right[last] / truths).tolist()),
        tuple((right[last] / claimed[last]).tolist()),
    )


@dataclass(frozen=True)
class CountFigures:
    """How well detections at work count, over units.

    error: mean |found - labelled| per unit; error_relative: sum of those over the labels. bias_per_unit: mean of
    found - labelled; bias: sum of those over the labels (0.1: a tenth too many). r2: 1 - sum (found - labelled)² over
    sum (labelled - mean labelled)²: the share of the variation between units that the counts tell, below 0 where the
    mean would tell more. correlation: Pearson's r, which forgives a bias. None where there is nothing to divide by.
    found, labelled: of each unit.
    """

    error: float
    error_relative: float | None
    bias_per_unit: float
    bias: float | None
    bias_interval: Interval | None
    r2: float | None
    r2_interval: Interval | None
    correlation: float | None
    found: tuple[int, ...]
    labelled: tuple[int, ...]


def count_figures(claims: Claims, drawn: np.ndarray) -> CountFigures:
    """Of the claims at work, of all animals or of one taxon."""
    found, labelled = claims.tally()[1].astype(float), claims.truths.astype(float)
    apart = found - labelled
    total = float(labelled.sum())
    several = len(labelled) > 1
    return CountFigures(
        error=float(np.abs(apart).mean()),
        error_relative=float(np.abs(apart).sum()) / total if total else None,
        bias_per_unit=float(apart.mean()),
        bias=float(apart.sum()) / total if total else None,
        bias_interval=interval(divided(drawn @ apart, drawn @ labelled)) if several else None,
        r2=_told(float(r_squared(found, labelled, np.ones((1, len(labelled))))[0])),
        r2_interval=interval(r_squared(found, labelled, drawn)) if several else None,
        correlation=_told(_pearson(found, labelled)),
        found=tuple(int(value) for value in found),
        labelled=tuple(int(value) for value in labelled),
    )


def r_squared(found: np.ndarray, labelled: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(k,) coefficients of determination for (k, units) weights; NaN where all labelled counts are equal."""
    weights = weights.astype(float)
    n = weights.sum(axis=1)
    mean = weights @ labelled / n
    spread = weights @ labelled**2 - n * mean**2
    spread[spread < 1e-9 * np.maximum(n * mean**2, 1)] = 0.0
    return 1 - divided(weights @ (found - labelled) ** 2, spread)


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    spread = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread else float("nan")


def _told(value: float) -> float | None:
    return value if np.isfinite(value) else None


@dataclass(frozen=True)
class ScoreBin:
    """Detections of low <= score < high (the last bin with 1): how many, their mean score, and how many are right."""

    low: float
    high: float
    detections: int
    mean_score: float
    share_right: float


@dataclass(frozen=True)
class Calibration:
    """What a score is worth as a probability. error: expected calibration error, the mean of |mean score - share
    right| over ten bins of equal width, weighted by their detections; at_work: of those at work alone."""

    error: float | None
    error_interval: Interval | None
    at_work: float | None
    bins: tuple[ScoreBin, ...]


def calibration(claims: Claims, at_work: Claims, drawn: np.ndarray) -> Calibration:
    """Of all detections that were kept, and of those at work."""
    every, strict = _by_bin(claims), _by_bin(at_work)
    once = np.ones((1, len(claims.truths)))
    n, total, hits = (part.sum(axis=0) for part in every)
    return Calibration(
        error=_told(float(_expected_error(every, once)[0])),
        error_interval=interval(_expected_error(every, drawn)) if len(claims.truths) > 1 else None,
        at_work=_told(float(_expected_error(strict, once)[0])),
        bins=tuple(
            ScoreBin(i / BINS, (i + 1) / BINS, int(n[i]), float(total[i] / n[i]), float(hits[i] / n[i]))
            for i in range(BINS)
            if n[i]
        ),
    )


Binned = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(units, bins) each: detections, the sum of their scores, those that are right."""


def _by_bin(claims: Claims) -> Binned:
    counted = claims.outcome != ASIDE
    scores, right = claims.scores[counted].astype(float), (claims.outcome[counted] == RIGHT).astype(float)
    cell = claims.unit[counted] * BINS + np.minimum((scores * BINS).astype(int), BINS - 1)
    shape, size = (len(claims.truths), BINS), len(claims.truths) * BINS
    n, total, hits = (np.bincount(cell, weights=part, minlength=size).reshape(shape) for part in (None, scores, right))
    return n, total, hits


def _expected_error(sums: Binned, weights: np.ndarray) -> np.ndarray:
    """(k,) expected calibration errors for (k, units) weights: n / N * |total / n - hits / n| summed over bins."""
    n, total, hits = (weights @ part for part in sums)
    return divided(np.abs(total - hits).sum(axis=1), n.sum(axis=1))
