"""What a detector has seen, itself and through those that it was begun from, is told and held against its figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from soilpipe.detect.ancestry import ancestors_of, begun, of_backbone, seen, seen_by_ancestors, times_of
from soilpipe.detect.training import Recipe, train_detector

Labelled = Callable[..., Path]
FIRST = datetime(2024, 3, 6, tzinfo=UTC)
TINY = Recipe(steps=2, batch=2, crop=64)


@dataclass(frozen=True)
class Image:
    scanner_id: str | None
    captured_at: datetime | None


def at(scanner: str, slot: int) -> Image:
    return Image(scanner, FIRST + slot * timedelta(hours=6))


def card(images: list[Image], names: list[str] | None, most: int = 10, **more: Any) -> dict[str, Any]:
    return {"name": "one", "trained_on": {"image_names": names, **times_of(images, most)}, **more}


def test_an_image_is_known_by_its_name_or_by_its_scanner_and_time() -> None:
    mine = card([at("A", 0), at("A", 4)], ["a-tile.png"])
    images = [at("A", 0), at("A", 2), at("B", 0), Image(None, None)]
    assert [seen(mine, ["x"], [image]) for image in images] == [1, 0, 0, 0]
    assert seen(mine, ["a-tile.png"], [Image(None, None)]) == 1


def test_of_many_scans_the_span_is_known() -> None:
    many = card([at("A", slot) for slot in range(8)], None, most=5)
    assert many["trained_on"]["scanner_times"] is None
    assert [seen(many, ["x"], [at("A", slot)]) for slot in (0, 7, 8)] == [1, 1, 0]


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
