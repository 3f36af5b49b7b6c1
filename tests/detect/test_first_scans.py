"""Scans without earlier ones are left out where the others of their scanner have some, and for no other reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from soilpipe.detect.dataset import Sample
from soilpipe.detect.first_scans import without_first_scans
from soilpipe.detect.training import Recipe, train_detector
from tests.detect.made_samples import ground, sample_of

Labelled = Callable[..., Path]
BASE = sample_of(ground(), ground(), [[20, 20, 60, 50]])


def scans(scanner: str | None, references: list[int], *, simulated: bool = False, taxon: int = 0) -> list[Sample]:
    """One scan for each number of references, with one animal of a taxon."""
    image = replace(BASE.image, scanner_id=scanner, simulated=simulated, labels=np.array([taxon]))
    return [
        replace(BASE, references=count, image=replace(image, file_name=f"{scanner}-{number}.png"))
        for number, count in enumerate(references)
    ]


def names(samples: list[Sample]) -> list[str]:
    return [sample.image.file_name for sample in samples]


def test_the_first_scans_of_a_series_are_put_aside_and_that_is_told() -> None:
    series = [*scans("A", [0, 1, 4, 4]), *scans("B", [0, 2, 4])]
    kept, told = without_first_scans(series)
    assert names(kept) == ["A-2.png", "A-3.png", "B-1.png", "B-2.png"]
    assert told is not None and told.startswith("3 of 7 images to train on were put aside")
    assert told.endswith("more: 2 of A, 1 of B")


def test_real_images_stay_whatever_simulated_ones_have() -> None:
    real = [*scans(None, [0] * 40), *scans("A", [0, 0, 4])]
    simulated = scans("simulated-0/A", [4] * 41, simulated=True) + scans("A", [4] * 9, simulated=True)
    assert without_first_scans([*real, *simulated]) == ([*real, *simulated], None)


def test_images_of_one_scanner_stay_whatever_those_of_others_have() -> None:
    single, series = scans("A", [0]) + scans("B", [0, 0]), scans("C", [0, *[4] * 20])
    kept, told = without_first_scans([*single, *series])
    assert kept == [*single, *series[1:]] and told is not None and told.endswith("more: 1 of C")


def test_the_last_animals_of_a_taxon_stay_among_real_images_and_among_simulated_ones() -> None:
    first, later = scans("A", [0], taxon=1) + scans("A", [0]), scans("A", [4, 4, 4])
    assert without_first_scans([*first, *later])[0] == [first[0], *later]
    elsewhere = scans("S", [4, 4], simulated=True, taxon=1)
    assert without_first_scans([*first, *later, *elsewhere])[0] == [first[0], *later, *elsewhere]


def test_many_scanners_are_counted_not_listed() -> None:
    _, told = without_first_scans([one for n in range(9) for one in scans(f"S{n}", [0, 4, 4])])
    assert told is not None and told.startswith("9 of 27 ") and told.endswith("1 of S4 and 4 more")


def test_loose_images_beside_simulated_seasons_are_trained_on(labelled: Labelled, tmp_path: Path) -> None:
    """Four photographs, and seasons of which most scans have a difference."""

    def days(data: dict[str, Any]) -> None:
        data["info"]["simulated"] = True
        for number, entry in enumerate(data["images"]):
            entry["date_captured"] = f"2024-03-0{1 + number}T00:00:00Z"

    season = tmp_path / "season"
    season.mkdir()
    labelled(scanners={"A": 8}, animals=3, change=days).rename(season / "labels.json")
    for number in range(8):  # all of one ground, or none could be compared
        shutil.copy(tmp_path / "A_0.png", season / f"A_{number}.png")
    path = labelled(images=4, animals=3)
    card = train_detector(
        path, tmp_path, tmp_path / "out", simulated=[season], device="cpu", recipe=Recipe(steps=1, batch=2, crop=64)
    )
    assert card["trained_on"]["image_names"][:4] == [f"image_{n}.png" for n in range(4)]
    assert card["trained_on"]["images"] == 10 and card["trained_on"]["images_with_difference"] == 6
    assert card["share_of_crops"]["real"] + card["share_of_crops"]["simulated"] == 1
    assert [note for note in card["label_notes"] if note.endswith("2 of simulated-0/A")]
