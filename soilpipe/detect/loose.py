"""Detecting on loose image files, without a project: no receipts, no references, the picture alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from soilpipe.detect.base import Detections, Detector, DetectorInfo
from soilpipe.detect.pictures import DEFAULT_DPI, MAX_MEMORY, MAX_PIXELS, MM_PER_INCH
from soilpipe.detect.thresholds import least_scores, thresholds_used
from soilpipe.errors import SoilpipeError
from soilpipe.ingest.readers import open_reader
from soilpipe.ingest.readers.base import Refused
from soilpipe.tiles import image_from_array

CSV_BOX = ("x_min", "y_min", "x_max", "y_max")
CSV_COLUMNS = ("file", "taxon", "score", *CSV_BOX, "dpi", "dpi_from", "validation", "threshold")


class LooseImageError(SoilpipeError):
    """A loose file that cannot be detected on."""


@dataclass(frozen=True)
class LooseResult:
    """What was found in one file.

    picture: (H, W, 3) uint8 RGB, for an overlay. dpi_from: `file`, `argument` or `default`. threshold: from which score
    on detections of any taxon were taken; None: from the detector's own, which a taxon may have for itself.
    """

    path: Path
    picture: np.ndarray
    dpi: float
    dpi_from: str
    detections: Detections
    threshold: float | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px."""
        return int(self.picture.shape[0]), int(self.picture.shape[1])


def detect_files(
    detector: Detector, paths: Sequence[Path | str], *, dpi: float | None = None, threshold: float | None = None
) -> Iterator[LooseResult]:
    """Detect on each file in turn; only one picture is held at a time.

    The scale is `dpi`, else what the file says, else 1200. `threshold` replaces the detector's own, and those that
    single taxa have. LooseImageError names the file that cannot be read; a
    caller that wants the rest goes on with `detect_file`.
    """
    for path in paths:
        yield detect_file(detector, path, dpi=dpi, threshold=threshold)


def detect_file(
    detector: Detector, path: Path | str, *, dpi: float | None = None, threshold: float | None = None
) -> LooseResult:
    """Detect on one image file; see `detect_files`."""
    path = Path(path)
    if dpi is not None and not 0 < dpi < float("inf"):
        raise LooseImageError(f"dpi is a number above 0, not {dpi}")
    try:
        with open_reader(path, max_pixels=MAX_PIXELS, max_memory=MAX_MEMORY) as reader:
            picture = np.concatenate(list(reader.bands(1024)))
            told = reader.dpi
    except FileNotFoundError as error:
        raise LooseImageError(f"{path}: there is no such file") from error
    except OSError as error:
        raise LooseImageError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Refused as refusal:
        raise LooseImageError(f"{path}: {refusal}") from refusal
    used, origin = (dpi, "argument") if dpi else (told, "file") if told else (DEFAULT_DPI, "default")
    assert used is not None
    scan = image_from_array(picture, 1000 * MM_PER_INCH / used, path.stem)
    return LooseResult(path, picture, used, origin, detector.detect(scan, [], [], threshold=threshold), threshold)


def coco_of(results: Sequence[LooseResult], info: DetectorInfo) -> dict[str, Any]:
    """The results as one COCO object; scores stand in the annotations, the detector and its thresholds in `info`."""
    common, own = thresholds_used(info, results[0].threshold if results else None)
    annotations: list[dict[str, Any]] = []
    for image, result in enumerate(results, start=1):
        found = result.detections
        for box, score, label in zip(found.boxes.astype(float), found.scores, found.labels, strict=True):
            x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label) + 1,
                    "bbox": [round(value, 2) for value in (x, y, w, h)],
                    "area": round(w * h, 2),
                    "iscrowd": 0,
                    "score": round(float(score), 5),
                }
            )
    return {
        "info": {
            "description": "detections by soilpipe",
            "detector": info.name,
            "version": info.version,
            "threshold": common,
            "thresholds": own,
            "validation": info.validation,
        },
        "images": [
            {
                "id": number,
                "file_name": result.path.name,
                "height": result.size[0],
                "width": result.size[1],
                "dpi": result.dpi,
                "dpi_from": result.dpi_from,
            }
            for number, result in enumerate(results, start=1)
        ],
        "categories": [{"id": number, "name": taxon} for number, taxon in enumerate(info.taxa, start=1)],
        "annotations": annotations,
    }


def coco_text(results: Sequence[LooseResult], info: DetectorInfo) -> str:
    """`coco_of` as text."""
    return json.dumps(coco_of(results, info), indent=1) + "\n"


def csv_text(results: Sequence[LooseResult], info: DetectorInfo) -> str:
    """One line a detection; boxes in px of the file, half-open; threshold: from which its taxon was taken. A file
    without detections has no line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for result in results:
        found, least = result.detections, least_scores(info, result.threshold)
        for index, (box, score) in enumerate(zip(found.boxes, found.scores, strict=True)):
            corners = [f"{value:.2f}" for value in box]
            writer.writerow(
                (
                    result.path.name,
                    found.taxon(index),
                    f"{score:.5f}",
                    *corners,
                    f"{result.dpi:g}",
                    result.dpi_from,
                    info.validation,
                    f"{least[found.labels[index]]:g}",
                )
            )
    return text.getvalue()
