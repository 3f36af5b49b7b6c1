"""Dark soil is shown bright enough to look at, and told to be."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from soilpipe.report.brightness import MOST, TARGET, brightened
from soilpipe.report.overlay import overlay_picture
from soilpipe.tiles import ArrayPixels, image_from_array


def ground(level: int, size: tuple[int, int] = (700, 900)) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.clip(rng.normal(level, level / 6, (*size, 3)), 0, 255).astype(np.uint8)


def test_dark_soil_is_brought_to_a_level_that_can_be_seen() -> None:
    levels, factor = brightened(image_from_array(ground(30), 21.17).levels)
    bright = levels[0].read(0, 700, 0, 900)
    assert 2 < factor < MOST
    assert np.percentile(bright.mean(axis=-1), 98) == pytest.approx(TARGET, rel=0.1)


def test_a_scan_that_is_bright_enough_stays_as_it_is() -> None:
    levels = (ArrayPixels(ground(140)),)
    assert brightened(levels) == (levels, 1.0)


def test_a_black_scan_has_no_factor_without_bound() -> None:
    _, factor = brightened((ArrayPixels(np.zeros((64, 64, 3), np.uint8)),))
    assert factor == MOST


def test_the_same_place_is_the_same_whatever_the_window() -> None:
    levels, _ = brightened((ArrayPixels(ground(30)),))
    whole = levels[0].read(0, 700, 0, 900)
    np.testing.assert_array_equal(levels[0].read(100, 130, 200, 260), whole[100:130, 200:260])


def test_the_picture_of_a_dark_scan_is_brighter_than_the_scan() -> None:
    dark = ground(20)
    sheet = np.asarray(
        Image.open(io.BytesIO(overlay_picture(dark, np.zeros((0, 4)), title="dark", note=""))).convert("RGB")
    )
    middle = sheet[sheet.shape[0] // 2, sheet.shape[1] // 2 - 50 : sheet.shape[1] // 2 + 50]
    assert middle.mean() > 3 * dark.mean()
