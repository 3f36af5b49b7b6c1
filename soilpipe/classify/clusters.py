"""How many independent crops so many crops are worth.

Crops of one scanner and day share light, ground and often the very animal, so their errors come together: a hundred
crops of five scanner-days say less than a hundred of fifty. The design effect (Kish 1965, "Survey Sampling") is how
much larger the variance of a share is than if all crops were independent; divided by it, and for few scanner-days by a
t-distribution's share, crops are counted as Korn and Graubard (1998, "Confidence Intervals for Proportions with Small
Expected Number of Positive Counts Estimated from Survey Data") count them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soilpipe.classify.examples import Source

NORMAL = 1.2816
"""The 90th percentile of the normal distribution: bounds have a doubt of one in ten."""


def scanner_days(sources: Sequence[Source]) -> np.ndarray:
    """(n,) int64: the scanner and day of each crop, numbered; a crop of which either is unknown has its scan's."""
    names = [
        f"{one.scanner_id} {one.captured_at[:10]}" if one.scanner_id and one.captured_at else f"scan {one.scan}"
        for one in sources
    ]
    return np.unique(names, return_inverse=True)[1].astype(np.int64) if names else np.zeros(0, np.int64)


def design_effect(wrong: np.ndarray, units: np.ndarray | None) -> float:
    """By how much (n,) crops, of which some are `wrong`, are to be divided; 1 without `units` (n,).

    Where none is wrong, or all are, their coming together cannot be told: then units are counted, not crops.
    """
    if units is None or not len(wrong):
        return 1.0
    _, place, sizes = np.unique(units, return_inverse=True, return_counts=True)
    n, m = len(wrong), len(sizes)
    most = float((sizes**2).sum() / n)  # as if all crops of a unit were one
    share = float(wrong.mean())
    if m < 2 or share in (0.0, 1.0):
        return most
    errors = np.bincount(place, wrong.astype(float), m)
    variance = float(((errors - share * sizes) ** 2).sum()) / n**2 * m / (m - 1)
    few = (_t_quantile(m - 1) / NORMAL) ** 2
    return min(most, max(1.0, variance * n / (share * (1 - share)))) * few


def _t_quantile(freedom: int) -> float:
    """The 90th percentile of Student's t, to a few per cent (Cornish and Fisher's expansion about the normal one)."""
    z = NORMAL
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
