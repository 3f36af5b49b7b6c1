"""What the card says of lengths and of classes that stand beside their members."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from soilpipe.detect.trained_card import shortest_found
from soilpipe.detect.training import Recipe, train_detector
from soilpipe.taxonomy import SOIL

Labelled = Callable[..., Path]


def classes(*told: tuple[float, int, float]) -> list[dict[str, Any]]:
    return [{"from_mm": low, "to_mm": None, "animals": animals, "recall": recall} for low, animals, recall in told]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (classes((0.3, 20, 0.3), (0.45, 20, 0.5), (1.0, 20, 0.9)), 0.45),
        (classes((0.3, 20, 0.9), (0.45, 20, 0.4), (1.0, 20, 0.9)), 1.0),
        (classes((0.3, 20, 0.9), (0.45, 9, 0.0), (1.0, 20, 0.9)), 0.3),
        (classes((0.3, 20, 0.9), (1.0, 20, 0.4)), None),
        (classes((0.3, 9, 0.9)), None),
        ([], None),
    ],
)
def test_the_shortest_length_found_is_that_from_which_on_every_class_with_enough_animals_is(
    told: list[dict[str, Any]], expected: float | None
) -> None:
    assert shortest_found(told) == expected


def test_the_card_names_limits_machine_and_remainders(labelled: Labelled) -> None:
    def change(data: dict[str, Any]) -> None:
        data["categories"] = [{"id": 1, "name": "Collembola"}, {"id": 2, "name": "Poduromorpha"}]
        for number, one in enumerate(data["annotations"]):
            one["category_id"] = 1 + (number % 3 > 0)

    path = labelled(scanners={"A": 2, "B": 2}, change=change)
    recipe = Recipe(steps=2, batch=2, crop=64)
    given: dict[str, Any] = {"recipe": recipe, "device": "cpu", "difference": False, "taxonomy": SOIL}
    card = train_detector(path, path.parent, path.parent / "out", least_examples=2, **given)
    assert card["taxa"] == ["Collembola", "Poduromorpha"]
    assert card["remainders"] == {"Collembola": ["Poduromorpha"]}
    assert "Collembola (where it is none of Poduromorpha), Poduromorpha of" in card["good_for"]
    assert card["shortest_found_mm"] is None and card["ancestors"] == [] and card["seconds"] > 0
    assert card["hardware"]["cores"] >= 1 and {"energy_wh", "energy_of", "seconds_from_step"} <= set(card)
    assert card["trained_on"]["scanner_times"] == {"A": ["2024-03-06T00:00:00+00:00", "2024-03-06T06:00:00+00:00"]}
