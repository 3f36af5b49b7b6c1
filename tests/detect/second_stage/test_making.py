"""A second stage is made by a training that asks for one, handed on to what goes on from it, and kept where it pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.detect.base import Detections
from soilpipe.detect.dataset import Sample
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.recipe import Recipe, TrainingError
from soilpipe.detect.second_stage import making
from soilpipe.detect.second_stage.examples import ALONE_EVERY
from soilpipe.detect.second_stage.looking import FROM, SECOND
from soilpipe.detect.second_stage.making import (
    CANDIDATES_FROM,
    TOLD,
    WARM_RATE,
    begun_second,
    fresh_second,
    second_that_pays,
)
from soilpipe.detect.second_stage.network import ANSWERS, SecondStage
from soilpipe.detect.starting import SECOND_STEPS, Start
from soilpipe.detect.training import train_detector
from soilpipe.detect.weights import load_detector, save_detector
from tests.detect.second_stage.test_network import with_second
from tests.detect.second_stage.test_training import sample_of
from tests.detect.test_predict import CARD, lively

TAXA = tuple(CARD["taxa"])
FEW = Recipe(second_steps=2)
CPU = torch.device("cpu")
BOXES = [[20.0 + 50 * x, 20.0 + 50 * y, 44.0 + 50 * x, 40.0 + 50 * y] for y in range(4) for x in range(4)]


def samples(count: int) -> list[Sample]:
    return [sample_of(BOXES, labels=[0] * len(BOXES)) for _ in range(count)]


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """A first stage that finds that share of the animals and as many others, and a second that finds another share."""

    def set_to(first: float, second: float) -> None:
        def judge_of(network: Any, card: dict[str, Any], device: torch.device) -> Any:
            share = second if SECOND in card else first
            assert (SECOND in card) == (network.second is not None)

            def detect(sample: Sample, threshold: float) -> Detections:
                found = round(share * len(BOXES))
                boxes = np.array([*BOXES[:found], *[[x, 0, x + 9, 9] for x in range(0, 160, 10)]], np.float32)
                scores = np.r_[np.full(found, 0.9), np.full(16, 0.3)].astype(np.float32)
                return Detections(boxes, scores, np.zeros(len(boxes), np.int64), TAXA)

            return detect

        monkeypatch.setattr(making, "judge_of", judge_of)

    return set_to


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [(0.5, 0.75, True), (0.75, 0.75, True), (0.75, 0.5, False)],
    ids=["more", "as many", "fewer"],
)
def test_it_is_kept_unless_validation_says_that_it_harms(
    first: float, second: float, kept: bool, claims: Callable[[float, float], None]
) -> None:
    claims(first, second)
    network = lively("medium")
    told = second_that_pays(network, CARD, samples(8), samples(1), CPU, FEW)
    assert (network.second is not None) == kept == (SECOND in told) == ("second" in network.architecture)
    assert told[TOLD].startswith("kept: on validation images" if kept else "none: on validation images")
    if kept:
        assert told[SECOND][FROM] == CANDIDATES_FROM and told[SECOND]["steps"] == 2
        looks = 8 + 8 // ALONE_EVERY  # one of the eight is looked at without its difference too
        each = {"candidates": 16 + round(16 * first), "on_animals": 16 * first}
        assert told[SECOND]["trained_on"] == {name: looks * count for name, count in each.items()}


def test_without_validation_images_it_is_kept_and_the_card_says_so(claims: Callable[[float, float], None]) -> None:
    claims(0.5, 0.0)
    network = lively("medium")
    told = second_that_pays(network, CARD, samples(8), [], CPU, FEW)
    assert SECOND in told and network.second is not None and "no validation images" in told[TOLD]


def test_of_too_few_animals_none_is_trained(claims: Callable[[float, float], None]) -> None:
    claims(0.75, 1.0)
    network = lively("medium")
    told = second_that_pays(network, CARD, samples(4), samples(1), CPU, FEW)  # 12 of 16 animals on each
    assert network.second is None and told == {
        TOLD: "none: 48 of 112 candidates lie on labelled animals (50 are needed, and some others)"
    }


@pytest.mark.parametrize("second", [1.0, 0.5], ids=["better", "worse"])
def test_of_too_few_animals_that_of_the_detector_begun_from_serves_as_it_is_where_it_pays(
    second: float, tmp_path: Path, claims: Callable[[float, float], None]
) -> None:
    begun = with_second()
    save_detector(tmp_path, begun, CARD | {SECOND: {FROM: 0.1}})
    claims(0.75, second)
    network = lively("medium")
    told = second_that_pays(network, CARD, samples(4), samples(1), CPU, FEW, tmp_path)
    if second < 0.75:
        assert network.second is None and told[TOLD].startswith("none: on validation")
        return
    assert told[SECOND] == {FROM: CANDIDATES_FROM, "steps": 0}
    assert told[TOLD].startswith("kept as it was before, since only 48 of 112")
    its = begun.second.state_dict()
    assert all(torch.equal(value, its[name]) for name, value in network.second.state_dict().items())


def test_of_too_few_animals_one_that_does_not_know_the_taxa_does_not_serve(
    tmp_path: Path, claims: Callable[[float, float], None]
) -> None:
    save_detector(tmp_path, with_second(), CARD | {SECOND: {FROM: 0.1}})
    claims(0.75, 1.0)
    network = lively("medium")
    told = second_that_pays(network, CARD | {"taxa": ["Acari", "Nematoda"]}, samples(4), samples(1), CPU, FEW, tmp_path)
    assert network.second is None and told[TOLD].startswith("none: 48 of 112")


def test_it_goes_on_from_the_second_stage_of_another_detector_for_the_taxa_that_both_know(tmp_path: Path) -> None:
    save_detector(tmp_path, with_second(), CARD | {SECOND: {FROM: 0.1}})
    begun = begun_second(tmp_path)
    assert begun is not None and begun.taxa == TAXA
    mine = fresh_second(lively("small"), ("Symphyla", "Nematoda"), begun, 0)
    its = begun.network
    assert torch.equal(mine.stem.conv.weight, its.stem.conv.weight) and torch.equal(mine.inner.weight, its.inner.weight)
    assert torch.equal(mine.out.weight[:ANSWERS], its.out.weight[:ANSWERS])
    assert torch.equal(mine.out.weight[ANSWERS], its.out.weight[ANSWERS + TAXA.index("Symphyla")])
    assert not mine.out.weight[ANSWERS + 1].any()
    recipe = making.second_recipe(replace(FEW, light=0.7, seed=9), begun=begun)
    afresh = making.second_recipe(replace(FEW, light=0.7, seed=9), begun=None)
    assert recipe == replace(afresh, learning_rate=WARM_RATE * afresh.learning_rate)
    assert (recipe.steps, recipe.light, recipe.seed) == (2, 0.7, 9)


def test_going_on_from_one_adds_nothing_to_its_logits(
    tmp_path: Path, claims: Callable[[float, float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training raises them, and what was trained once had that taken off."""
    begun = with_second()
    save_detector(tmp_path, begun, CARD | {SECOND: {FROM: 0.1}})
    claims(0.75, 1.0)
    monkeypatch.setattr(making, "WARM_RATE", 0.0)
    network = lively("medium")
    told = second_that_pays(network, CARD, samples(8), samples(1), CPU, FEW, tmp_path)
    assert told[SECOND]["steps"] == 2
    torch.testing.assert_close(network.second.out.bias, begun.second.out.bias)


