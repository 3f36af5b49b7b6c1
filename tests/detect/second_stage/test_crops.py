"""Candidates cut out of a scan."""

from __future__ import annotations

import numpy as np
import pytest

from soilpipe.detect.base import Detections
from soilpipe.detect.passes import PassName
from soilpipe.detect.second_stage import crops
from soilpipe.detect.second_stage.crops import CropReader, Cut, cuts_around, in_reading_order, resized
from soilpipe.detect.second_stage.network import SIDE
from soilpipe.detect.tiled import InputWindows
from tests.detect.test_predict import Windows, scene


class Counting:
    """Windows that count what is read, and take any window, as `ModelInput` does."""

    def __init__(self, pixels: np.ndarray, factor: float) -> None:
        self.pixels, self.factor, self.read_px = pixels, factor, 0
        self.height, self.width = pixels.shape[1:]

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        self.read_px += (y1 - y0) * (x1 - x0)
        rows, columns = np.arange(y0, y1), np.arange(x0, x1)
        out = self.pixels[:, np.clip(rows, 0, self.height - 1)][:, :, np.clip(columns, 0, self.width - 1)].copy()
        outside = np.array([0, 0, 0, 128, 128, 128, 0], np.uint8)[:, None, None]
        beyond = ((rows < 0) | (rows >= self.height))[:, None] | ((columns < 0) | (columns >= self.width))[None]
        return np.where(beyond[None], outside, out)


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


def test_read_by_blocks_a_crop_is_that_of_the_window_to_the_bit_also_beyond_the_scan() -> None:
    windows = passes(2600, 3000, 3)
    boxes = [(0, 0, 60, 30), (1000, 1000, 1090, 1100), (2980, 2580, 3000, 2600), (10, 2000, 900, 2100), (0, 0, 3000, 9)]
    cuts = cuts_around(found(*boxes), windows, 21.17)
    reader = CropReader(windows)
    for cut in cuts:
        window = windows[cut.name].read(cut.y0, cut.y0 + cut.side, cut.x0, cut.x0 + cut.side)
        np.testing.assert_array_equal(reader.crop(cut), resized(window))
    assert {cut.name for cut in cuts} == {"fine", "coarse"}
    assert any(cut.y0 < 0 for cut in cuts) and any(cut.x0 + cut.side > 1500 for cut in cuts if cut.name == "fine")


def test_of_a_scan_each_block_is_read_once_however_many_candidates_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "BLOCKS", 6)  # two columns of blocks: this row, the next and the one before
    windows = passes(4096, 2048)
    rng = np.random.default_rng(0)
    corners = rng.uniform(64, [1900, 3900], (300, 2))
    boxes = np.concatenate([corners, corners + 16], axis=1)
    cuts = cuts_around(found(*map(tuple, boxes)), windows, 21.17)
    reader = CropReader(windows)
    for one in in_reading_order(cuts):
        reader.crop(cuts[one])
    fine = windows["fine"]
    assert isinstance(fine, Counting)

    assert fine.read_px <= 1.3 * fine.height * fine.width


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


def test_cuts_of_one_block_come_one_after_the_other() -> None:
    cuts = [Cut("fine", y, x, 32, 1.0, (0, 0, 0, 0)) for y, x in ((0, 600), (0, 10), (600, 0), (20, 20), (4, 700))]
    assert in_reading_order(cuts) == [1, 3, 0, 4, 2]


def test_windows_in_memory_do_as_well() -> None:
    windows: dict[PassName, InputWindows] = {"fine": Windows(scene(200, 200, 1).pixels)}
    (cut,) = cuts_around(found((80, 80, 120, 120)), windows, 42.33)
    np.testing.assert_array_equal(CropReader(windows).crop(cut), windows["fine"].read(68, 132, 68, 132))
