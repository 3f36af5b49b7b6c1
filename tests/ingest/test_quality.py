from __future__ import annotations

import cv2
import numpy as np
import pytest

from soilpipe.ingest.quality import Quality, QualityMeter
from soilpipe.ingest.window_mask import BAND, FLAT, SATURATED


def judge(image: np.ndarray, rows: int = 256, dpi: float | None = None) -> tuple[Quality, np.ndarray]:
    meter = QualityMeter(dpi)
    for _ in meter.watch(image[top : top + rows] for top in range(0, len(image), rows)):
        pass
    return meter.result()


@pytest.mark.parametrize("dpi", [150, 300, 600, 1200, 2400, None])
def test_the_bands_do_not_matter(draw, dpi: float | None) -> None:
    image = draw(700, 330)
    one, mask = judge(image, 256, dpi)
    other, same = judge(image, 768, dpi)
    assert np.array_equal(mask, same) and not mask.any()
    assert one.usable_fraction == other.usable_fraction == 1.0
    assert one.flat_bands == () and one.masked == {} and one.doubts() is None
    side = one.mask_cell_px
    assert mask.shape == (-(-700 // side), -(-330 // side))
    alike = ("level_mean", "level_median", "saturated_fraction", "relative_detail")
    assert [getattr(one, name) for name in alike] == [getattr(other, name) for name in alike]


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (3, 5), (65, 63)])
def test_the_smallest_pictures_are_judged_too(shape: tuple[int, int], draw) -> None:
    quality, mask = judge(draw(*shape))
    assert quality.usable_fraction == round(1 - sum(quality.masked.values()), 4)
    assert mask.shape == (-(-shape[0] // 64), -(-shape[1] // 64))


def test_the_level_is_that_of_the_whole_window() -> None:
    image = np.full((512, 512, 3), 40, np.uint8)
    image[:, 384:] = 120
    quality, _ = judge(image)
    assert quality.level_mean == 60.0 and quality.level_median == 40.0


def test_a_blurred_picture_is_less_sharp_and_has_less_detail(draw) -> None:
    image = draw(320, 320)
    clear, _ = judge(image)
    blurred, _ = judge(cv2.GaussianBlur(image, (0, 0), 8))
    assert blurred.sharpness < clear.sharpness / 4
    assert blurred.relative_detail < clear.relative_detail / 4


def test_exposure_changes_the_level_but_not_the_relative_detail(draw) -> None:
    image = draw(320, 320)
    bright, _ = judge(image)
    dark, _ = judge((image * 0.4).astype(np.uint8))
    assert dark.level_mean < 0.5 * bright.level_mean
    assert dark.relative_detail == pytest.approx(bright.relative_detail, rel=0.05)


def test_a_grey_tail_is_a_flat_band_masked_and_told(draw) -> None:
    image = draw(640, 300)
    image[320:] = 128
    quality, mask = judge(image)
    assert quality.flat_bands == ((320, 640),)
    assert quality.usable_fraction == 0.5
    assert (mask[5:] == FLAT).all() and not mask[:5].any()
    assert "rows 320 to 640 are one colour" in quality.doubts()


def test_a_flat_band_that_begins_within_a_cell_and_crosses_bands_is_one(draw) -> None:
    image = draw(640, 300)
    image[200:400] = 0
    quality, mask = judge(image, 128)
    assert quality.flat_bands == ((200, 400),)
    assert (mask == FLAT).any(axis=1).tolist() == [False, False, False, True, True, True, False, False, False, False]


def test_a_saturated_half_is_masked_and_told(draw) -> None:
    image = np.clip(draw(256, 256), 0, 240)
    image[:, 128:] = 255
    quality, mask = judge(image)
    assert quality.usable_fraction == 0.5 and quality.saturated_fraction == 0.5
    assert (mask[:, 2:] == SATURATED).all()
    assert quality.flat_bands == ()
    assert "50.0% of the window saturated" in quality.doubts() and "too much light" in quality.doubts()


def test_a_dark_band_across_is_masked_whichever_way_it_runs(draw) -> None:
    image = draw(1024, 1024)
    image[300:520] = image[300:520] // 8
    quality, mask = judge(image)
    assert (mask[5:8] == BAND).all() and not mask[[0, 1, 2, 3, 9, 10, 15]].any()
    assert "dark bands" in quality.doubts()
    turned, sideways = judge(np.ascontiguousarray(image.transpose(1, 0, 2)))
    assert np.array_equal(sideways, mask.T)
    assert turned.usable_fraction == quality.usable_fraction


def test_black_ground_masks_nothing_but_is_told() -> None:
    dark = np.random.default_rng(0).integers(0, 2, (512, 512, 3), np.uint8)
    quality, mask = judge(dark)
    assert not mask.any() and quality.usable_fraction == 1.0
    assert "too little light" in quality.doubts()


def test_a_receipts_quality_from_before_the_mask_still_loads() -> None:
    old = Quality.model_validate({"sharpness": 10.0, "usable_fraction": 0.75, "flat_bands": [[3, 40]]})
    assert old.mask_cell_px is None and old.masked is None and old.relative_detail is None
    assert old.doubts() == "rows 3 to 40 are one colour from side to side"
