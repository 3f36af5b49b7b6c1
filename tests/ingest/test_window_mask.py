"""The mask finds what hides the ground, and leaves ground alone that is merely dark, bright or wet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from soilpipe.ingest.quality import QualityMeter
from soilpipe.ingest.window_mask import VEILED, MaskError, decode_mask, encode_mask, masked
from soilpipe.simulate import SeasonSpec, simulate_season

SIDE = 1536
YY, XX = np.mgrid[:SIDE, :SIDE].astype(np.float32)
FADED = (1 / (1 + np.exp((np.hypot(YY - 700, XX - 800) - 420) / 50)))[..., None]
INSIDE, OUTSIDE = FADED[32::64, 32::64, 0] > 0.9, FADED[32::64, 32::64, 0] < 0.1
"""Of each cell: whether its middle is surely veiled, surely not."""


@pytest.fixture(scope="module", params=["loam", pytest.param("peat", marks=pytest.mark.slow)])
def season(request) -> list[np.ndarray]:
    """Three scans two days apart: drops come and go, a moisture front moves."""
    times = tuple(datetime(2024, 3, 6, tzinfo=UTC) + timedelta(days=2 * i) for i in range(3))
    spec = SeasonSpec("A20", request.param, seed=5, times=times, height_px=SIDE, width_px=SIDE)
    return [scan.image for scan in simulate_season(spec)]


def mask_of(image: np.ndarray, dpi: float = 1200.0) -> np.ndarray:
    meter = QualityMeter(dpi)
    for _ in meter.watch(iter([np.ascontiguousarray(image)])):
        pass
    return meter.result()[1]


def seen(scene: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0.0, 1.8, scene.shape)
    return np.clip(scene + noise, 0, 255).astype(np.uint8)


@pytest.mark.slow
def test_nothing_of_an_ordinary_season_is_masked(season: list[np.ndarray]) -> None:
    assert [int(mask_of(image).sum()) for image in season] == [0, 0, 0]


def test_nothing_is_masked_whatever_the_exposure(season: list[np.ndarray]) -> None:
    for gain in (0.3, 0.6, 1.6, 2.5):
        assert not mask_of(np.clip(season[0] * gain, 0, 250).astype(np.uint8)).any()


@pytest.mark.parametrize("kind", ["fog", "mud", "smear", "gap"])
def test_what_hides_the_ground_is_masked_where_it_is(kind: str, season: list[np.ndarray]) -> None:
    scene = season[0].astype(np.float32)
    if kind == "fog":
        behind = 0.15 * scene + 0.85 * 120
    elif kind == "mud":
        behind = 0.2 * cv2.blur(scene, (301, 301)) + np.array([60, 45, 30])
    elif kind == "smear":
        behind = cv2.blur(scene, (301, 5))
    else:
        behind = 0.9 * cv2.GaussianBlur(scene, (0, 0), 25)
    mask = mask_of(seen(scene * (1 - FADED) + FADED * behind))
    assert not mask[OUTSIDE].any()
    assert set(np.unique(mask)) == {0, VEILED}
    assert (mask[INSIDE] == VEILED).mean() > (0.95 if kind in ("fog", "mud") else 0.3)


def test_half_a_fogged_window_is_masked(season: list[np.ndarray]) -> None:
    scene = season[0].astype(np.float32)
    veil = (1 / (1 + np.exp(-(900 - YY) / 50)))[..., None]
    share = (mask_of(seen(scene * (1 - 0.85 * veil) + veil * 100)) == VEILED).mean()
    assert 0.5 < share < 0.6


@pytest.mark.parametrize("radius", [120, 250, 400])
@pytest.mark.parametrize("colour", [(150, 140, 120), (8, 6, 5)], ids=["stone", "pore"])
def test_stones_and_pores_are_no_veils(radius: int, colour: tuple[int, ...], season: list[np.ndarray]) -> None:
    scene = season[0].astype(np.float32)
    thing = (np.hypot((YY - 700) * 1.3, XX - 800 + 0.2 * YY) < radius)[..., None]
    shaded = np.array(colour) * (1 + 0.05 * np.sin(XX / 300))[..., None]
    assert not mask_of(seen(np.where(thing, shaded, scene))).any()


def test_a_moisture_front_is_no_band(season: list[np.ndarray]) -> None:
    wet = 1 / (1 + np.exp(-(YY - 700) / 15))
    assert not mask_of(seen(season[0] * (1 - 0.35 * wet[..., None]))).any()


@pytest.mark.parametrize("dpi", [300.0, 600.0, 1200.0])
def test_nothing_of_real_soil_is_masked(dpi: float, shared_data: Path) -> None:
    paths = sorted((shared_data / "soil_scanner" / "images").glob("*.tiff"))
    assert paths
    for path in paths:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        assert not mask_of(image, dpi).any()


def test_a_detection_is_masked_by_its_centre() -> None:
    mask = np.zeros((3, 4), np.uint8)
    mask[1, 2] = VEILED
    boxes = np.array(
        [[128, 64, 191, 127], [100, 60, 140, 80], [0, 0, 600, 300], [128, 64, 128, 64], [192, 64, 200, 70]]
    )
    assert masked(mask, 64, boxes).tolist() == [True, False, False, True, False]
    assert masked(mask, 64, np.zeros((0, 4))).tolist() == []


def test_the_mask_file_holds_the_mask_and_says_when_it_is_none() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4) % 5
    data = encode_mask(mask)
    assert np.array_equal(decode_mask(data, "mask.png"), mask)
    for broken in (b"", data[:20], b"no picture"):
        with pytest.raises(MaskError, match=r"mask\.png"):
            decode_mask(broken, "mask.png")
