"""Loose images: no project, the picture alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from soilpipe.detect.base import Detections, DetectorInfo
from soilpipe.detect.loose import LooseImageError, coco_of, csv_text, detect_file, detect_files
from soilpipe.detect.thresholds import in_words, least_scores


class Everything:
    """Finds the whole picture, and says at which scale it was shown."""

    info = DetectorInfo("everything", "1", ("Acari", "Collembola"), 21.17, 0.5, "simulated")
    scales: list[float]

    def __init__(self) -> None:
        self.scales = []

    def detect(self, scan: Any, references: Sequence[Any], registrations: Any, *, threshold: Any = None) -> Detections:
        assert not references and not registrations
        self.scales.append(round(scan.um_per_px, 2))
        box = np.array([[0, 0, scan.width, scan.height]], np.float32)
        return Detections(box, np.array([0.75], np.float32), np.array([1]), self.info.taxa)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "plate.png"), np.full((40, 60, 3), 90, np.uint8))
    return tmp_path / "plate.png"


def test_detections_come_as_coco_and_as_csv(image: Path) -> None:
    detector = Everything()
    results = list(detect_files(detector, [image]))
    coco = coco_of(results, detector.info)
    assert coco["images"][0] == {
        "id": 1, "file_name": "plate.png", "height": 40, "width": 60, "dpi": 1200.0, "dpi_from": "default",
    }  # fmt: skip
    assert coco["annotations"][0]["bbox"] == [0, 0, 60, 40] and coco["annotations"][0]["score"] == 0.75
    assert coco["categories"][coco["annotations"][0]["category_id"] - 1]["name"] == "Collembola"
    assert coco["info"]["validation"] == "simulated"
    (row,) = csv.DictReader(io.StringIO(csv_text(results, detector.info)))
    assert row["file"] == "plate.png" and row["taxon"] == "Collembola" and float(row["x_max"]) == 60
    assert row["validation"] == "simulated"


def test_the_scale_is_told_by_the_user_the_file_or_a_default(image: Path) -> None:
    detector = Everything()
    assert detect_file(detector, image).dpi_from == "default"
    assert detect_file(detector, image, dpi=600).dpi_from == "argument"
    assert detector.scales == [21.17, 42.33]
    with pytest.raises(LooseImageError, match="dpi is a number above 0"):
        detect_file(detector, image, dpi=-1)


class Choosy(Everything):
    """Sure of the springtail at 0.75, and asks 0.8 of springtails."""

    info = DetectorInfo(
        "choosy", "1", ("Acari", "Collembola"), 21.17, 0.5, "simulated", settings={"thresholds": {"Collembola": 0.8}}
    )

    def detect(self, scan: Any, references: Sequence[Any], registrations: Any, *, threshold: Any = None) -> Detections:
        found = super().detect(scan, references, registrations)
        return found.select(found.scores >= least_scores(self.info, threshold)[found.labels])


def test_a_taxon_with_a_threshold_of_its_own_is_taken_from_that_on_and_a_given_one_replaces_all(image: Path) -> None:
    own, given = detect_file(Choosy(), image), detect_file(Choosy(), image, threshold=0.6)
    assert (len(own.detections), len(given.detections)) == (0, 1)
    told = [coco_of([result], Choosy.info)["info"] for result in (own, given)]
    assert [(info["threshold"], info["thresholds"]) for info in told] == [(0.5, {"Collembola": 0.8}), (0.6, {})]
    (row,) = csv.DictReader(io.StringIO(csv_text([given], Choosy.info)))
    assert row["threshold"] == "0.6"
    (row,) = csv.DictReader(io.StringIO(csv_text([detect_file(Everything(), image)], Choosy.info)))
    assert row["threshold"] == "0.8", "that of its taxon"
    assert [in_words(Choosy.info, None), in_words(Choosy.info, 0.6)] == ["0.50 (Collembola 0.80)", "0.60"]


def test_a_file_that_cannot_be_read_is_named(image: Path) -> None:
    with pytest.raises(LooseImageError, match=r"nowhere\.png: there is no such file"):
        detect_file(Everything(), image.with_name("nowhere.png"))
    image.write_bytes(image.read_bytes()[:60])
    with pytest.raises(LooseImageError, match=r"plate\.png: .*not complete"):
        detect_file(Everything(), image)
    with pytest.raises(LooseImageError, match=r"cannot be read"):
        detect_file(Everything(), image.parent)
