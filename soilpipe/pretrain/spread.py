"""How vectors are spread: whether an encoder tells crops apart, or has collapsed and says the same of all.

Four figures, of vectors of length 1:

- standard deviation: of each component, times the root of their number, the mean of them; 1 when they point everywhere,
  0 when all are the same ("Exploring Simple Siamese Representation Learning", Chen & He 2021);
- effective rank: e to the entropy of the singular values of the vectors about their mean, as shares; how many
  directions are in use ("The effective rank", Roy & Vetterli 2007; as a sign of what an encoder is worth without
  labels: "RankMe", Garrido et al. 2023, there without taking off the mean);
- uniformity: log of the mean of e to the -2 x squared distance over pairs of crops; lower is more evenly spread, 0 is
  collapsed; and alignment: the mean squared distance of two views of one crop; lower is better ("Understanding
  Contrastive Representation Learning through Alignment and Uniformity", Wang & Isola 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_PAIRS = 2048  # vectors among which uniformity is computed: memory grows with the square


@dataclass(frozen=True)
class Spread:
    """See the module. alignment: None without second views."""

    std: float
    effective_rank: float
    uniformity: float
    alignment: float | None = None


def spread(embeddings: np.ndarray, others: np.ndarray | None = None) -> Spread:
    """Of (n, d) vectors, n of 2 or more; `others`: (n, d), of a second view of the same crops in the same order."""
    vectors = unit(embeddings)
    alignment = None
    if others is not None:
        alignment = float(np.square(vectors - unit(others)).sum(axis=1).mean())
    return Spread(
        float(vectors.std(axis=0).mean() * np.sqrt(vectors.shape[1])),
        effective_rank(vectors),
        uniformity(vectors),
        alignment,
    )


def effective_rank(embeddings: np.ndarray) -> float:
    """From 1 (one direction, or all the same) to the smaller of n - 1 and d. (n, d), n of 2 or more."""
    vectors = unit(embeddings)
    values = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    if values.sum() <= 1e-9 * len(vectors):
        return 1.0
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def uniformity(embeddings: np.ndarray) -> float:
    """0 (collapsed) down to about -4. Of more than `MOST_PAIRS` vectors those at even steps are taken."""
    vectors = unit(embeddings)
    vectors = vectors[:: -(-len(vectors) // MOST_PAIRS)]
    squared = 2 - 2 * vectors @ vectors.T
    apart = squared[np.triu_indices(len(vectors), 1)].clip(min=0)
    return float(np.log(np.exp(-2 * apart).mean()))


def unit(embeddings: np.ndarray) -> np.ndarray:
    """(n, d) float64 of length 1; zeros stay zeros. ValueError for fewer than two vectors."""
    vectors = np.asarray(embeddings, np.float64)
    if vectors.ndim != 2 or len(vectors) < 2:
        raise ValueError(f"expected (n, d) with n of 2 or more, got {vectors.shape}")
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
