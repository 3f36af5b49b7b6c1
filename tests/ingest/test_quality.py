from __future__ import annotations

import cv2
import numpy as np

from soilpipe.ingest.quality import Quality, QualityMeter


def judge(image: np.ndarray, rows: int = 256) -> Quality:
    meter = QualityMeter()
    for _ in meter.watch(image[top : top + rows] for top in range(0, len(image), rows)):
        pass
    return meter.result()


def test_the_bands_do_not_matter(draw) -> None:
    image = draw(700, 300)
    assert judge(image, 256).usable_fraction == judge(image, 700).usable_fraction == 1.0
    assert judge(image).flat_bands == ()


def test_a_blurred_picture_is_less_sharp(draw) -> None:
    image = draw(300, 300)
    assert judge(cv2.GaussianBlur(image, (9, 9), 2)).sharpness < judge(image).sharpness / 4


def test_a_grey_tail_is_a_flat_band_and_not_usable(draw) -> None:
    image = draw(640, 300)
    image[320:] = 128
    quality = judge(image)
    assert quality.flat_bands == ((320, 640),)
    assert quality.usable_fraction == 0.5


def test_a_saturated_half_is_not_usable(draw) -> None:
    image = np.clip(draw(256, 256), 0, 240)
    image[:, 128:] = 255
    assert judge(image).usable_fraction == 0.5
    assert judge(image).flat_bands == ()


def test_dark_soil_is_legitimate() -> None:
    dark = np.random.default_rng(0).integers(0, 4, (256, 256, 3), np.uint8)
    assert judge(dark).usable_fraction == 1.0
