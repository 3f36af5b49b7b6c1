"""Which passes a detector makes, which animals each owns, and when a middle one pays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.background import ModelInput
from soilpipe.detect import on_samples
from soilpipe.detect.base import Detections
from soilpipe.detect.dataset import OUTSIDE, Sample, SamplePass
from soilpipe.detect.halved import Halved, seen_by
from soilpipe.detect.labelled import LabelledImage
from soilpipe.detect.passes import MIDDLE_TOLERANCE, Passes, middle_mm
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.sizes import make_network
from soilpipe.tiles import image_from_array

UM = 10.0
CARD: dict[str, Any] = {
    "name": "tiny",
    "taxa": ["Acari"],
    "um_per_px": UM,
    "threshold": 0.5,
    "validation": "none",
    "border_mm": 1.0,
    "border_tolerance": 1.25,
    "heads": ["fine", "coarse"],
}
THREE = CARD | {"middle_mm": [0.6, 1.2]}


def found(*boxes: tuple[float, float, float, float, float]) -> Detections:
    """Corners and score of each."""
    rows = np.array(boxes, np.float64).reshape(-1, 5)
    return Detections(rows[:, :4], rows[:, 4].astype(np.float32), np.zeros(len(rows), np.int64), ("Acari",))


def test_a_card_tells_its_passes_finest_first() -> None:
    assert Passes.of(CARD | {"heads": ["fine"]}).scales(UM) == {"fine": 10.0}
    assert Passes.of(CARD).scales(UM) == {"fine": 10.0, "coarse": 40.0}
    assert list(Passes.of(THREE).scales(UM).items()) == [("fine", 10.0), ("middle", 20.0), ("coarse", 40.0)]


def test_each_length_has_one_owner() -> None:
    boxes = np.array([[0, 0, side, 5] for side in (59, 60, 119, 120, 500)])
    assert Passes.of(THREE).owner(boxes, UM).tolist() == [0, 1, 1, 2, 2]
    assert Passes.of(THREE).owner(boxes, UM / 2).tolist() == [0, 0, 0, 1, 2], "px are those of the scan"
    assert Passes.of(CARD).owner(boxes, UM).tolist() == [0, 0, 1, 1, 1]
    assert Passes.of(CARD | {"heads": ["fine"]}).owner(boxes, UM).tolist() == [0] * 5


def test_an_animal_that_all_passes_see_is_the_surest_ones_and_strangers_to_a_pass_are_not_listened_to() -> None:
    passes = Passes.of(THREE)
    near = 60 * MIDDLE_TOLERANCE - 2  # within reach of the fine and the middle pass, and of the coarse one
    looks = [
        found((0, 0, near, 9, 0.5), (300, 0, 330, 9, 0.4), (600, 0, 900, 9, 0.9)),
        found((1, 0, near + 1, 9, 0.7), (300, 50, 330, 59, 0.8), (0, 300, 100, 309, 0.3)),
        found((2, 0, near + 2, 9, 0.6), (600, 0, 900, 9, 0.2), (1, 300, 101, 309, 0.4)),
    ]
    kept = passes.settled(looks, UM)
    told = sorted(zip(kept.boxes[:, 0].tolist(), kept.scores.astype(float).round(1).tolist(), strict=True))
    # A short animal is the fine pass's, also where the middle one is surer; a long one the coarse pass's.
    assert told == [(1.0, 0.4), (1.0, 0.7), (300.0, 0.4), (600.0, 0.2)]


def test_the_analysis_of_a_detector_without_a_middle_pass_is_what_it_was() -> None:
    def settings(card: dict[str, Any]) -> dict[str, Any]:
        return CentrePointDetector(make_network("small", 1), card, device="cpu").info.settings

    plain, three = settings(CARD), settings(THREE)
    assert "middle_mm" not in plain
    assert three == plain | {"middle_mm": [0.6, 1.2], "middle_tolerance": MIDDLE_TOLERANCE}


@pytest.mark.parametrize("shape", [(64, 96), (63, 97)])
def test_a_pass_at_half_the_scale_is_what_the_pyramid_holds(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    scan = image_from_array(picture, UM)
    fine, middle = (ModelInput(scan, (), (), scale) for scale in (UM, 2 * UM))
    whole = Halved(SamplePass(fine.read(0, fine.height, 0, fine.width), fine.factor))
    assert (whole.height, whole.width, whole.factor) == (middle.height, middle.width, middle.factor)
    window = (-3, middle.height + 5, 4, middle.width + 2)
    ours, theirs = whole.read(*window), middle.read(*window)
    assert np.array_equal(ours, theirs)


def test_a_difference_at_half_the_scale_is_valid_where_it_is_for_all_four() -> None:
    pixels = np.full((7, 4, 4), 200, np.uint8)
    pixels[6] = 255
    pixels[6, 0, 0], pixels[3:6, 0, 0] = 0, 128
    halved = Halved(SamplePass(pixels, 1.0)).read(0, 3, 0, 2)
    assert halved[6].tolist() == [[0, 255], [255, 255], [0, 0]]
    assert halved[3].tolist() == [[128, 200], [200, 200], [128, 128]]
    assert halved[:, 2, 0].tolist() == OUTSIDE.tolist()


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    boxes = np.array([[10.0, 10.0, 90.0, 40.0]])
    image = LabelledImage(
        file_name="a.png",
        path=tmp_path / "a.png",
        width=160,
        height=128,
        dpi=None,
        scanner_id=None,
        captured_at=None,
        labelled=True,
        boxes=boxes,
        labels=np.zeros(1, np.int64),
        crowd=np.zeros(1, bool),
        scans_present=np.full(1, -1),
    )
    pixels = np.full((7, 128, 160), 128, np.uint8)
    passes = {"fine": SamplePass(pixels, 1.0), "coarse": SamplePass(pixels[:, ::4, ::4], 4.0)}
    return Sample(image, passes, UM, 0)


def test_a_sample_shows_each_pass_what_it_reads(sample: Sample) -> None:
    seen = seen_by(("fine", "middle", "coarse"), sample)
    assert [(name, one.height, one.factor) for name, one in seen.items()] == [
        ("fine", 128, 1.0),
        ("middle", 64, 2.0),
        ("coarse", 32, 4.0),
    ]


@pytest.mark.parametrize(("gain", "told"), [(0.1, {"middle_mm": middle_mm(UM)}), (0.0, {}), (-0.1, {})])
def test_a_middle_pass_is_made_where_more_is_found_with_it(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, gain: float, told: dict[str, Any]
) -> None:
    monkeypatch.setattr(on_samples, "judge_of", lambda network, card, device: "middle_mm" in card)
    monkeypatch.setattr(on_samples, "look", lambda detect, samples: {"score": 0.5 + gain * detect})
    network, device = make_network("small", 1), torch.device("cpu")
    assert on_samples.middle_that_pays(network, CARD, [sample], device) == told
    assert on_samples.middle_that_pays(network, CARD | {"heads": ["fine"]}, [sample], device) == {}
    assert on_samples.middle_that_pays(network, CARD, [], device) == {}
