"""A project with a few small stored scans, and what a detector is said to have found in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from soilpipe import layout
from soilpipe.analyses import Analysis, publish, write_analysis
from soilpipe.config import Project, load_project
from soilpipe.detections import detection_table, write_detection_file
from soilpipe.ingest.quality import Quality
from soilpipe.ingest.receipts import Receipt, write_receipt
from soilpipe.ingest.zarr_writer import write_image
from soilpipe.store import Store

START = datetime(2024, 3, 6, tzinfo=UTC)
NOW = datetime(2024, 4, 1, 9, 30, tzinfo=UTC)
HEIGHT, WIDTH = 321, 450
ANIMAL = (200, 150)  # x, y of the animal in every fourth scan

Found = Sequence[tuple[str, float, tuple[float, float, float, float]]]  # taxon, score, box


def picture(
    seed: int, *, animal: bool = False, size: tuple[int, int] = (HEIGHT, WIDTH), light: float = 1.0, bare: bool = False
) -> np.ndarray:
    """One ground under fresh noise; with a bright animal of 70 x 24 px. `bare`: without any detail in the middle."""
    random = np.random.default_rng(7)
    ground = sum(
        cv2.GaussianBlur(random.standard_normal(size).astype(np.float32), (0, 0), scale) * 14 * scale
        for scale in (1, 3, 8)
    )
    if bare:
        ground[100:220, 140:310] = 0
    scan = np.stack([ground + 80, ground * 0.9 + 65, ground * 0.8 + 50], -1).astype(np.float32)
    if animal:
        cv2.ellipse(scan, ANIMAL, (35, 12), 0, 0, 360, (210, 200, 190), -1)
    scan = scan + 2.5 * np.random.default_rng(seed).standard_normal(scan.shape)
    return np.clip(np.rint(light * scan), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Season:
    """A project with a store, and hands to put scans into it."""

    project: Project
    store: Store

    def scan(
        self,
        number: int,
        *,
        scanner_id: str = "A20",
        animal: bool = False,
        size: tuple[int, int] = (HEIGHT, WIDTH),
        found: Found | None = None,
        dpi: float | None = 1200.0,
        light: float = 1.0,
        bare: bool = False,
        pixels: np.ndarray | None = None,
    ) -> str:
        """The scan of that many slots after the start; `found`: its detections, None where it was not detected.

        pixels: (h, w, 3) uint8, what it shows; None: a `picture`.
        """
        time = START + timedelta(hours=6 * number)
        sha256 = f"{number + 4096:08x}".ljust(64, "0")
        scan_id = layout.make_scan_id(scanner_id, time.replace(tzinfo=None), sha256)
        if pixels is None:
            pixels = picture(number, animal=animal, size=size, light=light, bare=bare)
        size = pixels.shape[:2]
        write_image([pixels], size, self.store, layout.image_zarr(scan_id), "", 21.2)
        receipt = Receipt(
            scan_id=scan_id,
            scanner_id=scanner_id,
            site_id="wood",
            sha256=sha256,
            source_name=f"{scan_id}.png",
            source_size=1,
            source_modified=0.0,
            captured_at=time,
            device_time=time.replace(tzinfo=None),
            time_from="name",
            timezone="UTC",
            dpi=dpi,
            dpi_from="file",
            width_px=size[1],
            height_px=size[0],
            format="png",
            orientation=0,
            quality=Quality(sharpness=1.0, usable_fraction=1.0, flat_bands=()),
            code_version="0",
            files=(),
        )
        write_receipt(self.store, receipt)
        if found is not None:
            self.detect(scan_id, found)
        return scan_id

    def detect(self, scan_id: str, found: Found) -> None:
        analysis = Analysis(
            detector="v1",
            detector_name="first",
            threshold=0.3,
            taxa=("Collembola", "Acari", "Protura"),
            validation="simulated",
            reference_lags_h=(6, 24, 48, 72),
            algorithm_version="1",
            settings={},
        )
        write_analysis(self.store, analysis)
        publish(self.store, layout.parse_scan_id(scan_id).scanner_id, analysis.id, None)
        table = detection_table(
            scan_id,
            analysis.id,
            boxes=np.array([box for _, _, box in found], np.float32).reshape(-1, 4),
            scores=np.array([score for _, score, _ in found], np.float32),
            taxa=[taxon for taxon, _, _ in found],
            ranks=[None] * len(found),
        )
        write_detection_file(self.store, analysis.id, scan_id, table, {"references": [], "detector": "v1"})

    def files(self, prefix: str = "") -> dict[str, bytes]:
        return {entry.key: self.store.read_bytes(entry.key) for entry in self.store.list(prefix)}


@pytest.fixture
def make_season(tmp_path: Path) -> Callable[..., Season]:
    """Makes a season of `scans` scans a scanner, every fourth with an animal; without detections."""

    def make(scanners: Sequence[str] = ("A20",), scans: int = 0, name: str = "one") -> Season:
        document = {
            "project": "casca",
            "store": f"./{name}",
            "timezone": "UTC",
            "sites": [{"id": "wood"}],
            "scanners": [{"id": one, "site": "wood", "inbox": f"./in/{one}", "dpi": 1200} for one in scanners],
            "taxa": "soil",
        }
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(document))
        project = load_project(file)
        season = Season(project, Store(project.store))
        for scanner_id in scanners:
            for number in range(scans):
                season.scan(number, scanner_id=scanner_id, animal=number % 4 == 3)
        return season

    return make
