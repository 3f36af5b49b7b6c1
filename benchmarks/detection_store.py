"""What benchmarks/detection.py looks at: a mosaic of photographs, and the photographs themselves, in a store each."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

from soilpipe.config import Project, load_project
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.scan import ingest_file
from soilpipe.store import Store

PROJECT = """
project: speed
store: ./store
timezone: UTC
settle: 0s
keep_originals: false
slots: irregular
dpi: 1200
sites: [{id: bench}]
scanners:
"""
END = datetime(2024, 3, 6, tzinfo=UTC)
LAGS_H = (0, 6, 24, 48, 72)


def mosaic(images: Sequence[Path], side: int) -> np.ndarray:
    """(side, side, 3) uint8, RGB: the photographs side by side, again and again."""
    canvas = np.zeros((side, side, 3), np.uint8)
    y = index = 0
    while y < side:
        x, tallest = 0, 0
        while x < side:
            picture = cv2.imread(str(images[index % len(images)]))[..., ::-1][: side - y, : side - x]
            canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
            x, tallest, index = x + picture.shape[1], max(tallest, picture.shape[0]), index + 1
        y += tallest
    return canvas


def stored_mosaic(picture: np.ndarray, folder: Path) -> tuple[Project, Store]:
    """The mosaic as one scan of the scanner `alone`, and as the last of five of `series`, each with its own noise."""
    noise = np.random.default_rng(1)
    for scanner, count in (("alone", 1), ("series", len(LAGS_H))):
        (folder / scanner).mkdir(parents=True)
        for hours in LAGS_H[:count]:
            grains = noise.integers(-3, 4, picture.shape, np.int8)
            noisy = cv2.add(picture, grains, dtype=cv2.CV_8U) if count > 1 else picture
            name = f"{scanner}_{END - timedelta(hours=hours):%Y-%m-%d_%HH%MM}.tiff"
            cv2.imwrite(str(folder / scanner / name), noisy[..., ::-1])
    return _taken_in(folder, ("alone", "series"))


def stored_photographs(images: Sequence[Path], folder: Path) -> tuple[Project, Store]:
    """Each photograph as a scan of the scanner `photos`."""
    (folder / "photos").mkdir(parents=True)
    for index, image in enumerate(images):
        when = END - timedelta(hours=6 * index)
        shutil.copyfile(image, folder / "photos" / f"photos_{when:%Y-%m-%d_%HH%MM}{image.suffix}")
    return _taken_in(folder, ("photos",))


def _taken_in(folder: Path, scanners: Sequence[str]) -> tuple[Project, Store]:
    blocks = "".join(f"  - {{id: {name}, site: bench, inbox: ./{name}}}\n" for name in scanners)
    (folder / "soilpipe.yaml").write_text(PROJECT + blocks)
    project = load_project(folder / "soilpipe.yaml")
    store = Store(project.store)
    now = datetime.now(UTC) + timedelta(minutes=1)
    for scanner in project.scanners:
        for arrival in find_arrivals(project, scanner, store, now).ready:
            outcome = ingest_file(project, scanner, store, arrival, now)
            if outcome.kind != "accepted":
                raise SystemExit(f"{outcome.name}: {outcome.reason}")
    return project, store
