"""What was nearly found: told beside the detections, which it changes in nothing."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from soilpipe.classify.identifying import IdentifyingDetector
from soilpipe.detect import decode, predict, tiled
from soilpipe.detect.base import Detections, Detector
from soilpipe.detect.change import ChangeDetector
from soilpipe.detect.known import known_to_be
from soilpipe.detect.near_misses import BELOW, FAINTEST, MOST, detect_nearly, nearest, reach
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.tiles import ScanImage, image_from_array
from tests.detect.test_predict import CARD, lively


@pytest.fixture(scope="module")
def scan() -> ScanImage:
    noise = np.random.default_rng(5).integers(0, 256, (320, 416, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4).astype(np.float32)
    return image_from_array(np.clip(8 * (smooth - 128) + 128, 0, 255).astype(np.uint8), 21.17)


@pytest.fixture(scope="module")
def network(scan: ScanImage) -> CentrePointNetwork:
    """Untrained; in this scan its scores lie all around one half, and each taxon has its share."""
    network = lively("small")
    for head in (network.fine, network.coarse):
        said: list[torch.Tensor] = []
        with torch.inference_mode():
            hook = head.out.register_forward_hook(lambda module, given, answer, said=said: said.append(answer))
            pixels = np.zeros((7, 320, 416), np.uint8)
            pixels[:3] = scan.levels[0].read(0, 320, 0, 416).transpose(2, 0, 1)
            pixels[3:6] = 128
            network(torch.from_numpy(pixels[None]), "fine" if head is network.fine else "coarse")
            hook.remove()
        middle, spread = said[0].mean(dim=(0, 2, 3)), said[0].std(dim=(0, 2, 3))
        with torch.no_grad():
            for row in (0, *range(5, 8)):  # how surely it is an animal, and which
                head.out.weight[row] /= spread[row]
                head.out.bias[row] -= middle[row]
                head.out.bias[row] /= spread[row]
    return network


def detector(network: CentrePointNetwork, **card: Any) -> CentrePointDetector:
    return CentrePointDetector(network, {**CARD, "threshold": 0.7, **card}, device="cpu")


def alike(one: Detections, other: Detections) -> bool:
    names = ("boxes", "scores", "labels")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize(
    "card",
    [
        {},
        {"heads": ["fine"]},
        {"middle_mm": [1.0, 2.5], "middle_tolerance": 1.55},
        {"um_per_px": 42.3, "finest_mm": 0.6, "finest_tolerance": 1.3},
        {"thresholds": {"Acari": 0.6, "Symphyla": 0.9}},
        {"threshold": 0.02},
    ],
)
def test_detections_are_those_of_detect(network: CentrePointNetwork, scan: ScanImage, card: dict[str, Any]) -> None:
    """A near miss never takes the place of a detection, though it may have the better score: thresholds differ."""
    one = detector(network, **card)
    found, near = one.detect_nearly(scan, [], [])
    assert len(found) and alike(found, one.detect(scan, [], []))
    assert near or card.get("threshold") == 0.02


def test_a_scan_that_is_no_finer_than_the_model_is_seen_as_without_a_finest_pass(
    network: CentrePointNetwork, scan: ScanImage
) -> None:
    """Of a finer scan that pass shows more; of this one it would be the fine one's guess at pixels twice as large."""
    card = {"um_per_px": 42.3, "finest_mm": 0.6, "finest_tolerance": 1.3}
    plain, finest = detector(network, um_per_px=42.3), detector(network, **card)
    assert not alike(plain.detect(scan, [], []), finest.detect(scan, [], []))
    coarse = replace(scan, um_per_px=42.3)
    assert list(finest.scales(coarse.um_per_px)) == ["fine", "coarse"]
    (found, near), (expected, others) = (one.detect_nearly(coarse, [], []) for one in (finest, plain))
    assert len(found) and alike(found, expected) and near == others
    assert alike(finest.detect(coarse, [], []), expected)


