"""References, registration and the difference."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.background import LAGS, ModelInput, Registration, choose_references, register, register_all, rgb_only
from soilpipe.background.median import masked_median, median
from soilpipe.tiles import ScanImage, image_from_array

UM_PER_PX = 21.2
NOON = datetime(2024, 3, 6, 12, tzinfo=UTC)


def ground(seed: int, height: int = 420, width: int = 640) -> np.ndarray:
    """Clutter at several scales, (height, width, 3) float32."""
    random = np.random.default_rng(seed)
    grey = np.zeros((height, width), np.float32)
    for size, strength in ((1.2, 14), (3, 12), (8, 12), (30, 10)):
        noise = cv2.GaussianBlur(random.standard_normal((height, width)).astype(np.float32), (0, 0), size)
        grey += strength * noise / noise.std()
    return np.stack([grey + 85, grey * 0.85 + 70, grey * 0.7 + 55], -1)


def shot(
    scene: np.ndarray,
    seed: int,
    *,
    jitter: float = 1.0,
    drift: tuple[float, float] = (0.0, 0.0),
    gain: float = 1.0,
    offset: float = 0.0,
    fog: float = 0.0,
    noise: float = 2.5,
) -> np.ndarray:
    """One scan of the scene: rows displaced by the carriage, the whole by drift, then veil, lamp and noise."""
    random = np.random.default_rng(seed)
    height, width = scene.shape[:2]
    rows = cv2.GaussianBlur(random.standard_normal((height + 80, 2)).astype(np.float32), (1, 41), 6)[40:-40]
    rows = np.clip(jitter * rows / rows.std(0), -2, 2)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    seen = cv2.remap(
        scene, x + rows[:, :1] + drift[1], y + rows[:, 1:] + drift[0], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    if fog:
        veil = cv2.resize(random.random((2, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        veil = fog * np.clip(veil, 0, 1)[..., None]
        seen = seen * (1 - veil) + 150 * veil
    seen = seen * gain + offset + noise * random.standard_normal(seen.shape).astype(np.float32)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def image(array: np.ndarray) -> ScanImage:
    return image_from_array(array, UM_PER_PX)


def residual(model_input: ModelInput) -> float:
    """Standard deviation of the difference where it is valid, grey levels."""
    window = model_input.read(0, model_input.height, 0, model_input.width)
    return float(window[3:6][:, window[6] == 255].astype(np.float32).std())


@pytest.fixture(scope="module")
def season() -> tuple[ScanImage, list[ScanImage], list[Registration]]:
    """A scan and four references, jittered, drifting and of other gain; registered."""
    scene = ground(1)
    scan = image(shot(scene, 10))
    drifts = ((0.8, -1.2), (-1.6, 0.4), (0.3, 1.9), (2.0, -0.7))
    references = [
        image(shot(scene, 11 + k, drift=drift, gain=1 + 0.08 * k, offset=4 * k)) for k, drift in enumerate(drifts)
    ]
    return scan, references, [register(scan, reference) for reference in references]


@pytest.fixture(scope="module")
def foggy_season() -> tuple[ScanImage, list[ScanImage], list[Registration]]:
    """The same under a veil that moves."""
    scene = ground(1)
    scan = image(shot(scene, 20, fog=0.3))
    references = [image(shot(scene, 21 + k, fog=0.3)) for k in range(4)]
    return scan, references, [register(scan, reference) for reference in references]


# Which scans


def every_six_hours(days: int) -> list[tuple[str, datetime]]:
    return [(f"s{k:03d}", NOON - timedelta(hours=6 * k)) for k in range(1, 4 * days + 1)]


def test_references_are_the_scans_6_24_48_and_72_hours_before_newest_first() -> None:
    assert choose_references(NOON, every_six_hours(5)) == ("s001", "s004", "s008", "s012")


def test_a_missing_slot_is_replaced_by_its_nearest_neighbour() -> None:
    earlier = [scan for scan in every_six_hours(5) if scan[0] != "s004"]
    assert choose_references(NOON, earlier) == ("s001", "s005", "s008", "s012")


def test_a_young_series_gives_what_it_has_each_scan_once() -> None:
    assert choose_references(NOON, every_six_hours(5)[:2]) == ("s001", "s002")
    assert choose_references(NOON, []) == ()


@given(st.lists(st.integers(-300, 300), max_size=12, unique=True), st.randoms(use_true_random=False))
def test_references_are_distinct_earlier_and_independent_of_the_order(hours: list[int], random) -> None:
    scans = [(f"s{hour}", NOON - timedelta(hours=hour)) for hour in hours]
    chosen = choose_references(NOON, scans)
    random.shuffle(scans)
    assert choose_references(NOON, scans) == chosen
    times = dict(scans)
    assert len(set(chosen)) == len(chosen) == min(len(LAGS), sum(hour > 0 for hour in hours))
    assert all(times[scan_id] < NOON for scan_id in chosen)
    assert [times[scan_id] for scan_id in chosen] == sorted((times[scan_id] for scan_id in chosen), reverse=True)


# Registration


def test_a_shift_is_found_to_a_twentieth_of_a_pixel() -> None:
    scene = ground(2)
    found = register(image(shot(scene, 1, jitter=0)), image(shot(scene, 2, jitter=0, drift=(1.3, -0.45))))
    assert found.ok and found.reason == ""
    assert np.median(found.dy) == pytest.approx(-1.3, abs=0.05)
    assert np.median(found.dx) == pytest.approx(0.45, abs=0.05)


def test_gain_and_offset_are_found_although_animals_came_and_went() -> None:
    scene = ground(3)
    before = shot(scene, 1, gain=1.15, offset=-6)
    now = shot(scene, 2)
    cv2.ellipse(now, (300, 200), (120, 25), 20, 0, 360, (235, 225, 215), -1)
    found = register(image(now), image(before))
    assert found.gain == pytest.approx(1 / 1.15, abs=0.03)
    assert found.gain * (85 * 1.15 - 6) + found.offset == pytest.approx(85, abs=2)


def test_static_clutter_vanishes_within_noise_under_jitter_drift_and_gain(season) -> None:
    scan, references, registrations = season
    unregistered = [
        Registration(found.dy * 0, found.dx * 0, found.gain, found.offset, 1.0, True, "") for found in registrations
    ]
    floor = 2.5 * np.sqrt(1 + 0.3)  # the scan's noise, and that of a median of four
    assert residual(ModelInput(scan, references, registrations, UM_PER_PX)) < 1.25 * floor
    assert residual(ModelInput(scan, references, unregistered, UM_PER_PX)) > 2.5 * floor


def test_a_carriage_that_stutters_is_followed_and_a_steady_one_costs_less(monkeypatch: pytest.MonkeyPatch) -> None:
    from soilpipe.background import lattice_fit

    steps: list[float] = []
    one_step = lattice_fit._step
    monkeypatch.setattr(lattice_fit, "_step", lambda *given: steps.append(one_step(*given)) or steps[-1])
    scene, taken = ground(6), {}
    for jitter in (0.0, 2.0):
        scan, *references = (image(shot(scene, 40 + k, jitter=jitter)) for k in range(5))
        steps.clear()
        registrations = register_all(scan, references)
        taken[jitter] = len(steps)
        floor = 2.5 * np.sqrt(1 + 0.3)  # the scan's noise, and that of a median of four
        assert residual(ModelInput(scan, references, registrations, UM_PER_PX)) < 1.1 * floor
    assert taken[0.0] == 4 < 20 < taken[2.0]


def test_a_veil_of_condensation_is_taken_for_tone_and_not_for_animals(foggy_season) -> None:
    scan, references, registrations = foggy_season
    assert all(found.local is not None for found in registrations)
    everywhere = [dataclasses.replace(found, local=None) for found in registrations]
    with_local = residual(ModelInput(scan, references, registrations, UM_PER_PX))
    assert with_local < 0.6 * residual(ModelInput(scan, references, everywhere, UM_PER_PX))


def test_an_animal_that_came_stands_out_and_keeps_its_contrast(season) -> None:
    scan, references, registrations = season
    now = scan.levels[0].read(0, scan.height, 0, scan.width).copy()
    cv2.ellipse(now, (320, 210), (40, 8), 30, 0, 360, (220, 210, 200), -1)
    window = ModelInput(image(now), references, registrations, UM_PER_PX).read(205, 215, 315, 325)
    assert (window[3] > 128 + 80).all() and (window[6] == 255).all()


def test_what_is_found_for_a_reference_does_not_depend_on_the_others(season) -> None:
    scan, references, alone = season
    strange = image(np.full((100, 100, 3), 90, np.uint8))
    together = register_all(scan, [references[2], strange, references[0]])
    assert not together[1].ok
    for found, expected in ((together[0], alone[2]), (together[2], alone[0])):
        assert np.array_equal(found.dy, expected.dy) and np.array_equal(found.dx, expected.dx)
        assert np.array_equal(found.gain, expected.gain) and found.peak == expected.peak
    assert register_all(scan, []) == []


@pytest.mark.slow
def test_a_strip_in_the_middle_of_each_block_tells_as_much_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = ground(4, 1500, 2400)
    scan, reference = image(shot(scene, 31)), image(shot(scene, 32, drift=(0.7, -1.1), gain=1.1))
    from soilpipe.background import lattice_fit

    parts = register(scan, reference)
    assert lattice_fit._Strips.of(2400, 9).columns.size < 1300
    monkeypatch.setattr(lattice_fit, "_SHARE", 1.0)
    whole = register(scan, reference)
    assert np.abs(parts.dy - whole.dy).mean() < 0.02 and np.abs(parts.dx - whole.dx).mean() < 0.02


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (ground(4, 420, 642), "size"),
        (ground(5), "alike|match"),
        (np.full((420, 640, 3), 60.0), "nothing to hold on to"),
        (np.roll(ground(1), 90, 1), "moved|alike"),
    ],
    ids=["other size", "other ground", "lamp off", "scanner moved"],
)
def test_what_cannot_be_registered_is_told_in_words(season, other: np.ndarray, words: str) -> None:
    found = register(season[0], image(np.clip(other, 0, 255).astype(np.uint8)))
    assert not found.ok
    assert any(word in found.reason for word in words.split("|")), found.reason


# What the detector reads


@pytest.fixture(scope="module")
def wholes(season, foggy_season) -> dict[tuple[bool, int, float], tuple[ModelInput, np.ndarray]]:
    """By fog, number of references and scale: an input, and all of it at once with 20 px around."""
    found = {}
    for fog, count, um_per_px in itertools.product((False, True), (2, 3, 4), (10.6, 21.2, 42.4, 84.8)):
        scan, references, registrations = foggy_season if fog else season
        whole = ModelInput(scan, references[:count], registrations[:count], um_per_px)
        found[fog, count, um_per_px] = whole, whole.read(-20, whole.height + 20, -20, whole.width + 20)
    return found


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_read_for_a_pixel_does_not_depend_on_the_window(wholes, data: st.DataObject) -> None:
    model_input, whole = wholes[data.draw(st.sampled_from(sorted(wholes)))]
    pad = 20
    y0 = data.draw(st.integers(-pad, model_input.height + pad - 1))
    x0 = data.draw(st.integers(-pad, model_input.width + pad - 1))
    y1 = data.draw(st.integers(y0 + 1, min(y0 + 150, model_input.height + pad)))
    x1 = data.draw(st.integers(x0 + 1, min(x0 + 150, model_input.width + pad)))
    crop = whole[:, y0 + pad : y1 + pad, x0 + pad : x1 + pad]
    np.testing.assert_array_equal(model_input.read(y0, y1, x0, x1), crop)


def test_outside_the_image_there_is_nothing_and_it_is_not_valid(season) -> None:
    window = ModelInput(*season, UM_PER_PX).read(-8, 0, -8, 40)
    expected = np.array([0, 0, 0, 128, 128, 128, 0], np.uint8)[:, None, None]
    np.testing.assert_array_equal(window, np.broadcast_to(expected, window.shape))


def test_with_fewer_than_two_references_the_difference_is_nowhere_valid(season) -> None:
    scan, references, registrations = season
    window = ModelInput(scan, references[:1], registrations[:1], UM_PER_PX).read(0, 64, 0, 64)
    assert (window[3:6] == 128).all() and (window[6] == 0).all()
    np.testing.assert_array_equal(np.moveaxis(window[:3], 0, -1), scan.levels[0].read(0, 64, 0, 64))


def test_where_fewer_than_two_references_reach_the_difference_is_not_valid(season) -> None:
    scan, references, registrations = season
    moved = [
        Registration(np.full((1, 1), 10.0, np.float32), found.dx, found.gain, found.offset, 1.0, True, "")
        for found in registrations
    ]
    two = ModelInput(scan, references[:2], [registrations[0], moved[1]], UM_PER_PX)
    valid = two.read(0, two.height, 0, two.width)[6]
    assert not valid[-10:].any() and valid[20:-20, 20:-20].all()
    three = ModelInput(scan, references[:3], [*registrations[:2], moved[2]], UM_PER_PX)
    assert three.read(0, three.height, 0, three.width)[6][-10:-4, 20:-20].all()


def test_rgb_only_drops_the_difference_and_nothing_else(season) -> None:
    whole = ModelInput(*season, UM_PER_PX)
    bare = rgb_only(whole).read(10, 50, 10, 60)
    np.testing.assert_array_equal(bare[:3], whole.read(10, 50, 10, 60)[:3])
    assert (bare[3:6] == 128).all() and (bare[6] == 0).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_the_median_is_the_median(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    pictures = list(random.integers(0, 256, (count, 5, 7, 3), dtype=np.uint8))
    expected = np.floor(np.median(np.stack(pictures), axis=0) + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(median(pictures), expected)
    masks = list(random.random((count, 5, 7)) < 0.7)
    result, there = masked_median(pictures, masks)
    for y, x in np.ndindex(5, 7):
        values = [picture[y, x] for picture, mask in zip(pictures, masks, strict=True) if mask[y, x]]
        assert there[y, x] == len(values)
        if values:
            np.testing.assert_array_equal(result[y, x], np.floor(np.median(values, axis=0) + 0.5).astype(np.uint8))
