"""torchvision's detectors: they are saved, predict in tiles and are found by a project, as ours are."""

from __future__ import annotations

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
from soilpipe.detect.base import CONTRAST, LOCAL
from soilpipe.detect.select import DetectorChoiceError, load_analysis_detector, load_named_detector, version_of_family
from soilpipe.detect.sizes import make_network
from soilpipe.detect.torchvision_detector import TorchvisionDetector
from soilpipe.detect.torchvision_family import FAMILIES, FamilyError, TorchvisionNetwork, make_family
from soilpipe.detect.torchvision_here import import_torchvision
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


@pytest.fixture(scope="module", params=[pytest.param(FAMILIES[0], marks=pytest.mark.slow), *FAMILIES[1:]])
def network(request: pytest.FixtureRequest) -> Iterator[TorchvisionNetwork]:
    torch.manual_seed(1)
    network = make_family(request.param, 2)
    if network.two_stages:  # a fresh one is sure of everything: pooling a thousand regions takes seconds
        network.model.rpn._pre_nms_top_n = network.model.rpn._post_nms_top_n = {"training": 40, "testing": 40}
    yield network.eval()


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_the_families_are_those_that_a_project_file_may_name() -> None:
    assert FAMILIES == TORCHVISION_FAMILIES
    with pytest.raises(FamilyError, match="'yolo' is no family of detectors"):
        make_family("yolo", 2)


@pytest.mark.parametrize(("family", "millions"), [(FAMILIES[0], 43.313), (FAMILIES[1], 32.141)])
def test_a_family_has_the_parameters_that_the_page_says(family: str, millions: float) -> None:
    with torch.device("meta"):  # shapes alone
        network = make_family(family, 12)
    assert round(network.parameter_count / 1e6, 3) == millions
    assert all(value.requires_grad for value in network.parameters())  # nothing is frozen


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


@pytest.mark.slow
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
        return [
            {
                "boxes": boxes,
                "scores": area / max([1.0, *area.tolist()]),
                "labels": torch.ones(len(boxes), dtype=int),
            }
        ]


def test_one_that_sees_evened_contrast_is_shown_it() -> None:
    random = np.random.default_rng(3)
    picture = random.normal(60, 2, (900, 1100, 3))
    picture[300:324, 400:430] += 30  # far from white in the scan
    scan = image_from_array(np.clip(np.rint(picture), 0, 255).astype(np.uint8), 21.17)
    network: Any = Blobs()
    plain, evened = (TorchvisionDetector(network, {**CARD, **more}, device="cpu") for more in ({}, {CONTRAST: LOCAL}))
    assert len(plain.detect(scan, [], [], threshold=0.5)) == 0
    found = evened.detect(scan, [], [], threshold=0.5)
    np.testing.assert_allclose(found.boxes, [[400, 300, 430, 324]], atol=2)
    assert evened.info.settings["contrast"] == "local" and "contrast" not in plain.info.settings


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


@pytest.mark.slow
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
    assert version_of_family(FAMILIES[1], store) == first, "a training changes nothing of what runs use"
    promote(store, "detector", first, "why not", True, datetime(2024, 3, 6, tzinfo=UTC))
    promote(store, "detector", second, "why not", True, datetime(2024, 3, 7, tzinfo=UTC))
    assert version_of_family(FAMILIES[1], store) == second
