"""Matching detections with labels."""

from __future__ import annotations

import numpy as np
import pytest

from soilpipe.detect.base import Detections
from soilpipe.detect.scoring import (
    Matches,
    average_precision,
    best_threshold,
    match,
    pool,
    precision_recall_f1,
    threshold_of_best_f1,
)

TRUTH = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], np.float32)
NONE = np.zeros(3, bool)


def found(boxes: list[list[float]], scores: list[float], labels: list[int] | None = None) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels or [0] * len(scores), np.int64),
        ("a", "b"),
    )


def test_a_label_is_found_once_and_its_double_is_wrong() -> None:
    matches = match(found([[0, 0, 10, 9], [0, 0, 10, 10]], [0.6, 0.9]), TRUTH, None, NONE)
    assert matches.correct.tolist() == [True, False]
    precision, recall, f1 = precision_recall_f1(matches, 0.5)
    assert (precision, round(recall, 3), round(f1, 3)) == (0.5, 0.333, 0.4)
    assert precision_recall_f1(matches, 0.7)[0] == 1.0


def test_the_taxon_must_agree_only_where_it_is_asked_for() -> None:
    one = found([[0, 0, 10, 10]], [0.9], [1])
    assert match(one, TRUTH, None, NONE).correct.tolist() == [True]
    assert match(one, TRUTH, np.array([0, 0, 0]), NONE).correct.tolist() == [False]


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong() -> None:
    matches = match(found([[21, 1, 25, 5], [0, 0, 10, 10]], [0.9, 0.8]), TRUTH, None, np.array([False, True, False]))
    assert matches.ignored.tolist() == [True, False] and matches.truths == 2
    assert precision_recall_f1(matches, 0.5) == (1.0, 0.5, pytest.approx(2 / 3))


def test_centres_match_boxes_of_another_size() -> None:
    loose = found([[2, 2, 7, 7]], [0.9])
    assert not match(loose, TRUTH, None, NONE).correct.any()
    assert match(loose, TRUTH, None, NONE, centres=True).correct.all()


def test_average_precision_of_a_hand_made_case() -> None:
    """Right, wrong, right of three labels: precision 1 up to recall 1/3, then 2/3 up to 2/3, then none."""
    boxes = [[0, 0, 10, 10], [60, 0, 70, 10], [20, 0, 30, 10]]
    matches = match(found(boxes, [0.9, 0.8, 0.7]), TRUTH, None, NONE)
    assert average_precision(matches) == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)


def test_the_best_threshold_is_that_of_the_best_f1() -> None:
    matches = match(found([[0, 0, 10, 10], [20, 0, 30, 10], [60, 0, 70, 10]], [0.9, 0.6, 0.3]), TRUTH, None, NONE)
    threshold, f1 = best_threshold(matches)
    assert 0.3 < threshold <= 0.6 and f1 == pytest.approx(0.8)


def test_of_thresholds_of_nearly_the_best_f1_the_one_that_counts_right() -> None:
    """100 animals: 70 found for certain; 20 more among 40 doubtful claims; then 200 claims with 5 animals."""
    scores = np.repeat([0.9, 0.5, 0.3], [70, 40, 200]).astype(np.float32)
    correct = np.arange(310) < 90
    correct[110:115] = True
    matches = Matches(scores, correct, np.zeros(310, bool), 100)
    assert precision_recall_f1(matches, 0.5)[2] == pytest.approx(0.857, abs=1e-3)
    assert precision_recall_f1(matches, 0.9)[2] == pytest.approx(0.824, abs=1e-3)
    threshold, f1 = best_threshold(matches)
    assert 0.3 < threshold <= 0.5 and f1 == pytest.approx(0.857, abs=1e-3)
    assert threshold_of_best_f1(matches) == (threshold, f1)
    fewer = Matches(scores, np.arange(310) < 84, matches.ignored, 100)  # 14 of the 40: F1 .80 with them, .824 without
    assert precision_recall_f1(fewer, 0.5)[2] == pytest.approx(0.8)
    assert 0.5 < best_threshold(fewer)[0] <= 0.9
    alike = Matches(scores, np.arange(310) < 86, matches.ignored, 100)  # 16 of the 40: .819 with them
    threshold, f1 = best_threshold(alike)
    assert 0.3 < threshold <= 0.5 and f1 == pytest.approx(0.819, abs=1e-3)
    threshold, f1 = threshold_of_best_f1(alike)
    assert 0.5 < threshold <= 0.9 and f1 == pytest.approx(0.824, abs=1e-3), "whatever it counts"


def test_nothing_found_and_nothing_there() -> None:
    empty = match(found([], []), TRUTH[:0], None, NONE[:0])
    assert precision_recall_f1(empty, 0.5) == (0.0, 0.0, 0.0)
    assert np.isnan(average_precision(empty)) and pool([]).truths == 0
