"""Detecting an accepted scan: which references, what is written, and what a second run does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from soilpipe import layout
from soilpipe.analyses import Analysis, analysis_of
from soilpipe.background import Registration
from soilpipe.config import TEMPLATE, Project, load_project
from soilpipe.detect import run
from soilpipe.detect.base import Detections, DetectorInfo, no_detections
from soilpipe.detect.change import ChangeDetector
from soilpipe.detect.run import ScanDetectionError, detect_scan
from soilpipe.detections import read_detection_file
from soilpipe.ingest.quality import Quality
from soilpipe.ingest.receipts import Receipt, read_receipt, write_receipt
from soilpipe.ingest.zarr_writer import write_image
from soilpipe.schemas import DETECTION_FILE
from soilpipe.store import Store
from soilpipe.tiles import ScanImage

SCANNER = "scanner_A"
NOON = datetime(2024, 3, 6, 12, tzinfo=UTC)


class FixedDetector:
    """Claims the same two animals in every scan, and remembers what it was shown."""

    def __init__(self, n: int = 2) -> None:
        self.info = DetectorInfo("fixed", "fixed-1", ("Collembola", "Diptera (larva)"), 42.0, 0.5, "none")
        self.n = n
        self.shown: list[tuple[tuple[str | None, ...], float, float | None]] = []

    def detect(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> Detections:
        self.shown.append((tuple(image.scan_id for image in references), scan.um_per_px, threshold))
        if not self.n:
            return no_detections(self.info.taxa)
        boxes = np.array([[160, 120, 240, 180], [20, 30, 50, 60]], np.float32)
        return Detections(boxes, np.array([0.9, 0.6], np.float32), np.array([0, 1]), self.info.taxa)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    path = tmp_path / "soilpipe.yaml"
    path.write_text(TEMPLATE, encoding="utf-8")
    return load_project(path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def picture(seed: int, *, animal: bool = False, size: tuple[int, int] = (300, 400)) -> np.ndarray:
    """One ground under fresh noise; with an animal at (200, 150), 70 x 24 px."""
    random = np.random.default_rng(7)
    ground = sum(
        cv2.GaussianBlur(random.standard_normal(size).astype(np.float32), (0, 0), scale) * 14 * scale
        for scale in (1, 3, 8)
    )
    scan = np.stack([ground + 80, ground * 0.9 + 65, ground * 0.8 + 50], -1).astype(np.float32)
    if animal:
        cv2.ellipse(scan, (200, 150), (35, 12), 20, 0, 360, (210, 200, 190), -1)
    scan = scan + 2.5 * np.random.default_rng(seed).standard_normal(scan.shape)
    return np.clip(np.rint(scan), 0, 255).astype(np.uint8)


def accept(
    store: Store, hours: float, image: np.ndarray, *, dpi: float | None = 1200.0, pixels: bool = True
) -> Receipt:
    """An accepted scan captured that many hours before noon."""
    captured_at = NOON - timedelta(hours=hours)
    device_time = captured_at.replace(tzinfo=None)
    sha256 = f"{int(hours * 10) + 1000:08x}".ljust(64, "0")
    scan_id = layout.make_scan_id(SCANNER, device_time, sha256)
    if pixels:
        write_image([image], image.shape[:2], store, layout.image_zarr(scan_id), scan_id, dpi and 25_400 / dpi)
    receipt = Receipt(
        scan_id=scan_id,
        scanner_id=SCANNER,
        site_id="my_site",
        sha256=sha256,
        source_name=f"{scan_id}.png",
        source_size=1,
        source_modified=0.0,
        captured_at=captured_at,
        device_time=device_time,
        time_from="name",
        timezone="UTC",
        dpi=dpi,
        dpi_from="project" if dpi else "unknown",
        width_px=image.shape[1],
        height_px=image.shape[0],
        format="png",
        orientation=0,
        quality=Quality(sharpness=1.0, usable_fraction=1.0, flat_bands=()),
        code_version="0",
        files=(),
    )
    write_receipt(store, receipt)
    return receipt


def analysis(detector: FixedDetector | ChangeDetector) -> Analysis:
    return analysis_of(detector.info)


def test_an_animal_that_came_is_found_measured_and_written_with_its_references(project, store) -> None:
    earlier = [accept(store, hours, picture(k)) for k, hours in enumerate((6, 24, 48, 72), 1)]
    scan = accept(store, 0, picture(9, animal=True))
    detector = ChangeDetector()
    done = detect_scan(project, store, scan, detector, analysis(detector))
    assert (done.n, done.per_taxon) == (1, {"Invertebrata": 1})
    assert done.references == tuple(receipt.scan_id for receipt in earlier) and done.doubt is None
    file = read_detection_file(store, done.analysis_id, scan.scan_id)
    row = file.table.to_pylist()[0]
    assert (row["x_min"] + row["x_max"]) / 2 == pytest.approx(200, abs=3)
    assert row["length_mm"] == pytest.approx(70 * 25.4 / 1200, abs=0.08)
    assert (row["taxon"], row["rank"], row["probability"]) == ("Invertebrata", "informal", None)
    references = file.metadata["references"]
    assert [(r["scan_id"], r["ok"], r["reason"]) for r in references] == [(r.scan_id, True, "") for r in earlier]
    assert all(
        abs(r["dy"]) < 0.1 and r["peak"] > 0.3 and r["gain"] == pytest.approx([1] * 3, abs=0.05) for r in references
    )


def test_looked_and_found_nothing_is_an_empty_file_with_the_full_schema(project, store) -> None:
    scan = accept(store, 0, picture(1))
    detector = ChangeDetector()
    done = detect_scan(project, store, scan, detector, analysis(detector))
    assert (done.n, done.per_taxon, done.references) == (0, {}, ())
    file = read_detection_file(store, done.analysis_id, scan.scan_id)
    assert file.table.num_rows == 0 and file.table.schema.names == DETECTION_FILE.names
    assert file.metadata["difference"].startswith("none") and file.metadata["references"] == []


def test_a_rerun_uses_the_references_named_before_and_gives_the_same_bytes(project, store) -> None:
    for k, hours in enumerate((6, 48), 1):
        accept(store, hours, picture(k))
    scan = accept(store, 0, picture(9, animal=True))
    detector = FixedDetector()
    done = detect_scan(project, store, scan, detector, analysis(detector))
    before = store.read_bytes(done.key)
    accept(store, 24, picture(5))  # an earlier scan that comes late: it would be a better reference
    again = detect_scan(project, store, scan, detector, analysis(detector))
    assert again == done and store.read_bytes(done.key) == before
    assert detector.shown[0] == detector.shown[1]


def test_only_earlier_scans_of_the_same_dpi_and_size_whose_pixels_are_there_serve(project, store) -> None:
    good = [accept(store, hours, picture(k)) for k, hours in enumerate((12, 30), 1)]
    accept(store, 6, picture(3), dpi=600.0)
    accept(store, 24, picture(4, size=(300, 401)))
    accept(store, -6, picture(5))
    accept(store, 48, picture(6), pixels=False)
    scan = accept(store, 0, picture(9))
    detector = FixedDetector()
    detect_scan(project, store, scan, detector, analysis(detector))
    assert detector.shown[0][0] == tuple(receipt.scan_id for receipt in good)


def test_a_scan_of_a_reset_clock_is_compared_with_those_before_the_reset(project, store, tmp_path) -> None:
    good = [accept(store, hours, picture(k)) for k, hours in enumerate((6, 24), 1)]
    years = (NOON - datetime(2000, 1, 1, tzinfo=UTC)) / timedelta(hours=1)
    scan = accept(store, years, picture(9))
    entry = {"from": datetime(2000, 1, 1), "until": datetime(2000, 1, 2), "set": NOON.replace(tzinfo=None)}
    lines = "".join(f", {key}: {value:%Y-%m-%d %H:%M}" for key, value in entry.items())
    mended = tmp_path / "mended.yaml"
    clock = f"clock:\n  - {{scanner: {SCANNER}{lines}, reason: empty battery}}"
    mended.write_text(TEMPLATE.replace("\nclock:\n", f"\n{clock}\n"), encoding="utf-8")
    detector = FixedDetector()
    detect_scan(project, store, scan, detector, analysis(detector))
    assert detector.shown[0][0] == (), "by its own clock it is the first scan there is"
    store.delete(layout.detection_file(analysis(detector).id, scan.scan_id))
    detect_scan(load_project(mended), store, scan, detector, analysis(detector))
    assert detector.shown[1][0] == tuple(receipt.scan_id for receipt in good)


def test_a_moved_scanner_is_told_in_the_file(project, store) -> None:
    for k, hours in enumerate((6, 24), 1):
        accept(store, hours, np.ascontiguousarray(picture(k)[::-1]))
    scan = accept(store, 0, picture(9, animal=True))
    detector = FixedDetector()
    done = detect_scan(project, store, scan, detector, analysis(detector))
    metadata = read_detection_file(store, done.analysis_id, scan.scan_id).metadata
    assert done.references == () and metadata["difference"].startswith("none")
    assert all(not r["ok"] and "moved" in r["reason"] for r in metadata["references"])
    assert done.doubt is not None and done.doubt.startswith("compared with nothing") and "moved" in done.doubt


def test_a_detector_that_never_saw_a_difference_is_given_none(project, store) -> None:
    for k, hours in enumerate((6, 24), 1):
        accept(store, hours, picture(k))
    scan = accept(store, 0, picture(9))
    detector = FixedDetector()
    detector.info = replace(detector.info, uses_difference=False)
    done = detect_scan(project, store, scan, detector, analysis(detector))
    file = read_detection_file(store, done.analysis_id, scan.scan_id)
    assert detector.shown[0][0] == () and file.metadata["references"] == []
    assert file.metadata["difference"] == "none: this detector looks at the picture alone"
    assert done.doubt is None, "it is as good as ever"


def test_without_a_resolution_the_detectors_scale_is_taken_and_nothing_is_measured(project, store) -> None:
    scan = accept(store, 0, picture(9, animal=True), dpi=None)
    detector = FixedDetector()
    done = detect_scan(project, store, scan, detector, analysis(detector))
    file = read_detection_file(store, done.analysis_id, scan.scan_id)
    assert detector.shown == [((), 42.0, None)]  # its own thresholds
    assert (file.metadata["um_per_px"], file.metadata["um_per_px_from"]) == (42.0, "detector")
    assert file.table["length_mm"].null_count == file.table.num_rows == 2


def test_the_thresholds_of_single_taxa_are_used_and_named_in_the_file(project, store) -> None:
    scan = accept(store, 0, picture(9))
    detector = FixedDetector()
    detector.info = replace(detector.info, settings={"thresholds": {"Collembola": 0.3}})
    own = analysis(detector)
    one_number = own.model_copy(update={"threshold": 0.7})  # an analysis whose number replaces them
    told = []
    for used in (own, one_number):
        done = detect_scan(project, store, scan, detector, used)
        metadata = read_detection_file(store, done.analysis_id, scan.scan_id).metadata
        told.append((metadata["threshold"], metadata["thresholds"]))
    assert told == [(0.5, {"Collembola": 0.3}), (0.7, {})]
    assert [threshold for _, _, threshold in detector.shown] == [None, 0.7]


def test_taxa_are_named_by_the_projects_taxonomy_with_rank_and_stage(project, store) -> None:
    scan = accept(store, 0, picture(9, animal=True))
    detector = FixedDetector()
    done = detect_scan(project, store, scan, detector, analysis(detector))
    rows = read_detection_file(store, done.analysis_id, scan.scan_id).table.to_pylist()
    assert [(row["taxon"], row["rank"], row["stage"]) for row in rows] == [
        ("Diptera", "order", "larva"),
        ("Collembola", "class", None),
    ]
    assert done.per_taxon == {"Collembola": 1, "Diptera": 1}


def test_missing_pixels_are_told_with_the_scan_and_a_remedy(project, store) -> None:
    scan = accept(store, 0, picture(1), pixels=False)
    detector = FixedDetector()
    with pytest.raises(ScanDetectionError, match=rf"{scan.scan_id}.*Restore"):
        detect_scan(project, store, scan, detector, analysis(detector))


def test_only_the_receipts_of_the_chosen_references_are_read(project, store, monkeypatch) -> None:
    """A scanner of five years has thousands; reading them all for each scan took seconds."""
    for k, hours in enumerate(range(6, 6 * 20, 6), 1):
        accept(store, hours, picture(k), pixels=hours in (6, 24, 48, 72))
    scan = accept(store, 0, picture(30))
    read: list[str] = []

    def reading(where: Store, scan_id: str) -> Receipt:
        read.append(scan_id)
        return read_receipt(where, scan_id)

    monkeypatch.setattr(run, "read_receipt", reading)
    detector = FixedDetector()
    detect_scan(project, store, scan, detector, analysis(detector))
    assert len(detector.shown[0][0]) == 4 and sorted(read) == sorted(str(shown) for shown in detector.shown[0][0])
