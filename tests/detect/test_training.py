"""Training from a COCO file: it learns, it is told what is wrong, and the card says what it is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.detect.coco import LabelError, read_labels
from soilpipe.detect.dataset import workers_that_pay
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.pictures import read_picture
from soilpipe.detect.starting import Start
from soilpipe.detect.training import Recipe, TrainingError, train_detector
from soilpipe.detect.warm_start import begin_from
from soilpipe.detect.weights import load_detector
from soilpipe.taxonomy import SOIL
from soilpipe.tiles import image_from_array

Labelled = Callable[..., Path]
TINY = Recipe(steps=3, batch=2, crop=64)


def train(path: Path, name: str = "out", **given: Any) -> dict[str, Any]:
    given = {"recipe": TINY, "device": "cpu", "difference": False, **given}
    return train_detector(path, path.parent, path.parent / name, **given)


def test_it_learns_bright_discs_and_bars_in_eighty_steps(labelled: Labelled) -> None:
    path = labelled(scanners={"A": 3, "B": 3, "C": 2}, animals=10)
    told: list[str] = []
    card = train(path, recipe=Recipe(steps=80, batch=3, crop=96, seed=2), progress=lambda stage, *_: told.append(stage))
    assert card["figures"]["f1"] > 0.8 and card["figures"]["split"].endswith("id: C")
    assert card["threshold_from"].startswith("of all thresholds with the best F1 on validation images to within 0.02")
    assert f"F1 alone would take {card['threshold_best_f1']:.2f}" in card["threshold_from"]
    assert {"training samples", "validation samples", "training"} <= set(told)
    assert (path.parent / "out" / "losses.png").stat().st_size > 1000
    detector = load_detector(path.parent / "out", device="cpu")
    assert detector.info.taxa == ("mite", "springtail")
    assert detector.info.threshold == card["threshold"]


def test_the_same_seed_gives_the_same_weights(labelled: Labelled) -> None:
    path = labelled(images=2)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(path, name, recipe=Recipe(steps=3, batch=2, crop=64, seed=seed))
    weights = [(path.parent / name / "weights.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1] != weights[2]


def test_the_card_tells_what_a_person_must_know_and_no_paths(labelled: Labelled) -> None:
    path = labelled(images=3, change=lambda data: data["info"].update(simulated=True))
    card = train(path, taxonomy=SOIL, name="mine")
    written = json.loads((path.parent / "mine" / "card.json").read_text())
    assert written["taxa"] == ["Collembola", "Acari"] and written["validation"] == "none"  # judged on nothing
    assert written["trained_on"]["animals"] == {"Collembola": 9, "Acari": 9}
    assert written["trained_on"]["labels"] == "labels.json" and written["steps"] == 3
    assert written["threshold"] == 0.3 and written["threshold_from"] == "default: no images held back"
    assert written["threshold_best_f1"] is None
    assert "simulated" in written["not_good_for"] and "difference" in written["not_good_for"]
    assert written["heads"] == ["fine"]  # no animal of 4 mm or more to learn from
    assert str(path.parent) not in json.dumps(written)
    assert card["parameters"] > 8e5


def test_the_licence_is_as_it_is_given_or_as_the_label_file_tells_it(labelled: Labelled) -> None:
    assert train(labelled(images=1))["licence"] == "not stated"
    path = labelled(images=1, change=lambda data: data.update(licenses=[{"id": 1, "name": "CC BY 4.0"}]))
    assert train(path)["licence"] == "CC BY 4.0 (of the images, by labels.json)"
    assert train(path, licence="CC0-1.0")["licence"] == "CC0-1.0"


def test_real_labels_validate_nothing_by_themselves(labelled: Labelled) -> None:
    assert train(labelled(images=2))["validation"] == "none"


def test_simulated_labels_validate_what_was_judged_on_some_held_back(labelled: Labelled) -> None:
    path = labelled(scanners={"A": 1, "B": 1}, change=lambda data: data["info"].update(simulated=True))
    assert train(path)["validation"] == "simulated"


def test_long_animals_get_the_coarse_pass(labelled: Labelled) -> None:
    path = labelled(images=2, change=lambda data: data["annotations"][0].update(bbox=[2, 2, 210, 20]))
    assert train(path)["heads"] == ["fine", "coarse"]


def test_a_single_class_is_any_animal(labelled: Labelled) -> None:
    def change(data: dict[str, Any]) -> None:
        data["categories"][0]["name"] = "root"
        data["categories"][1]["name"] = "something nobody knows"

    card = train(labelled(images=2, change=change), single_class=True)
    assert card["taxa"] == ["Invertebrata"] and card["trained_on"]["animals"] == {"Invertebrata": 6}


def test_named_taxa_gather_what_lies_below_them_and_those_without_examples_are_left_out(labelled: Labelled) -> None:
    card = train(labelled(images=2), taxonomy=SOIL, taxa=["Hexapoda", "Acari", "Nematoda"])
    assert card["taxa"] == ["Hexapoda", "Acari"]


def test_a_taxon_of_crowds_alone_is_not_learned_and_background_alone_is_no_training(labelled: Labelled) -> None:
    def crowds(data: dict[str, Any]) -> None:
        for one in data["annotations"]:
            one["iscrowd"] = int(one["category_id"] == 2)

    assert train(labelled(images=2, change=crowds), taxonomy=SOIL)["taxa"] == ["Acari"]

    def roots(data: dict[str, Any]) -> None:
        for category, name in zip(data["categories"], ("root", "hyphae"), strict=True):
            category["name"] = name

    with pytest.raises(LabelError, match="background"):
        train(labelled(change=roots), taxonomy=SOIL)


def test_a_validation_scanner_holds_animals_and_another_choice_is_told(labelled: Labelled) -> None:
    def bare(data: dict[str, Any]) -> None:
        data["annotations"] = [one for one in data["annotations"] if one["image_id"] != 3]

    card = train(labelled(scanners={"A": 1, "B": 1, "C": 1}, change=bare))
    assert card["figures"]["split"] == "the last scanners in order of id that hold animals: B"
    assert card["label_notes"] == ["the last scanners in order of id hold no animal: held back instead is B"]


def test_half_the_resolution_of_the_images(labelled: Labelled) -> None:
    path = labelled(images=2, change=lambda data: [image.update(dpi=600) for image in data["images"]])
    assert train(path, scale=0.5)["um_per_px"] == pytest.approx(84.667)
    with pytest.raises(TrainingError, match="um_per_px or scale, not both"):
        train(path, scale=0.5, um_per_px=20.0)


def test_no_labels_are_no_training(labelled: Labelled) -> None:
    with pytest.raises(LabelError, match="3 images and not one label"):
        train(labelled(animals=0))
    with pytest.raises(LabelError, match="no labelled image is left"):
        train(labelled(), where=lambda image: False)


def test_three_labels_are_enough_to_run(labelled: Labelled) -> None:
    assert train(labelled(images=1, animals=3))["trained_on"]["animals"] == {"mite": 2, "springtail": 1}


def test_a_recipe_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"crop \(100\) a multiple"):
        Recipe(crop=100)


def test_training_that_goes_astray_stops(labelled: Labelled) -> None:
    with pytest.raises(TrainingError, match="no longer a number"):
        train(labelled(images=1), recipe=Recipe(steps=30, batch=2, crop=64, learning_rate=float("inf"), warm_up=0))


@pytest.mark.slow
def test_a_detector_of_evened_contrast_sees_so_wherever_it_is_asked_and_hands_it_on(labelled: Labelled) -> None:
    path = labelled(images=3, animals=8)
    card = train(path, "evened", even=True, recipe=Recipe(steps=60, batch=3, crop=96, seed=2))
    assert card["contrast"] == "local" and "contrast" not in train(path, "plain")
    picture = read_picture(path.parent / json.loads(path.read_text())["images"][0]["file_name"])
    misty = np.rint(picture * 0.35 + 120).astype(np.uint8)  # two thirds of its contrast lost
    detector = load_detector(path.parent / "evened", device="cpu")
    clear, hidden = (
        detector.detect(image_from_array(one, 25400 / 1200), (), (), threshold=0.45) for one in (picture, misty)
    )
    assert len(clear) == len(hidden) >= 4
    # Of equally good ones either may come first.
    np.testing.assert_allclose(*(one.boxes[one.boxes[:, 0].argsort()] for one in (clear, hidden)), atol=2)
    assert detector.info.settings["contrast"] == "local", "part of the analysis"
    begun = train(path, "next", warm_start=path.parent / "evened")
    assert begun["contrast"] == "local"
    assert "contrast" not in train(path, "back", warm_start=path.parent / "evened", even=False)


def test_a_warm_start_takes_over_what_both_know(labelled: Labelled) -> None:
    path = labelled(images=2)
    train(path, "first", taxonomy=SOIL)
    card = train(path, "second", taxonomy=SOIL, warm_start=path.parent / "first", recipe=TINY)
    assert card["warm_start"] == "first"
    first = load_detector(path.parent / "first", device="cpu").network.state_dict()
    network = CentrePointNetwork(3)
    begin_from(network, ("Acari", "Nematoda", "Collembola"), path.parent / "first")
    now = network.state_dict()
    torch.testing.assert_close(now["stem.conv.weight"], first["stem.conv.weight"], rtol=0, atol=0)
    for mine, its in ((5, 6), (7, 5), (0, 0), (4, 4)):  # Acari, Collembola, animal or not, bottom
        np.testing.assert_array_equal(now["fine.out.weight"][mine], first["fine.out.weight"][its])


def with_a_finest_pass(path: Path) -> Path:
    """The folder of a detector that sees scans at half their resolution, and has one."""
    train(path, "first", scale=0.5)
    card_file = path.parent / "first" / "card.json"
    first = json.loads(card_file.read_text())
    assert "finest_mm" not in first
    card_file.write_text(json.dumps(first | {"finest_mm": 0.3, "finest_tolerance": 1.2}))
    return card_file.parent


def test_a_finest_pass_is_handed_on_and_learned_for(labelled: Labelled) -> None:
    path = labelled(scanners={"A": 2, "B": 1})
    first = with_a_finest_pass(path)
    recipe = Start(warm_start=first).recipe(steps=2, batch=8, crop=64)
    second = train(path, "second", recipe=recipe, warm_start=first, val_scanners=["B"])
    assert (second["finest_mm"], second["finest_tolerance"]) == (0.45, 1.3)
    assert second["figures"]["images"] == 1 and second["recipe"]["finest_share"] == 0.15
    unlearned = train(path, "third", recipe=replace(recipe, finest_share=0.0), warm_start=first)
    weights = [(path.parent / name / "weights.safetensors").read_bytes() for name in ("second", "third")]
    assert unlearned["finest_mm"] == 0.45 and weights[0] != weights[1]


def test_a_finest_pass_of_another_scale_is_not_handed_on_where_no_scan_shows_it(labelled: Labelled) -> None:
    """The head would be asked about what it never saw as soon as a finer scan comes."""
    path = labelled(images=2)
    first = with_a_finest_pass(path)
    assert "finest_mm" not in train(path, "second", scale=1.0, warm_start=first)


def test_torchvisions_detectors_have_no_finest_pass(labelled: Labelled) -> None:
    with pytest.raises(TrainingError, match="finest_share is for networks of our own"):
        train(labelled(images=1), family="fcos_resnet50_fpn", recipe=replace(TINY, finest_share=0.2))


def test_scans_that_memory_would_not_hold_are_trained_on_from_files(
    labelled: Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = labelled(scanners={"A": 3, "B": 1})
    seen: list[int] = []

    def told(stage: str, *_: Any) -> None:
        if stage == "training":
            seen.append(len(list((path.parent / "work" / "samples").glob("*.npy"))))

    train(path, "memory", difference=True)
    monkeypatch.setattr("soilpipe.detect.spill.MOST_IN_MEMORY", 1000)
    train(path, "files", difference=True, work=path.parent / "work", progress=told)
    train(path, "temporary", difference=True)
    weights = [(path.parent / name / "weights.safetensors").read_bytes() for name in ("memory", "files", "temporary")]
    assert weights[0] == weights[1] == weights[2]
    assert seen[0] == 8 and not (path.parent / "work" / "samples").exists()


def test_the_shares_of_real_artificial_and_simulated_crops_are_on_the_card(labelled: Labelled) -> None:
    card = train(labelled(images=2), recipe=Recipe(steps=20, batch=4, crop=64, scenes=0.4))
    shares = card["share_of_crops"]
    assert 0.25 < shares["artificial"] < 0.55 and shares["artificial"] == card["scenes"]["crops"] / 80
    assert shares["simulated"] == 0 and shares["real"] == pytest.approx(1 - shares["artificial"])
    assert train(labelled(images=2))["share_of_crops"] == {"artificial": 0, "real": 1, "simulated": 0}


def test_processes_are_worth_it_for_many_pixels_with_references(labelled: Labelled) -> None:
    def large(data: dict[str, Any]) -> None:
        for image in data["images"]:
            image.update(width=6000, height=6000)

    def read(**given: Any) -> Any:
        path = labelled(**given)
        return read_labels(path, path.parent)

    dated = {"A": 2}
    assert workers_that_pay(read(scanners=dated), True) == 1
    assert workers_that_pay(read(images=2, change=large), True) == 1
    assert workers_that_pay(read(scanners=dated, change=large), True) == len(os.sched_getaffinity(0))
    assert workers_that_pay(read(scanners=dated, change=large), False) == 1
