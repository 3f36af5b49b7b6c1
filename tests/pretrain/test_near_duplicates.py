from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.pretrain.near_duplicates import MOST_EPS, STRANGERS, eps_by_places, near_duplicates


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@st.composite
def embeddings(draw: st.DrawFn) -> np.ndarray:
    """Groups of crops around some grounds, from nearly equal to far apart."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n, groups = draw(st.integers(1, 80)), draw(st.integers(1, 12))
    spread = draw(st.sampled_from([0.001, 0.05, 0.3, 2.0]))
    centres = rng.standard_normal((groups, 12))
    return unit(centres[rng.integers(0, groups, n)] + spread * rng.standard_normal((n, 12)))


@settings(max_examples=100, deadline=None)
@given(embeddings(), st.sampled_from([0.0, 0.001, 0.05, 0.5, 2.0]), st.integers(5, 40))
def test_what_is_dropped_has_a_twin_and_what_is_kept_has_none(crops: np.ndarray, eps: float, members: int) -> None:
    found = near_duplicates(crops, eps, members=members)
    likeness = crops @ crops.T
    dropped = np.flatnonzero(~found.keep)
    assert found.keep[found.twin].all()
    assert (found.likeness[dropped] > np.float32(1 - eps)).all()
    assert np.allclose(found.likeness[dropped], likeness[dropped, found.twin[dropped]], atol=1e-5)
    kept = np.flatnonzero(found.keep)
    assert np.array_equal(found.twin[kept], kept)
    if found.clusters == 1:  # across clusters twins may both stay
        among = likeness[np.ix_(kept, kept)] - 3 * np.eye(len(kept))
        assert (among <= 1 - eps + 1e-5).all()


@settings(max_examples=50, deadline=None)
@given(embeddings(), st.sampled_from([0.001, 0.05]))
def test_the_farthest_from_the_centroid_stays(crops: np.ndarray, eps: float) -> None:
    found = near_duplicates(crops, eps, members=1000)
    centroid = crops.mean(axis=0)
    centrality = crops @ (centroid / max(float(np.linalg.norm(centroid)), 1e-12))
    assert found.keep[int(centrality.argmin())]
    dropped = np.flatnonzero(~found.keep)
    assert (centrality[found.twin[dropped]] <= centrality[dropped] + 1e-5).all()


def test_one_of_each_group_of_copies_stays() -> None:
    grounds = unit(np.random.default_rng(0).standard_normal((50, 64)))
    crops = np.repeat(grounds, 40, axis=0)
    found = near_duplicates(crops, 0.01, members=200)
    assert found.clusters == 10
    # Equal crops are always in one cluster.
    assert found.keep.sum() == 50
    assert (found.twin // 40 == np.arange(2000) // 40).all()


def test_the_same_seed_gives_the_same_answer() -> None:
    crops = unit(np.random.default_rng(1).standard_normal((3000, 6)))
    first, again = (near_duplicates(crops, 0.02, seed=4) for _ in range(2))
    assert np.array_equal(first.keep, again.keep)
    assert np.array_equal(first.twin, again.twin)
    assert 0 < first.dropped < 3000


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="eps"):
        near_duplicates(np.eye(3, dtype=np.float32), -0.1)
    with pytest.raises(ValueError, match="not finite"):
        near_duplicates(np.full((2, 2), np.inf, np.float32), 0.1)
    assert near_duplicates(np.zeros((0, 4), np.float32), 0.1).dropped == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1.0, 0.1, 0.01]))
def test_eps_follows_the_scale_of_the_encoder(seed: int, share: float) -> None:
    """Forty places seen ten times each, by encoders whose vectors are ever more alike (`share` of them differs)."""
    rng = np.random.default_rng(seed)
    grounds = np.repeat(rng.standard_normal((40, 24)), 10, axis=0)
    seen = grounds + 0.02 * rng.standard_normal(grounds.shape)
    crops = unit(np.concatenate([np.full((400, 1), 5.0), share * seen], axis=1))
    place = np.repeat(np.arange(40), 10)
    eps = eps_by_places(crops, place, seed=seed)
    assert 0 < eps <= MOST_EPS
    found = near_duplicates(crops, eps, members=1000)
    assert (place[found.twin] != place).mean() <= STRANGERS + 0.05  # few are dropped for another place
    assert found.keep.sum() < 200
    if share == 0.01:  # what a fixed eps would do to such an encoder
        assert near_duplicates(crops, 0.01, members=1000).keep.sum() == 1


def test_eps_without_another_place_is_the_largest_there_is() -> None:
    assert eps_by_places(np.eye(4, dtype=np.float32), np.zeros(4, np.int64)) == MOST_EPS
    assert eps_by_places(np.zeros((0, 3), np.float32), np.zeros(0, np.int64)) == MOST_EPS
