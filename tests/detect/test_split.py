"""Validation images are of other scanners than training images, or the split is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from soilpipe.detect.coco import LabelSet, read_labels
from soilpipe.detect.split import SplitError, split_labels

Labelled = Callable[..., Path]


def labels(labelled: Labelled, **given: object) -> LabelSet:
    path = labelled(size=(64, 64), animals=1, **given)
    return read_labels(path, path.parent)


def names(part: LabelSet) -> set[str]:
    return {image.file_name for image in part.labelled}


def test_the_last_scanner_is_held_back(labelled: Labelled) -> None:
    split = split_labels(labels(labelled, scanners={"C": 1, "A": 2, "B": 1}))
    assert names(split.validation) == {"C_0.png"} and names(split.training) == {"A_0.png", "A_1.png", "B_0.png"}
    assert len(split.training.images) == 4  # the others still serve as references


def test_named_scanners_are_held_back(labelled: Labelled) -> None:
    split = split_labels(labels(labelled, scanners={"A": 2, "B": 1}), val_scanners=["A"])
    assert names(split.validation) == {"A_0.png", "A_1.png"}


def test_images_of_one_scanner_on_both_sides_are_refused(labelled: Labelled) -> None:
    with pytest.raises(SplitError, match="images of scanner A would be on both sides"):
        split_labels(labels(labelled, scanners={"A": 2, "B": 1}), val_images=["A_1.png", "B_*"])


def test_holding_back_everything_or_what_is_not_there_is_refused(labelled: Labelled) -> None:
    given = labels(labelled, scanners={"A": 1, "B": 1})
    with pytest.raises(SplitError, match="none is left to train on"):
        split_labels(given, val_scanners=["A", "B"])
    with pytest.raises(SplitError, match=r"no labelled image is of scanner Z; the label file has A, B"):
        split_labels(given, val_scanners=["Z"])
    with pytest.raises(SplitError, match=r"no labelled image is called none\.png"):
        split_labels(given, val_images=["none.png"])


def test_without_scanners_the_last_tenth_by_name_is_held_back_from_ten_images_on(labelled: Labelled) -> None:
    assert names(split_labels(labels(labelled, images=10)).validation) == {"image_9.png"}
    assert not split_labels(labels(labelled, images=9)).validation.labelled
    assert not split_labels(labels(labelled, images=10), val_images=[]).validation.labelled


def test_one_scanner_alone_is_not_split(labelled: Labelled) -> None:
    split = split_labels(labels(labelled, scanners={"A": 4}))
    assert not split.validation.labelled and split.told == "no images held back"
