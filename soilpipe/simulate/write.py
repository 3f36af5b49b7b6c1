"""A season as files: scans named as scanners name them, `truth.json` (COCO) and `counts.csv`."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from soilpipe.simulate.encode import encode
from soilpipe.simulate.field import FIELD
from soilpipe.simulate.season import simulate_season
from soilpipe.simulate.spec import SeasonSpec, SimulatedScan, TrueAnimal
from soilpipe.taxonomy import SOIL

CATEGORIES: tuple[dict[str, Any], ...] = tuple(
    {"id": i + 1, "name": taxon.name, "supercategory": SOIL.find(taxon.name).parent or taxon.name}
    for i, taxon in enumerate(FIELD)
)
_CATEGORY_ID = {category["name"]: category["id"] for category in CATEGORIES}


def file_name(scanner_id: str, captured_at: datetime, extension: str) -> str:
    """Name by the preset soil_scan; times are written as they are in UTC. Seconds only where there are some."""
    time = captured_at.astimezone(UTC)
    return f"{scanner_id}_{time:%Y-%m-%d_%HH%MM}{f'{time:%S}S' if time.second else ''}.{extension}"


def write_season(
    spec: SeasonSpec,
    folder: Path | str,
    *,
    extension: Literal["jpg", "png", "tiff", "jp2"] = "jpg",
    quality: int = 92,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate a season into `folder`; returns the path of its truth.json.

    quality: JPEG quality, 1 to 100 (jp2: its compression; png and tiff are lossless). progress(done, scans) is called
    after each scan. The truth is written last: a folder without it is unfinished.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    counts: list[tuple[str, str, str, int]] = []
    for number, scan in enumerate(simulate_season(spec)):
        name = file_name(spec.scanner_id, scan.captured_at, extension)
        (folder / name).write_bytes(encode(scan.image, extension, spec.dpi, quality))
        images.append(_image(spec, scan, number + 1, name))
        annotations += [_annotation(a, number + 1, len(annotations) + i + 1) for i, a in enumerate(scan.animals)]
        found = Counter(animal.taxon for animal in scan.animals)
        counts += [(spec.scanner_id, _iso(scan.captured_at), taxon.name, found[taxon.name]) for taxon in FIELD]
        if progress is not None:
            progress(number + 1, len(spec.times))
    with (folder / "counts.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("scanner_id", "date_captured", "taxon", "n"))
        writer.writerows(counts)
    truth = {
        "info": {
            "description": f"soilpipe simulation, generator {spec.generator}, seed {spec.seed}",
            "generator": spec.generator,
            "seed": spec.seed,
            "simulated": True,
        },
        "images": images,
        "categories": list(CATEGORIES),
        "annotations": annotations,
    }
    path = folder / "truth.json"
    path.write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")
    return path


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()


def _image(spec: SeasonSpec, scan: SimulatedScan, image_id: int, name: str) -> dict[str, Any]:
    return {
        "id": image_id,
        "file_name": name,
        "width": spec.width_px,
        "height": spec.height_px,
        "dpi": spec.dpi,
        "scanner_id": spec.scanner_id,
        "date_captured": _iso(scan.captured_at),
    }


def _annotation(animal: TrueAnimal, image_id: int, annotation_id: int) -> dict[str, Any]:
    x0, y0, x1, y1 = animal.box
    outline = np.array(animal.polygon, np.float32)
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": _CATEGORY_ID[animal.taxon],
        "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
        "area": round(float(cv2.contourArea(outline)), 1),
        "segmentation": [[float(v) for point in animal.polygon for v in point]],
        "iscrowd": 0,
        "length_mm": animal.length_mm,
        "scans_present": animal.scans_present,
        "track_id": animal.track_id,
        "visible": animal.visible,
        "contrast": animal.contrast,
        "walking": animal.walking,
    }