def test_without_one_to_go_on_from_it_begins_from_the_encoder_of_its_first_stage(tmp_path: Path) -> None:
    save_detector(tmp_path, lively("medium"), CARD)
    assert begun_second(tmp_path) is None and begun_second(None) is None
    network = lively("medium")
    one, again, other = (fresh_second(network, TAXA, None, seed) for seed in (0, 0, 1))
    assert torch.equal(one.inner.weight, again.inner.weight) and not torch.equal(one.inner.weight, other.inner.weight)
    assert torch.equal(fresh_second(network, TAXA, None, 0).stem.conv.weight, network.stem.conv.weight)


def test_a_training_that_begins_from_a_detector_with_one_makes_one_of_no_more_steps_than_its_own(
    tmp_path: Path,
) -> None:
    save_detector(tmp_path / "two", with_second(), CARD | {SECOND: {FROM: 0.1}})
    save_detector(tmp_path / "one", lively("medium"), CARD)
    assert Start(warm_start=tmp_path / "two").recipe().second_steps == SECOND_STEPS
    assert Start(warm_start=tmp_path / "two").recipe(steps=30).second_steps == 30
    assert Start(warm_start=tmp_path / "two").recipe(steps=30, second_steps=0).second_steps == 0
    assert Start(warm_start=tmp_path / "one").recipe().second_steps == Start().recipe().second_steps == 0


def test_torchvisions_detectors_have_stages_of_their_own(labelled: Callable[..., Path]) -> None:
    path = labelled(images=1)
    with pytest.raises(TrainingError, match="second_steps"):
        train_detector(path, path.parent, path.parent / "out", family="fcos_resnet50_fpn", recipe=FEW, device="cpu")


@pytest.mark.slow
def test_a_training_with_a_second_stage_writes_it_tells_it_and_gives_the_same_weights_again(
    labelled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = labelled(scanners={"A": 3, "B": 3, "C": 2}, animals=10)
    monkeypatch.setattr(making, "CANDIDATES_FROM", 0.005)  # on so plain pictures no other candidate scores more
    recipe = Recipe(steps=80, batch=3, crop=96, seed=2, second_steps=6)
    stages: list[str] = []
    for name in ("a", "b"):
        card = train_detector(
            path, path.parent, path.parent / name, recipe=recipe, device="cpu", difference=False,
            progress=lambda stage, *_: stages.append(stage),
        )  # fmt: skip
    written = [(path.parent / name / "weights.safetensors").read_bytes() for name in ("a", "b")]
    assert written[0] == written[1]
    assert {"candidates", "second stage"} <= set(stages), card[TOLD]
    detector = load_detector(path.parent / "a", device="cpu")
    assert isinstance(detector.network, CentrePointNetwork) and card["recipe"]["second_steps"] == 6
    assert card[TOLD].startswith(("kept: on validation", "none: on validation"))
    assert card["parameters"] == detector.network.parameter_count
    assert (SECOND in card) == isinstance(detector.network.second, SecondStage)
    assert card["figures"]["f1"] > 0.8
