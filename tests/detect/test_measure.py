"""Lengths and widths of drawn bodies."""

from __future__ import annotations

import math
from itertools import product

import cv2
import numpy as np
import pytest

from soilpipe.background import Registration
from soilpipe.detect.measure import Sizes, measure
from soilpipe.tiles import ScanImage, ZarrPixels, image_from_array

UM_PER_PX = 21.2
_FINE = 8  # bodies are drawn this many times finer, then averaged down


def draw(shape: str, length: float, width: float, angle: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A pale body on dull noisy ground -> the scan (500, 500, 3) uint8 and its box (4,), px."""
    size, fine = 500, 500 * _FINE
    body = np.zeros((fine, fine), np.uint8)
    centre, axes = (251.3 * _FINE, 247.8 * _FINE), (length * _FINE, width * _FINE)
    if shape == "ellipse":
        cv2.ellipse(body, (centre, axes, angle), 255, -1)
    else:
        cv2.fillPoly(body, [np.rint(cv2.boxPoints((centre, axes, angle))).astype(np.int32)], 255)
    x, y, w, h = cv2.boundingRect(body)
    cover = cv2.resize(body, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    random = np.random.default_rng(seed)
    ground = cv2.GaussianBlur(random.standard_normal((size, size)).astype(np.float32), (0, 0), 6)[..., None]
    ground = np.array([75, 62, 48], np.float32) + 6 * ground / ground.std()
    scan = ground * (1 - cover) + np.array([200, 190, 175], np.float32) * cover
    scan = scan + 2.5 * random.standard_normal(scan.shape)
    box = np.array([x, y, x + w, y + h], np.float32) / _FINE
    return np.clip(np.rint(scan), 0, 255).astype(np.uint8), box


def measured(scan: np.ndarray, box: np.ndarray, um_per_px: float | None = UM_PER_PX) -> Sizes:
    return measure(image_from_array(scan, UM_PER_PX), [], [], box[None], um_per_px)


@pytest.mark.parametrize("angle", [0, 17, 45, 80])
@pytest.mark.parametrize(("length", "width"), [(150, 40), (60, 22), (24, 14)])
def test_an_ellipse_is_measured_within_a_pixel(length: float, width: float, angle: float) -> None:
    sizes = measured(*draw("ellipse", length, width, angle))
    px = UM_PER_PX / 1000
    assert sizes.length_mm[0] / px == pytest.approx(length, abs=1.2)
    assert sizes.width_mm[0] / px == pytest.approx(width, abs=1.2)
    assert sizes.area_mm2[0] / px**2 == pytest.approx(math.pi / 4 * length * width, rel=0.08)


@pytest.mark.parametrize("angle", [5, 30, 62])
@pytest.mark.parametrize(("length", "width"), [(240, 8), (90, 5)])
def test_a_thin_rotated_bar_keeps_its_length_and_width(length: float, width: float, angle: float) -> None:
    sizes = measured(*draw("bar", length, width, angle))
    px = UM_PER_PX / 1000
    assert sizes.length_mm[0] / px == pytest.approx(length, abs=2)
    assert sizes.width_mm[0] / px == pytest.approx(width, abs=1.2)


def test_a_body_longer_than_a_level_is_read_coarser_and_stays_as_long() -> None:
    scan, box = draw("bar", 240, 12, 30)
    scan = cv2.resize(scan, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    sizes = measured(scan, box * 4)
    assert sizes.length_mm[0] / (UM_PER_PX / 1000) == pytest.approx(960, rel=0.01)


def test_a_resting_animal_is_measured_by_its_looks_and_a_hidden_one_by_its_change() -> None:
    scan, box = draw("ellipse", 80, 30, 20)
    ground, _ = draw("ellipse", 0.2, 0.2, 20)
    still = Registration(*np.zeros((2, 1, 1), np.float32), *np.array([[1] * 3, [0] * 3], np.float32), 1.0, True, "")
    for earlier in (scan, ground):
        references = [image_from_array(earlier, UM_PER_PX)] * 2
        sizes = measure(image_from_array(scan, UM_PER_PX), references, [still] * 2, box[None], UM_PER_PX)
        assert sizes.length_mm[0] / (UM_PER_PX / 1000) == pytest.approx(80, abs=1.5)


def test_without_a_scale_or_without_an_animal_there_is_no_size() -> None:
    scan, box = draw("ellipse", 80, 30, 20)
    assert np.isnan(measured(scan, box, None).length_mm).all()
    empty = np.full((500, 500, 3), 70, np.uint8)
    sizes = measured(empty, box)
    assert np.isnan(sizes.length_mm).all() and np.isnan(sizes.width_mm).all() and np.isnan(sizes.area_mm2).all()
    assert len(measure(image_from_array(empty, 1.0), [], [], np.zeros((0, 4), np.float32), 21.2).length_mm) == 0


def test_boxes_at_and_beyond_the_border_are_measured_or_left_out_without_an_error() -> None:
    scan, _ = draw("ellipse", 80, 30, 20)
    boxes = np.array([[-5, -5, 3, 3], [490, 490, 510, 510], [600, 600, 640, 640], [0, 0, 500, 500]], np.float32)
    assert len(measure(image_from_array(scan, 21.2), [], [], boxes, 21.2).area_mm2) == 4


def test_a_box_smaller_than_a_pixel_is_not_measured_and_stops_nothing() -> None:
    scan, box = draw("ellipse", 60, 20, 30)
    before, _ = draw("ellipse", 60, 20, 30, seed=1)
    still = np.zeros((1, 1), np.float32)
    lying = Registration(still, still, np.ones(3, np.float32), np.zeros(3, np.float32), 1.0, True, "")
    reference = image_from_array(np.roll(before, 150, axis=1), UM_PER_PX)
    boxes = np.array([[10.6, 10.6, 10.8, 10.9], box], np.float32)
    sizes = measure(image_from_array(scan, UM_PER_PX), [reference] * 2, [lying] * 2, boxes, UM_PER_PX)
    assert np.isnan(sizes.length_mm[0]) and sizes.length_mm[1] == pytest.approx(60 * UM_PER_PX / 1000, rel=0.2)


class Chunks:
    """A stored level, (3, H, W), that counts how often each of its chunks is decoded: row and column of each."""

    chunks, shards = (3, 64, 64), (3, 64, 512)

    def __init__(self, scan: np.ndarray) -> None:
        self.planes = np.moveaxis(scan, -1, 0)
        self.shape = self.planes.shape
        self.decoded: list[tuple[int, int]] = []

    def __getitem__(self, window: tuple[slice, slice, slice]) -> np.ndarray:
        down, across = (range(side.start // 64, -(-side.stop // 64)) for side in window[1:])
        self.decoded += product(down, across)
        return np.ascontiguousarray(self.planes[window])


def test_a_stored_scan_is_decoded_once_whatever_the_order_of_the_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getNumThreads", lambda: 1)  # of two that meet at a seam one may come late
    scan, _ = draw("ellipse", 80, 30, 30)
    boxes = np.array([[x, y, x + 16, y + 12] for y in range(20, 480, 64) for x in (60, 200, 400)], np.float32)
    boxes = boxes[np.random.default_rng(0).permutation(len(boxes))]
    stored = Chunks(scan)
    sizes = measure(ScanImage((ZarrPixels(stored),), UM_PER_PX), [], [], boxes, UM_PER_PX)
    under_boxes = {(y // 64, x // 64) for x0, y0, x1, y1 in boxes for x in (x0 - 8, x1 + 7) for y in (y0, y1)}
    assert len(stored.decoded) == len(set(stored.decoded)) and set(stored.decoded) == under_boxes
    assert np.isfinite(sizes.length_mm).any()
    by_itself = [measured(scan, box) for box in boxes]
    np.testing.assert_array_equal(sizes.length_mm, [one.length_mm[0] for one in by_itself])
