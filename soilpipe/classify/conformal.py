"""Split-conformal prediction sets: the classes that a crop may be, the true one among them with probability 1 - alpha.

The score of a crop is 1 minus the probability of its true class (Sadinle, Lei and Wasserman 2019, "Least Ambiguous
Set-Valued Classifiers with Bounded Error Levels"): the smallest sets on average. The limit is a quantile of the scores
of held-out scanners, raised for their number, so that the coverage is at least 1 - alpha for crops drawn like them.
"""

from __future__ import annotations

import math

import numpy as np


def fit_limit(probabilities: np.ndarray, labels: np.ndarray, alpha: float) -> float:
    """The least probability with which a class is in a set, from (n, classes) and (n,) of crops held out.

    With fewer than about 1 / alpha crops it is 0: every class is in every set, which is all that can be promised.
    """
    n = len(labels)
    rank = math.ceil((n + 1) * (1 - alpha))
    if rank > n:
        return 0.0
    return float(1.0 - np.sort(1.0 - probabilities[np.arange(n), labels])[rank - 1])


def sets(probabilities: np.ndarray, limit: float) -> np.ndarray:
    """(n, classes) bool: which classes each crop may be. The likeliest is always one, so that no set is empty."""
    found = probabilities >= limit * (1 - 1e-9)
    found[np.arange(len(found)), probabilities.argmax(axis=1)] = True
    return np.asarray(found)
