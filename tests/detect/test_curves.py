"""The picture of a training's losses."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from soilpipe.detect.checkpoint import Curves
from soilpipe.detect.curves import plot_curves, smoothed


def test_smoothing_keeps_the_course_and_takes_the_noise_of_single_batches() -> None:
    course = np.linspace(2.0, 1.0, 400)
    noise = np.random.default_rng(0).normal(0.0, 0.3, 400)
    found = smoothed(course + noise)
    assert found.shape == (400,)
    assert np.abs(found - course).std() < 0.3 * noise.std()
    assert np.allclose(smoothed(course)[10:-10], course[10:-10]), "neighbours on both sides: it does not lag behind"


def test_few_losses_are_shown_as_they_are() -> None:
    assert smoothed(np.array([3.0, 1.0, 2.0])).tolist() == [3.0, 1.0, 2.0]
    assert smoothed(np.array([])).shape == (0,)


def test_a_picture_is_made_with_and_without_looks_and_of_a_training_that_told_nothing(tmp_path: Path) -> None:
    steps = [[float(step), 1.0 / (1 + step), 0.5, 1.5] for step in range(100)]
    heights = []
    for name, curves in {
        "plain": Curves(losses=steps),
        "looked": Curves(losses=steps, looks=[[50.0, 0.2, 0.3], [99.0, 0.4, 0.5]]),
        "nothing": Curves(),
    }.items():
        plot_curves(curves, ("heat", "box"), tmp_path / f"{name}.png")
        picture = cv2.imread(str(tmp_path / f"{name}.png"))
        assert picture is not None
        heights.append(picture.shape[0])
    assert heights[1] > heights[0] == heights[2]
