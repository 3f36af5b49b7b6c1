"""Which boxes of two sets lie on each other, without comparing all with all.

The boxes of one set are put into groups of neighbours: strips of about equal number by y, each cut into groups by x
("sort-tile-recursive", Leutenegger et al. 1997). A group is compared only with what reaches into the rectangle around
it, in pieces of bounded size. So 50,000 boxes beside 50,000 take about a second, and no more memory than a few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

AT_ONCE = 4_000_000  # pairs of boxes that are compared in one go: bounds the memory
GROUP = 64  # boxes: fewer pairs, more groups

Likeness = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(n, 4) and (m, 4) boxes to their (n, m) likeness, 0 where they do not touch."""
Pairs = list[tuple[np.ndarray, np.ndarray]]
"""For each box of one set the boxes of the other that are like it (indices, rising) and how much."""


def touching(boxes: np.ndarray, others: np.ndarray, likeness: Likeness, least: float) -> Pairs:
    """Which of the (m, 4) others each of the (n, 4) boxes is like, at least by `least`, which is above 0.

    Boxes in px, x_min y_min x_max y_max. The answer is that of comparing all with all.
    """
    none = (np.zeros(0, np.int64), np.zeros(0))
    pairs: Pairs = [none] * len(boxes)
    for group in _groups(boxes) if len(others) else ():
        low, high = boxes[group, :2].min(axis=0), boxes[group, 2:].max(axis=0)
        there = np.flatnonzero(((others[:, :2] <= high) & (others[:, 2:] >= low)).all(axis=1))
        rows = max(1, AT_ONCE // max(1, len(there)))
        for start in range(0, len(group), rows) if len(there) else ():
            some = group[start : start + rows]
            for box, row in zip(some, likeness(boxes[some], others[there]), strict=True):
                alike = np.flatnonzero(row >= least)
                pairs[box] = (there[alike], row[alike])
    return pairs


def _groups(boxes: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of neighbours, each box in one group."""
    middle = boxes[:, :2].astype(np.float64) + boxes[:, 2:]
    across = math.ceil(math.sqrt(len(boxes) / GROUP))
    for strip in np.array_split(np.argsort(middle[:, 1], kind="stable"), across) if across else ():
        yield from np.array_split(strip[np.argsort(middle[strip, 0], kind="stable")], across)
