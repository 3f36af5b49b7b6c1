"""Detectors that need no network, on drawn scans: the `change` detector, and the baselines that others must beat."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from soilpipe.background import Registration, register
from soilpipe.detect.base import Detections
from soilpipe.detect.baseline import BlobDetector, BlobSettings, LabelledScan, tune_blobs
from soilpipe.detect.change import ChangeDetector, ChangeSettings
from soilpipe.detect.components import find_components
from soilpipe.detect.decode import overlaps
from soilpipe.detect.scoring import average_precision, match
from soilpipe.taxonomy import SOIL
from soilpipe.tiles import ScanImage, image_from_array

UM_PER_PX = 21.2


@dataclass(frozen=True)
class Body:
    """An ellipse: centre x, y, axes (px), angle (degrees), and how much brighter than the ground (grey levels)."""

    x: float
    y: float
    length: float
    width: float
    angle: float = 0.0
    contrast: float = 110.0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Around the ellipse, px."""
        turn = np.deg2rad(self.angle)
        half_x = np.hypot(self.length * np.cos(turn), self.width * np.sin(turn)) / 2
        half_y = np.hypot(self.length * np.sin(turn), self.width * np.cos(turn)) / 2
        return self.x - half_x, self.y - half_y, self.x + half_x, self.y + half_y


def draw_scan(
    bodies: Sequence[Body] = (), *, seed: int, ground: int = 1, size: tuple[int, int] = (640, 800)
) -> np.ndarray:
    """A scan of the ground `ground` with the bodies on it, (h, w, 3) uint8; noise and drift by `seed`."""
    random = np.random.default_rng(ground)
    clutter = np.zeros(size, np.float32)
    for scale, strength in ((1.2, 10), (3, 10), (8, 10), (30, 8)):
        noise = cv2.GaussianBlur(random.standard_normal(size).astype(np.float32), (0, 0), scale)
        clutter += strength * noise / noise.std()
    for body in bodies:
        cover = np.zeros(size, np.uint8)
        centre, axes = (int(body.x * 16), int(body.y * 16)), (int(body.length * 8), int(body.width * 8))
        cv2.ellipse(cover, centre, axes, body.angle, 0, 360, 255, -1, cv2.LINE_AA, 4)
        clutter += body.contrast * cover.astype(np.float32) / 255
    scan = np.stack([clutter + 80, clutter * 0.9 + 65, clutter * 0.8 + 50], -1)
    random = np.random.default_rng(seed)
    drift = random.uniform(-1.5, 1.5, 2)
    scan = cv2.warpAffine(
        scan, np.array([[1, 0, drift[0]], [0, 1, drift[1]]]), size[::-1], borderMode=cv2.BORDER_REFLECT
    )
    scan = scan + 2.5 * random.standard_normal(scan.shape)
    return np.clip(np.rint(scan), 0, 255).astype(np.uint8)


def scan_and_references(
    now: Sequence[Body], before: Sequence[Sequence[Body]]
) -> tuple[ScanImage, list[ScanImage], list[Registration]]:
    """A scan that shows `now`, after one scan for each of `before`, registered."""
    scan = image_from_array(draw_scan(now, seed=100), UM_PER_PX)
    references = [image_from_array(draw_scan(bodies, seed=k), UM_PER_PX) for k, bodies in enumerate(before)]
    return scan, references, [register(scan, reference) for reference in references]


# The change detector

CAME = (Body(200, 150, 60, 16, 20), Body(560, 400, 30, 14, 70), Body(640, 120, 24, 20))
RESTS = Body(380, 500, 80, 20, 10)
LEFT = Body(150, 480, 70, 18, 45)


@pytest.fixture(scope="module")
def season():
    """Three animals came, one has been resting all along, one was there until the last scan but this."""
    return scan_and_references([*CAME, RESTS], [[RESTS, LEFT]] * 4)


def hits(detections: Detections, bodies: Sequence[Body]) -> np.ndarray:
    """The best score among the detections on each body; 0 where there is none."""
    shared = overlaps(detections.boxes, np.array([body.box for body in bodies], np.float32)) >= 0.5
    return (shared * detections.scores[:, None]).max(axis=0, initial=0)


def test_what_came_is_found_and_what_rests_is_not(season) -> None:
    found = ChangeDetector().detect(*season)
    assert (hits(found, CAME) > 0).all()
    assert len(found) == len(CAME)
    assert not hits(found, [RESTS]).any()


def test_what_left_ranks_below_what_came(season) -> None:
    found = ChangeDetector().detect(*season, threshold=0.0)
    assert hits(found, [LEFT])[0] < 0.5 * hits(found, CAME).min()


