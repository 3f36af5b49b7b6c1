"""A taxon with a threshold of its own is kept from that score on, the others from the common one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.detect.base import Detections
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.thresholds import at_work
from soilpipe.detect.weights import WeightsError, check_card
from soilpipe.tiles import image_from_array

CARD: dict[str, Any] = {
    "name": "tiny", "taxa": ["Acari", "Collembola"], "um_per_px": 21.17, "threshold": 0.5, "validation": "none",
    "border_mm": 4.0, "border_tolerance": 1.3, "heads": ["fine", "coarse"],
}  # fmt: skip


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (400, 400, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def network(picture: np.ndarray) -> CentrePointNetwork:
    """Answers at random on the picture: scores around 0.5, each taxon as often as the other, boxes all alike."""
    torch.manual_seed(1)
    network = CentrePointNetwork(2, stem=8, widths=(8, 8, 8, 8), pyramid=8).eval()
    pixels = torch.full((1, 7, 384, 384), 128, dtype=torch.uint8)
    pixels[:, :3] = torch.from_numpy(picture[:384, :384].transpose(2, 0, 1).copy())
    with torch.no_grad():
        for name, head in (("fine", network.fine), ("coarse", network.coarse)):
            bias = head.out.bias
            assert bias is not None
            head.out.weight.normal_(std=0.6)
            bias.zero_()
            head.out.weight[1:5] = 0  # boxes of 8 px: no two overlap
            bias[1:5] = math.log(4 / 16)
            answer = network(pixels, "fine" if name == "fine" else "coarse")
            for row, logits in ((0, answer.heat[0, 0]), (5, answer.taxon[0, 0] - answer.taxon[0, 1])):
                bias[row] = -logits.median()
    return network


def test_each_taxon_is_kept_from_its_own_threshold_on(network: CentrePointNetwork, picture: np.ndarray) -> None:
    scan = image_from_array(picture, 21.17)

    def found(card: dict[str, Any], threshold: float | None = None) -> Detections:
        return CentrePointDetector(network, card, device="cpu").detect(scan, [], [], threshold=threshold)

    own = {**CARD, "thresholds": {"Acari": 0.6}}
    plain, strict = found(CARD), found(own)
    weak = (plain.labels == 0) & (plain.scores < 0.6)
    assert weak.sum() > 3 and (plain.labels == 1).sum() > 3
    assert not ((strict.labels == 0) & (strict.scores < 0.6)).any()
    assert (strict.labels == 1).sum() >= (plain.labels == 1).sum()
    np.testing.assert_array_equal(found(own, 0.5).boxes, plain.boxes, "a threshold that is given replaces all")
    lenient = found({**CARD, "thresholds": {"Acari": 0.4}})
    assert (lenient.labels == 0).sum() > (plain.labels == 0).sum()
    assert lenient.scores[lenient.labels == 1].min() >= 0.5


def test_own_thresholds_name_the_analysis_and_none_leave_it_as_it_was(network: CentrePointNetwork) -> None:
    def settings(card: dict[str, Any]) -> Any:
        return CentrePointDetector(network, card, device="cpu").info.settings

    assert "thresholds" not in settings(CARD) and "thresholds" not in settings({**CARD, "thresholds": {}})
    assert settings({**CARD, "thresholds": {"Acari": 0.6}})["thresholds"] == {"Acari": 0.6}


def test_what_reaches_the_threshold_of_its_taxon_is_at_work() -> None:
    scores = np.array([0.9, 0.5, 0.4, 0.3], np.float32)
    found = Detections(np.zeros((4, 4), np.float32), scores, np.array([0, 1, 0, 1]), ("a", "b"))
    assert at_work(found, 0.45, {"b": 0.3}).scores.tolist() == scores[[0, 1, 3]].tolist()


def test_thresholds_that_make_no_sense_are_told() -> None:
    for value in (["Acari"], 0.5):
        with pytest.raises(WeightsError, match=r"`thresholds` = .*expected taxa with numbers"):
            check_card({**CARD, "architecture": {"taxa": 2}, "thresholds": value}, Path("card.json"))
    own = {"Acari": float("nan"), "Collembola": 1.2, "Protura": 0.5}
    with pytest.raises(WeightsError, match=r"names Protura, which `taxa` does not.*nan, 'Collembola': 1.2"):
        check_card({**CARD, "architecture": {"taxa": 2}, "thresholds": own}, Path("card.json"))
