"""What a detector has seen, itself and through those that it was begun from, is told and held against its figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from soilpipe.detect.ancestry import (
    ancestors_of,
    begun,
    familiar,
    last_seen,
    of_backbone,
    seen,
    seen_by_ancestors,
    times_of,
)
from soilpipe.detect.training import Recipe, train_detector

Labelled = Callable[..., Path]
FIRST = datetime(2024, 3, 6, tzinfo=UTC)
TINY = Recipe(steps=2, batch=2, crop=64)


@dataclass(frozen=True)
class Image:
    scanner_id: str | None
    captured_at: datetime | None


def at(scanner: str, slot: float) -> Image:
    """Slots are four days apart: farther than neighbours."""
    return Image(scanner, FIRST + slot * timedelta(days=4))


def card(images: list[Image], names: list[str] | None, most: int = 10, **more: Any) -> dict[str, Any]:
    return {"name": "one", "trained_on": {"image_names": names, **times_of(images, most)}, "served": {}, **more}


def test_an_image_is_known_by_its_name_or_by_its_scanner_and_time() -> None:
    mine = card([at("A", 0), at("A", 4)], ["a-tile.png"])
    images = [at("A", 0), at("A", 2), at("B", 0), Image(None, None)]
    assert [seen(mine, ["x"], [image]) for image in images] == [1, 0, 0, 0]
    assert seen(mine, ["a-tile.png"], [Image(None, None)]) == 1


def test_of_many_scans_the_span_is_known() -> None:
    many = card([at("A", slot) for slot in range(8)], None, most=5)
    assert many["trained_on"]["scanner_times"] is None
    assert [seen(many, ["x"], [at("A", slot)]) for slot in (-1, -0.5, 0, 7, 7.5, 8)] == [0, 1, 1, 1, 1, 0]


def test_scans_within_three_days_of_what_was_trained_on_are_familiar_and_those_beyond_are_not() -> None:
    mine = card([at("A", 1)], None)
    hours = [seen(mine, ["x"], [Image("A", FIRST + timedelta(days=4, hours=hours))]) for hours in (-73, -72, 72, 73)]
    assert hours == [0, 1, 1, 0] and seen(mine, ["x"], [at("B", 1)]) == 0
    later = card([at("B", 5)], None, ancestors=ancestors_of(mine, "1"))
    near = Image("A", FIRST + timedelta(days=4, hours=6))
    assert familiar(later, ["x", "y"], [near, at("A", 3)]) == {"x"}
    assert seen_by_ancestors(later, ["x", "y"], [near, at("A", 1)]) == 1, "what an ancestor was trained on, no more"


def test_what_chose_the_threshold_or_was_pasted_on_is_familiar_itself_and_its_neighbours_are_not() -> None:
    served = {
        "validation": {"image_names": ["v.png"], **times_of([at("B", 0)], 9)},
        "grounds": times_of([at("C", 0)], 9),
    }
    mine = card([at("A", 0)], [], served=served)
    images = [at("B", 0), at("B", 0.5), at("C", 0), at("C", 0.5), Image(None, None)]
    assert familiar(mine, ["a", "b", "c", "d", "v.png"], images) == {"a", "c", "v.png"}
    begun_from_it = card([at("A", 0)], [], ancestors=ancestors_of(mine, "1"))
    assert familiar(begun_from_it, ["a", "b"], [at("B", 0), at("B", 0.5)]) == {"a"}


def test_a_card_that_does_not_tell_its_validation_images_is_believed_of_the_hold_out_alone() -> None:
    before = card([at("A", 0)], [])
    del before["served"]
    images = [at("A", 5), at("B", 5)]
    assert familiar(before, ["a", "b"], images, held={"b"}) == {"a"}
    assert familiar(before, ["b"], images[1:]) == set(), "it was trained on other scanners, of another project"


def test_the_last_scan_that_was_learned_from_is_told_of_the_scanners_in_question() -> None:
    first = card([at("A", 7), at("B", 3)], None)
    mine = card([at("B", 5), at("C", 9)], None, ancestors=ancestors_of(first, "1"))
    assert last_seen(mine, {"A", "B"}) == at("A", 7).captured_at and last_seen(mine, {"B"}) == at("B", 5).captured_at
    assert last_seen(mine, {"D"}) is None and last_seen({}, {"A"}) is None


def test_a_scanner_without_times_is_known_whole() -> None:
    undated = card([Image("A", None), at("B", 0)], ["a.png"])
    assert [seen(undated, ["x"], [image]) for image in (at("A", 9), at("B", 0), at("B", 1))] == [1, 1, 0]


def test_what_an_ancestor_has_seen_counts_and_what_it_does_not_tell_is_believed_of_the_hold_out_alone() -> None:
    first = card([at("A", 0)], ["a.png"])
    second = card([at("A", 1)], ["b.png"], ancestors=ancestors_of(first, "1"))
    third = card([at("A", 2)], ["c.png"], ancestors=ancestors_of(second, "2"))
    assert [one["version"] for one in third["ancestors"]] == ["2", "1"]
    images = [at("A", slot) for slot in range(4)]
    assert seen(third, ["x"] * 4, images) == 3 and seen_by_ancestors(third, ["x"] * 4, images) == 2
    silent = card([at("A", 1)], ["b.png"], warm_start="mine")  # of an earlier release: what `mine` saw is not told
    assert seen(silent, ["x"], [at("A", 3)]) == 1 and seen(silent, ["x"], [at("A", 3)], held_out=True) == 0
    assert seen(card([at("A", 1)], ["b.png"], warm_start="shipped"), ["x"], [at("A", 3)]) == 0


def test_a_backbone_that_is_no_folder_of_a_model_has_no_ancestors(tmp_path: Path) -> None:
    assert of_backbone(None) == of_backbone(tmp_path) == of_backbone(tmp_path / "resnet50.pth") == []


@pytest.mark.parametrize("leaks", [True, False])
def test_a_warm_start_from_one_that_saw_the_validation_images_says_that_its_figures_flatter(
    labelled: Labelled, leaks: bool
) -> None:
    path = labelled(scanners={"A": 2, "B": 2})
    given: dict[str, Any] = {"recipe": TINY, "device": "cpu", "difference": False}
    train_detector(path, path.parent, path.parent / "first", val_scanners=[] if leaks else ["B"], **given)
    told = train_detector(
        path, path.parent, path.parent / "second", val_scanners=["B"], warm_start=path.parent / "first", **given
    )
    assert of_backbone(path.parent / "second") == begun(path.parent / "second")[1] and len(told["ancestors"]) == 1
    assert told["ancestors"][0]["name"] == "first" and len(told["ancestors"][0]["version"]) == 12
    assert told["ancestors"][0]["trained_on"]["scanner_spans"].keys() == ({"A", "B"} if leaks else {"A"})
    assert ("2 of these 2 images were trained on by a detector" in told["figures"]["split"]) == leaks
    assert ("so the figures flatter" in told["threshold_from"]) == leaks
    assert told["served"]["validation"]["image_names"] == ["B_0.png", "B_1.png"]
    assert told["ancestors"][0]["served"]["validation"]["image_names"] == ([] if leaks else ["B_0.png", "B_1.png"])
