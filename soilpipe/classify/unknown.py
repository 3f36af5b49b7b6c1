"""Unknown: farther from every class than the 95th percentile of that class's own leave-one-out distances.

A crop's distance to a class is 1 minus the mean cosine to the class's nearest crops. What is left out for a crop of the
class itself is its whole scanner, where the class has others: an animal that sits still is on the next scan too, and
the unknown of a new scanner must be measured by how far the known are on one.
"""

from __future__ import annotations

import numpy as np

from soilpipe.classify.prototypes import References

NEAREST = 3
SHARE = 0.95
LEAST_OTHERS = 3  # crops of a class on other scanners, from which its own scanner is left out


def distances(directions: np.ndarray, references: References) -> np.ndarray:
    """(n, k) to (n, classes): 1 minus the mean cosine to the nearest crops of each class; 2 for a class without one."""
    similar = directions @ references.directions.T
    found = np.full((len(directions), references.classes), 2.0)
    for label in np.flatnonzero(references.present):
        found[:, label] = _to_nearest(similar[:, references.labels == label])
    return found


def fit_limits(references: References, scanners: np.ndarray) -> np.ndarray:
    """(classes,): of each class the 95th percentile of its own leave-one-out distances; `scanners` (n,) of its crops.

    A class with crops of a single scanner has a limit of at least the middle of the others: how it looks on another
    scanner, its own crops cannot say. So has one of a single crop, which has nothing to be measured by.
    """
    limits = np.full(references.classes, np.nan)
    across = np.zeros(references.classes, bool)
    for label in np.flatnonzero(references.present):
        own = np.flatnonzero(references.labels == label)
        similar = references.directions[own] @ references.directions[own].T
        own_scanners = scanners[own]
        across[label] = len(set(own_scanners.tolist())) > 1
        found = []
        for row in range(len(own)):
            others = own_scanners != own_scanners[row]
            if others.sum() < LEAST_OTHERS:
                others = np.arange(len(own)) != row
            if others.any():
                found.append(float(_to_nearest(similar[row : row + 1, others])[0]))
        if found:
            limits[label] = np.quantile(found, SHARE, method="higher")
    trusted = limits[across & np.isfinite(limits)]
    known = trusted if len(trusted) else limits[np.isfinite(limits)]
    middle = float(np.median(known)) if len(known) else 1.0
    return np.where(across & np.isfinite(limits), limits, np.fmax(limits, middle))


def farness(found: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """(n, classes) distances to (n,): the least of them in units of the class's limit; above 1 is unknown."""
    return np.asarray((found / np.maximum(limits, 1e-9)).min(axis=1))


def _to_nearest(similar: np.ndarray) -> np.ndarray:
    """(n, m) cosines to one class's crops -> (n,)."""
    count = min(NEAREST, similar.shape[1])
    nearest = np.partition(similar, similar.shape[1] - count, axis=1)[:, similar.shape[1] - count :]
    return np.asarray(1.0 - nearest.mean(axis=1))
