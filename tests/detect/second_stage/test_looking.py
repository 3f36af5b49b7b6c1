"""The second stage in detection: the answer belongs to the image, not to tiles or threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.background import ModelInput, Registration
from soilpipe.detect import decode
from soilpipe.detect.base import Detections, no_detections
from soilpipe.detect.near_misses import BELOW
from soilpipe.detect.passes import PassName
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.second_stage import looking
from soilpipe.detect.second_stage.crops import Cut
from soilpipe.detect.second_stage.looking import FROM, SECOND, SecondLook, moved
from soilpipe.detect.second_stage.network import SecondStage
from soilpipe.tiles import image_from_array
from tests.detect.second_stage.test_network import with_second
from tests.detect.test_predict import CARD, Windows, scene

LEAST = 0.55  # of that lively network some hundred candidates on such a scan
HEIGHT, WIDTH = 512, 640
TWO = CARD | {SECOND: {FROM: LEAST}}


@pytest.fixture(scope="module")
def detector() -> CentrePointDetector:
    return CentrePointDetector(with_second(), TWO, device="cpu")


def passes() -> dict[PassName, Windows]:
    return {"fine": scene(HEIGHT, WIDTH, 5), "coarse": Windows(scene(HEIGHT // 4, WIDTH // 4, 6).pixels, 4.0)}


def assert_equal(one: Detections, other: Detections) -> None:
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("threads", [1, 2])
def test_whatever_the_tiles_and_the_threads_the_detections_are_the_same(
    detector: CentrePointDetector, threads: int, monkeypatch: pytest.MonkeyPatch, own_threads: None
) -> None:
    torch.set_num_threads(1)
    whole = detector.detect_windows(passes(), HEIGHT, WIDTH, 21.17, threshold=0.0)
    monkeypatch.setattr(detector, "core", 256)
    tiled = detector.detect_windows(passes(), HEIGHT, WIDTH, 21.17, threshold=0.0, offset=(96, 160))
    assert_equal(whole, tiled)
    candidates = looked(detector)
    assert len(candidates) > 2 * looking.BATCH  # several batches
    torch.set_num_threads(threads)
    second = SecondLook(detector._folded.second, torch.device("cpu"))  # type: ignore[arg-type]
    torch.set_num_threads(1)
    expected = second.at(candidates, passes(), HEIGHT, WIDTH, 21.17)
    torch.set_num_threads(threads)
    assert_equal(second.at(candidates, passes(), HEIGHT, WIDTH, 21.17), expected)
    assert torch.get_num_threads() == threads


def looked(detector: CentrePointDetector) -> Detections:
    """What the first stage alone finds."""
    alone = CentrePointDetector(detector.network, CARD, device="cpu")
    return alone.detect_windows(passes(), HEIGHT, WIDTH, 21.17, threshold=LEAST)


def test_every_candidate_is_answered_in_its_place(detector: CentrePointDetector) -> None:
    """One by one, each gets what it gets among others (but for the last bits of sums)."""
    torch.set_num_threads(1)
    candidates = looked(detector)
    assert detector._second is not None
    together = detector._second.at(candidates, passes(), HEIGHT, WIDTH, 21.17)
    assert len(together) == len(candidates)
    for one in range(0, len(candidates), 37):
        alone = detector._second.at(candidates.select(np.array([one])), passes(), HEIGHT, WIDTH, 21.17)
        np.testing.assert_allclose(alone.scores, together.scores[[one]], atol=1e-5)
        np.testing.assert_allclose(alone.boxes, together.boxes[[one]], atol=1e-2)
        assert alone.labels == together.labels[[one]]


def test_its_scores_meet_the_threshold_and_no_two_boxes_are_one_animal(detector: CentrePointDetector) -> None:
    lower = detector.detect_windows(passes(), HEIGHT, WIDTH, 21.17, threshold=0.0)
    least = float(np.median(lower.scores))
    found = detector.detect_windows(passes(), HEIGHT, WIDTH, 21.17, threshold=least)
    assert 0 < len(found) < len(lower) and (found.scores >= least).all()
    assert (np.diff(found.scores) <= 0).all() and found.boxes.dtype == np.float32
    assert np.triu(decode.overlaps(found.boxes, found.boxes), 1).max() <= decode.DOUBLE + 1e-6
    assert_equal(found, lower.select(lower.scores >= least))
    assert not np.array_equal(found.boxes[:20], looked(detector).boxes[:20])


def test_fresh_it_changes_neither_boxes_nor_taxa_and_is_in_two_minds_about_all() -> None:
    network = with_second()
    network.take_second(SecondStage(3).eval())
    detector = CentrePointDetector(network, TWO, device="cpu")
    candidates = looked(detector)
    assert detector._second is not None
    judged = detector._second.at(candidates, passes(), HEIGHT, WIDTH, 21.17)
    np.testing.assert_allclose(judged.boxes, candidates.boxes, atol=1e-3)
    assert (judged.scores == 0.5).all()


def test_without_a_candidate_there_is_nothing_to_look_at(detector: CentrePointDetector) -> None:
    assert detector._second is not None
    assert not len(detector._second.at(no_detections(CARD["taxa"]), passes(), HEIGHT, WIDTH, 21.17))
    empty = {
        "fine": Windows(np.zeros((7, 400, 400), np.uint8)),
        "coarse": Windows(np.zeros((7, 100, 100), np.uint8), 4),
    }
    strict = CentrePointDetector(detector.network, CARD | {SECOND: {FROM: 0.999999}}, device="cpu")
    assert not len(strict.detect_windows(empty, 400, 400, 21.17))


def test_of_a_scan_it_tells_what_it_found_and_what_it_nearly_found(detector: CentrePointDetector) -> None:
    rng = np.random.default_rng(3)
    scan = image_from_array(rng.integers(0, 256, (500, 600, 3), dtype=np.uint8), um_per_px=21.17)
    nothing: tuple[Registration, ...] = ()
    least = float(np.median(detector.detect(scan, (), nothing, threshold=0.0).scores))
    found = detector.detect(scan, (), nothing, threshold=least)
    again, nearly = detector.detect_nearly(scan, (), nothing, threshold=least)
    assert_equal(found, again)
    assert len(detector.detect(scan, (), nothing, threshold=least - BELOW)) > len(found) and nearly
    assert all(0 < one.gap <= BELOW for one in nearly)


def test_the_second_stage_reads_nothing_of_a_scan_that_the_first_has_read(
    detector: CentrePointDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    scan = image_from_array(rng.integers(0, 256, (500, 600, 3), dtype=np.uint8), um_per_px=21.17)
    scales = detector.scales(scan.um_per_px)
    anew = {name: ModelInput(scan, (), (), scale) for name, scale in scales.items()}
    expected = detector.detect_windows(anew, scan.height, scan.width, scan.um_per_px, threshold=0.0)
    read: list[float] = []
    own = ModelInput.read

    def counted(windows: ModelInput, *window: int) -> np.ndarray:
        read.append(windows.factor)
        return own(windows, *window)

    monkeypatch.setattr(ModelInput, "read", counted)
    assert_equal(detector.detect(scan, (), (), threshold=0.0), expected)
    both, read = sorted(read), []
    monkeypatch.setattr(detector, "_second", None)
    detector.detect(scan, (), (), threshold=0.0)
    assert len(expected) and both == sorted(read)


def test_boxes_move_by_sides_of_their_crop_stay_on_the_scan_and_keep_a_width() -> None:
    cut = Cut("fine", 0, 0, 50, 2.0, (0, 0, 0, 0))
    boxes = np.array([[10, 10, 60, 40], [10, 10, 60, 40], [10, 10, 60, 40]], np.float32)
    sides = np.array([[0.1, 0, 0, 0.2], [-0.5, -0.5, 9, 9], [0.6, 0, 0, 0]], np.float32)
    there = moved(boxes, sides, [cut, cut, cut], 300, 200)
    np.testing.assert_allclose(there, [[20, 10, 60, 60], [0, 0, 200, 300], [10, 10, 60, 40]], atol=1e-4)


def test_what_a_second_stage_says_is_part_of_the_analysis(detector: CentrePointDetector) -> None:
    settings: dict[str, Any] = dict(detector.info.settings)
    assert settings.pop(SECOND) == {FROM: LEAST}
    network = with_second()
    network.take_second(None)
    assert settings == dict(CentrePointDetector(network, CARD, device="cpu").info.settings)
