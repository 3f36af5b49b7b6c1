"""The store that the benchmark of the corpus reads: simulated, ingested and detected, and what is truly in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2

FIRST = datetime(2024, 3, 6, tzinfo=UTC)
PROJECT = "project: corpus\nstore: ./store\ntimezone: UTC\nsettle: 0s\nsites: [{id: bench}]\nscanners:\n"

Animals = Mapping[str, list[tuple[str, tuple[float, float, float, float]]]]
"""By scan id: the animals that it shows, as (track, box in px at full resolution)."""


def make_store(folder: Path, scanners: int, scans: int, size: int, detect: bool, threads: int) -> None:
    """Simulate, ingest and detect; runs in a process of its own, so that its memory is not counted."""
    import torch

    from soilpipe.analyses import analysis_of, publish, write_analysis
    from soilpipe.config import load_project
    from soilpipe.detect.run import detect_scan
    from soilpipe.detect.weights import SHIPPED, load_detector
    from soilpipe.ingest.arrivals import find_arrivals
    from soilpipe.ingest.receipts import list_receipts
    from soilpipe.ingest.scan import ingest_file
    from soilpipe.simulate import SeasonSpec, write_season
    from soilpipe.store import Store

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    names = [f"bench_{number}" for number in range(1, scanners + 1)]
    blocks = [f"  - {{id: {name}, site: bench, inbox: ./inbox/{name}, dpi: 1200}}\n" for name in names]
    (folder / "soilpipe.yaml").write_text(PROJECT + "".join(blocks))
    project = load_project(folder / "soilpipe.yaml")
    store = Store(project.store)
    now = datetime.now(UTC) + timedelta(minutes=1)
    detector = load_detector(SHIPPED, device="cpu")
    analysis = analysis_of(detector.info)
    for number, name in enumerate(names):
        times = tuple(FIRST + timedelta(hours=6 * slot) for slot in range(scans))
        spec = SeasonSpec(name, "peat", 100 + number, times, size, size, 1200.0, animals_per_100cm2=40.0)
        write_season(spec, folder / "inbox" / name, extension="jpg")
        scanner = project.scanner(name)
        for arrival in find_arrivals(project, scanner, store, now).ready:
            outcome = ingest_file(project, scanner, store, arrival, now)
            if outcome.kind != "accepted":
                raise SystemExit(f"{outcome.name}: {outcome.reason}")
        if detect:
            write_analysis(store, analysis)
            publish(store, name, analysis.id, None)
            for receipt in list_receipts(store, name):
                detect_scan(project, store, receipt, detector, analysis)


def true_animals(folder: Path, scan_ids: list[str]) -> Animals:
    """What the simulation drew, by the scan that it became."""
    by_time = {}
    for truth in sorted((folder / "inbox").glob("*/truth.json")):
        told = json.loads(truth.read_text())
        images = {image["id"]: image for image in told["images"]}
        for image in told["images"]:
            by_time[image["scanner_id"], datetime.fromisoformat(image["date_captured"])] = []
        for one in told["annotations"]:
            image = images[one["image_id"]]
            x, y, w, h = one["bbox"]
            key = image["scanner_id"], datetime.fromisoformat(image["date_captured"])
            by_time[key].append((f"{image['scanner_id']}-{one['track_id']}", (x, y, x + w, y + h)))
    from soilpipe.layout import parse_scan_id

    parts = {scan_id: parse_scan_id(scan_id) for scan_id in scan_ids}
    return {scan_id: by_time[part.scanner_id, part.device_time.replace(tzinfo=UTC)] for scan_id, part in parts.items()}
