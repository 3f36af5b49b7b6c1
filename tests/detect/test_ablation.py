"""The ablation's own parts: the enhanced picture, and which animals count as there for long."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe.background import register
from soilpipe.detect.dataset import Sample
from soilpipe.detect.labelled import LabelledImage
from soilpipe.tiles import image_from_array

FIRST = datetime(2025, 5, 1, tzinfo=UTC)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
    import ablation_inputs
    import ablation_runs

    return ablation_inputs, ablation_runs


def test_red_tells_what_moves_before_and_after_blue_is_the_mean_green_stays(parts: tuple[Any, Any]) -> None:
    enhanced = parts[0].enhanced
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:] = (100, 80, 50)
    animal = picture.copy()
    animal[10:30, 20:40] = (200, 180, 150)  # 100 grey levels brighter
    told = enhanced(animal, picture, animal)
    assert told[20, 30].tolist() == [100, 180, 175] and told[5, 5].tolist() == [0, 80, 75]
    assert enhanced(animal, picture, picture)[20, 30, 0] == 200  # both differences are summed
    assert enhanced(picture, animal, None)[20, 30, 0] == 100 and not enhanced(animal, None, None)[..., 0].any()
    bright = np.full_like(picture, 255)
    assert enhanced(bright, picture * 0, picture * 0)[0, 0, 0] == 255


def test_a_neighbour_is_laid_under_the_scan(parts: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(40, 200, (64, 64, 1)), np.ones((6, 6, 3))).astype(np.uint8)
    scan = image_from_array(ground[:, :-4], 21.17)
    other = image_from_array(ground[:, 4:], 21.17)  # the same ground, 4 px to the left
    laid = parts[0].under(scan, other, register(scan, other))
    inner = (slice(20, -20), slice(20, -20))
    apart = np.abs(laid[inner].astype(int) - ground[:, :-4][inner])
    assert np.median(apart) <= 2 < np.median(np.abs(ground[:, 4:][inner].astype(int) - ground[:, :-4][inner]))


def test_references_that_show_an_animal_are_those_within_its_stay(parts: tuple[Any, Any]) -> None:
    def sample(number: int, present: list[int]) -> Sample:
        count = len(present)
        image = LabelledImage(
            f"A/{number:02d}.jpg", Path(), 10, 10, 1200.0, "A", FIRST + number * timedelta(hours=6), True,
            np.zeros((count, 4), np.float32), np.zeros(count, np.int64), np.zeros(count, bool), np.array(present),
        )  # fmt: skip
        return Sample(image, {}, 21.17, 4)

    samples = [sample(number, []) for number in range(13)]
    samples[12] = sample(12, [0, 1, 3, 4, 8, 12])  # references 1, 4, 8 and 12 scans before
    other = replace(samples[12], image=replace(samples[12].image, scanner_id="B"))
    told = parts[1].references_showing([*samples, other])
    assert told[12].tolist() == [0, 1, 1, 2, 3, 4]
    assert told[13].tolist() == [0] * 6  # the first scan of its scanner


def test_a_pass_at_half_scale_is_the_mean_of_four_and_valid_where_all_are(parts: tuple[Any, Any]) -> None:
    from soilpipe.detect.dataset import SamplePass

    pixels = np.random.default_rng(1).integers(0, 256, (7, 8, 12)).astype(np.uint8)
    pixels[6] = 255
    pixels[6, 2, 4] = 0
    half = parts[0].halved(SamplePass(pixels, 1.0))
    assert half.pixels.shape == (7, 4, 6) and half.factor == 2.0
    means = pixels.reshape(7, 4, 2, 6, 2).mean(axis=(2, 4))
    assert np.abs(half.pixels[:3] - means[:3]).max() <= 0.5
    assert half.pixels[6, 1, 2] == 0 and (half.pixels[3:6, 1, 2] == 128).all()
    assert (half.pixels[6] == 255).sum() == 23 and np.abs(half.pixels[3:6, 0] - means[3:6, 0]).max() <= 0.5
