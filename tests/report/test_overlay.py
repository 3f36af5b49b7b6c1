"""Overlays: boxes where the animals are, the right way up, without reading more than the picture needs."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from soilpipe.detect.base import Detections
from soilpipe.report.crops import most_certain
from soilpipe.report.drawing import nice_length_mm
from soilpipe.report.marks import Marks, marks_of, turn_box
from soilpipe.report.overlay import MARGIN, overlay_picture
from soilpipe.report.palette import COLOURS, taxon_codes, taxon_colour
from soilpipe.taxonomy import SOIL
from soilpipe.tiles import image_from_array


class Counting:
    """Pixels of one colour that remember the largest window read, in pixels."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width, self.largest = height, width, 0

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        assert 0 <= y0 < y1 <= self.height and 0 <= x0 < x1 <= self.width
        self.largest = max(self.largest, (y1 - y0) * (x1 - x0))
        return np.full((y1 - y0, x1 - x0, 3), 90, np.uint8)


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def table(**columns: list[object]) -> pa.Table:
    box = {"x_min": [100.0, 300.0], "y_min": [200.0, 40.0], "x_max": [180.0, 340.0], "y_max": [260.0, 60.0]}
    return pa.table(box | {"taxon": ["Collembola", None], "score": [0.5, 0.9]} | columns)


@pytest.mark.parametrize("orientation", [0, 90, 180, 270])
def test_a_box_is_drawn_around_its_animal_whichever_way_the_scan_is_turned(orientation: int) -> None:
    image = np.full((900, 600, 3), 140, np.uint8)
    image[500:540, 100:180] = 250
    box = np.array([[100, 500, 180, 540]])
    picture = pixels_of(overlay_picture(image, box, orientation=orientation, crops=0))
    upright = picture[MARGIN : MARGIN + (900 if orientation % 180 == 0 else 600), MARGIN:-MARGIN]
    animal = np.argwhere((upright == 250).all(axis=2))
    frame = np.argwhere((upright == taxon_colour("animal")).all(axis=2))
    assert (frame.min(axis=0) == animal.min(axis=0) - 3).all()
    assert np.abs(frame.max(axis=0) - animal.max(axis=0) - 4).max() <= 1
    assert (animal.max(axis=0) - animal.min(axis=0) + 1).prod() == 40 * 80  # and nothing of it is covered


def test_turning_a_box_is_turning_the_image() -> None:
    for orientation in (0, 90, 180, 270):
        image = np.zeros((7, 5), np.uint8)
        image[1:3, 2:5] = 1
        turned = np.rot90(image, k=-(orientation // 90) % 4)
        x_min, y_min, x_max, y_max = (int(value) for value in turn_box((2, 1, 5, 3), (7, 5), orientation))
        assert turned[y_min:y_max, x_min:x_max].all() and turned.sum() == (y_max - y_min) * (x_max - x_min)


def test_a_huge_scan_is_read_in_small_pieces() -> None:
    level = Counting(14000, 10000)
    picture = pixels_of(overlay_picture(level, np.array([[5, 5, 60, 60], [9900, 13000, 10000, 14000]])))
    assert max(picture.shape) < 2600
    assert level.largest * 3 <= 48 * 2**20


def test_the_pyramid_level_that_fits_is_read_and_no_finer_one() -> None:
    fine, middle, coarse = Counting(8000, 6000), Counting(4000, 3000), Counting(2000, 1500)
    image = image_from_array(np.zeros((64, 64, 3), np.uint8), 20.0)
    image = type(image)(levels=(fine, middle, coarse), um_per_px=20.0)
    overlay_picture(image, np.zeros((0, 4)), max_side=1600)
    assert fine.largest == 0 and middle.largest == 0 and coarse.largest == 2000 * 1500


def test_the_same_detections_come_from_tables_and_from_detections() -> None:
    arrow = table()
    frame = arrow.to_pandas()
    boxes = np.asarray(frame[["x_min", "y_min", "x_max", "y_max"]], np.float32)
    found = Detections(boxes, np.array([0.5, 0.9], np.float32), np.array([1, 0]), ("unknown", "Collembola"))
    for detections in (arrow, frame.where(frame.notna(), None), found):
        marks = marks_of(detections)
        assert marks.taxa == ("Collembola", "unknown")
        np.testing.assert_array_equal(marks.boxes, boxes)


def test_a_scan_with_nothing_on_it_still_has_a_picture() -> None:
    image = image_from_array(np.full((300, 200, 3), 80, np.uint8), 21.2)
    for nothing in (table().slice(0, 0), np.zeros((0, 4)), table().slice(0, 0).to_pandas()):
        assert pixels_of(overlay_picture(image, nothing)).shape[2] == 3


def test_the_same_input_gives_the_same_bytes() -> None:
    image = image_from_array(np.random.default_rng(3).integers(0, 255, (700, 500, 3)).astype(np.uint8), 42.3)
    assert overlay_picture(image, table(), title="A") == overlay_picture(image, table(), title="A")


def test_the_surest_of_each_taxon_comes_before_the_second_of_any() -> None:
    taxa = ("Acari", "Acari", "Acari", "Symphyla")
    marks = Marks(np.zeros((4, 4), np.float32), np.array([0.9, 0.8, 0.95, 0.3], np.float32), taxa)
    assert most_certain(marks, 3) == [2, 3, 0]


def test_a_taxon_has_its_groups_colour() -> None:
    assert taxon_colour("Poduromorpha") == COLOURS["Collembola"]
    assert taxon_colour("Geophilomorpha") == COLOURS["Chilopoda"]
    assert set(COLOURS) <= set(SOIL.names)


def test_codes_tell_all_taxa_of_the_taxonomy_apart() -> None:
    codes = taxon_codes(SOIL.names)
    assert len(set(codes.values())) == len(SOIL.names)
    assert codes["Collembola"] == "Col"


def test_a_taxon_has_the_same_code_in_every_picture() -> None:
    assert taxon_codes(["Coleoptera"])["Coleoptera"] == taxon_codes(SOIL.names)["Coleoptera"] != "Col"


def test_scale_bars_are_round() -> None:
    assert [nice_length_mm(length) for length in (0.14, 0.99, 13, 400)] == [0.1, 0.5, 10, 100]
