"""Unknown: farther from every class than the 95th percentile of that class's own left-out distances.

A crop's distance to a class is 1 minus the mean cosine to the class's nearest crops. The limit of a class is measured
on crops that neither the space nor the class's references have seen: each labelled crop is left out with its fold, as a
rule its whole scanner, the space is fitted without it, and its distance to its own class is taken there (`folds`). In a
space that was fitted to them too, the crops of a class lie closer to each other than any new one will: with few labels,
half of the known animals would be called unknown.

Five distances show no 95th percentile. So each class has a scale of its own, drawn towards that of all classes where
its crops are few, and the shape above that scale is taken from its own distances and, for what BORROWED crops weigh,
from those of all others (partial pooling; each distance is set against a scale told without it, so that a scale told
from few crops is paid for by a wider limit).
"""

from __future__ import annotations

import numpy as np

from soilpipe.classify.prototypes import References

NEAREST = 3
SHARE = 0.95
SCALE_WEIGHT = 3.0  # crops that the middle of all classes weighs in the scale of one
BORROWED = 20.0  # crops that all other classes' distances weigh in the shape of one, and a class at most in theirs
LEAST_OTHERS = 3  # crops of a class on other scanners, from which its own scanner is left out
ENOUGH = 20  # distances that show a 95th percentile by themselves
POOLED = (
    "the 95th percentile of each class's left-out distances, pooled in part with the other classes (five distances "
    "show no 95th percentile) and drawn in by one factor for all, since only what lies beyond every class is unknown: "
    "limits of each class alone call too few animals unknown"
)
"""For the card: how the limits were found, and why not by each class alone."""
NOTHING_KNOWN = 1.0  # the distance of an arbitrary direction


def distances(directions: np.ndarray, references: References) -> np.ndarray:
    """(n, k) to (n, classes): 1 minus the mean cosine to the nearest crops of each class; 2 for a class without one."""
    similar = directions @ references.directions.T
    found = np.full((len(directions), references.classes), 2.0)
    for label in np.flatnonzero(references.present):
        found[:, label] = _to_nearest(similar[:, references.labels == label])
    return found


def fit_limits(found: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(classes,): beyond which distance a crop is not of a class.

    found (n, classes): left-out distances of crops of the classes `labels` (n,); a row of NaN counts for nothing. The
    limits are first those of each class alone. A crop is unknown only where it is beyond all of them, so all are then
    drawn in by one factor, until 5 % of the left-out crops are, each class counting alike. A class without a left-out
    crop has the limit of a middling one.
    """
    classes = found.shape[1]
    known = np.isfinite(found).all(axis=1) & (labels >= 0)
    found, labels = found[known], labels[known]
    if not len(found):
        return np.full(classes, NOTHING_KNOWN)
    counts = np.bincount(labels, minlength=classes)
    limits = _of_each(found[np.arange(len(found)), labels], labels, counts)
    alike = np.minimum(counts, BORROWED)[labels] / counts[labels]  # no frequent class outweighs the others
    return limits * _quantile(farness(found, limits), alike)


def _of_each(found: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(classes,): the 95th percentiles of the distances (n,) to the own class, as the head of this file says."""
    sums = np.bincount(labels, found, minlength=len(counts))
    middle = float((sums[counts > 0] / counts[counts > 0]).mean())
    scales = (sums + SCALE_WEIGHT * middle) / (counts + SCALE_WEIGHT)
    without = (sums[labels] - found + SCALE_WEIGHT * middle) / (counts[labels] - 1 + SCALE_WEIGHT)
    relative = found / np.maximum(without, 1e-9)
    shared = np.minimum(counts, BORROWED)[labels] / counts[labels]
    limits = np.empty(len(counts))
    for label in range(len(counts)):
        own = labels == label
        lent = np.where(own, 0.0, shared)
        weights = own + lent * (BORROWED / lent.sum() if lent.any() else 0.0)
        limits[label] = scales[label] * _quantile(relative, weights)
    return limits


def fit_limits_of_added(references: References, scanners: np.ndarray, before: np.ndarray) -> np.ndarray:
    """(classes,): the limits `before` of the first classes, and those of the classes behind them that were added.

    The space was fitted without the added crops, so their distances to each other are honest in it; left out is the
    crop's own scanner, `scanners` (n,), where the class has others. Fewer than ENOUGH of them, or all of one scanner,
    are not held to less than the middle of the limits before.
    """
    limits = np.concatenate([before, np.full(references.classes - len(before), np.nan)])
    middle = float(np.median(before)) if len(before) else NOTHING_KNOWN
    for label in range(len(before), references.classes):
        own = np.flatnonzero(references.labels == label)
        similar = references.directions[own] @ references.directions[own].T
        found = _left_out(similar, scanners[own])
        alone = len(set(scanners[own].tolist())) < 2
        limit = float(np.quantile(found, SHARE, method="higher")) if len(found) else middle
        limits[label] = max(limit, middle) if alone or len(found) < ENOUGH else limit
    return limits


def farness(found: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """(n, classes) distances to (n,): the least of them in units of the class's limit; above 1 is unknown."""
    return np.asarray((found / np.maximum(limits, 1e-9)).min(axis=1))


def _left_out(similar: np.ndarray, scanners: np.ndarray) -> np.ndarray:
    """(n, n) cosines within a class -> (n,) distances without the crop's own scanner, at least without itself."""
    found = []
    for row in range(len(similar)):
        others = scanners != scanners[row]
        if others.sum() < LEAST_OTHERS:
            others = np.arange(len(similar)) != row
        if others.any():
            found.append(float(_to_nearest(similar[row : row + 1, others])[0]))
    return np.array(found)


def _quantile(values: np.ndarray, weights: np.ndarray) -> float:
    """The least value up to which SHARE of the weight lies."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    place = int(np.searchsorted(reached, SHARE * reached[-1] * (1 - 1e-12)))
    return float(values[order[min(place, len(order) - 1)]])


def _to_nearest(similar: np.ndarray) -> np.ndarray:
    """(n, m) cosines to one class's crops -> (n,)."""
    count = min(NEAREST, similar.shape[1])
    nearest = np.partition(similar, similar.shape[1] - count, axis=1)[:, similar.shape[1] - count :]
    return np.asarray(1.0 - nearest.mean(axis=1))
