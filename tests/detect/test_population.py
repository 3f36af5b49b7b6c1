"""Figures of a sample, weighted by the chance of each tile, are those of the whole that it was drawn from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe.detect.coco import LabelError, read_labels
from soilpipe.detect.evaluate import evaluate_detector
from soilpipe.report.judging import _summary as summary_of
from tests.detect.test_evaluate import Oracle, told, truth

Labelled = Callable[..., Path]


def with_chances(*chances: float | None) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        for image, chance in zip(data["images"], chances, strict=True):
            if chance is not None:
                image["inclusion_probability"] = chance

    return change


def test_each_tile_stands_for_as_many_as_its_chance_says(labelled: Labelled) -> None:
    path = labelled(images=2, change=with_chances(0.5, 0.1))
    boxes, names = truth(path, 1)
    all_found = told(boxes, np.full(6, 0.9), names)
    boxes, names = truth(path, 2)
    half_found = told(boxes[:3], np.full(3, 0.9), names[:3])
    found = evaluate_detector(Oracle([all_found, half_found]), path, path.parent)
    whole = found.population
    assert whole is not None and (whole.tiles, whole.stands_for) == (2, 12.0)
    assert found.recall == pytest.approx(9 / 12)
    assert whole.recall == pytest.approx((2 * 6 + 10 * 3) / (12 * 6)) and whole.precision == 1.0
    assert whole.count_bias == pytest.approx(-10 * 3 / 72) and whole.f1 == pytest.approx(2 * 42 / (42 + 72))
    assert whole.effective == pytest.approx(144 / 104)
    assert whole.animals_per_100cm2 == pytest.approx(600 / found.area_cm2 * 2)
    assert whole.found_per_100cm2 == pytest.approx((2 * 6 + 10 * 3) / 12 * 2 / found.area_cm2 * 100)
    low, high = whole.intervals["recall"] or (0.0, 0.0)
    assert low == 0.5 and high == 1.0
    assert found.as_dict()["population"]["recall"] == whole.recall
    assert any("drawn at random" in told and "box 58 of 100" in told for told in summary_of(found))


def test_equal_chances_change_nothing(labelled: Labelled) -> None:
    path = labelled(images=2, change=with_chances(0.2, 0.2))
    boxes, names = truth(path, 1)
    found = evaluate_detector(Oracle([told(boxes, np.full(6, 0.9), names), told([], [], [])]), path, path.parent)
    assert found.population is not None and found.population.recall == found.recall == 0.5
    assert found.population.intervals["recall"] == found.intervals["recall"]
    assert found.population.effective == pytest.approx(2)


def test_a_tile_without_a_chance_keeps_it_to_the_tiles_themselves(labelled: Labelled) -> None:
    path = labelled(images=2, change=with_chances(0.2, None))
    assert evaluate_detector(Oracle([told([], [], [])] * 2), path, path.parent).population is None


@pytest.mark.parametrize("value", [0, -0.1, "much", True, float("inf")])
def test_a_chance_that_cannot_be_meant_is_told(labelled: Labelled, value: Any) -> None:
    path = labelled(images=1, change=lambda data: data["images"][0].update(inclusion_probability=value))
    with pytest.raises(LabelError, match=r"image image_0.png: inclusion_probability .* is not a number above 0"):
        read_labels(path, path.parent)
