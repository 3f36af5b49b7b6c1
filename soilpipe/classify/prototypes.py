"""Cosine prototypes and nearest neighbours: two experts that need no training run, only labelled crops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from soilpipe.classify.space import unit

NEIGHBOURS = 10  # that vote
SHARPNESS = 10.0  # of the votes: one of cosine 1 weighs e times as much as one of 0.9


@dataclass(frozen=True)
class References:
    """Labelled crops in the space: directions (n, k) float64, labels (n,) int64; of `classes` classes."""

    directions: np.ndarray
    labels: np.ndarray
    classes: int

    @property
    def prototypes(self) -> np.ndarray:
        """(classes, k): the mean direction of each class; zeros for one without a crop."""
        sums = np.zeros((self.classes, self.directions.shape[1]))
        np.add.at(sums, self.labels, self.directions)
        return unit(sums)

    @property
    def present(self) -> np.ndarray:
        """(classes,) bool: those that have a crop."""
        return np.bincount(self.labels, minlength=self.classes) > 0


def cosines(directions: np.ndarray, references: References) -> np.ndarray:
    """(n, k) to (n, classes): the cosine to each class's prototype; -1 for a class without a crop."""
    found = directions @ references.prototypes.T
    found[:, ~references.present] = -1.0
    return found


def votes(directions: np.ndarray, references: References, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """(n, k) to (n, classes): shares of the votes of the nearest crops, each divided by its class's number of crops.

    So a frequent class does not win by its number. Every class keeps a little: none is impossible for want of a near
    crop.
    """
    near, similar = nearest(directions, references, neighbours)
    counts = np.bincount(references.labels, minlength=references.classes)
    weights = np.exp(SHARPNESS * (similar - 1.0)) / np.sqrt(counts[references.labels[near]])
    shares = np.full((len(directions), references.classes), 1e-6)
    rows = np.repeat(np.arange(len(directions))[:, None], near.shape[1], axis=1)
    np.add.at(shares, (rows, references.labels[near]), weights)
    shares = np.where(references.present, shares, 1e-9)
    smooth = shares / shares.sum(axis=1, keepdims=True)
    return 0.98 * smooth + 0.02 * references.present / max(1, references.present.sum())


def nearest(directions: np.ndarray, references: References, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) to the indices of the `count` nearest crops, nearest first, and their cosines, both (n, count).

    Fewer where there are fewer crops. Of equal ones the earlier comes first.
    """
    similar = directions @ references.directions.T
    count = min(count, similar.shape[1])
    order = np.argsort(-similar, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(similar, order, axis=1)
