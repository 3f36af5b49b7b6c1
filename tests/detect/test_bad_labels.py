"""Labels as people hand them in: each is read rightly, or refused with the reason and the remedy."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe.detect.coco import LabelError, read_labels
from soilpipe.detect.doubles import find_doubles
from soilpipe.detect.training import Recipe, train_detector

Labelled = Callable[..., Path]


def read(path: Path) -> Any:
    return read_labels(path, path.parent)


def twice(category: int, shift: float = 1.0) -> Callable[[dict[str, Any]], None]:
    """A second label on the first animal, a disc of 17 px."""

    def change(data: dict[str, Any]) -> None:
        first = data["annotations"][0]
        x, y, width, height = first["bbox"]
        again = {"id": 900, "image_id": first["image_id"], "category_id": category}
        data["annotations"].append({**again, "bbox": [x + 0.3 * shift, y - 0.2 * shift, width, height]})

    return change


def test_two_labels_of_one_taxon_on_one_animal_count_once_and_that_is_told(labelled: Labelled) -> None:
    labels = read(labelled(images=1, animals=4, change=twice(1)))
    assert len(labels.images[0].boxes) == 4
    assert labels.notes == ("image_0.png: 1 of 5 labels were on an animal that had one already",)


def test_two_taxa_on_one_animal_are_refused_with_the_place(labelled: Labelled) -> None:
    with pytest.raises(LabelError, match=r"image image_0\.png: the animal at x .* two labels, mite and springtail"):
        read(labelled(images=1, change=twice(2)))


def test_animals_that_overlap_less_are_two(labelled: Labelled) -> None:
    assert len(read(labelled(images=1, animals=4, change=twice(1, shift=20))).images[0].boxes) == 5


def test_a_simulation_knows_how_many_animals_there_are(labelled: Labelled) -> None:
    def change(data: dict[str, Any]) -> None:
        data["info"]["simulated"] = True
        twice(2)(data)

    assert len(read(labelled(images=1, animals=4, change=change)).images[0].boxes) == 5


def test_doubles_are_those_that_comparing_all_pairs_finds() -> None:
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 60, (300, 2))
    boxes = np.hstack([corner, corner + rng.uniform(8, 40, (300, 2))]).astype(np.float32)
    boxes = np.concatenate([boxes, boxes[:40] + rng.normal(0, 0.4, (40, 4)).astype(np.float32), boxes[50:60]])
    x = boxes.astype(float)
    shared = np.prod(
        np.clip(np.minimum(x[:, None, 2:], x[None, :, 2:]) - np.maximum(x[:, None, :2], x[None, :, :2]), 0, None),
        axis=2,
    )
    area = np.prod(x[:, 2:] - x[:, :2], axis=1)
    iou = shared / (area[:, None] + area[None] - shared)
    expected = [(i, j) for j in range(len(x)) for i in range(j) if iou[i, j] >= 0.9]
    assert len(expected) > 30
    assert find_doubles(boxes) == expected


def test_fifty_thousand_equal_boxes_are_one_animal_and_take_no_time() -> None:
    began = time.monotonic()
    assert len(find_doubles(np.tile(np.array([[1, 2, 9, 8]], np.float32), (50_000, 1)))) == 49_999
    assert time.monotonic() - began < 5


@pytest.mark.slow
def test_fifty_thousand_animals_in_one_scan_are_trained_on_and_judged(labelled: Labelled) -> None:
    def change(data: dict[str, Any]) -> None:
        data["annotations"] = [
            {"id": index, "image_id": 1 + index // 50_000, "category_id": 1,
             "bbox": [index % 250 * 4, index % 50_000 // 250 * 5, 4, 5]}
            for index in range(50_100)
        ]  # fmt: skip

    path = labelled(scanners={"A": 1, "B": 1}, size=(1000, 1000), change=change)
    card = train_detector(
        path, path.parent, path.parent / "out", recipe=Recipe(steps=2, batch=2, crop=256), device="cpu"
    )
    assert card["trained_on"]["animals"] == {"mite": 50_000} and card["figures"]["animals"] == 100


def test_an_image_that_comes_twice_is_named(labelled: Labelled) -> None:
    with pytest.raises(LabelError, match=r"image image_0\.png comes 2 times"):
        read(labelled(change=lambda data: data["images"][1].update(file_name="image_0.png")))


def test_what_is_no_object_where_one_is_needed_is_told(labelled: Labelled) -> None:
    with pytest.raises(LabelError, match=r"annotations holds 'mite'"):
        read(labelled(change=lambda data: data["annotations"].append("mite")))


def test_lists_of_nothing_are_labels_of_nothing(labelled: Labelled) -> None:
    labels = read(labelled(change=lambda data: data.update(images=[], annotations=[], categories=[])))
    assert labels.images == () and labels.categories == ()
