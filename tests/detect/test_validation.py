"""Thresholds and figures from validation images, on answers that are made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soilpipe.detect.base import Detections
from soilpipe.detect.dataset import Sample, SamplePass
from soilpipe.detect.labelled import LabelledImage
from soilpipe.detect.validation import ENOUGH, Judge, for_looks, judge, look

UM = 20.0  # um/px
SIDE = 1000  # px: 2 cm, so that an image is 4 cm2
TAXA = ("Acari", "Collembola")


def image_of(boxes: list[tuple[float, float, float, float, int]], side: int) -> LabelledImage:
    n = len(boxes)
    return LabelledImage(
        file_name="",
        path=Path(),
        width=side,
        height=side,
        dpi=None,
        scanner_id=None,
        captured_at=None,
        labelled=True,
        boxes=np.array([(x, y, x + w, y + h) for x, y, w, h, _ in boxes], np.float32).reshape(-1, 4),
        labels=np.array([box[4] for box in boxes], np.int64),
        crowd=np.zeros(n, bool),
        scans_present=np.full(n, -1),
    )


def sample(boxes: list[tuple[float, float, float, float, int]], side: int = SIDE) -> Sample:
    """An image with animals x, y, width, height, label."""
    pixels = np.zeros((7, 1, 1), np.uint8)
    if side != SIDE:
        pixels = np.broadcast_to(np.uint8(0), (7, side, side))
    return Sample(image_of(boxes, side), {"fine": SamplePass(pixels, 1.0)}, UM, 0)


def row(count: int, label: int, y: float, size: float = 20) -> list[tuple[float, float, float, float, int]]:
    return [(10 + 30 * index, y, size, size, label) for index in range(count)]


def answers(scores: dict[str, list[tuple[tuple[float, float, float, float, int], float]]]) -> Judge:
    """A judge that answers with these boxes and scores, by file name."""

    def detect(one: Sample, threshold: float) -> Detections:
        found = [pair for pair in scores.get(one.image.file_name, []) if pair[1] >= threshold]
        found.sort(key=lambda pair: -pair[1])
        boxes = np.array([[x, y, x + w, y + h] for (x, y, w, h, _), _ in found], np.float32).reshape(-1, 4)
        labels = np.array([box[4] for box, _ in found], np.int64)
        return Detections(boxes, np.array([score for _, score in found], np.float32), labels, TAXA)

    return detect


def named(one: Sample, name: str) -> Sample:
    return replace(one, image=replace(one.image, file_name=name))


def test_a_taxon_with_enough_animals_has_a_threshold_of_its_own() -> None:
    mites = [box for y in (0, 30) for box in row(ENOUGH // 2, 0, y)]
    springtails = row(ENOUGH - 1 - ENOUGH // 2, 1, 300)
    given = named(sample([*mites, *springtails]), "a")
    wrong = [(x, 600.0, 20.0, 20.0, 0) for x in range(10, 900, 30)]
    found = {"a": [(box, 0.9) for box in mites] + [(box, 0.4) for box in springtails] + [(box, 0.7) for box in wrong]}
    judged = judge(answers(found), [given])
    assert judged is not None
    assert set(judged.thresholds) == {"Acari"} and 0.7 < judged.thresholds["Acari"] <= 0.9
    assert judged.threshold <= 0.4, "for any taxon the springtails are worth the false mites"
    assert judged.figures["precision"] == judged.figures["recall"] == judged.figures["f1_with_taxon"] == 1
    assert judged.figures["false_alarms_per_100cm2"] == 0 and judged.figures["count_error_per_image"] == 0


def test_the_threshold_is_the_one_that_counts_right_and_that_of_the_best_f1_is_told_beside_it() -> None:
    """A hundred animals: 70 found for certain, 16 more among 40 doubtful boxes: F1 .824 without these, .819 with."""
    animals = [box for y in range(0, 500, 100) for box in row(20, 0, y)]
    given = named(sample(animals), "a")
    wrong = [(10.0 + 30 * index, 800.0, 20.0, 20.0, 0) for index in range(24)]
    sure, doubtful = animals[:70], [*animals[70:86], *wrong]
    judged = judge(answers({"a": [(box, 0.9) for box in sure] + [(box, 0.5) for box in doubtful]}), [given])
    assert judged is not None
    assert judged.threshold <= 0.5 < judged.threshold_best_f1 <= 0.9


def test_recall_is_told_by_length_and_false_alarms_by_area() -> None:
    short, long = row(4, 0, 0, size=20), row(5, 0, 300, size=60)  # 0.4 and 1.2 mm
    given = [named(sample([*short, *long]), "a"), named(sample([]), "empty"), named(sample([]), "quiet")]
    found = {
        "a": [(box, 0.8) for box in [*short[:1], *long]],
        "empty": [((500.0, 500.0, 20.0, 20.0, 0), 0.8), ((700.0, 500.0, 20.0, 20.0, 0), 0.03)],
    }
    judged = judge(answers(found), given)
    assert judged is not None and not judged.thresholds, "too few"
    assert judged.figures["recall_by_mm"] == [
        {"from_mm": 0.3, "to_mm": 0.45, "animals": 4, "recall": 0.25},
        {"from_mm": 1.0, "to_mm": 2.0, "animals": 5, "recall": 1.0},
    ]
    assert judged.figures["empty_cm2"] == 8
    assert judged.figures["false_alarms_per_100cm2_empty"] == 12.5
    assert judged.figures["false_alarms_per_100cm2"] == pytest.approx(100 / 12, abs=1e-3)


def test_the_longest_class_has_no_upper_end() -> None:
    given = named(sample([(0.0, 0.0, 990.0, 50.0, 0)]), "a")
    judged = judge(answers({"a": [((0.0, 0.0, 990.0, 50.0, 0), 0.9)]}), [given])
    assert judged is not None
    assert judged.figures["recall_by_mm"] == [{"from_mm": 8.0, "to_mm": None, "animals": 1, "recall": 1.0}]
    assert judged.figures["false_alarms_per_100cm2_empty"] is None, "no empty image, no rate"


def test_nothing_to_judge_is_none() -> None:
    assert judge(answers({}), []) is None
    assert judge(answers({}), [sample([])]) is None


def test_a_look_counts_taxa_half() -> None:
    animals = row(10, 0, 0)
    given = [named(sample(animals), "a")]
    right = look(answers({"a": [(box, 0.9) for box in animals]}), given)
    assert right == {"score": 1.0, "AP50": 1.0}
    other = [((*box[:4], 1), 0.9) for box in animals]
    assert look(answers({"a": other}), given) == {"score": 0.5, "AP50": 1.0}


def test_looks_are_at_a_part_of_many_images_but_at_some_with_animals() -> None:
    side = 4000
    many = [named(sample(row(1, 0, 0), side), f"{number:02}") for number in range(12)]
    assert [one.image.file_name for one in for_looks(many)] == [
        "00",
        "05",
        "10",
    ]  # 48 of 192 MPx, for LOOK_PIXELS of 40
    hidden = [*(sample([], side) for _ in range(5)), sample(row(1, 0, 0), side)]
    assert any(len(one.image.boxes) for one in for_looks(hidden))
    assert for_looks([sample([])]) == []