def test_near_misses_are_what_a_lower_threshold_would_find_beside_the_detections(
    network: CentrePointNetwork, scan: ScanImage
) -> None:
    one = detector(network, heads=["fine"])
    found, near = one.detect_nearly(scan, [], [])
    lower = one.detect(scan, [], [], threshold=0.7 - BELOW)
    assert alike(lower.select(lower.scores >= 0.7), found)
    under = lower.select(lower.scores < 0.7)
    centres = (under.boxes[:, :2] + under.boxes[:, 2:]) / 2
    told = np.array([(x, y, 0.7 - gap) for x, y, gap in near])
    expected = np.column_stack([centres, under.scores])[:MOST]
    assert len(told) == len(expected) > 5
    assert told == pytest.approx(expected, abs=1e-4)


def test_the_margin_is_that_of_the_taxon(network: CentrePointNetwork, scan: ScanImage) -> None:
    plain = detector(network, heads=["fine"])
    ones = plain.detect(scan, [], [], threshold=0.3)
    raised = {taxon: 0.7 + 0.05 * place for place, taxon in enumerate(CARD["taxa"])}
    _, near = detector(network, heads=["fine"], thresholds=raised).detect_nearly(scan, [], [])
    scores = {
        (round(float(x)), round(float(y))): (float(s), ones.taxon(row))
        for row, (x, y, s) in enumerate(np.column_stack([(ones.boxes[:, :2] + ones.boxes[:, 2:]) / 2, ones.scores]))
    }
    seen = [(one.gap, *scores[round(one.x), round(one.y)]) for one in near if (round(one.x), round(one.y)) in scores]
    assert len({taxon for _, _, taxon in seen}) > 1
    assert all(gap == pytest.approx(raised[taxon] - score, abs=1e-5) for gap, score, taxon in seen)


def test_noise_without_end_is_not_looked_at_and_not_warned_of(
    network: CentrePointNetwork, scan: ScanImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reach(0.5, BELOW) == BELOW
    assert reach(0.1, BELOW) == pytest.approx(0.1 - FAINTEST)
    assert reach(0.01, BELOW) == 0
    one = detector(network, heads=["fine"])
    peaks: list[int] = []

    def counting(*given: Any, **more: Any) -> decode.Peaks:
        found = tiled.find_peaks(*given, **more)
        peaks.append(len(found))
        return found

    monkeypatch.setattr(predict, "find_peaks", counting)
    found = one.detect(scan, [], [])
    monkeypatch.setattr(predict, "find_peaks", partial(tiled.find_peaks, most=peaks[0] + 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same, near = one.detect_nearly(scan, [], [])
    assert alike(same, found) and 0 < len(near) <= 5, "the strongest are kept, and nobody is alarmed"
    monkeypatch.setattr(predict, "find_peaks", partial(tiled.find_peaks, most=peaks[0] - 1))
    with pytest.warns(UserWarning, match="only the"):
        one.detect_nearly(scan, [], [])


def test_of_many_the_nearest_are_told_each_place_once() -> None:
    places = np.array([[40.0 * (k % 100), 40.0 * (k // 100)] for k in range(500)])
    boxes = np.concatenate([places, places + 20], axis=1)
    gaps = np.random.default_rng(1).permutation(500) / 5_000
    near = nearest(boxes[:0], boxes, gaps)
    assert [one.gap for one in near] == pytest.approx([k / 5_000 for k in range(MOST)])
    twice = nearest(boxes[:1], np.concatenate([boxes[:3], boxes[:3] + 1]), np.arange(6) / 100)
    assert [(one.x, one.y) for one in twice] == [(50, 10), (90, 10)], "not on a detection, and not on one another"
    assert nearest(boxes[:0], boxes[:0], gaps[:0]) == []


class _Encoder:
    """Stands for one: naming is not asked for here."""

    info = replace(ChangeDetector().info, version="encoder")


class _Classifier:
    version, encoder, classes = "1", "encoder", ("Acari",)

    def check_encoder(self, info: Any) -> None:
        pass

    def is_background(self, taxon: str) -> bool:
        return False


def test_wrapped_detectors_tell_it_too_and_those_that_cannot_tell_nothing(
    network: CentrePointNetwork, scan: ScanImage
) -> None:
    one: Detector = detector(network)
    _, near = detect_nearly(one, scan, [], [])
    named = IdentifyingDetector(known_to_be(one, "local"), _Classifier(), _Encoder())  # type: ignore[arg-type]
    found, same = detect_nearly(named, scan, [], [])
    assert same == near and alike(found, one.detect(scan, [], []))
    assert detect_nearly(known_to_be(ChangeDetector(), "local"), scan, [], [])[1] == []
