"""Local contrast normalisation: what it takes out of a scan, and what it leaves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.background import ModelInput, even_contrast
from soilpipe.background.contrast import DEVIATION, LEAST_DEVIATION, MEAN
from soilpipe.tiles import image_from_array

UM_PER_PX = 21.2
HEIGHT, WIDTH = 620, 840


def ground(seed: int, strength: float = 18.0) -> np.ndarray:
    """Clutter of one contrast everywhere, (HEIGHT, WIDTH, 3) float32."""
    random = np.random.default_rng(seed)
    grey = cv2.GaussianBlur(random.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 2)
    grey *= strength / grey.std()
    return np.stack([grey + 120, grey * 0.9 + 100, grey * 0.7 + 60], -1)


def seen(picture: np.ndarray, um_per_px: float = UM_PER_PX) -> np.ndarray:
    """The colours that a detector is shown, (3, h, w) float64."""
    scan = image_from_array(np.clip(np.rint(picture), 0, 255).astype(np.uint8), UM_PER_PX)
    whole = ModelInput(scan, (), (), um_per_px, even=even_contrast(scan, UM_PER_PX))
    return whole.read(0, whole.height, 0, whole.width)[:3].astype(np.float64)


def test_every_neighbourhood_gets_the_same_mean_and_contrast() -> None:
    light = np.linspace(0.35, 1.3, WIDTH)[None, :, None]
    shown = seen(ground(0) * light)
    for left in range(0, WIDTH - 200, 160):
        part = shown[:, 100:500, left : left + 200]
        assert np.abs(part.mean((1, 2)) - MEAN).max() < 9, "of 58 to 215 grey levels before"
        assert part.mean(0).std() == pytest.approx(DEVIATION, rel=0.15)


@pytest.mark.parametrize(("gain", "offset"), [(0.4, 90.0), (1.3, -40.0), (0.7, 0.0)])
def test_haze_and_lamps_leave_nothing_that_is_seen(gain: float, offset: float) -> None:
    scene = ground(1)
    cv2.ellipse(scene, (400, 300), (30, 12), 20, 0, 360, (40.0, 35.0, 30.0), -1)
    plain, other = seen(scene), seen(scene * gain + offset)
    assert np.abs(plain - other).mean() < 1.5, "rounding to grey levels alone"
    assert np.abs(plain - scene.transpose(2, 0, 1)).mean() > 10, "and both differ from the scan itself"


def test_a_veil_over_a_part_is_taken_out_and_an_animal_stays() -> None:
    scene = ground(2)
    cv2.ellipse(scene, (600, 300), (30, 12), 20, 0, 360, (30.0, 28.0, 25.0), -1)
    veil = np.clip((np.arange(WIDTH) - 300) / 200, 0, 0.7)[None, :, None]
    clear, misty = seen(scene), seen(scene * (1 - veil) + 150 * veil)
    animal = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(animal, (600, 300), (26, 9), 20, 0, 360, 1, -1)
    below = [MEAN - picture.mean(0)[animal == 1].mean() for picture in (clear, misty)]
    assert below[1] > 0.6 * below[0] > 60, "grey levels under its ground, of which the veil left 0.3 in the scan"


def test_calm_ground_is_not_made_a_storm() -> None:
    shown = seen(ground(3, strength=1.0))
    assert shown.mean(0).std() < 1.3 * DEVIATION / LEAST_DEVIATION
    assert seen(np.full((HEIGHT, WIDTH, 3), 90.0)).std() == 0


@pytest.fixture(scope="module")
def whole() -> tuple[ModelInput, np.ndarray]:
    scan = image_from_array(np.clip(ground(4), 0, 255).astype(np.uint8), UM_PER_PX)
    read = ModelInput(scan, (), (), 2 * UM_PER_PX, even=even_contrast(scan, UM_PER_PX))
    return read, read.read(0, read.height, 0, read.width)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_is_shown_of_a_pixel_does_not_depend_on_the_window(whole, data: st.DataObject) -> None:
    model_input, everything = whole
    y0 = data.draw(st.integers(0, model_input.height - 1))
    x0 = data.draw(st.integers(0, model_input.width - 1))
    y1 = data.draw(st.integers(y0 + 1, model_input.height))
    x1 = data.draw(st.integers(x0 + 1, model_input.width))
    np.testing.assert_array_equal(model_input.read(y0, y1, x0, x1), everything[:, y0:y1, x0:x1])


def test_the_difference_is_of_the_scan_as_it_is() -> None:
    from soilpipe.background import register_all

    scans = [image_from_array(np.clip(ground(5) + n, 0, 255).astype(np.uint8), UM_PER_PX) for n in range(3)]
    found = register_all(scans[0], scans[1:])
    plain, evened = (
        ModelInput(scans[0], scans[1:], found, UM_PER_PX, even=even).read(0, 400, 0, 400)
        for even in (None, even_contrast(scans[0], UM_PER_PX))
    )
    np.testing.assert_array_equal(plain[3:], evened[3:])
    assert plain[6].any() and not np.array_equal(plain[:3], evened[:3])


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (70, 40)])
def test_scans_of_any_size_are_evened(shape: tuple[int, int]) -> None:
    scan = image_from_array(np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8), UM_PER_PX)
    window = ModelInput(scan, (), (), UM_PER_PX, even=even_contrast(scan, UM_PER_PX)).read(0, shape[0], 0, shape[1])
    assert np.isfinite(window.astype(float)).all() and window[:3].std() >= 0
