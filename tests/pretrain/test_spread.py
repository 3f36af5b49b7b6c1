"""Figures of how vectors are spread, on vectors of which they are known."""

from __future__ import annotations

import numpy as np
import pytest

from soilpipe.pretrain.spread import effective_rank, spread, uniformity

RNG = np.random.default_rng(0)


def test_vectors_that_point_everywhere_use_all_directions() -> None:
    vectors = RNG.normal(size=(4000, 16))
    seen = spread(vectors)
    assert seen.std == pytest.approx(1, abs=0.02) and seen.effective_rank == pytest.approx(16, abs=0.1)
    assert seen.uniformity == pytest.approx(-3.5, abs=0.15) and seen.alignment is None


def test_collapsed_vectors_are_seen_as_such() -> None:
    same = np.tile(RNG.normal(size=16), (50, 1))
    seen = spread(same, same)
    assert seen.std == pytest.approx(0, abs=1e-7) and seen.effective_rank == 1.0
    assert seen.uniformity == pytest.approx(0, abs=1e-6) and seen.alignment == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_effective_rank_counts_directions_in_even_use(rank: int) -> None:
    """Crosses of `rank` axes about a far middle: what all have in common does not count."""
    vectors = np.zeros((2 * rank, 12))
    vectors[np.arange(rank), np.arange(rank)] = 0.1
    vectors[rank + np.arange(rank), np.arange(rank)] = -0.1
    vectors[:, 11] = 1
    assert effective_rank(vectors) == pytest.approx(rank, abs=1e-6)


def test_effective_rank_does_not_depend_on_rotation_or_length() -> None:
    vectors = RNG.normal(size=(60, 8)) * np.arange(1, 9)
    turn, _ = np.linalg.qr(RNG.normal(size=(8, 8)))
    assert effective_rank(vectors @ turn * RNG.uniform(1, 9, (60, 1))) == pytest.approx(effective_rank(vectors))


def test_uniformity_of_two_opposite_vectors_is_that_of_their_distance() -> None:
    assert uniformity(np.array([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-8)
    many = RNG.normal(size=(6000, 4))
    assert uniformity(many) == pytest.approx(uniformity(many[::3]), abs=0.02), "of many, some are taken"


def test_alignment_is_the_mean_squared_distance_of_two_views() -> None:
    a, b = np.array([[1.0, 0.0], [0.0, 3.0]]), np.array([[0.0, 2.0], [0.0, 1.0]])
    assert spread(a, b).alignment == pytest.approx(1.0)


def test_one_vector_has_no_spread() -> None:
    with pytest.raises(ValueError, match="n of 2 or more"):
        spread(np.ones((1, 4)))
