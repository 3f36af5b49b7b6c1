"""The page of an evaluation: what it says, what it shows, and that it stands alone."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from soilpipe.detect.base import Detections, DetectorInfo
from soilpipe.detect.evaluate import evaluate_detector
from soilpipe.detect.evaluation import Evaluation
from soilpipe.detect.kept_matches import record_of
from soilpipe.report.judging import between, judging_page
from soilpipe.report.judging_gallery import CELL, FOUND, Gallery, draw_cell
from soilpipe.tiles import ArrayPixels
from tests.evaluation_records import NOW

Box = tuple[float, float, float, float]
SIDE = 400


class Says:
    """Answers the same for every image; taxa by index."""

    def __init__(
        self, found: Sequence[tuple[Box, float, int]], taxa: tuple[str, ...] = ("Acari", "Collembola")
    ) -> None:
        self.info = DetectorInfo("says", "1", taxa, 21.17, 0.5, "none")
        self._found = found

    def detect(self, scan: Any, references: Any, registrations: Any, *, threshold: Any = None) -> Detections:
        return Detections(
            np.array([box for box, _, _ in self._found], np.float32).reshape(-1, 4),
            np.array([score for _, score, _ in self._found], np.float32),
            np.array([taxon for _, _, taxon in self._found], np.int64),
            self.info.taxa,
        )


def judged(
    folder: Path,
    labels: Sequence[Sequence[tuple[Box, str]]],
    found: Sequence[tuple[Box, float, int]],
    *,
    gallery: Gallery | None = None,
    scanner: str | None = None,
    **info: Any,
) -> tuple[Evaluation, Gallery, bytes]:
    """Judge on as many images as there are lists of labels; the page."""
    gallery = gallery or Gallery()
    names = sorted({name for one in labels for _, name in one})
    images, annotations = [], []
    for number, boxes in enumerate(labels):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((SIDE, SIDE, 3), 40, np.uint8))
        entry: dict[str, Any] = {"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE, "dpi": 1200}
        if scanner:
            entry |= {"scanner_id": scanner, "date_captured": f"2024-03-{number + 1:02}T00:00:00Z"}
        images.append(entry)
        for (x0, y0, x1, y1), name in boxes:
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append(
                {"id": len(annotations), "image_id": number, "bbox": box, "category_id": names.index(name)}
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    data = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    (folder / "labels.json").write_text(json.dumps(data))
    says = Says(found)
    result = evaluate_detector(says, folder / "labels.json", folder, difference=False, watch=gallery)
    record = record_of(result, says.info, {}, sample="file", now=NOW)
    return result, gallery, judging_page(result, record, gallery, on="two images", follows="Nothing follows.")


A, B, C = (50.0, 50.0, 90.0, 70.0), (200.0, 200.0, 220.0, 215.0), (300.0, 100.0, 360.0, 130.0)


def text_of(page: bytes) -> str:
    """What a reader sees, in one line."""
    body = re.sub(r"<style>.*?</style>", "", page.decode(), flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_the_page_says_in_sentences_what_the_figures_say(tmp_path: Path) -> None:
    """Each image: two of three animals found, and one of three boxes is none."""
    labels = [[(A, "Acari"), (B, "Acari"), (C, "Collembola")]] * 10
    found = [(A, 0.9, 0), (C, 0.8, 1), ((10.0, 300.0, 30.0, 330.0), 0.7, 0)]
    _, _, page = judged(tmp_path, labels, found)
    words = text_of(page)
    assert "Of 100 animals that people marked, the detector boxed 67 (between 67 and 67)." in words
    assert "Of 100 boxes that it drew, 67 are animals" in words
    assert "it counted neither too many nor too few" in words and "off by 0.0 animals" in words
    assert "Judged on labels that were given. Nothing follows." in words
    assert "The 10 images were drawn again 1,000 times" in words and "lengths in mm and areas" not in words


def test_of_a_handful_of_animals_numbers_are_told_and_no_per_cents(tmp_path: Path) -> None:
    labels = [[(A, "Acari"), (B, "Acari"), (C, "Collembola")]] * 2
    words = text_of(judged(tmp_path, labels, [(A, 0.9, 0), (C, 0.8, 1), ((10.0, 300.0, 30.0, 330.0), 0.7, 0)])[2])
    assert "There are only 6 animals that people marked, too few to tell much: the detector boxed 4 of them" in words
    assert "and of 6 boxes that it drew, 4 are animals." in words and "Of 100" not in words


@pytest.mark.slow
def test_a_limit_of_length_takes_ten_animals(tmp_path: Path) -> None:
    few, enough = [[(A, "Acari")]] * 3, [[(A, "Acari")]] * 10
    assert "too few animals of any length to tell" in text_of(judged(tmp_path, few, [(A, 0.9, 0)])[2])
    assert "Animals from about 0.85 mm on are found" in text_of(judged(tmp_path, enough, [(A, 0.9, 0)])[2])
    assert "There is no length from which on animals are found" in text_of(judged(tmp_path, enough, [])[2])


def test_a_single_image_is_told_to_be_judged_by_blocks(tmp_path: Path) -> None:
    _, _, page = judged(tmp_path, [[(A, "Acari"), (B, "Acari")]], [(A, 0.9, 0)])
    words = text_of(page)
    assert "There is a single image, so it was cut into 64 blocks of 50 px" in words
    assert "it counted 50 % too few" in words and "nothing is told about other scans" in words


def test_simulated_labels_are_called_so(tmp_path: Path) -> None:
    _, _, page = judged(tmp_path, [[(A, "Acari")]] * 2, [(A, 0.9, 0)], simulated=True)
    words = text_of(page)
    assert "Judged on simulated scenes only." in words and "only 2 animals that were drawn" in words
    assert "people marked" not in words.split("How it was judged")[0]


def test_nothing_on_the_page_comes_from_elsewhere_and_names_cannot_break_it(tmp_path: Path) -> None:
    labels = [[(A, "<script>alert(1)</script>"), (B, "Acari")]] * 2
    _, _, page = judged(tmp_path, labels, [(B, 0.9, 0)])
    assert b"<script" not in page and b"&lt;script&gt;" in page
    sources = re.findall(rb'(?:src|href)="([^"]{0,30})', page)
    assert sources and all(source.startswith(b"data:image/") for source in sources)


def test_an_image_set_without_animals_or_boxes_still_makes_a_page(tmp_path: Path) -> None:
    result, _, page = judged(tmp_path, [[], []], [])
    assert result.any_taxon.ap50 is None and "No animal is marked." in text_of(page)
    _, _, page = judged(tmp_path, [[], []], [(A, 0.9, 0)])
    assert "2 false alarms" in text_of(page)


def test_the_worst_misses_come_first_and_say_why(tmp_path: Path) -> None:
    labels = [[(A, "Acari"), (B, "Acari"), (C, "Collembola")], []]
    off = (300.0, 100.0, 330.0, 126.0)  # a box on less than half of C
    _, gallery, _ = judged(tmp_path, labels, [(B, 0.3, 0), (off, 0.9, 1)])
    assert [(one.taxon, one.why) for one in gallery.misses] == [
        ("Collembola", "boxed, but the box fits badly (overlap 0.43)"),
        ("Acari", "not seen at all"),
        ("Acari", "seen, but scored 0.30: below the threshold"),
    ]
    assert [one.length_mm for one in gallery.misses] == pytest.approx(
        [60 * 0.021167, 40 * 0.021167, 20 * 0.021167], 1e-3
    )


def test_the_surest_false_alarms_come_first_and_say_why(tmp_path: Path) -> None:
    second = (52.0, 50.0, 92.0, 70.0)
    off = (80.0, 50.0, 120.0, 70.0)
    found = [(A, 0.95, 0), (second, 0.6, 0), (off, 0.9, 0), (C, 0.7, 1)]
    _, gallery, _ = judged(tmp_path, [[(A, "Acari")], [(A, "Acari")]], found)
    told = [(one.score, one.why, one.image) for one in gallery.alarms]
    assert [words for _, words, _ in told[::2]] == [
        "an animal is there, but the box fits badly (overlap 0.14)",
        "nothing marked here",
        "a second box on one animal",
    ]
    assert [score for score, _, _ in told] == pytest.approx([0.9, 0.9, 0.7, 0.7, 0.6, 0.6])


@pytest.mark.slow
def test_the_same_place_of_a_scanner_is_shown_once_and_the_gallery_is_no_longer_than_it_may(tmp_path: Path) -> None:
    labels = [[(A, "Acari"), (B, "Acari")] for _ in range(5)]
    _, gallery, page = judged(tmp_path, labels, [], scanner="S")
    assert [(one.times, one.length_mm > 0.5) for one in gallery.misses] == [(5, True), (5, False)]
    assert gallery.count("misses") == 10 and "in 5 images at this place" in text_of(page)
    _, short, _ = judged(tmp_path, labels, [], gallery=Gallery(most=3))
    assert len(short.misses) == 3 and all(one.length_mm > 0.5 for one in short.misses), "the longer ones"


def test_a_picture_shows_its_box_where_it_is() -> None:
    """A box of 20 x 20 px in the middle of a black image: orange to its left and right, none of it in its middle."""
    levels = [ArrayPixels(np.zeros((SIDE, SIDE, 3), np.uint8))]
    box = np.array([190, 190, 210, 210], np.float32)
    picture = np.asarray(Image.open(io.BytesIO(draw_cell(levels, box, np.zeros((0, 4)), box[None], 21.17))), int)
    assert picture.shape == (CELL, CELL, 3)
    orange = np.abs(picture - np.array(FOUND)).sum(axis=2) < 120
    row = np.flatnonzero(orange[CELL // 2])
    assert orange[CELL // 2, CELL // 2] == 0
    scale = CELL / (1.7 * 1.6 * 20)
    assert abs(row.min() - (CELL / 2 - 10 * scale)) < 4 and abs(row.max() - (CELL / 2 + 10 * scale)) < 4


def test_intervals_in_words() -> None:
    assert between(None) == "" and between((0.123, 0.456)) == " (0.12 to 0.46)"
    assert between((0.123, 0.456), " %", 100) == " (12 to 46 %)" and between((1, 2), brackets=False) == "; 1.00 to 2.00"
