"""What torchvision's detectors are taught: their labels, what is kept out of them, and that they learn."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from soilpipe.detect.crops import Crops
from soilpipe.detect.losses import SizeRange
from soilpipe.detect.torchvision_detector import TorchvisionDetector
from soilpipe.detect.torchvision_family import FAMILIES, TorchvisionNetwork, make_family
from soilpipe.detect.torchvision_learning import TorchvisionLearner
from soilpipe.tiles import image_from_array

CARD: dict[str, Any] = {
    "name": "theirs",
    "taxa": ["Acari", "Collembola"],
    "um_per_px": 21.17,
    "threshold": 0.3,
    "validation": "none",
    "heads": ["fine"],
}
CPU = torch.device("cpu")
ALL_SIZES = SizeRange(0.0, float("inf"), 1.3)


@pytest.fixture(scope="module", params=[pytest.param(FAMILIES[0], marks=pytest.mark.slow), *FAMILIES[1:]])
def network(request: pytest.FixtureRequest) -> Iterator[TorchvisionNetwork]:
    torch.manual_seed(1)
    network = make_family(request.param, 2)
    if network.two_stages:  # a fresh one is sure of everything: pooling a thousand regions takes seconds
        network.model.rpn._pre_nms_top_n = network.model.rpn._post_nms_top_n = {"training": 40, "testing": 40}
    yield network.eval()


def crops(rng: np.random.Generator, count: int = 2, side: int = 96) -> Crops:
    """Bright squares on grey, one of each taxon in every crop; the last box of the batch counts neither way."""
    pixels = rng.integers(80, 100, (count, 7, side, side), np.uint8)
    boxes, index, labels = [], [], []
    for crop in range(count):
        for label in (0, 1):
            x, y = rng.integers(4, side - 34, 2)
            width, height = (30, 12) if label else (20, 20)
            pixels[crop, label, y : y + height, x : x + width] = 240
            boxes.append([x, y, x + width, y + height])
            index.append(crop)
            labels.append(label)
    ignored = np.zeros(len(boxes), bool)
    ignored[-1] = True
    return Crops(
        torch.from_numpy(pixels),
        np.array(index, np.int64),
        np.array(boxes, np.float32),
        np.array(labels, np.int64),
        np.full(len(boxes), 30, np.float32),
        ignored,
    )


def test_a_batch_gives_the_same_finite_losses_twice_and_all_parts_learn(network: TorchvisionNetwork) -> None:
    batch = crops(np.random.default_rng(0))
    learner = TorchvisionLearner(network, CPU)
    targets = learner.targets(batch, ALL_SIZES)
    network.train()
    try:
        first = learner.losses({"fine": (batch.pixels, targets)})
        torch.manual_seed(99)  # what is drawn within does not depend on what was drawn before
        with torch.no_grad():
            again = learner.losses({"fine": (batch.pixels, targets)})
        assert len(first) == len(learner.parts) + 1 and all(bool(part.isfinite()) for part in first)
        assert torch.allclose(torch.stack(first), torch.stack(again), rtol=1e-5)
        first[-1].backward()
        without = [name for name, value in network.named_parameters() if value.grad is None]
        assert not without
        assert float(network.encoder.conv1.weight.grad.abs().sum()) > 0
    finally:
        network.zero_grad()
        network.eval()


def classifier(network: TorchvisionNetwork) -> nn.Module:
    """The last layer of its classification."""
    if network.two_stages:
        layer: nn.Module = network.model.roi_heads.box_predictor.cls_score
    else:
        layer = network.model.head.classification_head.cls_logits
    return layer


def test_a_taxon_has_the_same_number_in_labels_in_losses_and_in_answers(network: TorchvisionNetwork) -> None:
    changed = copy.deepcopy(network)
    layer = classifier(changed)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    learner = TorchvisionLearner(changed.train(), CPU)
    batch = crops(np.random.default_rng(0))
    batch.labels[:] = 1
    learner.losses({"fine": (batch.pixels, learner.targets(batch, ALL_SIZES))})[-1].backward()
    asked_for = [layer.bias.grad[changed.first_label + taxon].item() for taxon in (0, 1)]
    assert asked_for[1] < asked_for[0]  # the second taxon is to become likelier, as against the first
    with torch.no_grad():
        layer.bias[changed.first_label + 1] = 3.0
    detector = TorchvisionDetector(changed.eval(), CARD, device="cpu")
    found = detector.detect(
        image_from_array(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), 21.17), [], [], threshold=0.6
    )
    assert len(found) > 0 and set(found.labels.tolist()) == {1}
    assert found.taxon(0) == "Collembola"


def test_what_counts_neither_way_is_blanked_but_for_counted_animals_on_it() -> None:
    learner = TorchvisionLearner(make_family(FAMILIES[1], 2), CPU)
    pixels = torch.full((1, 7, 64, 64), 50, dtype=torch.uint8)
    boxes = np.array([[10, 10, 40, 40], [20, 20, 30, 30], [50, 50, 50, 60], [0, 50, 8, 60]], np.float32)
    given = Crops(
        pixels,
        np.zeros(4, np.int64),
        boxes,
        np.array([0, 1, 0, 1]),
        np.array([30, 10, 10, 300], np.float32),
        np.array([True, False, False, False]),
    )
    targets = learner.targets(given, SizeRange(0.0, 100.0, 1.3))
    assert targets.animals[0]["boxes"].tolist() == [[20, 20, 30, 30]] and targets.animals[0]["labels"].tolist() == [1]
    blank = targets.blank[0]
    assert blank[12, 12] and blank[39, 39] and not blank[25, 25] and blank[55, 4] and not blank[45, 45]
    none = learner.targets(Crops(pixels, *(part[:0] for part in (given.crop, boxes, given.labels)),
                                 given.length[:0], given.ignored[:0]), ALL_SIZES)  # fmt: skip
    assert none.animals[0]["boxes"].shape == (0, 4) and not none.blank.any()


@pytest.mark.slow
def test_losses_go_down_on_what_it_is_shown() -> None:
    """A few steps on one batch bring the losses down; more than that a test has no time for."""
    torch.manual_seed(0)
    network = make_family(FAMILIES[1], 2).train()
    learner = TorchvisionLearner(network, CPU)
    batch = crops(np.random.default_rng(3), side=64)
    targets = learner.targets(batch, ALL_SIZES)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-4)
    told = []
    for _ in range(8):
        parts = learner.losses({"fine": (batch.pixels, targets)})
        optimiser.zero_grad()
        parts[-1].backward()
        optimiser.step()
        told.append(float(parts[-1].detach()))
    assert told[-1] < 0.8 * told[0]


@pytest.mark.parametrize("training", [True, False])
def test_windows_are_seen_at_their_own_scale(network: TorchvisionNetwork, training: bool) -> None:
    seen = []
    hook = network.encoder.conv1.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    learner = TorchvisionLearner(network, CPU)
    batch = crops(np.random.default_rng(0), side=64)
    try:
        with torch.no_grad():
            if training:
                network.train()
                learner.losses({"fine": (batch.pixels, learner.targets(batch, ALL_SIZES))})
            else:
                network(batch.pixels)
    finally:
        hook.remove()
        network.eval()
    assert [tuple(shape) for shape in seen] == [(2, 3, 64, 64)]
