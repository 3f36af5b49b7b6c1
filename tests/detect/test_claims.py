"""Pooled claims and their bootstrap intervals, against hand-made cases and against the statistics' own formulae."""

from __future__ import annotations

import numpy as np
import pytest

from soilpipe.detect import claims
from soilpipe.detect.claims import ASIDE, RIGHT, WRONG, Claims, draws, interval, interval_of, pooled, value_of
from soilpipe.detect.scoring import Matches, interpolated_precision
from soilpipe.detect.scoring import average_precision as of_matches


def make(scores: list[float], outcome: list[int], unit: list[int], truths: list[int]) -> Claims:
    return Claims(
        np.array(scores, np.float32), np.array(outcome, np.int8), np.array(unit, np.int64), np.array(truths, np.int64)
    )


TWO_IMAGES = make([0.9, 0.8, 0.7, 0.6], [RIGHT, WRONG, RIGHT, ASIDE], [0, 0, 1, 1], [2, 2])


def test_figures_by_hand() -> None:
    """Two right and one wrong of four labels; what lies aside counts for nothing."""
    assert value_of(TWO_IMAGES, claims.precision) == pytest.approx(2 / 3)
    assert value_of(TWO_IMAGES, claims.recall) == 0.5
    assert value_of(TWO_IMAGES, claims.f1) == pytest.approx(4 / 7)
    assert value_of(TWO_IMAGES, claims.bias) == -0.25
    assert value_of(TWO_IMAGES, claims.false_alarms(np.array([1.0, 1.0]))) == 0.5
    assert value_of(TWO_IMAGES, claims.false_alarms(np.array([10.0, 30.0]) / 100)) == pytest.approx(2.5)


def test_a_unit_that_is_drawn_twice_counts_as_two_of_it() -> None:
    """Weights 2, 0: the first image twice: per image one right, one wrong, of two labels."""
    weights = np.array([[2, 0]])
    assert claims.recall(TWO_IMAGES, weights)[0] == 0.5
    assert claims.precision(TWO_IMAGES, weights)[0] == 0.5
    doubled = make([0.9, 0.9, 0.8, 0.8], [RIGHT, RIGHT, WRONG, WRONG], [0, 1, 0, 1], [2, 2])
    expected = value_of(doubled, claims.average_precision)
    assert claims.average_precision(TWO_IMAGES, weights)[0] == expected == pytest.approx(51 / 101)


def test_average_precision_is_that_of_the_matches() -> None:
    rng = np.random.default_rng(3)
    scores = np.sort(rng.random(60).astype(np.float32))[::-1]
    outcome = rng.choice([RIGHT, WRONG, ASIDE], 60, p=[0.5, 0.4, 0.1]).astype(np.int8)
    told = Claims(scores, outcome, rng.integers(0, 5, 60), np.array([9, 9, 9, 9, 9]))
    same = Matches(scores, outcome == RIGHT, outcome == ASIDE, 45)
    assert value_of(told, claims.average_precision) == pytest.approx(of_matches(same), abs=1e-12)


def test_average_precision_of_a_draw_is_that_of_weighted_running_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detection of a unit drawn twice is two, told together; also when it is computed in small pieces."""
    rng = np.random.default_rng(8)
    scores = np.sort(rng.random(200).astype(np.float32))[::-1]
    outcome = rng.choice([RIGHT, WRONG, ASIDE], 200, p=[0.3, 0.6, 0.1]).astype(np.int8)
    told = Claims(scores, outcome, rng.integers(0, 6, 200), np.full(6, 15))
    drawn = draws(6, seed=2, replicates=40)

    def plainly(weights: np.ndarray) -> float:
        of_each = weights[told.unit] * (outcome != ASIDE)
        right, claimed = np.cumsum(of_each * (outcome == RIGHT)), np.cumsum(of_each)
        return interpolated_precision(right.astype(float), claimed.astype(float), float(weights @ told.truths))

    expected = [plainly(weights) for weights in drawn]
    assert len(set(expected)) > 30
    assert claims.average_precision(told, drawn) == pytest.approx(expected, abs=1e-12)
    monkeypatch.setattr(claims, "AT_ONCE", 50)
    assert claims.average_precision(told, drawn) == pytest.approx(expected, abs=1e-12)


def test_what_cannot_be_told_is_none() -> None:
    nothing = make([], [], [], [0, 0])
    assert value_of(nothing, claims.recall) is None and value_of(nothing, claims.average_precision) is None
    assert interval_of(nothing, claims.recall, draws(2, seed=0)) is None
    assert interval_of(make([0.9], [RIGHT], [0], [1]), claims.recall, draws(1, seed=0)) is None
    assert interval([float("nan")] * 3 + [1.0]) is None


def test_the_interval_of_a_mean_has_the_width_that_theory_gives() -> None:
    """200 images of ten labels, each with a recall of its own: the standard error of the mean recall is s / √n."""
    rng = np.random.default_rng(1)
    found = rng.integers(0, 11, 200)
    scores, unit = np.full(found.sum(), 0.9, np.float32), np.repeat(np.arange(200), found)
    told = Claims(scores, np.full(len(scores), RIGHT, np.int8), unit, np.full(200, 10))
    low, high = interval_of(told, claims.recall, draws(200, seed=7)) or (0.0, 0.0)
    error = float((found / 10).std(ddof=1)) / np.sqrt(200)
    assert low < found.mean() / 10 < high
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_the_same_seed_draws_the_same() -> None:
    assert np.array_equal(draws(9, seed=4), draws(9, seed=4))
    assert not np.array_equal(draws(9, seed=4), draws(9, seed=5))
    assert (draws(9, seed=4).sum(axis=1) == 9).all()


def test_images_are_pooled_by_falling_score_and_regrouped_into_days() -> None:
    parts = [
        (np.array([0.3], np.float32), np.array([WRONG], np.int8), np.array([0])),
        (np.array([0.9, 0.1], np.float32), np.array([RIGHT, RIGHT], np.int8), np.array([1, 2])),
    ]
    together = pooled(parts, np.array([1, 2, 3]))
    assert together.scores.tolist() == pytest.approx([0.9, 0.3, 0.1]) and together.unit.tolist() == [1, 0, 2]
    days = together.regrouped(np.array([0, 0, 1]), 2)
    assert days.unit.tolist() == [0, 0, 1] and days.truths.tolist() == [3, 3]
