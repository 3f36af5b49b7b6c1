"""Detections beside labels, pooled over many images, and the figures that are told from them with their uncertainty.

A figure's interval comes from drawing the units (images, blocks of one scan, scanner-days) again with replacement. Two
detectors judged on the same units share the draws, so that what changes between them is not blurred by what differs
between units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from soilpipe.detect.scoring import interpolated_precision

REPLICATES = 1000
LEVEL = 0.95
RIGHT, WRONG, ASIDE = 1, 0, -1
AT_ONCE = 4_000_000  # numbers in one piece of a computation: bounds the memory

Interval = tuple[float, float]
Figure = Callable[["Claims", np.ndarray], np.ndarray]
"""A figure of claims, (k,) float64, for k times other (k, units) weights of the units; NaN where it cannot be told."""


@dataclass(frozen=True)
class Claims:
    """Detections, by falling score, beside what is there.

    scores   (n,) float32
    outcome  (n,) int8: RIGHT, WRONG, or ASIDE: lies on what does not count
    unit     (n,) int64: the unit each lies in
    truths   (units,) int64: the labels that count, of each unit
    """

    scores: np.ndarray
    outcome: np.ndarray
    unit: np.ndarray
    truths: np.ndarray

    def regrouped(self, group: np.ndarray, groups: int) -> Claims:
        """The same with larger units: (units,) int64 says into which of `groups` each goes."""
        truths = np.bincount(group, weights=self.truths, minlength=groups).astype(np.int64)
        return replace(self, unit=group[self.unit], truths=truths)

    def tally(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each unit: detections that are right, and detections that count; both (units,) int64."""
        kept = self.outcome != ASIDE
        units = len(self.truths)
        right = np.bincount(self.unit[kept & (self.outcome == RIGHT)], minlength=units)
        return right, np.bincount(self.unit[kept], minlength=units)


def pooled(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], truths: np.ndarray) -> Claims:
    """Claims from the (scores, outcome, unit) of several images, and the labels of each unit."""
    scores = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, np.float32)
    order = np.argsort(-scores, kind="stable")
    outcome = np.concatenate([part[1] for part in parts])[order] if parts else np.zeros(0, np.int8)
    unit = np.concatenate([part[2] for part in parts])[order] if parts else np.zeros(0, np.int64)
    return Claims(scores[order], outcome, unit, truths)


def average_precision(claims: Claims, weights: np.ndarray) -> np.ndarray:
    """COCO's, at the IoU of the outcomes: a `Figure`.

    Recall rises at right detections only, and precision is highest there: so the running sums are told at those ranks,
    for many draws at once.
    """
    counted = claims.outcome != ASIDE
    hit, unit = claims.outcome[counted] == RIGHT, claims.unit[counted]
    ranks = np.flatnonzero(hit)
    before = np.searchsorted(ranks, np.arange(len(hit)))  # the right detection by which each is claimed
    claimed_by, claimed_unit = before[before < len(ranks)], unit[before < len(ranks)]
    values = np.full(len(weights), np.nan)
    for start in range(0, len(weights), max(1, AT_ONCE // max(1, len(ranks)))):
        some = weights[start : start + max(1, AT_ONCE // max(1, len(ranks)))].astype(float)
        right = np.cumsum(some[:, unit[ranks]], axis=1)
        claimed = np.cumsum(_summed(claimed_by, claimed_unit, len(ranks), some), axis=1)
        for row, truths in enumerate(some @ claims.truths):
            if truths:
                values[start + row] = interpolated_precision(right[row], claimed[row], truths)
    return values


def _summed(of_rank: np.ndarray, unit: np.ndarray, ranks: int, weights: np.ndarray) -> np.ndarray:
    """(k, ranks): the weights of the detections that belong to each rank, in pieces of ranks."""
    units = weights.shape[1]
    total = np.empty((len(weights), ranks))
    step = max(1, AT_ONCE // units)
    for start in range(0, ranks, step):
        stop = min(start + step, ranks)
        low, high = np.searchsorted(of_rank, (start, stop))
        cell = (of_rank[low:high] - start) * units + unit[low:high]
        counts = np.bincount(cell, minlength=(stop - start) * units).reshape(stop - start, units)
        total[:, start:stop] = weights @ counts.T
    return total


def precision(claims: Claims, weights: np.ndarray) -> np.ndarray:
    """Share of the detections that are right: a `Figure`, as are those below."""
    right, claimed = claims.tally()
    return divided(weights @ right, weights @ claimed)


def recall(claims: Claims, weights: np.ndarray) -> np.ndarray:
    """Share of the labels that are found."""
    return divided(weights @ claims.tally()[0], weights @ claims.truths)


def f1(claims: Claims, weights: np.ndarray) -> np.ndarray:
    """Harmonic mean of the two."""
    right, claimed = claims.tally()
    return divided(2 * (weights @ right), weights @ claimed + weights @ claims.truths)


def bias(claims: Claims, weights: np.ndarray) -> np.ndarray:
    """Detections less labels, over the labels: 0.1 is a tenth too many."""
    labels = weights @ claims.truths
    return divided(weights @ claims.tally()[1] - labels, labels)


def false_alarms(sizes: np.ndarray) -> Figure:
    """Detections that are wrong, over the (units,) sizes: per image where those are 1, per cm² where areas."""

    def figure(claims: Claims, weights: np.ndarray) -> np.ndarray:
        right, claimed = claims.tally()
        return divided(weights @ (claimed - right), weights @ sizes)

    return figure


def divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The quotient, NaN where there is nothing to divide by."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=np.asarray(below) != 0)


def value_of(claims: Claims, figure: Figure) -> float | None:
    """The figure of the units as they are; None where it cannot be told."""
    value = float(figure(claims, np.ones((1, len(claims.truths))))[0])
    return value if np.isfinite(value) else None


def draws(units: int, *, seed: int, replicates: int = REPLICATES) -> np.ndarray:
    """(replicates, units) int64: how often each unit is drawn when as many are drawn as there are, with replacement."""
    return np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=replicates)


def interval(values: Sequence[float] | np.ndarray, level: float = LEVEL) -> Interval | None:
    """The middle `level` of the values, by percentiles; None where half of them or more cannot be told."""
    told = np.asarray(values, float)
    told = told[np.isfinite(told)]
    if 2 * len(told) <= len(values):
        return None
    low, high = np.quantile(told, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def interval_of(claims: Claims, figure: Figure, drawn: np.ndarray) -> Interval | None:
    """The bootstrap interval of a figure; None with a single unit, of which nothing can be drawn again."""
    return interval(figure(claims, drawn)) if len(claims.truths) > 1 else None
