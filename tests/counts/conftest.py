"""A small store made directly: receipts, quarantine, analyses and detection files, without a single image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe import layout
from soilpipe.analyses import Analysis, publish, write_analysis
from soilpipe.config import Project, Scanner, Site
from soilpipe.detections import detection_table, write_detection_file
from soilpipe.ingest.quality import Quality
from soilpipe.ingest.quarantine import Quarantined
from soilpipe.ingest.receipts import FileRecord, Receipt, write_receipt
from soilpipe.seals import sealed_json
from soilpipe.store import Store
from soilpipe.touched import touch_refused

START = datetime(2024, 3, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


def scanner_of(scanner_id: str = "A20", **settings: Any) -> Scanner:
    given = {
        "site": "wood",
        "inbox": "/nowhere",
        "timezone": "UTC",
        "slots": (time(0), time(6), time(12), time(18)),
        "dpi": 1200.0,
        "window_cm2": 620.0,
    }
    return Scanner(id=scanner_id, **{**given, **settings})


@dataclass
class Season:
    """A project with a store, and hands to put scans into it."""

    folder: Path
    scanners: tuple[Scanner, ...] = field(default_factory=lambda: (scanner_of(),))
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = Store(self.folder / "store")
        self.refresh()

    def refresh(self, *scanners: Scanner) -> Project:
        """The project again, with other scanners."""
        self.scanners = scanners or self.scanners
        self.project = Project(
            project="test",
            path=self.folder / "soilpipe.yaml",
            store=self.store.root,
            timezone="UTC",
            sites=(Site(id="wood", latitude=43.6, longitude=3.9),),
            scanners=self.scanners,
            **self.settings,
        )
        return self.project

    def analysis(self, name: str = "first", taxa: Sequence[str] = ("Collembola", "Acari", "Enchytraeidae")) -> str:
        return write_analysis(
            self.store,
            Analysis(
                detector=f"v-{name}",
                detector_name=name,
                threshold=0.3,
                taxa=tuple(taxa),
                validation="simulated",
                reference_lags_h=(6, 24, 48, 72),
                algorithm_version="1",
                settings={},
            ),
        )

    def publish(self, analysis_id: str, from_: datetime | None = None, scanner_id: str = "A20") -> None:
        publish(self.store, scanner_id, analysis_id, from_)

    def scan(
        self,
        at: datetime,
        found: Sequence[tuple[str, Sequence[float]]] | None = (),
        *,
        analysis_id: str | None = None,
        scanner_id: str = "A20",
        dpi: float | None = 1200.0,
        usable: float = 1.0,
        content: str = "",
    ) -> str:
        """An accepted scan, with its detections (taxon, box); None: not detected."""
        scan_id = self.receipt(at, scanner_id=scanner_id, dpi=dpi, usable=usable, content=content)
        if found is not None:
            self.detect(scan_id, found, analysis_id or self.analysis())
        return scan_id

    def receipt(
        self,
        at: datetime,
        *,
        scanner_id: str = "A20",
        dpi: float | None = 1200.0,
        usable: float = 1.0,
        content: str = "",
        shown: datetime | None = None,
        came: datetime | None = None,
    ) -> str:
        """An accepted scan. ``shown``: by the device's clock, when it was wrong; ``came``: last change of its file."""
        naive = shown or at.astimezone(UTC).replace(tzinfo=None)
        sha256 = hashlib.sha256(f"{scanner_id} {at} {content}".encode()).hexdigest()
        scan_id = layout.make_scan_id(scanner_id, naive, sha256)
        pixels = b"pixels of " + scan_id.encode()
        key = f"{layout.scan_folder(scan_id)}/image.zarr/c/0"
        self.store.write_bytes(key, pixels)
        file = FileRecord(path="image.zarr/c/0", size=len(pixels), sha256=hashlib.sha256(pixels).hexdigest())
        write_receipt(
            self.store,
            Receipt(
                scan_id=scan_id,
                scanner_id=scanner_id,
                site_id="wood",
                sha256=sha256,
                source_name=f"{scanner_id}.jpg",
                source_size=1,
                source_modified=came.timestamp() if came else 0.0,
                captured_at=naive.replace(tzinfo=UTC),
                device_time=naive,
                time_from="name",
                timezone="UTC",
                dpi=dpi,
                dpi_from="file",
                width_px=1000,
                height_px=1500,
                format="jpeg",
                orientation=0,
                quality=Quality(sharpness=10.0, usable_fraction=usable, flat_bands=()),
                code_version="0",
                files=(file,),
            ),
        )
        return scan_id

    def detect(
        self,
        scan_id: str,
        found: Sequence[tuple[str, Sequence[float]]],
        analysis_id: str,
        compared: dict[str, Any] | None = None,
    ) -> str:
        """Its detection file; ``compared``: what the metadata tells of references and difference."""
        table = detection_table(
            scan_id,
            analysis_id,
            boxes=np.array([box for _, box in found], np.float32).reshape(-1, 4),
            scores=np.full(len(found), 0.5, np.float32),
            taxa=[taxon for taxon, _ in found],
            ranks=["class"] * len(found),
        )
        return write_detection_file(self.store, analysis_id, scan_id, table, compared or {"references": []})

    def refuse(
        self,
        at: datetime | None,
        *,
        code: str = "truncated",
        conflicts_with: str | None = None,
        scanner_id: str = "A20",
    ) -> Quarantined:
        content = f"bad {scanner_id} {at} {code}".encode()
        sha256 = hashlib.sha256(content).hexdigest()
        refused = Quarantined(
            scanner_id=scanner_id,
            sha256=sha256,
            source_name="bad.jpg",
            source_size=1,
            source_modified=0.0,
            code=code,
            reason="the file ends too early",
            remedy="Copy it again.",
            captured_at=at,
            device_time=None if at is None else at.astimezone(UTC).replace(tzinfo=None),
            conflicts_with=conflicts_with,
            first_seen=START,
            code_version="0",
        )
        touch_refused(self.store, scanner_id)
        self.store.write_bytes(f"{layout.quarantine_folder(scanner_id, sha256)}/file.jpg", content)
        self.store.write_bytes(
            layout.quarantine_reason(scanner_id, sha256), sealed_json(refused.model_dump(mode="json"))
        )
        return refused

    def files(self) -> dict[str, bytes]:
        """Every object of the store but the index."""
        return {e.key: self.store.read_bytes(e.key) for e in self.store.list("") if not e.key.startswith(".index")}


@pytest.fixture(autouse=True)
def files_are_as_old_as_they_say() -> Iterator[None]:
    """Tests give files an age by the time that programs can set; the other one is always that of the test."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("soilpipe.ingest.rest.written", lambda entry: entry.modified)
        yield


@pytest.fixture
def season(tmp_path: Path) -> Season:
    return Season(tmp_path)


@pytest.fixture
def make_scanner() -> Any:
    """``scanner_of``: a scanner with some settings changed."""
    return scanner_of
