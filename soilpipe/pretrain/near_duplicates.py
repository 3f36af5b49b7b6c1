"""Leaving out crops that show nearly the same as another one.

SemDeDup (Abbas, Tirumala, Simig, Ganguli and Morcos, arXiv 2303.09540, 2023): embeddings are clustered, and within a
cluster, of those that are closer than 1 - eps in cosine only the one farthest from the centroid stays. Clusters only
save work: 20,000 crops have 200 million pairs, most of them far apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MEMBERS = 512  # of a cluster, about
MOST_CLUSTERED = 16_384  # the centroids are found on a sample of so many
MOST_EPS = 0.01
"""Whatever the places say: with the trunk of the shipped detector, more loses animals (benchmarks/corpus.py)."""
STRANGERS = 0.10
_SAMPLE = 512
_ITERATIONS = 20
_BLOCK = 512


@dataclass(frozen=True)
class NearDuplicates:
    """keep    (n,) bool
    twin    (n,) int64: of what was dropped the nearest that was kept, of what was kept itself
    likeness (n,) float32: cosine to its twin; 1 of what was kept
    clusters how many there were
    """

    keep: np.ndarray
    twin: np.ndarray
    likeness: np.ndarray
    clusters: int

    @property
    def dropped(self) -> int:
        return int((~self.keep).sum())


def eps_by_places(embeddings: np.ndarray, place: np.ndarray, *, seed: int = 0) -> float:
    """The eps that fits an encoder: how near to each other crops of different places come.

    embeddings: (n, d) float32, unit length; place: (n,) int64 (`source.place_id`). In a sample of 512 crops, the
    distance in cosine from each to its nearest of another place is taken; eps is the `STRANGERS` quantile of these, and
    `MOST_EPS` at most (also where there is a single place).

    A fixed eps means another thing for every encoder: the vectors of a young one are nearly all alike, and 0.01 would
    drop nineteen crops in twenty, animals among them; with the shipped detector's, what is nearer than this quantile
    is the same place in 94 of 100 cases (benchmarks/corpus.py).
    """
    rows = np.random.default_rng([seed, 54]).permutation(len(embeddings))[:_SAMPLE]
    vectors, places = np.asarray(embeddings, np.float64)[rows], np.asarray(place)[rows]
    distance = 1 - vectors @ vectors.T
    distance[places[:, None] == places[None]] = np.inf
    nearest = distance.min(axis=1, initial=np.inf)
    nearest = nearest[np.isfinite(nearest)]
    if len(nearest) == 0:
        return MOST_EPS
    return float(min(max(np.quantile(nearest, STRANGERS), 0.0), MOST_EPS))


def near_duplicates(embeddings: np.ndarray, eps: float, *, members: int = MEMBERS, seed: int = 0) -> NearDuplicates:
    """Find the near-duplicates among crops. embeddings: (n, d) float32, unit length.

    Within a cluster crops are taken in the order of their distance from the centroid, the farthest first, and one is
    kept when no kept one is closer than 1 - eps. So kept crops of one cluster are farther apart than that, and each
    dropped one has a kept twin that is not; of two alike in two clusters both stay. (The paper also drops what is
    close to a dropped one, so that a chain of small steps may vanish whole but for its end.)

    The same embeddings and seed give the same answer. ValueError for eps outside 0..2 and values that are not finite.
    """
    if not 0 <= eps <= 2:
        raise ValueError(f"eps is a distance in cosine, 0 to 2, not {eps}")
    embeddings = np.ascontiguousarray(embeddings, np.float32)
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings hold values that are not finite")
    n = len(embeddings)
    keep, twin, likeness = np.ones(n, bool), np.arange(n, dtype=np.int64), np.ones(n, np.float32)
    count = max(1, round(n / members))
    cluster, centrality = _clusters(embeddings, count, seed)
    for k in range(count):
        inside = np.flatnonzero(cluster == k)
        inside = inside[np.argsort(centrality[inside], kind="stable")]  # least like the centroid first
        _drop(embeddings, inside, np.float32(1 - eps), keep, twin, likeness)
    return NearDuplicates(keep, twin, likeness, count)


def _drop(
    embeddings: np.ndarray,
    inside: np.ndarray,
    limit: np.float32,
    keep: np.ndarray,
    twin: np.ndarray,
    likeness: np.ndarray,
) -> None:
    """Of one cluster, in the order given: fills in `keep`, `twin` and `likeness`."""
    kept: list[int] = []
    for start in range(0, len(inside), _BLOCK):
        block = inside[start : start + _BLOCK]
        before = np.array(kept, np.int64)
        to_before = embeddings[block] @ embeddings[before].T
        within = embeddings[block] @ embeddings[block].T
        of_block: list[int] = []  # rows of the block that stay
        for row, index in enumerate(block.tolist()):
            near = np.concatenate([to_before[row], within[row, of_block]])
            best = int(near.argmax()) if len(near) else -1
            if best < 0 or near[best] <= limit:
                of_block.append(row)
                kept.append(index)
                continue
            keep[index] = False
            twin[index] = kept[best]
            likeness[index] = near[best]


def _clusters(embeddings: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cluster of each crop, (n,) int64, and the cosine to its centroid, (n,) float32."""
    n = len(embeddings)
    if count == 1:
        mean = embeddings.mean(axis=0) if n else np.zeros(embeddings.shape[1:], np.float32)
        return np.zeros(n, np.int64), embeddings @ (mean / max(float(np.linalg.norm(mean)), 1e-12))
    sample = embeddings
    if n > MOST_CLUSTERED:
        sample = embeddings[np.sort(np.random.default_rng(seed).choice(n, MOST_CLUSTERED, replace=False))]
    cv2.setRNGSeed(seed)  # of this thread: k-means++ draws its first centroids with it
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, _ITERATIONS, 1e-4)
    _, _, centroids = cv2.kmeans(sample, count, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    length = np.linalg.norm(centroids, axis=1, keepdims=True)
    centroids = centroids / np.maximum(length, 1e-12)
    cluster, centrality = np.empty(n, np.int64), np.empty(n, np.float32)
    for start in range(0, n, 16 * _BLOCK):
        rows = slice(start, start + 16 * _BLOCK)
        likeness = embeddings[rows] @ centroids.T
        cluster[rows] = likeness.argmax(axis=1)
        centrality[rows] = likeness.max(axis=1)
    return cluster, centrality
