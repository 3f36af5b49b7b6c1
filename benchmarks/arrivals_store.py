"""What `arrivals.py` is timed on: an inbox, receipts and detection files of many years, made without images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from soilpipe import layout
from soilpipe.analyses import Analysis, analysis_of
from soilpipe.config import Project, Scanner, Site
from soilpipe.detect.select import load_project_detector
from soilpipe.detections import detection_table
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.index import Index, KnownFile
from soilpipe.ingest.receipts import Receipt, read_receipt
from soilpipe.ingest.scan import ingest_file
from soilpipe.parquet import to_parquet
from soilpipe.store import Entry, Store, canonical_json

NOW = datetime(2026, 1, 1, tzinfo=UTC)
YEARS = 5
FILES = 50
"""Objects of a scan at 1200 dpi, which its receipt lists."""
FOUND = 10


def project_at(
    folder: str, store: str, options: dict[str, Any] | None = None, step: timedelta = timedelta(hours=6)
) -> Project:
    """Two scanners that share an inbox, with a slot at every step."""
    place = {"site": "bench", "inbox": folder, "inbox_options": options or {}, "timezone": "UTC", "slots": step}
    return Project(
        project="arrivals",
        path=Path("soilpipe.yaml"),
        store=store,
        storage_options=options or {},
        timezone="UTC",
        sites=(Site(id="bench"),),
        scanners=(Scanner(id="A20", **place), Scanner(id="B20", **place)),
        keep_originals=False,
        detector="change",
    )


def file_name(scanner_id: str, moment: datetime) -> str:
    return f"{scanner_id}_{moment:%Y-%m-%d_%HH%MM%SS}.png"


def picture(seed: int) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def moments(count: int, step: timedelta) -> list[datetime]:
    """The times of scans (naive), the last of them a step before NOW."""
    return [NOW.replace(tzinfo=None) - step * number for number in range(count, 0, -1)]


def receipts(template: Receipt, times: Sequence[datetime]) -> dict[str, bytes]:
    """One receipt for each time, by its key."""
    made = {}
    for moment in times:
        name = file_name("A20", moment)
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        scan_id = layout.make_scan_id("A20", moment, sha256)
        receipt = template.model_copy(
            update={
                "scan_id": scan_id,
                "sha256": sha256,
                "source_name": name,
                "source_size": 1,
                "source_modified": moment.replace(tzinfo=UTC).timestamp(),
                "captured_at": moment.replace(tzinfo=UTC),
                "device_time": moment,
            }
        )
        made[layout.receipt(scan_id)] = canonical_json(receipt.model_dump(mode="json"))
    return made


def index_of(entries: Sequence[Entry]) -> bytes:
    """The index that knows these files of the inbox."""
    files = {}
    for entry in entries:
        if entry.key.startswith("A20_"):
            sha256 = hashlib.sha256(entry.key.encode()).hexdigest()
            files[entry.key] = KnownFile(
                size=entry.size,
                modified=entry.modified,
                version=entry.version,
                sha256=sha256,
                kind="accepted",
                year=int(entry.key[4:8]),
            )
    return Index(files=files).model_dump_json().encode()


def template_receipt(folder: Path) -> Receipt:
    """The receipt of a scan that was really taken in."""
    (folder / "template").mkdir()
    project = project_at(str(folder / "template"), str(folder / "template-store"))
    (folder / "template" / file_name("A20", NOW.replace(tzinfo=None))).write_bytes(picture(0))
    store = Store(project.store)
    later = datetime.now(UTC) + timedelta(hours=1)
    (arrival,) = find_arrivals(project, project.scanners[0], store, later).ready
    outcome = ingest_file(project, project.scanners[0], store, arrival, later)
    assert outcome.scan_id is not None
    receipt = read_receipt(store, outcome.scan_id)
    quality = receipt.quality.model_copy(update={"masked": {}})  # no mask lies beside what is made from it
    shards = tuple(receipt.files[0].model_copy(update={"path": f"image.zarr/0/c/0/{n}/0"}) for n in range(FILES))
    return receipt.model_copy(update={"files": shards, "quality": quality, "dpi": 1200.0})


def analysis_in_use(project: Project, store: Store) -> Analysis:
    return analysis_of(load_project_detector(project, store).info)


def detections(analysis: Analysis, scan_ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """A detection file of FOUND boxes for each scan, by its key."""
    random = np.random.default_rng(0)
    corners = random.uniform(100, 9000, (FOUND, 2))
    boxes = np.hstack([corners, corners + random.uniform(20, 200, (FOUND, 2))]).astype(np.float32)
    for scan_id in scan_ids:
        table = detection_table(
            scan_id,
            analysis.id,
            boxes=boxes + random.uniform(-3, 3),
            scores=random.uniform(0.3, 1, FOUND).astype(np.float32),
            taxa=[analysis.taxa[0]] * FOUND,
            ranks=[None] * FOUND,
        )
        told = json.dumps({"scan_id": scan_id, "analysis_id": analysis.id, "references": []}, sort_keys=True)
        yield layout.detection_file(analysis.id, scan_id), to_parquet(table, {"soilpipe": told}, small=True)


def put(folder: Path, key: str, data: bytes) -> None:
    """An object of a store on disk, without waiting for the disk."""
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
