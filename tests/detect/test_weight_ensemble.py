"""Weights between what a detector knew and what it learned: what is between, and how much of it is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from soilpipe.detect import training
from soilpipe.detect.network import ANSWERS
from soilpipe.detect.on_samples import margin
from soilpipe.detect.recipe import Recipe
from soilpipe.detect.sizes import make_network
from soilpipe.detect.training import train_detector
from soilpipe.detect.warm_start import begin_from, known_before
from soilpipe.detect.weight_ensemble import SHARE, SHARES, bring_back, share_that_pays
from soilpipe.detect.weights import load_detector, save_detector
from tests.detect.made_samples import ground, sample_of
from tests.detect.test_predict import CARD, lively

BEFORE, AFTER = 2.0, 6.0
MARGIN = 0.04


def network_of(value: float) -> nn.BatchNorm1d:
    network = nn.BatchNorm1d(3)
    for tensor in network.state_dict().values():
        tensor.fill_(value)
    return network


def test_what_was_known_is_brought_back_by_its_share_and_all_else_stays_as_it_was_learned() -> None:
    network = network_of(AFTER)
    before = network_of(BEFORE).state_dict()
    known = [("weight", 1, before["weight"][2]), ("bias", ..., before["bias"])]
    known += [("running_mean", ..., before["running_mean"]), ("num_batches_tracked", ..., torch.tensor(2))]
    bring_back(network, known, 0.75)
    assert network.weight.tolist() == [6.0, 5.0, 6.0]  # a row that both know
    assert network.bias.tolist() == [5.0] * 3 and network.running_mean.tolist() == [5.0] * 3
    assert network.running_var.tolist() == [6.0] * 3 and network.num_batches_tracked.item() == 6
    bring_back(network, known, 1.0)
    assert network.bias.tolist() == [5.0] * 3


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ((0.5, 0.5, 0.5), 0.5),
        ((0.5, 0.5 + 0.9 * MARGIN, 0.5 + 0.9 * MARGIN), 0.5),
        ((0.5, 0.5, 0.5 + 1.1 * MARGIN), 1.0),
        ((0.5, 0.6, 0.55), 0.75),
        ((0.5, 0.6, 0.6), 0.75),
        ((0.6, 0.5, 0.5), 0.5),
    ],
)
def test_half_is_left_unless_validation_says_clearly_that_more_is_better(
    scores: tuple[float, ...], chosen: float
) -> None:
    network = network_of(AFTER)
    known = [("bias", ..., torch.full((3,), BEFORE))]

    def score() -> float:
        return scores[SHARES.index((network.bias[0].item() - BEFORE) / (AFTER - BEFORE))]

    assert share_that_pays(network, iter(known), score, MARGIN) == chosen
    assert network.bias.tolist() == [BEFORE + chosen * (AFTER - BEFORE)] * 3
    assert network.weight.tolist() == [AFTER] * 3


def test_of_another_detector_is_known_what_begins_from_it_takes_over(tmp_path: Path) -> None:
    save_detector(tmp_path, lively("small"), CARD)
    begun, learned = make_network("small", 2), make_network("small", 2)
    taxa = ("Nematoda", CARD["taxa"][0])
    begin_from(begun, taxa, tmp_path)
    kept = {name: value.clone() for name, value in learned.state_dict().items()}
    bring_back(learned, known_before(learned, taxa, tmp_path), 0.5)
    for name, value in learned.state_dict().items():
        middle = 0.5 * kept[name] + 0.5 * begun.state_dict()[name] if value.is_floating_point() else kept[name]
        if ".out." in name:  # a taxon that only one of them knows is as it was learned
            middle[ANSWERS] = kept[name][ANSWERS]
        torch.testing.assert_close(value, middle)


def test_a_training_that_goes_on_keeps_some_of_what_was_known_where_images_tell_what_pays(
    labelled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = labelled(scanners={"A": 3, "B": 3}, animals=10)
    brief = Recipe(steps=4, batch=2, crop=96)

    def trained(name: str, **given: object) -> dict[str, object]:
        return train_detector(path, path.parent, path.parent / name, device="cpu", recipe=brief, **given)  # type: ignore[arg-type]

    first = trained("first", val_scanners=["B"])
    assert SHARE not in first
    chosen: list[float] = []

    def told(*given: object) -> float:
        chosen.append(share_that_pays(*given))  # type: ignore[arg-type]
        return chosen[-1]

    monkeypatch.setattr(training, "share_that_pays", told)
    on = {"warm_start": path.parent / "first"}
    assert trained("second", val_scanners=["B"], **on)[SHARE] == chosen[0] and chosen[0] in SHARES
    assert SHARE not in trained("third", val_scanners=(), **on)
    monkeypatch.setattr(training, "share_that_pays", lambda *given: share_that_pays(*given, (0.0,)))
    trained("none", val_scanners=["B"], **on)
    states = [
        load_detector(path.parent / name, device="cpu").network.state_dict() for name in ("first", "none", "third")
    ]
    for name, value in states[0].items():
        assert not value.is_floating_point() or torch.equal(value, states[1][name])
    assert any(not torch.equal(value, states[2][name]) for name, value in states[0].items())


@pytest.mark.parametrize(("animals", "expected"), [(0, 0.5), (1, 0.5), (25, 0.1), (2500, 0.01), (10_000, 0.01)])
def test_few_animals_must_speak_up_to_be_heard(animals: int, expected: float) -> None:
    plain = sample_of(ground(), ground(), [[10.0, 10.0, 20.0, 20.0]] * animals)
    aside = sample_of(ground(), ground(), [[10.0, 10.0, 20.0, 20.0]] * 7)
    aside = replace(aside, image=replace(aside.image, crowd=np.ones(7, bool)))
    assert margin([plain, aside]) == expected
