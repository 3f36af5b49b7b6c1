"""Which passes a detector makes, which animals each owns, and when a middle or a finest one pays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.background import ModelInput
from soilpipe.detect import on_samples
from soilpipe.detect.base import Detections
from soilpipe.detect.dataset import Sample, SamplePass
from soilpipe.detect.halved import Halved, seen_by
from soilpipe.detect.labelled import LabelledImage
from soilpipe.detect.padding import OUTSIDE
from soilpipe.detect.passes import Passes, finest_told, middle_told
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
TOLERANCE = 1.5
THREE = CARD | {"middle_mm": [0.6, 1.2], "middle_tolerance": TOLERANCE}
FINEST = {"finest_mm": 0.2, "finest_tolerance": 1.2}


def found(*boxes: tuple[float, float, float, float, float]) -> Detections:
    """Corners and score of each."""
    rows = np.array(boxes, np.float64).reshape(-1, 5)
    return Detections(rows[:, :4], rows[:, 4].astype(np.float32), np.zeros(len(rows), np.int64), ("Acari",))


def test_a_card_tells_its_passes_finest_first() -> None:
    assert Passes.of(CARD | {"heads": ["fine"]}).scales(UM) == {"fine": 10.0}
    assert Passes.of(CARD).scales(UM) == {"fine": 10.0, "coarse": 40.0}
    assert list(Passes.of(THREE).scales(UM).items()) == [("fine", 10.0), ("middle", 20.0), ("coarse", 40.0)]


def test_a_finest_pass_is_for_scans_that_are_finer_than_the_model() -> None:
    passes = Passes.of(CARD | FINEST)
    assert list(passes.scales(UM).items()) == [("finest", 5.0), ("fine", 10.0), ("coarse", 40.0)]
    for of_scan, sees in ((2.5, True), (5.0, True), (7.0, True), (7.2, False), (10.0, False), (42.3, False)):
        assert passes.on(UM, of_scan) == (passes if sees else Passes.of(CARD)), of_scan
    assert Passes.of(THREE).on(UM, 10.0) == Passes.of(THREE)
    alone = Passes.of(CARD | FINEST | {"heads": ["fine"]})
    assert alone.names == ("finest", "fine") and alone.on(UM, UM).names == ("fine",)


def test_each_length_has_one_owner() -> None:
    boxes = np.array([[0, 0, side, 5] for side in (59, 60, 119, 120, 500)])
    assert Passes.of(THREE).owner(boxes, UM).tolist() == [0, 1, 1, 2, 2]
    assert Passes.of(THREE).owner(boxes, UM / 2).tolist() == [0, 0, 0, 1, 2], "px are those of the scan"
    assert Passes.of(CARD).owner(boxes, UM).tolist() == [0, 0, 1, 1, 1]
    assert Passes.of(CARD | {"heads": ["fine"]}).owner(boxes, UM).tolist() == [0] * 5
    short = np.array([[0, 0, side, 5] for side in (19, 20, 59, 60, 120)])
    assert Passes.of(THREE | FINEST).owner(short, UM).tolist() == [0, 1, 1, 2, 3]


def test_an_animal_that_all_passes_see_is_the_surest_ones_and_strangers_to_a_pass_are_not_listened_to() -> None:
    passes = Passes.of(THREE)
    near = 60 * TOLERANCE - 2  # within reach of the fine and the middle pass, and of the coarse one
    looks = [
        found((0, 0, near, 9, 0.5), (300, 0, 330, 9, 0.4), (600, 0, 900, 9, 0.9)),
        found((1, 0, near + 1, 9, 0.7), (300, 50, 330, 59, 0.8), (0, 300, 100, 309, 0.3)),
        found((2, 0, near + 2, 9, 0.6), (600, 0, 900, 9, 0.2), (1, 300, 101, 309, 0.4)),
    ]
    kept = passes.settled(looks, UM)
    told = sorted(zip(kept.boxes[:, 0].tolist(), kept.scores.astype(float).round(1).tolist(), strict=True))
    # A short animal is the fine pass's, also where the middle one is surer; a long one the coarse pass's.
    assert told == [(1.0, 0.4), (1.0, 0.7), (300.0, 0.4), (600.0, 0.2)]


def test_the_finest_and_the_fine_pass_share_what_lies_about_their_border() -> None:
    """20 px is the border here, and 24 px and 16.7 px the limits within which the other is heard."""
    looks = [
        found((0, 0, 15, 9, 0.4), (100, 0, 118, 9, 0.8), (200, 0, 230, 9, 0.9), (300, 0, 322, 9, 0.6)),
        found((0, 0, 15, 9, 0.9), (100, 0, 119, 9, 0.6), (200, 0, 230, 9, 0.3), (300, 0, 321, 9, 0.7)),
        found(),
    ]
    kept = Passes.of(CARD | FINEST).settled(looks, UM)
    told = sorted(zip(kept.boxes[:, 0].tolist(), kept.scores.astype(float).round(1).tolist(), strict=True))
    assert told == [(0.0, 0.4), (100.0, 0.8), (200.0, 0.3), (300.0, 0.7)]


def test_what_gave_way_takes_nothing_with_it() -> None:
    """Three examples that settling border by border gets wrong: an animal lost, another lost, and one doubled."""
    passes = Passes.of(THREE)  # of fine < 90 px is heard, of middle 40 to 180, of coarse from 80 on

    def kept(*looks: Detections) -> list[float]:
        return sorted(passes.settled(looks, UM).scores.astype(float).round(1).tolist())

    # The fine box gives way to the middle .9, and so cannot remove the middle .7 beside it, which it overlaps as well.
    beside = found((0, 0, 60, 40, 0.9), (45, 0, 105, 40, 0.7))
    assert kept(found((24, 0, 80, 40, 0.8)), beside, found()) == [0.7, 0.9]
    # The middle one gives way to the coarse one, which the fine one overlaps too little to be the same animal.
    chain = found((0, 0, 50, 40, 0.5)), found((0, 0, 90, 40, 0.6)), found((0, 0, 160, 40, 0.7))
    assert kept(*chain) == [0.5, 0.7]
    # A short fine box is compared with a coarse one as well: an animal that both see is one.
    assert kept(found((0, 0, 40, 40, 0.6)), found(), found((0, 0, 84, 40, 0.5))) == [0.6]
    # Two animals side by side that one pass sees are two, however close; of equal scores the finer pass's stays.
    assert kept(found((0, 0, 80, 40, 0.5), (4, 0, 84, 40, 0.5)), found((2, 0, 82, 40, 0.5)), found()) == [0.5, 0.5]


def test_the_analysis_of_a_detector_without_a_middle_pass_is_what_it_was() -> None:
    def settings(card: dict[str, Any]) -> dict[str, Any]:
        return CentrePointDetector(make_network("small", 1), card, device="cpu").info.settings

    plain, three = settings(CARD), settings(THREE)
    assert "middle_mm" not in plain
    assert three == plain | {"middle_mm": [0.6, 1.2], "middle_tolerance": TOLERANCE}
    assert settings(CARD | FINEST) == plain | FINEST
    assert settings(THREE | FINEST) == three | FINEST


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
    seen = seen_by({"fine": UM, "middle": 2 * UM, "coarse": 4 * UM}, sample)
    assert [(name, one.height, one.factor) for name, one in seen.items()] == [
        ("fine", 128, 1.0),
        ("middle", 64, 2.0),
        ("coarse", 32, 4.0),
    ]


def test_a_scan_that_is_coarser_still_shows_the_middle_pass_what_the_pyramid_would(sample: Sample) -> None:
    """Levels end at twice the scan's own resolution: from there on all passes see the same."""
    for um, factor in ((4.5, 0.5), (2.6, 0.5), (1.2, 0.5)):
        scan = image_from_array(np.zeros((16, 16, 3), np.uint8), UM)
        coarse = ModelInput(scan, (), (), 2 * um)
        fine = replace(sample, passes={**sample.passes, "fine": SamplePass(sample.passes["fine"].pixels, factor)})
        assert seen_by({"middle": 2 * um}, fine)["middle"].factor == coarse.factor, um


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("gain", [0.1, 0.001, 0.0, -0.001, -0.1])
def test_a_middle_pass_is_made_where_more_is_found_with_it(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, gain: float, before: bool
) -> None:
    """By more than a little: otherwise it is as it was in the detector that this one began from."""
    monkeypatch.setattr(on_samples, "margin", lambda samples: 0.01)
    monkeypatch.setattr(on_samples, "judge_of", lambda network, card, device: "middle_mm" in card)
    monkeypatch.setattr(on_samples, "look", lambda detect, samples: {"score": 0.5 + gain * detect})

    def told(card: dict[str, Any], samples: list[Sample]) -> dict[str, Any]:
        network, device = make_network("small", 1), torch.device("cpu")
        return on_samples.middle_that_pays(network, card, samples, device, before=before)

    clear = abs(gain) > 0.01
    assert told(THREE, [sample]) == (middle_told(UM) if (gain > 0 if clear else before) else {})
    assert told(CARD, []) == (middle_told(UM) if before else {})
    assert told(CARD | {"heads": ["fine"]}, [sample]) == {}


@pytest.mark.parametrize("gain", [0.1, 0.0, -0.005, -0.1])
def test_a_finest_pass_stays_where_it_does_no_clear_harm(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    """Labels may hold too few of the shortest animals to say anything; then they go on being looked for."""
    monkeypatch.setattr(on_samples, "margin", lambda samples: 0.01)
    monkeypatch.setattr(on_samples, "judge_of", lambda network, card, device: "finest_mm" in card)
    monkeypatch.setattr(on_samples, "look", lambda detect, samples: {"score": 0.5 + gain * detect})
    network, device = make_network("small", 1), torch.device("cpu")
    told = on_samples.finest_that_pays(network, CARD | FINEST, [sample], device)
    assert told == (finest_told(UM) if gain > -0.01 else {})
    assert on_samples.finest_that_pays(network, CARD, [], device) == finest_told(UM)
