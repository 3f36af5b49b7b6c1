"""A season as files."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from soilpipe.ingest.names import parse_name
from soilpipe.simulate import SeasonSpec, SimulationError, simulate_season, write_season
from soilpipe.simulate.encode import encode
from soilpipe.simulate.write import file_name

START = datetime(2024, 3, 6, tzinfo=UTC)
TIMES = tuple(START + timedelta(hours=6 * i) for i in range(3))
SPEC = SeasonSpec("DIAMS_A20_O", "loam", 5, TIMES, 256, 320, animals_per_100cm2=2500.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("season")
    write_season(SPEC, folder)
    return folder


@pytest.fixture(scope="module")
def truth(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "truth.json").read_text())
    return found


def test_the_same_seed_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_season(SPEC, tmp_path)
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written
    assert len(written) == 5


def test_names_are_read_back_by_the_preset(truth: dict[str, Any]) -> None:
    for image in truth["images"]:
        parts = parse_name(image["file_name"], "soil_scan")
        assert parts.scanner == "DIAMS_A20_O"
        assert parts.time is not None
        assert parts.time.replace(tzinfo=UTC) == datetime.fromisoformat(image["date_captured"])
    assert truth["images"][1]["file_name"] == "DIAMS_A20_O_2024-03-06_06H00M.jpg"
    assert file_name("s", START + timedelta(seconds=24), "tiff") == "s_2024-03-06_00H00M24S.tiff"


def test_the_truth_is_valid_coco(folder: Path, truth: dict[str, Any]) -> None:
    images = {image["id"]: image for image in truth["images"]}
    names = {category["id"]: category["name"] for category in truth["categories"]}
    assert len(images) == 3
    assert len(set(names.values())) == len(names)
    assert len({annotation["id"] for annotation in truth["annotations"]}) == len(truth["annotations"]) > 10
    for image in images.values():
        assert cv2.imread(str(folder / image["file_name"])).shape == (image["height"], image["width"], 3)
    for annotation in truth["annotations"]:
        image, (x, y, w, h) = images[annotation["image_id"]], annotation["bbox"]
        assert annotation["category_id"] in names
        assert x >= 0 and y >= 0 and w >= 1 and h >= 1
        assert x + w <= image["width"] + 0.01 and y + h <= image["height"] + 0.01
        assert annotation["iscrowd"] == 0
        assert all(len(ring) >= 6 and len(ring) % 2 == 0 for ring in annotation["segmentation"])
        assert 0 <= annotation["area"] <= (w + 5) * (h + 5)


def test_coco_evaluation_takes_the_truth_as_its_own_prediction(folder: Path, truth: dict[str, Any]) -> None:
    coco = pytest.importorskip("faster_coco_eval")
    reference = coco.COCO(str(folder / "truth.json"))
    found = [
        {key: annotation[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1.0}
        for annotation in truth["annotations"]
    ]
    judged = coco.COCOeval_faster(reference, reference.loadRes(found), "bbox", print_function=lambda *_: None)
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    assert judged.stats[1] == pytest.approx(1.0)


def test_counts_are_those_of_the_annotations_with_zeros_written_out(folder: Path, truth: dict[str, Any]) -> None:
    names = {category["id"]: category["name"] for category in truth["categories"]}
    times = {image["id"]: image["date_captured"] for image in truth["images"]}
    expected = Counter((times[a["image_id"]], names[a["category_id"]]) for a in truth["annotations"])
    with (folder / "counts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(times) * len(names)
    assert all(int(row["n"]) == expected[row["date_captured"], row["taxon"]] for row in rows)
    assert {row["scanner_id"] for row in rows} == {"DIAMS_A20_O"}


def test_lossless_files_hold_the_simulated_pixels_and_the_dpi(tmp_path: Path) -> None:
    image = next(iter(simulate_season(SPEC))).image
    for extension in ("png", "tiff", "jpg", "jp2"):
        path = tmp_path / f"scan.{extension}"
        path.write_bytes(encode(image, extension, 1200.0, 92))
        read = cv2.imread(str(path))[..., ::-1]
        if extension in ("png", "tiff"):
            assert np.array_equal(read, image), extension
        else:
            assert np.abs(read.astype(int) - image.astype(int)).mean() < 4.0
    with tifffile.TiffFile(tmp_path / "scan.tiff") as tiff:
        assert np.array_equal(tiff.asarray(), image)
        assert tiff.pages.first.resolution == (1200.0, 1200.0)
    assert b"pHYs" + round(1200 / 0.0254).to_bytes(4, "big") in (tmp_path / "scan.png").read_bytes()[:80]
    assert (tmp_path / "scan.jpg").read_bytes()[13:18] == b"\x01\x04\xb0\x04\xb0"


def test_an_unknown_format_is_told() -> None:
    with pytest.raises(SimulationError, match="jpg, png, tiff or jp2"):
        encode(np.zeros((64, 64, 3), np.uint8), "gif", 600.0, 90)


def test_progress_is_told_scan_by_scan(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_season(SPEC, tmp_path, extension="png", progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_truth_says_that_it_is_simulated(truth: dict[str, Any]) -> None:
    assert truth["info"]["simulated"] is True
