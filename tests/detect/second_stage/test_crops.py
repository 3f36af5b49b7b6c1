"""Candidates cut out of a scan."""

from __future__ import annotations

import numpy as np
import pytest

from soilpipe.detect.base import Detections
from soilpipe.detect.passes import PassName
from soilpipe.detect.second_stage import crops
from soilpipe.detect.second_stage.crops import crop, cuts_around, resized
from soilpipe.detect.second_stage.network import SIDE
from soilpipe.detect.tiled import InputWindows
from tests.detect.second_stage.test_kept import Counting
from tests.detect.test_predict import scene


def found(*boxes: tuple[float, float, float, float], score: float = 0.5) -> Detections:
    box = np.array(boxes, np.float64).reshape(-1, 4)
    return Detections(box, np.full(len(box), score, np.float32), np.zeros(len(box), np.int64), ("a",))


def passes(height: int, width: int, seed: int = 0) -> dict[PassName, InputWindows]:
    fine = scene(height // 2, width // 2, seed).pixels
    return {"fine": Counting(fine, 2.0), "coarse": Counting(scene(height // 8, width // 8, seed).pixels, 8.0)}


def test_a_crop_lies_around_the_box_with_some_ground_and_says_how_large_it_is() -> None:
    (cut,) = cuts_around(found((100, 200, 180, 240)), passes(1000, 1000), 21.17)
    assert cut.name == "fine" and cut.factor == 2.0 and cut.side == 64  # 1.6 x 80 px at half the resolution
    assert (cut.x0, cut.y0) == (70 - 32, 110 - 32)
    logit, size, width, height = cut.told
    assert logit == 0 and size == pytest.approx(np.log(80 * 21.17 / 1000))
    assert (width, height) == (40 / 64, 20 / 64)
    np.testing.assert_allclose(cut.inside(np.array([100, 200, 180, 240])), [12 / 64, 22 / 64, 52 / 64, 42 / 64])


def test_a_tiny_box_gets_no_less_than_can_be_seen_and_a_long_one_is_read_from_the_coarse_pass() -> None:
    tiny, long = cuts_around(found((50, 50, 54, 54), (100, 100, 500, 140)), passes(1000, 1000), 21.17)
    assert (tiny.name, tiny.side) == ("fine", crops.LEAST_PX)
    assert (long.name, long.side, long.factor) == ("coarse", 80, 8.0)
    (only,) = cuts_around(found((100, 100, 500, 140)), {"fine": passes(1000, 1000)["fine"]}, 21.17)
    assert (only.name, only.side) == ("fine", 320)


@pytest.mark.parametrize("side", [20, 64, 150])
def test_a_crop_has_one_size_and_a_difference_only_where_all_of_it_is_known(side: int) -> None:
    window = np.full((7, side, side), 200, np.uint8)
    window[6] = 255
    window[6, : side // 2], window[3:6, : side // 2] = 0, 128
    crop = resized(window)
    assert crop.shape == (7, SIDE, SIDE) and set(np.unique(crop[6])) == {0, 255}
    assert (crop[3:6][:, crop[6] == 0] == 128).all() and (crop[3:6][:, crop[6] == 255] == 200).all()
    assert (crop[6, : SIDE // 2 - 1] == 0).all() and (crop[6, SIDE // 2 + 2 :] == 255).all()
    assert (crop[:3] == 200).all()


@pytest.mark.parametrize("box", [(80, 80, 120, 120), (0, 0, 30, 16), (180, 190, 200, 200)])
def test_a_crop_is_that_of_the_window_also_beyond_the_scan(box: tuple[float, float, float, float]) -> None:
    windows: dict[PassName, InputWindows] = {"fine": Counting(scene(200, 200, 1).pixels, 1.0)}
    (cut,) = cuts_around(found(box), windows, 42.33)
    expected = windows["fine"].read(cut.y0, cut.y0 + cut.side, cut.x0, cut.x0 + cut.side)
    np.testing.assert_array_equal(crop(cut, windows), resized(expected))
