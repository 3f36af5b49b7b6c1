"""Which crops a bounded memory keeps of a stream: those that are least like another one.

MinRed (Purushwalkam, Morgado and Gupta, "The challenges of continuous self-supervised learning", ECCV 2022): each crop
of the stream enters the memory; when that is full, the member nearest to another member goes. So a static ground, which
comes again with every scan, is held a few times, and what was seen once stays.
"""

from __future__ import annotations

import numpy as np

_BLOCK = 1024  # rows compared at once


def keep_diverse(embeddings: np.ndarray, capacity: int) -> np.ndarray:
    """Which of a stream of crops the memory holds at its end: (k,) int64 indices, ascending, k <= capacity.

    embeddings: (n, d) float32 of unit length, in the order of the stream, present members first. Distances are those
    of the cosine. Of two that are nearest to each other the older one goes: the newer shows the same as the scanner
    sees it now. Exact: as if all distances were computed anew for each crop. ValueError for embeddings that are not
    finite.
    """
    embeddings = np.ascontiguousarray(embeddings, np.float32)
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings hold values that are not finite")
    n = len(embeddings)
    if n <= capacity:
        return np.arange(n, dtype=np.int64)
    if capacity < 1:
        return np.zeros(0, np.int64)
    held = _Held(embeddings[: capacity + 1])
    for index in range(capacity + 1, n):
        held.replace(held.redundant(), embeddings[index], index)
    index_of = np.delete(held.index, held.redundant())
    return np.sort(index_of)


class _Held:
    """A memory with one member too many: of each, its nearest neighbour and how like it that is (cosine)."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = vectors.copy()
        self.index = np.arange(len(vectors), dtype=np.int64)
        self._likeness = np.empty(len(vectors), np.float32)
        self._nearest = np.empty(len(vectors), np.int64)
        self._look(np.arange(len(vectors)))

    def redundant(self) -> int:
        """The member nearest to another; of two that are nearest to each other, and of equals, the oldest."""
        tied = np.flatnonzero(self._likeness == self._likeness.max())
        partners = self._nearest[tied]  # their own likeness may differ in the last bit, being summed in another order
        tied = np.concatenate([tied, partners[np.isin(self._nearest[partners], tied)]])
        return int(tied[self.index[tied].argmin()])

    def replace(self, slot: int, vector: np.ndarray, index: int) -> None:
        """Put a newcomer in the place of a member."""
        orphans = np.flatnonzero(self._nearest == slot)
        self._vectors[slot] = vector
        self.index[slot] = index
        likeness = self._vectors @ vector
        likeness[slot] = -np.inf
        self._nearest[slot] = likeness.argmax()
        self._likeness[slot] = likeness[self._nearest[slot]]
        nearer = likeness > self._likeness
        nearer[slot] = False
        self._nearest[nearer] = slot
        self._likeness[nearer] = likeness[nearer]
        # Whose neighbour has gone: the newcomer may be farther than others that were not the nearest until now.
        self._look(orphans[orphans != slot])

    def _look(self, slots: np.ndarray) -> None:
        """Find the nearest neighbour of these members among all."""
        for start in range(0, len(slots), _BLOCK):
            some = slots[start : start + _BLOCK]
            likeness = self._vectors[some] @ self._vectors.T
            likeness[np.arange(len(some)), some] = -np.inf
            self._nearest[some] = likeness.argmax(axis=1)
            self._likeness[some] = likeness[np.arange(len(some)), self._nearest[some]]
