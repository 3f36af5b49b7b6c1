"""Sizes, false alarms, counts and calibration, each against a case counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from soilpipe.detect.claims import ASIDE, RIGHT, WRONG, Claims, draws
from soilpipe.detect.figures import (
    Lengths,
    SizeFigures,
    by_size,
    calibration,
    count_figures,
    froc,
    precision_recall_curve,
    r_squared,
    shortest_found,
)

DRAWN = draws(2, seed=0)
CLAIMS = Claims(
    np.array([0.9, 0.8, 0.6, 0.4], np.float32),
    np.array([RIGHT, WRONG, RIGHT, WRONG], np.int8),
    np.array([0, 0, 1, 1]),
    np.array([2, 2]),
)
"""Two images of two labels: one found in each, at 0.9 and 0.6; a false alarm in each, at 0.8 and 0.4."""
LENGTHS = Lengths(
    of_detections=np.array([0.5, 0.4, 4.2, 5.0]),
    of_labels=np.array([0.5, 0.6, 4.0, 0.5]),
    found=np.array([True, False, True, False]),
    unit=np.array([0, 0, 1, 1]),
    counted=np.ones(4, bool),
    label=np.array([0, -1, 2, -1]),
)


def test_recall_and_precision_by_size_by_hand() -> None:
    """Small (below 1 mm): one of three found, and the false alarm of 0.4 mm comes after it. Large: the only one found,
    before the false alarm of 5 mm."""
    small, large = by_size(CLAIMS, LENGTHS, (1.0, 10.0), DRAWN)
    assert (small.shortest, small.longest, small.animals, small.found) == (0.0, 1.0, 3, 1)
    assert small.recall == pytest.approx(1 / 3) and small.ap50 == pytest.approx(34 / 101)
    assert (large.shortest, large.longest, large.recall, large.ap50) == (1.0, 10.0, 1.0, 1.0)
    assert small.shortest_label == 0.5


def test_precision_by_size_at_stricter_ious_by_hand() -> None:
    """Above IoU 0.5 only the first animal is found: the box of 4.2 mm becomes a false alarm of its own size."""
    strict = replace(CLAIMS, outcome=np.array([RIGHT, WRONG, WRONG, WRONG], np.int8))
    small, large = by_size(CLAIMS, LENGTHS, (1.0, 10.0), DRAWN, [(strict, np.array([0, -1, -1, -1]))] * 9)
    assert (small.ap50, small.ap75, small.ap) == (pytest.approx(34 / 101),) * 3
    assert (large.ap50, large.ap75, large.ap) == (1.0, 0.0, pytest.approx(0.1))


def test_an_animal_found_with_a_box_of_another_size_counts_in_its_own_class() -> None:
    odd = replace(LENGTHS, of_detections=np.array([3.0, 0.4, 4.2, 5.0]))
    small, large = by_size(CLAIMS, odd, (1.0,), DRAWN)
    assert small.found == 1 and large.ap50 == 1.0, "the detection of 3 mm belongs to the label of 0.5 mm"


def test_crowds_are_of_no_size() -> None:
    part = replace(LENGTHS, counted=np.array([True, False, True, True]))
    assert [size.animals for size in by_size(CLAIMS, part, (1.0,), DRAWN)] == [2, 1]


def sizes(*recalls: tuple[float, int, float]) -> list[SizeFigures]:
    """(lower end, animals, recall)"""
    return [SizeFigures(low, None, n, round(n * share), share, None, None, low) for low, n, share in recalls]


def test_the_shortest_length_found_is_that_from_which_on_half_are_found() -> None:
    assert shortest_found(sizes((0.3, 20, 0.2), (0.7, 20, 0.5), (2.0, 20, 0.9))) == 0.7
    assert shortest_found(sizes((0.3, 20, 0.9), (0.7, 20, 0.4), (2.0, 20, 0.9))) == 2.0, "a gap above it counts"
    assert shortest_found(sizes((0.3, 9, 1.0), (0.7, 20, 0.6))) == 0.7, "nine labels say too little"
    assert shortest_found(sizes((0.3, 20, 0.9), (0.7, 20, 0.4))) is None
    assert shortest_found([replace(sizes((0.0, 20, 0.9))[0], shortest_label=0.21)]) == 0.21, "none shorter was there"


def test_froc_by_hand() -> None:
    curve = froc(CLAIMS, images=2, area_cm2=50.0)
    assert curve.recall == (0.25, 0.25, 0.5, 0.5)
    assert curve.per_image == (0.0, 0.5, 0.5, 1.0) and curve.per_100cm2 == (0.0, 2.0, 2.0, 4.0)
    assert curve.recall_at["0.25"] == 0.25 and curve.recall_at["0.5"] == 0.5
    assert curve.recall_at_per_100cm2["1"] == 0.25 and curve.recall_at_per_100cm2["2"] == 0.5


def test_a_long_curve_is_told_in_two_hundred_points_at_most_with_both_ends_and_its_beginning_whole() -> None:
    scores = np.linspace(1, 0.01, 5000).astype(np.float32)
    long = Claims(scores, np.full(5000, WRONG, np.int8), np.zeros(5000, np.int64), np.array([1, 0]))
    curve = froc(long, 2, 1.0)
    assert len(curve.recall) <= 200 and curve.per_image[:10] == tuple(0.5 * n for n in range(1, 11))
    assert curve.per_image[-1] == 2500 and len(precision_recall_curve(long)[0]) == len(curve.recall)


def test_precision_and_recall_along_the_scores() -> None:
    scores, recall, precision = precision_recall_curve(CLAIMS)
    assert scores == pytest.approx((0.9, 0.8, 0.6, 0.4))
    assert recall == (0.25, 0.25, 0.5, 0.5) and precision == pytest.approx((1, 1 / 2, 2 / 3, 1 / 2))


def test_equal_scores_are_one_point() -> None:
    tied = replace(CLAIMS, scores=np.array([0.9, 0.9, 0.9, 0.4], np.float32))
    assert precision_recall_curve(tied)[1] == (0.5, 0.5)


def test_counts_by_hand() -> None:
    """Found 3, 1, 0 where 1, 2, 0 are: errors 2, 1, 0; bias (4 - 3) / 3; R² = 1 - (4 + 1 + 0) / (0 + 1 + 1)."""
    unit = np.array([0, 0, 0, 1])
    claims = Claims(np.full(4, 0.9, np.float32), np.array([1, 0, 0, 1], np.int8), unit, np.array([1, 2, 0]))
    counts = count_figures(claims, draws(3, seed=0))
    assert counts.found == (3, 1, 0) and counts.labelled == (1, 2, 0)
    assert counts.error == 1 and counts.error_relative == 1
    assert counts.bias == pytest.approx(1 / 3) and counts.bias_per_unit == pytest.approx(1 / 3)
    assert counts.r2 == pytest.approx(1 - 5 / 2)
    assert counts.correlation == pytest.approx(np.corrcoef([3, 1, 0], [1, 2, 0])[0, 1])


def test_r_squared_of_perfect_counts_is_one_and_cannot_be_told_where_all_are_equal() -> None:
    same = np.array([4.0, 4, 4])
    assert np.isnan(r_squared(same, same, np.ones((1, 3)))[0])
    rising = np.array([1.0, 5, 9])
    assert r_squared(rising, rising, np.ones((1, 3)))[0] == 1.0
    assert r_squared(rising, rising, np.array([[3, 0, 0], [1, 2, 0]])).tolist() == pytest.approx(
        [float("nan"), 1.0], nan_ok=True
    )


def test_no_label_and_no_detection_is_no_error() -> None:
    empty = Claims(np.zeros(0, np.float32), np.zeros(0, np.int8), np.zeros(0, np.int64), np.array([0, 0]))
    counts = count_figures(empty, DRAWN)
    assert (counts.error, counts.bias, counts.r2, counts.correlation) == (0, None, None, None)
    assert calibration(empty, empty, DRAWN).error is None and froc(empty, 2, 1.0).recall == ()


def test_expected_calibration_error_by_hand() -> None:
    """Bin 0.9-1: scores 0.95, one right of two -> 0.45; bin 0.2-0.3: scores 0.25, one right of two -> 0.25."""
    scores = np.array([0.95, 0.95, 0.25, 0.25], np.float32)
    claims = Claims(scores, np.array([1, 0, 1, 0], np.int8), np.array([0, 1, 0, 1]), np.array([2, 2]))
    at_work = replace(claims, scores=scores[:2], outcome=claims.outcome[:2], unit=claims.unit[:2])
    told = calibration(claims, at_work, DRAWN)
    assert told.error == pytest.approx((2 * 0.45 + 2 * 0.25) / 4) and told.at_work == pytest.approx(0.45)
    assert [(b.low, b.detections, b.share_right) for b in told.bins] == [(0.2, 2, 0.5), (0.9, 2, 0.5)]
    aside = replace(at_work, outcome=np.array([1, ASIDE], np.int8))
    assert calibration(claims, aside, DRAWN).at_work == pytest.approx(0.05)
