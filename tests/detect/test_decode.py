"""Peaks and the border between the two passes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from soilpipe.detect import decode
from soilpipe.detect.decode import DOUBLE, Peaks, find_peaks, overlaps, peak_boxes, settle_border, without_doubles
from soilpipe.detect.network import Answer

CORE = (0, 8, 0, 8)


def answer_of(heat: torch.Tensor, taxa: int = 2) -> Answer:
    """One window with that heatmap (h, w); the taxon is the second in the columns from 5 on, else the first."""
    taxon = torch.zeros(1, taxa, *heat.shape)
    taxon[:, 1, :, 5:] = 1.0
    return Answer(heat[None, None], torch.zeros(1, 4, *heat.shape), taxon)


def peaks_of(heat: torch.Tensor, threshold: float = 0.5, core: tuple[int, int, int, int] = CORE) -> Peaks:
    return find_peaks(answer_of(heat), 0, threshold, core, (10, 20))


def test_a_peak_is_a_local_maximum_with_its_taxon_in_the_cells_of_the_scan() -> None:
    heat = torch.full((8, 8), -5.0)
    heat[3, 4], heat[3, 5], heat[6, 1] = 2.0, 3.0, 1.0
    peaks = peaks_of(heat)
    assert peaks.cells.tolist() == [[13, 25], [16, 21]]
    assert peaks.heat.tolist() == [3.0, 1.0]
    assert peaks.taxon.argmax(axis=1).tolist() == [1, 0]


def test_of_equal_neighbours_the_first_is_the_peak_wherever_the_window_begins() -> None:
    heat = torch.full((8, 8), -5.0)
    heat[2:4, 2:5] = 1.0
    assert peaks_of(heat).cells.tolist() == [[12, 22]]
    assert find_peaks(answer_of(heat[1:, 2:]), 0, 0.5, (0, 7, 0, 6), (11, 22)).cells.tolist() == [[12, 22]]


def test_a_peak_outside_the_core_still_silences_its_neighbour_inside() -> None:
    heat = torch.full((8, 8), -5.0)
    heat[4, 3], heat[4, 4] = 2.0, 1.0
    assert len(peaks_of(heat, core=(0, 8, 4, 8))) == 0


def test_the_threshold_is_reached_by_equality_and_its_ends_mean_all_and_nothing() -> None:
    heat = torch.full((8, 8), -5.0)
    heat[4, 4] = 0.0
    assert len(peaks_of(heat, 0.5)) == 1
    assert len(peaks_of(heat, 0.0)) > 1
    assert len(peaks_of(heat, 1.0)) == 0
    assert decode.logit(0.5) == 0 and decode.logit(1.0) == math.inf
    with pytest.raises(ValueError, match="between 0 and 1"):
        decode.logit(1.2)


def alone(cells: np.ndarray, heat: np.ndarray) -> Peaks:
    """Peaks without neighbours, with raw sides of 0."""
    around = np.full((len(cells), 9), -np.inf, np.float32)
    around[:, decode.ITSELF] = heat
    return Peaks(cells, np.zeros((len(cells), 1), np.float32), around, np.zeros((len(cells), 9, 4), np.float32))


def test_boxes_lie_around_the_centre_of_their_cell_and_within_the_image() -> None:
    peaks = alone(np.array([[1, 2]]), np.zeros(1))
    assert peak_boxes(peaks, 2.0, 1000, 1000).tolist() == [[0, 0, 52, 44]]
    assert peak_boxes(peaks, 2.0, 40, 50).tolist() == [[0, 0, 50, 40]]


def test_a_box_is_what_the_cells_around_the_peak_say_of_it_by_the_square_of_their_scores() -> None:
    """One animal, x 8 to 40 and y 4 to 28, of which a neighbour sees a left side that is 4 px off."""
    heat = torch.full((8, 8), -math.inf)
    heat[3, 4], heat[3, 5] = math.log(4), 0.0  # scores .8 and .5
    sides = torch.full((1, 4, 8, 8), -6.0)
    for x, left in ((4, 8.0), (5, 12.0)):
        centre = torch.tensor([4 * (x + 0.5), 4 * 3.5])
        seen = torch.tensor([centre[0] - left, centre[1] - 4, 40 - centre[0], 28 - centre[1]])
        sides[0, :, 3, x] = torch.log(seen / decode.SIDE_UNIT)
    answer = Answer(heat[None, None], sides, torch.zeros(1, 1, 8, 8))
    peaks = find_peaks(answer, 0, 0.6, CORE, (0, 0))
    assert peaks.cells.tolist() == [[3, 4]]
    left = (8 * 0.64 + 12 * 0.25) / (0.64 + 0.25)
    assert peak_boxes(peaks, 1.0, 100, 100) == pytest.approx(np.array([[left, 4, 40, 28]]), abs=1e-4)


def test_a_peak_in_the_corner_of_an_image_has_a_box_however_unlikely_it_is() -> None:
    heat = torch.full((8, 8), -5000.0)
    heat[0, 0], heat[7, 7] = -3000.0, 3000.0
    boxes = peak_boxes(peaks_of(heat, 0.0), 1.0, 1000, 1000)
    assert np.isfinite(boxes).all() and len(boxes) >= 2


def test_the_strongest_are_the_same_however_the_peaks_are_ordered() -> None:
    rng = np.random.default_rng(0)
    peaks = alone(rng.integers(0, 50, (40, 2)), rng.integers(0, 4, 40))
    order = rng.permutation(40)
    shuffled = Peaks(peaks.cells[order], peaks.taxon[order], peaks.around[order], peaks.sides[order])
    np.testing.assert_array_equal(peaks.strongest(15).cells, shuffled.strongest(15).cells)


def box(length: float, x: float = 0.0) -> list[float]:
    return [x, 0.0, x + length, 20.0]


def settled(fine: list[list[float]], fine_scores: list[float], coarse: list[list[float]], coarse_scores: list[float]):
    masks = settle_border(
        np.array(fine).reshape(-1, 4),
        np.array(fine_scores),
        np.array(coarse).reshape(-1, 4),
        np.array(coarse_scores),
        border=100.0,
        tolerance=1.3,
    )
    return [mask.tolist() for mask in masks]


def test_each_pass_keeps_the_sizes_it_owns() -> None:
    assert settled([box(50), box(200)], [0.9, 0.9], [box(50, 400), box(200, 400)], [0.9, 0.9]) == [
        [True, False],
        [False, True],
    ]


def test_an_animal_at_the_border_is_neither_doubled_nor_lost() -> None:
    assert settled([box(98)], [0.6], [box(104)], [0.8]) == [[False], [True]]
    assert settled([box(104)], [0.8], [box(98)], [0.6]) == [[True], [False]]
    assert settled([box(104)], [0.7], [], []) == [[True], []]
    assert settled([], [], [box(98)], [0.7]) == [[], [True]]


def test_an_animal_that_the_passes_judge_on_either_side_of_the_tolerance_is_counted_once() -> None:
    assert settled([box(125)], [0.6], [box(135)], [0.8]) == [[False], [True]]
    assert settled([box(75)], [0.8], [box(80)], [0.6]) == [[True], [False]]


def test_different_animals_at_the_border_both_stay() -> None:
    assert settled([box(98)], [0.6], [box(104, 90)], [0.8]) == [[True], [True]]


def test_overlap_of_boxes_and_of_nothing() -> None:
    a = np.array([[0, 0, 10, 10], [5, 5, 5, 5]])
    assert overlaps(a, np.array([[5, 0, 15, 10]])).round(4).tolist() == [[0.3333], [0.0]]


def test_the_weaker_of_two_boxes_on_one_animal_gives_way() -> None:
    best, beside, apart = box(50), box(50, 10), box(50, 30)  # IoU of best with them: 0.67 and 0.25
    assert without_doubles(np.array([best, beside, apart])).tolist() == [True, False, True]
    assert without_doubles(np.array([best, apart])).tolist() == [True, True]
    assert without_doubles(np.zeros((0, 4))).tolist() == []


def test_what_gave_way_takes_no_other_with_it() -> None:
    first, second, third = box(50), box(50, 12), box(50, 24)  # each overlaps the next by 0.61, first and third by 0.35
    assert without_doubles(np.array([first, second, third])).tolist() == [True, False, True]


def test_equal_boxes_leave_one() -> None:
    assert without_doubles(np.array([box(50)] * 4)).tolist() == [True, False, False, False]


def test_boxes_without_an_area_stay() -> None:
    assert without_doubles(np.array([[5.0, 5.0, 5.0, 9.0]] * 2)).tolist() == [True, True]


def test_suppression_is_that_of_comparing_all_with_all() -> None:
    rng = np.random.default_rng(4)
    corner = rng.uniform(0, 400, (700, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 60, (700, 2))], axis=1)
    stay: list[int] = []
    for row in range(len(boxes)):
        if not (overlaps(boxes[row : row + 1], boxes[stay]) > DOUBLE).any():
            stay.append(row)
    assert 50 < len(stay) < 690
    assert np.flatnonzero(without_doubles(boxes)).tolist() == stay
