"""Crops round boxes and windows anywhere: at the scale they are said to have, with what a detector would see."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from soilpipe.background import ModelInput, register_all
from soilpipe.encoder.crops import crop_of, crops_of, window_of
from soilpipe.encoder.weights import EncoderError
from soilpipe.tiles import ScanImage, image_from_array

UM = 21.17


def soil(side: int = 400, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.normal(110, 200, (side, side, 3)), (0, 0), 3).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def scan() -> ScanImage:
    return image_from_array(soil(), UM, "A-20240306T060000-00000000")


def test_a_small_animal_is_copied_without_being_resampled(scan: ScanImage) -> None:
    pixels, um_per_px = crop_of(scan, (), (), (190, 150, 230, 170), um_per_px=UM)
    assert um_per_px == UM and pixels.shape == (7, 96, 96) and pixels.dtype == np.uint8
    assert np.array_equal(np.moveaxis(pixels[:3], 0, -1), soil()[112:208, 162:258])
    assert (pixels[3:6] == 128).all() and not pixels[6].any()


@pytest.mark.parametrize(("length", "doublings"), [(10, 0), (64, 0), (65, 1), (128, 1), (129, 2), (390, 3)])
def test_a_large_animal_is_read_at_the_finest_scale_it_fits(scan: ScanImage, length: int, doublings: int) -> None:
    box = (200 - length / 2, 195, 200 + length / 2, 205)
    pixels, um_per_px = crop_of(scan, (), (), box, um_per_px=UM)
    assert um_per_px == UM * 2**doublings
    assert um_per_px * 96 >= 1.5 * length * UM
    window = ModelInput(scan, (), (), um_per_px)
    half = 200 // 2**doublings
    assert np.array_equal(pixels, window.read(half - 48, half + 48, half - 48, half + 48))


def test_context_and_side_say_how_much_is_seen(scan: ScanImage) -> None:
    box = (150, 150, 250, 250)
    assert crop_of(scan, (), (), box, um_per_px=UM, context=0.9)[1] == UM
    assert crop_of(scan, (), (), box, um_per_px=UM, context=1.0)[1] == 2 * UM
    pixels, um_per_px = crop_of(scan, (), (), box, um_per_px=UM, side=160)
    assert pixels.shape == (7, 160, 160) and um_per_px == UM


@pytest.mark.parametrize("um_per_px", [15.5, 17.0, 26.0, 29.0, 50.0])
def test_another_scale_is_kept_to_exactly(um_per_px: float) -> None:
    """A disc of 2 mm has that width in the crop whatever the pyramid offers, and its middle stays in the middle."""
    radius_px = 1000 / um_per_px
    y, x = np.mgrid[:400, :400]
    inside = (radius_px + 0.5 - np.hypot(y - 210, x - 200)).clip(0, 1)
    picture = np.repeat((40 + 180 * inside)[..., None], 3, axis=2).round().astype(np.uint8)
    scan = image_from_array(picture, um_per_px)
    box = (200.5 - radius_px, 210.5 - radius_px, 200.5 + radius_px, 210.5 + radius_px)
    pixels, found = crop_of(scan, (), (), box, um_per_px=UM, side=160)
    assert found == UM
    rows, columns = np.nonzero(pixels[0] > 130)
    assert np.sqrt(4 * len(rows) / np.pi) == pytest.approx(2000 / UM, abs=1.0)
    assert abs(rows.mean() - 79.5) < 0.75 and abs(columns.mean() - 79.5) < 0.75


def test_one_animal_seen_by_two_scanners_gives_two_crops_that_agree() -> None:
    fine = soil(800, seed=3)
    coarse = cv2.resize(fine, (500, 500), interpolation=cv2.INTER_AREA)
    one, _ = crop_of(image_from_array(fine, 20.0), (), (), (380, 360, 420, 440), um_per_px=32.0)
    other, _ = crop_of(image_from_array(coarse, 32.0), (), (), (237.5, 225, 262.5, 275), um_per_px=32.0)
    apart = np.abs(one[:3].astype(int) - other[:3])
    assert apart.mean() < 3, "of a picture whose own deviation is above 10"
    assert other[:3].std() > 10


def test_the_difference_comes_along_and_is_valid_only_where_it_is() -> None:
    before = [image_from_array(soil(), 25.0) for _ in range(2)]
    picture = soil()
    cv2.circle(picture, (200, 200), 12, (250, 250, 250), -1)
    scan = image_from_array(picture, 25.0)
    registrations = register_all(scan, before)
    for um_per_px in (25.0, 20.0):  # copied, resampled
        pixels, _ = crop_of(scan, before, registrations, (188, 188, 212, 212), um_per_px=um_per_px)
        assert pixels[3:6, 48, 48].min() > 180 and abs(int(pixels[3, 20, 20]) - 128) < 12
        assert set(np.unique(pixels[6])) <= {0, 255} and pixels[6, 48, 48] == 255
    pixels, _ = crop_of(scan, before, registrations, (-10, -10, 10, 10), um_per_px=20.0)
    assert not pixels[6, :40, :40].any() and (pixels[3:6][:, pixels[6] == 0] == 128).all()
    assert not pixels[:3, :40, :40].any() and pixels[6, 60, 60] == 255


def test_many_boxes_give_what_each_gives_alone_in_their_order(scan: ScanImage) -> None:
    rng = np.random.default_rng(2)
    corner, size = rng.uniform(0, 350, (12, 2)), rng.uniform(4, 200, (12, 2))
    boxes = np.concatenate([corner, corner + size], axis=1)
    pixels, scales = crops_of(scan, (), (), boxes, um_per_px=UM)
    assert len(set(scales)) >= 3
    for row, box in enumerate(boxes):
        alone, scale = crop_of(scan, (), (), box, um_per_px=UM)
        assert np.array_equal(pixels[row], alone) and scales[row] == scale
    none, no_scales = crops_of(scan, (), (), np.zeros((0, 4)), um_per_px=UM)
    assert none.shape == (0, 7, 96, 96) and no_scales.shape == (0,)


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 9, 5, 5), (float("nan"), 1, 2, 3), (0, 0, float("inf"), 3)])
def test_a_box_without_an_area_is_told(scan: ScanImage, box: tuple[float, ...]) -> None:
    with pytest.raises(EncoderError, match=r"A-20240306T060000-00000000: the box .* has no area"):
        crop_of(scan, (), (), box, um_per_px=UM)


def test_a_window_is_what_a_detector_reads(scan: ScanImage) -> None:
    window = window_of(scan, (), (), 32, -16, 64, 2 * UM)
    assert np.array_equal(window, ModelInput(scan, (), (), 2 * UM).read(32, 96, -16, 48))
