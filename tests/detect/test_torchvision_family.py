"""torchvision's detectors: they learn, are saved, predict in tiles and are found by a project, as ours are."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from soilpipe.analyses import analysis_of
from soilpipe.config.places import TORCHVISION_FAMILIES
from soilpipe.detect import torchvision_detector
from soilpipe.detect.backbone_weights import load_backbone
from soilpipe.detect.crops import Crops
from soilpipe.detect.losses import SizeRange
from soilpipe.detect.select import DetectorChoiceError, load_analysis_detector, load_named_detector, version_of_family
from soilpipe.detect.sizes import make_network
from soilpipe.detect.torchvision_detector import TorchvisionDetector
from soilpipe.detect.torchvision_family import FAMILIES, FamilyError, TorchvisionNetwork, make_family
from soilpipe.detect.torchvision_here import import_torchvision
from soilpipe.detect.torchvision_learning import TorchvisionLearner
from soilpipe.detect.weights import WeightsError, load_detector, save_detector
from soilpipe.models import register
from soilpipe.promotion import promote
from soilpipe.store import Store
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


@pytest.fixture(scope="module", params=FAMILIES)
def network(request: pytest.FixtureRequest) -> Iterator[TorchvisionNetwork]:
    torch.manual_seed(1)
    network = make_family(request.param, 2)
    if network.two_stages:  # a fresh one is sure of everything: pooling a thousand regions takes seconds
        network.model.rpn._pre_nms_top_n = network.model.rpn._post_nms_top_n = {"training": 40, "testing": 40}
    yield network.eval()


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


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


def test_the_families_are_those_that_a_project_file_may_name() -> None:
    assert FAMILIES == TORCHVISION_FAMILIES
    with pytest.raises(FamilyError, match="'yolo' is no family of detectors"):
        make_family("yolo", 2)


@pytest.mark.parametrize(("family", "millions"), [(FAMILIES[0], 43.313), (FAMILIES[1], 32.141)])
def test_a_family_has_the_parameters_that_the_page_says(family: str, millions: float) -> None:
    network = make_family(family, 12)
    assert round(network.parameter_count / 1e6, 3) == millions
    assert all(value.requires_grad for value in network.parameters())  # nothing is frozen


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
    found = detector.detect(image_from_array(scene(64, 64), 21.17), [], [], threshold=0.6)
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


def test_it_comes_back_from_disk_as_it_was(network: TorchvisionNetwork, tmp_path: Path) -> None:
    version = save_detector(tmp_path, network, CARD)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["family"] == network.family and "border_mm" not in card
    detector = load_detector(tmp_path, device="cpu")
    assert isinstance(detector, TorchvisionDetector) and detector.info.version == version
    assert not detector.info.uses_difference
    assert json.loads(json.dumps(detector.info.settings)) == detector.info.settings
    for name, value in network.state_dict().items():
        assert torch.equal(detector.network.state_dict()[name], value)
    card["architecture"]["anchors"] = [1, 2]
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="`architecture`"):
        load_detector(tmp_path)
    (tmp_path / "card.json").write_text(json.dumps({**card, "family": "yolo"}))
    with pytest.raises(WeightsError, match="`family` = 'yolo' is none that this version knows"):
        load_detector(tmp_path)


def test_weights_of_another_family_are_refused(tmp_path: Path) -> None:
    save_detector(tmp_path, make_family(FAMILIES[1], 2), CARD)
    weights = (tmp_path / "weights.safetensors").read_bytes()
    save_detector(tmp_path, make_family(FAMILIES[0], 2), CARD)
    (tmp_path / "weights.safetensors").write_bytes(weights)
    with pytest.raises(WeightsError, match="of another network than the card says"):
        load_detector(tmp_path)


def test_its_backbone_takes_weights_from_a_file(network: TorchvisionNetwork, tmp_path: Path) -> None:
    torch.manual_seed(8)
    given = import_torchvision().models.resnet50(weights=None).state_dict()
    torch.save(given, tmp_path / "resnet50.pth")
    load_backbone(network, tmp_path / "resnet50.pth")
    assert torch.equal(network.encoder.state_dict()["layer4.2.conv3.weight"], given["layer4.2.conv3.weight"])


def test_a_scan_is_answered_in_its_own_pixels_best_first(network: TorchvisionNetwork) -> None:
    detector = TorchvisionDetector(network, CARD, device="cpu")
    scan = image_from_array(scene(128, 192), 10.58)
    found = detector.detect(scan, [], [], threshold=0.0)
    assert len(found) > 5 and found.taxa == ("Acari", "Collembola") and set(found.labels.tolist()) <= {0, 1}
    assert (np.diff(found.scores) <= 0).all() and found.boxes.dtype == np.float32
    assert (found.boxes >= 0).all() and (found.boxes <= [192, 128, 192, 128]).all()
    assert found.boxes[:, 2].max() > 96  # px of the scan, not of the half-size level that the network saw
    again = detector.detect(scan, [scan], [], threshold=0.0)  # references change nothing
    np.testing.assert_array_equal(again.boxes, found.boxes)
    middle = float(np.median(found.scores))
    fewer = detector.detect(scan, [], [], threshold=middle)
    assert 0 < len(fewer) < len(found) and (fewer.scores >= middle).all()


class Blobs(nn.Module):
    """In place of a network: answers bright squares by their boxes, cut at the window, the cut ones less surely."""

    taxa, family, first_label = 2, "fcos_resnet50_fpn", 0

    def folded(self) -> Blobs:
        return self

    def answer_from(self, threshold: float) -> None: ...

    def forward(self, pixels: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        import cv2

        picture = (pixels[0, 0].numpy() > 200).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(picture)
        x, y, width, height = (stats[1:, column].astype(np.float32) for column in range(4))
        boxes = torch.from_numpy(np.stack([x, y, x + width, y + height], axis=1))
        area = torch.from_numpy(width * height)
        return [{"boxes": boxes, "scores": area / area.max().clamp_min(1), "labels": torch.ones(len(boxes), dtype=int)}]


@dataclass
class Squares:
    picture: np.ndarray
    factor: float = 1.0

    @property
    def height(self) -> int:
        return int(self.picture.shape[0])

    @property
    def width(self) -> int:
        return int(self.picture.shape[1])

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        out = np.zeros((7, y1 - y0, x1 - x0), np.uint8)
        inside = self.picture[y0 : min(y1, self.height), x0 : min(x1, self.width)]
        out[:, : inside.shape[0], : inside.shape[1]] = inside
        return out


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


def test_folding_changes_nothing_that_matters(network: TorchvisionNetwork) -> None:
    torch.manual_seed(2)
    pixels = torch.randint(0, 256, (1, 7, 64, 96), dtype=torch.uint8)
    folded = network.folded()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    with torch.inference_mode():
        pictures = pixels[:, :3] / 255
        for plain, other in zip(
            network.model.backbone(pictures).values(), folded.model.backbone(pictures).values(), strict=True
        ):
            torch.testing.assert_close(plain, other, rtol=1e-3, atol=1e-3)


def test_every_animal_is_found_once_wherever_the_tiles_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_detector, "CORE", 96)
    monkeypatch.setattr(torchvision_detector, "HALO", 32)
    picture = np.zeros((430, 517), np.uint8)
    truth = []
    for y in range(3, 400, 37):
        for x in range(5, 490, 41):
            picture[y : y + 21, x : x + 17] = 255
            truth.append([x, y, x + 17, y + 21])
    detector = TorchvisionDetector(Blobs(), CARD, device="cpu")  # type: ignore[arg-type]
    found = detector.detect_windows({"fine": Squares(picture, 2.0)}, 860, 1034, 10.6)
    expected = 2 * np.array(truth)
    order = np.lexsort((found.boxes[:, 0], found.boxes[:, 1]))
    np.testing.assert_array_equal(found.boxes[order], expected[np.lexsort((expected[:, 0], expected[:, 1]))])


def test_a_project_gets_the_trained_one_of_a_family_and_is_told_when_there_is_none(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    wanted = f"torchvision:{FAMILIES[1]}"
    network, folder = make_family(FAMILIES[1], 2), tmp_path / "model"

    def registered(name: str) -> str:
        save_detector(folder, network, {**CARD, "name": name})
        return register(store, "detector", folder)

    save_detector(folder, make_network("small", 2), {**CARD, "border_mm": 4.0, "border_tolerance": 1.3})
    register(store, "detector", folder)
    with pytest.raises(DetectorChoiceError, match=r"no fcos_resnet50_fpn is registered in this store.*--family fcos"):
        load_named_detector(wanted, store)
    first = registered("a")
    detector = load_named_detector(wanted, store)
    assert detector.info.version == first
    analysis = analysis_of(detector.info)
    assert analysis_of(load_analysis_detector(analysis, store).info) == analysis
    second = registered("b")
    with pytest.raises(DetectorChoiceError, match="2 detectors of the family fcos_resnet50_fpn are registered"):
        version_of_family(FAMILIES[1], store)
    promote(store, "detector", first, "why not", True, datetime(2024, 3, 6, tzinfo=UTC))
    promote(store, "detector", second, "why not", True, datetime(2024, 3, 7, tzinfo=UTC))
    assert version_of_family(FAMILIES[1], store) == second