def test_nothing_is_found_where_nothing_changed() -> None:
    assert len(ChangeDetector().detect(*scan_and_references([RESTS], [[RESTS]] * 3))) == 0


def test_more_contrast_scores_higher() -> None:
    faint, clear = Body(200, 200, 50, 16, 30, contrast=25), Body(500, 400, 50, 16, 30, contrast=90)
    found = ChangeDetector().detect(*scan_and_references([faint, clear], [[]] * 3), threshold=0.0)
    faint_score, clear_score = hits(found, [faint, clear])
    assert 0 < faint_score < clear_score < 1


def test_with_fewer_than_two_references_it_finds_nothing(season) -> None:
    scan, references, registrations = season
    assert len(ChangeDetector().detect(scan, references[:1], registrations[:1])) == 0
    refused = [dataclasses.replace(found, ok=False) for found in registrations]
    assert len(ChangeDetector().detect(scan, references, refused)) == 0


def test_it_reports_the_root_of_the_taxonomy_and_claims_no_validation(season) -> None:
    detector = ChangeDetector()
    assert detector.info.taxa == ("Invertebrata",) and SOIL.find("Invertebrata").parent is None
    assert detector.info.validation == "none"
    found = detector.detect(*season)
    assert found.taxa == detector.info.taxa and (found.labels == 0).all()
    assert (np.diff(found.scores) <= 0).all()


def test_the_same_scan_gives_the_same_detections(season) -> None:
    first, second = (ChangeDetector().detect(*season, threshold=0.0) for _ in range(2))
    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_settings_are_part_of_what_names_an_analysis() -> None:
    assert ChangeDetector().info.settings != ChangeDetector(ChangeSettings(low=4.0)).info.settings


def test_a_scan_of_other_ground_finds_nothing_rather_than_everything() -> None:
    scan = image_from_array(draw_scan(seed=1, ground=2), 21.2)
    _, references, _ = scan_and_references([], [[]] * 2)
    registrations = [register(scan, reference) for reference in references]
    assert not any(found.ok for found in registrations)
    assert len(ChangeDetector().detect(scan, references, registrations)) == 0


def test_fragments_closer_than_the_reach_are_one_and_faint_ones_alone_are_none() -> None:
    evidence = np.zeros((40, 60), np.uint8)
    evidence[10:13, 5:15], evidence[10:13, 17:27] = 50, 30  # 2 px apart; the second is faint
    evidence[30:33, 40:50] = 30
    apart = find_components(evidence, 20, 40, 1)
    assert apart.boxes.tolist() == [[5, 10, 15, 13]] and apart.area.tolist() == [30]
    together = find_components(evidence, 20, 40, 3)
    assert together.boxes.tolist() == [[5, 10, 27, 13]]
    assert together.peak.tolist() == [50] and together.total.tolist() == [2400]
    assert len(find_components(np.zeros((5, 5), np.uint8), 1, 1, 3)) == 0


# The baselines

STAYS = (Body(300, 500, 60, 18, 15), Body(650, 250, 40, 16, 80))
COMES = (Body(200, 150, 60, 16, 20), Body(560, 400, 34, 14, 70))


@pytest.fixture(scope="module")
def labelled() -> LabelledScan:
    """Two resting and two moving animals, all of them labelled."""
    season = scan_and_references([*STAYS, *COMES], [STAYS] * 3)
    return LabelledScan(*season, np.array([body.box for body in (*STAYS, *COMES)], np.float32))


def precision_of(detector: BlobDetector, labelled: LabelledScan, boxes: np.ndarray) -> float:
    found = detector.detect(labelled.scan, labelled.references, labelled.registrations, threshold=0.0)
    return average_precision(match(found, boxes, None, np.zeros(len(boxes), bool)))


def test_clear_animals_on_dull_ground_are_found_on_the_picture_alone(labelled: LabelledScan) -> None:
    detector = tune_blobs("picture", [labelled])
    assert precision_of(detector, labelled, labelled.boxes) > 0.95


def test_on_the_difference_it_finds_those_that_came(labelled: LabelledScan) -> None:
    detector = tune_blobs("difference", [labelled])
    assert precision_of(detector, labelled, labelled.boxes[2:]) > 0.95
    assert len(detector.detect(labelled.scan, [], [], threshold=0.0)) == 0


def test_tuning_does_not_make_it_worse(labelled: LabelledScan) -> None:
    bad = BlobDetector(BlobSettings("picture"))
    tuned = tune_blobs("picture", [labelled])
    assert precision_of(tuned, labelled, labelled.boxes) >= precision_of(bad, labelled, labelled.boxes)
    assert tuned.info.validation == "none" and tuned.info.settings["source"] == "picture"
