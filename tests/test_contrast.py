"""Local contrast normalisation: what it takes out of a scan, and what it leaves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.background import ModelInput, even_contrast, register_all
from soilpipe.background.contrast import DEVIATION, LEAST_DEVIATION, MEAN
from soilpipe.tiles import image_from_array

UM_PER_PX = 42.333
HEIGHT, WIDTH = 900, 1400
"""About 4 x 6 cm."""


def ground(seed: int, strength: float = 18.0) -> np.ndarray:
    """Clutter of one contrast everywhere, (HEIGHT, WIDTH, 3) float32."""
    random = np.random.default_rng(seed)
    grey = cv2.GaussianBlur(random.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 2)
    grey *= strength / grey.std()
    return np.stack([grey + 120, grey * 0.9 + 100, grey * 0.7 + 60], -1)


def seen(picture: np.ndarray, um_per_px: float = UM_PER_PX) -> np.ndarray:
    """The colours that a detector is shown, (3, h, w) float64."""
    scan = image_from_array(np.clip(np.rint(picture), 0, 255).astype(np.uint8), UM_PER_PX)
    whole = ModelInput(scan, (), (), um_per_px, even=even_contrast(scan))
    return whole.read(0, whole.height, 0, whole.width)[:3].astype(np.float64)


def test_every_neighbourhood_gets_the_same_mean_and_contrast() -> None:
    light = np.linspace(0.35, 1.3, WIDTH)[None, :, None]
    shown = seen(ground(0) * light)
    for left in range(0, WIDTH - 200, 200):
        part = shown[:, 200:700, left : left + 200]
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
    cv2.ellipse(scene, (1000, 450), (30, 12), 20, 0, 360, (30.0, 28.0, 25.0), -1)
    veil = np.clip((np.arange(WIDTH) - 400) / 200, 0, 0.7)[None, :, None]
    clear, misty = seen(scene), seen(scene * (1 - veil) + 150 * veil)
    animal = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(animal, (1000, 450), (26, 9), 20, 0, 360, 1, -1)
    below = [MEAN - picture.mean(0)[animal == 1].mean() for picture in (clear, misty)]
    assert below[1] > 0.6 * below[0] > 60, "grey levels under its ground, of which the veil left 0.3 in the scan"


def test_calm_ground_is_not_made_a_storm() -> None:
    shown = seen(ground(3, strength=1.0))
    assert shown.mean(0).std() < 1.3 * DEVIATION / LEAST_DEVIATION
    assert seen(np.full((HEIGHT, WIDTH, 3), 90.0)).std() == 0


@pytest.fixture(scope="module")
def whole() -> tuple[ModelInput, np.ndarray]:
    scan = image_from_array(np.clip(ground(4), 0, 255).astype(np.uint8), UM_PER_PX)
    read = ModelInput(scan, (), (), 2 * UM_PER_PX, even=even_contrast(scan))
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


def test_the_difference_is_that_of_evened_pictures() -> None:
    """Haze hides most of what changed; evened, scan less difference is the evened background, as training takes it."""
    bare = ground(5) * 0.4 + 90
    shape = cv2.ellipse(np.zeros((HEIGHT, WIDTH), np.float32), (400, 300), (30, 12), 20, 0, 360, 20.0, -1)
    there = bare - shape[..., None]
    pictures = [np.clip(np.rint(one), 0, 255).astype(np.uint8) for one in (there, bare, bare)]
    scan, *references = (image_from_array(one, UM_PER_PX) for one in pictures)
    found, even = register_all(scan, references), even_contrast(scan)
    plain, evened = (
        ModelInput(scan, references, found, UM_PER_PX, even=one).read(0, HEIGHT, 0, WIDTH).astype(int)
        for one in (None, even)
    )
    np.testing.assert_array_equal(plain[6], evened[6])
    gain = float(np.median(even.gain))
    animal = np.abs(plain[3] - 128) > 10
    assert animal.any() and gain > 2
    assert np.median((evened[3] - 128)[animal] / (plain[3] - 128)[animal]) == pytest.approx(gain, rel=0.15)
    background = ModelInput(references[0], (), (), UM_PER_PX, even=even).read(0, HEIGHT, 0, WIDTH)[:3]
    kept = (evened[:3] > 0) & (evened[:3] < 255) & (evened[3:6] > 1) & (evened[3:6] < 255)
    assert np.abs(evened[:3] - (evened[3:6] - 128) - background)[kept & (plain[6] > 0)].mean() < gain


def test_a_black_frame_and_a_burnt_out_band_do_not_pull_at_the_ground_beside_them() -> None:
    scene = ground(6)
    framed = scene.copy()
    framed[:150], framed[:, -160:] = 0, 255
    inner = (slice(None), slice(250, 850), slice(60, 1140))
    assert np.abs(seen(framed)[inner] - seen(scene)[inner]).mean() < 3


@pytest.mark.parametrize(("length_mm", "least"), [(3.0, 0.85), (6.0, 0.65), (9.0, 0.5)])
def test_wide_animals_are_not_taken_for_their_own_ground(length_mm: float, least: float) -> None:
    """Darkness at the middle of a disc on a scan of 50 x 50 mm, of that which a small animal is shown with."""
    side = 1180
    random = np.random.default_rng(7)
    scene = np.repeat(cv2.GaussianBlur(random.normal(0, 60, (side, side)), (0, 0), 2)[..., None] + 130, 3, axis=2)
    below = []
    for length in (1.0, length_mm):
        disc = scene.copy()
        cv2.circle(disc, (side // 2, side // 2), round(length * 500 / 42.333), (95.0,) * 3, -1)
        scan = image_from_array(np.clip(np.rint(disc), 0, 255).astype(np.uint8), 42.333)
        middle = side // 2 - 5
        window = ModelInput(scan, (), (), 42.333, even=even_contrast(scan)).read(
            middle, middle + 10, middle, middle + 10
        )
        below.append(MEAN - window[:3].mean())
    assert below[1] > least * below[0] > 20


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (70, 40)])
def test_scans_of_any_size_are_evened(shape: tuple[int, int]) -> None:
    scan = image_from_array(np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8), UM_PER_PX)
    window = ModelInput(scan, (), (), UM_PER_PX, even=even_contrast(scan)).read(0, shape[0], 0, shape[1])
    assert np.isfinite(window.astype(float)).all() and window[:3].std() >= 0
