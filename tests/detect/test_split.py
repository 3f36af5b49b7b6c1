"""Validation images are of other scanners than training images, or of another time, or the split is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from soilpipe.detect.coco import LabelSet, read_labels
from soilpipe.detect.split import SplitError, split_labels
from soilpipe.taxonomy import SOIL

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


def dated(
    labelled: Labelled, days: dict[str, list[float]], also: Callable[[dict[str, Any]], None] = lambda data: None
) -> LabelSet:
    """Scanners with scans at so many days after 2024-03-01."""

    def change(data: dict[str, Any]) -> None:
        times = [day for scans in days.values() for day in scans]
        for entry, day in zip(data["images"], times, strict=True):
            entry["date_captured"] = (datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=day)).isoformat()
        also(data)

    return labels(labelled, scanners={scanner: len(scans) for scanner, scans in days.items()}, change=change)


def test_a_block_of_time_is_held_back_and_its_neighbours_are_in_neither_part(labelled: Labelled) -> None:
    given = dated(labelled, {"A": [0, 6.9, 7, 7.1, 10], "B": [9, 20]})
    split = split_labels(given, val_from=datetime(2024, 3, 11, tzinfo=UTC))
    assert names(split.validation) == {"A_4.png", "B_1.png"}
    assert names(split.training) == {"A_0.png", "A_1.png", "B_0.png"}  # A_2 is 72 h before A_4, A_3 less
    assert "2 images within 72 h of them are in neither part" in split.told
    assert len(split.training.images) == 7  # they still serve as references


def test_a_block_may_lie_in_the_middle_and_go_with_scanners(labelled: Labelled) -> None:
    given = dated(labelled, {"A": [0, 10, 12, 20], "B": [1, 30], "C": [0, 11]})
    begin, end = (datetime(2024, 3, day, tzinfo=UTC) for day in (10, 14))
    split = split_labels(given, val_scanners=["B"], val_from=begin, val_until=end)
    assert names(split.validation) == {"A_1.png", "A_2.png", "B_0.png", "B_1.png", "C_1.png"}
    assert names(split.training) == {"A_0.png", "A_3.png", "C_0.png"}
    assert split.told.startswith("scanners B; from 2024-03-10")


def test_a_block_without_images_without_times_or_with_all_is_refused(labelled: Labelled) -> None:
    given = dated(labelled, {"A": [0, 1, 2]})
    with pytest.raises(SplitError, match=r"no labelled image lies from 2025-01-01.*; they are from 2024-03-01"):
        split_labels(given, val_from=datetime(2025, 1, 1, tzinfo=UTC))
    with pytest.raises(SplitError, match=r"all 3 .* held back or within 72 h of those that are; none is left"):
        split_labels(given, val_from=datetime(2024, 3, 3, tzinfo=UTC))
    with pytest.raises(SplitError, match=r"needs its scanner_id and date_captured; 2 have none, image_0\.png"):
        split_labels(labels(labelled, images=2), val_from=datetime(2024, 3, 3, tzinfo=UTC))


def test_named_images_of_a_scanner_on_both_sides_are_taken_when_they_are_far_apart(labelled: Labelled) -> None:
    given = dated(labelled, {"A": [0, 4, 8]})
    assert names(split_labels(given, val_images=["A_2.png"]).training) == {"A_0.png", "A_1.png"}
    given = dated(labelled, {"A": [0, 4, 7]})
    with pytest.raises(SplitError, match=r"scanner A would be on both sides, 72 h or less apart .*A_1\.png"):
        split_labels(given, val_images=["A_2.png"])


def test_named_images_of_a_scanner_without_times_may_be_neighbours(labelled: Labelled) -> None:
    def change(data: dict[str, Any]) -> None:
        for entry in data["images"]:
            del entry["date_captured"]

    given = labels(labelled, scanners={"A": 2, "B": 1}, change=change)
    with pytest.raises(SplitError, match="both sides"):
        split_labels(given, val_images=["A_1.png"])
    assert names(split_labels(given, val_images=["A_*"]).training) == {"B_0.png"}


def test_the_last_fifth_in_time_of_a_single_scanner_is_held_back_where_enough_is_apart_from_it(
    labelled: Labelled,
) -> None:
    split = split_labels(dated(labelled, {"A": [float(4 * n) for n in range(10)]}))
    assert names(split.validation) == {"A_8.png", "A_9.png"} and len(split.training.labelled) == 8
    assert "last fifth in time" in split.told
    dense = dated(labelled, {"A": [0.25 * n for n in range(10)]})
    assert not split_labels(dense).validation.labelled


def without_animals(*without: str, category: str | None = None) -> Callable[[dict[str, Any]], None]:
    """No label on images whose names begin so; or, instead, one of a category."""

    def change(data: dict[str, Any]) -> None:
        bare = {entry["id"] for entry in data["images"] if entry["file_name"].startswith(without)}
        if category is None:
            data["annotations"] = [one for one in data["annotations"] if one["image_id"] not in bare]
            return
        data["categories"].append({"id": 9, "name": category})
        for one in data["annotations"]:
            one["category_id"] = 9 if one["image_id"] in bare else 1

    return change


def test_the_last_scanner_that_holds_animals_is_held_back_and_that_is_told(labelled: Labelled) -> None:
    change = without_animals("D", "C")
    split = split_labels(labels(labelled, scanners={"A": 1, "B": 1, "C": 1, "D": 2}, change=change))
    assert names(split.validation) == {"B_0.png"}
    assert names(split.training) == {"A_0.png", "C_0.png", "D_0.png", "D_1.png"}, "bare ground is learned from"
    assert split.told == "the last scanners in order of id that hold animals: B"
    assert split.notes == ("the last scanners in order of id hold no animal: held back instead is B",)


def test_crowds_and_background_are_no_animals_to_judge_by(labelled: Labelled) -> None:
    given = labels(labelled, scanners={"A": 1, "B": 1, "C": 1}, change=without_animals("C", category="root"))
    assert names(split_labels(given, taxonomy=SOIL).validation) == {"B_0.png"}
    assert names(split_labels(given).validation) == {"C_0.png"}, "no taxonomy says that it is background"

    def crowds(data: dict[str, Any]) -> None:
        data["annotations"][-1]["iscrowd"] = 1

    given = labels(labelled, scanners={"A": 1, "B": 1, "C": 1}, change=crowds)
    assert names(split_labels(given).validation) == {"B_0.png"}


def test_where_one_scanner_alone_holds_animals_its_last_time_is_held_back_or_it_is_told_what_comes_of_none(
    labelled: Labelled,
) -> None:
    for bare, other in (("A", "B"), ("B", "A")):  # were B held back, nothing would be left to train on
        change = without_animals(bare)
        split = split_labels(labels(labelled, scanners={"A": 2, "B": 2}, change=change))
        assert not split.validation.labelled and len(split.training.labelled) == 4
        (told,) = split.notes
        assert told.startswith(f"of {other}, the only scanner with animals, no block of time can be held")
        assert "the threshold is the default one, the training takes all its steps, and there are no figures" in told
    long = dated(labelled, {"A": [float(4 * n) for n in range(10)], "B": [0]}, without_animals("B"))
    split = split_labels(long)
    assert names(split.validation) == {"A_8.png", "A_9.png"} and not split.notes
    assert split.told.startswith("the last fifth in time of A, the only scanner with animals, from 2024-04-02")


def test_the_last_fifth_in_time_is_not_held_back_where_it_holds_no_animal(labelled: Labelled) -> None:
    days = {"A": [float(4 * n) for n in range(10)]}
    for bare in (("A_8", "A_9"), tuple(f"A_{n}" for n in range(8))):
        split = split_labels(dated(labelled, days, without_animals(*bare)))
        assert not split.validation.labelled and len(split.notes) == 1


def test_of_images_without_scanners_the_last_that_hold_animals_are_held_back(labelled: Labelled) -> None:
    split = split_labels(labels(labelled, images=10, change=without_animals("image_9", "image_8")))
    assert names(split.validation) == {"image_7.png"} and split.told.startswith("the last 1 images by name that hold")
    alone = labels(labelled, images=10, change=without_animals(*(f"image_{n}" for n in range(9))))
    assert not split_labels(alone).validation.labelled, "the only one with animals is trained on"


def test_named_scanners_without_animals_are_held_back_and_it_is_told_what_comes_of_it(labelled: Labelled) -> None:
    split = split_labels(labels(labelled, scanners={"A": 1, "B": 1}, change=without_animals("B")), val_scanners=["B"])
    assert names(split.validation) == {"B_0.png"}
    assert split.notes[0].startswith("no animal is marked on the images that are held back, so the threshold is the")
