"""Split-conformal prediction sets: the classes that a crop may be, the true one among them with probability 1 - alpha.

The score of a crop is 1 minus the probability of its true class (Sadinle, Lei and Wasserman 2019, "Least Ambiguous
Set-Valued Classifiers with Bounded Error Levels"): the smallest sets on average. The limit is a quantile of the scores
of crops by which nothing else was fitted (`calibrating`, which says what holds where that is not so), raised for their
number. The coverage is then at least 1 - alpha, on average over draws of crops exchangeable with them. Crops of one
scanner and day miss together, so with those known they are counted as fewer (`clusters`), which raises the limit's rank
a little further.
"""

from __future__ import annotations

import math

import numpy as np

from soilpipe.classify.clusters import design_effect


def fit_limit(probabilities: np.ndarray, labels: np.ndarray, alpha: float, units: np.ndarray | None = None) -> float:
    """The least probability with which a class is in a set, from (n, classes) and (n,) of crops held out.

    units (n,): the scanner-days of the crops. With fewer than about 1 / alpha crops, counted by those, it is 0: every
    class is in every set, which is all that can be promised.
    """
    n = len(labels)
    if not n:
        return 0.0
    scores = np.sort(1.0 - probabilities[np.arange(n), labels])
    rank = _rank(n, n, alpha)
    if units is not None and rank <= n:
        missed = 1.0 - probabilities[np.arange(n), labels] > scores[rank - 1]
        rank = _rank(n, n / design_effect(missed, units), alpha)
    return 0.0 if rank > n else float(1.0 - scores[rank - 1])


def _rank(n: int, worth: float, alpha: float) -> int:
    """Of n scores, from below; so many independent ones are they `worth`."""
    return math.ceil(n * (1 - alpha) * (1 + 1 / worth) - 1e-9)


def sets(probabilities: np.ndarray, limit: float) -> np.ndarray:
    """(n, classes) bool: which classes each crop may be. The likeliest is always one, so that no set is empty."""
    found = probabilities >= limit * (1 - 1e-9)
    found[np.arange(len(found)), probabilities.argmax(axis=1)] = True
    return np.asarray(found)
