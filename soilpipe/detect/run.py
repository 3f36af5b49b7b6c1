"""Detecting one accepted scan of a project: references, registration, detection, sizes, the detection file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soilpipe import layout
from soilpipe.analyses import Analysis
from soilpipe.background import Registration, choose_references, register_all
from soilpipe.compared import LEAST_REFERENCES, LOOKS_ALONE, compared_with
from soilpipe.config import Project, Scanner
from soilpipe.detect.base import Detections, Detector, Identifies, Identities
from soilpipe.detect.measure import measure
from soilpipe.detect.near_misses import detect_nearly
from soilpipe.detect.thresholds import thresholds_used
from soilpipe.detections import (
    NEAR_MISSES,
    DamagedDetectionsError,
    detection_table,
    read_detection_file,
    write_detection_file,
)
from soilpipe.errors import SoilpipeError
from soilpipe.ingest.clock import scan_times, to_utc
from soilpipe.ingest.quarantine import superseded_scans
from soilpipe.ingest.receipts import Receipt, list_scan_ids, read_receipt
from soilpipe.store import Store
from soilpipe.taxonomy import TaxonomyError, split_stage
from soilpipe.tiles import ScanImage, open_image


class ScanDetectionError(SoilpipeError):
    """A scan cannot be detected as it should be."""


@dataclass(frozen=True)
class DetectedScan:
    """What was found. `n` detections, `per_taxon` (taxa with none left out); `references`: those that were usable.

    `doubt`: in words, why it was compared with nothing; None where it was, or where the detector compares nothing.
    """

    scan_id: str
    analysis_id: str
    key: str
    n: int
    per_taxon: dict[str, int]
    references: tuple[str, ...]
    doubt: str | None = None


def detect_scan(
    project: Project, store: Store, receipt: Receipt, detector: Detector, analysis: Analysis
) -> DetectedScan:
    """Detect one scan and write its detection file, even when nothing was found.

    References are the scanner's earlier scans of the same dpi and size, those of `background.choose_references`; where
    this analysis has detected the scan before, the ones that its file names, so that a re-run gives the same bytes.

    Raises ScanDetectionError when the pixels of the scan, or of a reference that its file names, are no longer stored.
    """
    um_per_px = receipt.um_per_px
    scale = detector.info.um_per_px if um_per_px is None else um_per_px
    scan = _open(store, receipt.scan_id, scale)
    if scan is None:
        raise ScanDetectionError(
            f"the pixels of {receipt.scan_id} are not in the store {store.root}: they have expired or were removed. "
            "Restore its image.zarr, or leave the scan undetected under this analysis"
        )
    references = _references(project, store, receipt, analysis, scale) if detector.info.uses_difference else []
    registrations = register_all(scan, references)
    # A detector may have a threshold of its own for each taxon; one number given to it would replace them all.
    threshold = None if analysis.threshold == detector.info.threshold else analysis.threshold
    found, near = detect_nearly(detector, scan, references, registrations, threshold=threshold)
    identities = _identified(detector, scan, references, registrations, found)
    named = [_name(project, taxon) for taxon in identities.taxa]
    sizes = measure(scan, references, registrations, found.boxes, um_per_px)
    table = detection_table(
        receipt.scan_id,
        analysis.id,
        boxes=found.boxes,
        scores=found.scores,
        taxa=[taxon for taxon, _, _ in named],
        ranks=[rank for _, rank, _ in named],
        stages=[stage for _, _, stage in named],
        probabilities=identities.probability,
        alternatives=identities.alternatives,
        is_unknown=identities.is_unknown,
        length_mm=sizes.length_mm,
        width_mm=sizes.width_mm,
        area_mm2=sizes.area_mm2,
    )
    metadata = _metadata(receipt, detector, threshold, references, registrations, scale)
    metadata[NEAR_MISSES] = [[round(one.x), round(one.y), round(one.gap, 3)] for one in near]
    key = write_detection_file(store, analysis.id, receipt.scan_id, table, metadata)
    return DetectedScan(
        scan_id=receipt.scan_id,
        analysis_id=analysis.id,
        key=key,
        n=len(found),
        per_taxon=dict(sorted(Counter(taxon for taxon in table["taxon"].to_pylist() if taxon is not None).items())),
        references=tuple(str(image.scan_id) for image, r in zip(references, registrations, strict=True) if r.ok),
        doubt=compared_with(metadata).doubt,
    )


def _open(store: Store, scan_id: str, um_per_px: float) -> ScanImage | None:
    try:
        return open_image(store, scan_id, um_per_px)
    except FileNotFoundError:
        return None


def _references(
    project: Project, store: Store, receipt: Receipt, analysis: Analysis, um_per_px: float
) -> list[ScanImage]:
    """Those that the scan's file under this analysis names; without a file, or with one that is damaged, those that
    suit and have their pixels."""
    try:
        named = read_detection_file(store, analysis.id, receipt.scan_id).metadata["references"]
    except (FileNotFoundError, DamagedDetectionsError):
        return suitable_references(store, project.scanner(receipt.scanner_id), receipt, um_per_px)
    images = []
    for reference in named:
        image = _open(store, reference["scan_id"], um_per_px)
        if image is None:
            raise ScanDetectionError(
                f"{receipt.scan_id} was detected against {reference['scan_id']}, whose pixels are no longer in the "
                f"store {store.root}; its detections stay as they are. To detect it against other scans, delete "
                f"{layout.detection_file(analysis.id, receipt.scan_id)}, then `soilpipe rebuild` and `soilpipe run`"
            )
        images.append(image)
    return images


def suitable_references(store: Store, scanner: Scanner, receipt: Receipt, um_per_px: float) -> list[ScanImage]:
    """The earlier scans that a scan is compared with, newest first: of the same dpi and size, with their pixels.

    Chosen by the times in the ids, so that only the receipts of those chosen are read, however many years there are.

    Times are as the project file mends them now: before a mended clock fault, the scan of 24 hours ago is that of then.
    """
    put_aside = superseded_scans(store, receipt.scanner_id)
    own = to_utc(receipt.device_time, scanner, receipt.source_modified)
    ids = [scan_id for scan_id in list_scan_ids(store, receipt.scanner_id) if scan_id not in put_aside]
    times = {scan_id: time for scan_id, time in scan_times(store, scanner, ids).items() if time < own}
    suited: dict[str, ScanImage | None] = {}
    while True:
        chosen = choose_references(own, list(times.items()))
        for scan_id in chosen:
            if scan_id not in suited:
                suited[scan_id] = _suitable(store, receipt, scan_id, um_per_px)
        unfit = [scan_id for scan_id in chosen if suited[scan_id] is None]
        if not unfit:
            return [image for image in (suited[scan_id] for scan_id in chosen) if image is not None]
        for scan_id in unfit:
            del times[scan_id]


def _suitable(store: Store, receipt: Receipt, scan_id: str, um_per_px: float) -> ScanImage | None:
    """The pixels of an earlier scan of the same dpi and size; None when it is another, or its pixels are gone."""
    other = read_receipt(store, scan_id)
    same = (other.dpi, other.width_px, other.height_px) == (receipt.dpi, receipt.width_px, receipt.height_px)
    return _open(store, scan_id, um_per_px) if same else None


def _identified(
    detector: Detector,
    scan: ScanImage,
    references: Sequence[ScanImage],
    registrations: Sequence[Registration],
    found: Detections,
) -> Identities:
    """What a classifier says of the detections; without one, what the detector calls them."""
    if isinstance(detector, Identifies):
        return detector.identify(scan, references, registrations, found.boxes)
    n = len(found)
    nothing: tuple[None, ...] = (None,) * n
    return Identities(tuple(found.taxon(index) for index in range(n)), nothing, nothing, (False,) * n)


def _name(project: Project, label: str | None) -> tuple[str | None, str | None, str | None]:
    """Taxon, rank and stage of a detector's label, by the project's taxonomy where that knows the name."""
    if label is None:
        return None, None, None
    try:
        taxon = project.taxonomy.find(label)
    except TaxonomyError:
        return label, None, None
    return taxon.name, taxon.rank, split_stage(label)[1]


def _metadata(
    receipt: Receipt,
    detector: Detector,
    threshold: float | None,
    references: Sequence[ScanImage],
    registrations: Sequence[Registration],
    um_per_px: float,
) -> dict[str, Any]:
    """What made the file; numbers rounded to what they are known to, so that equal runs write equal bytes."""
    usable = sum(registration.ok for registration in registrations)
    common, own = thresholds_used(detector.info, threshold)
    if not detector.info.uses_difference:
        difference = LOOKS_ALONE
    elif usable >= LEAST_REFERENCES:
        difference = f"background of {usable} earlier scans"
    else:
        difference = f"none: a background needs two usable earlier scans, and there is {'one' if usable else 'none'}"
    return {
        "detector": detector.info.version,
        "threshold": common,
        "thresholds": own,
        "width_px": receipt.width_px,
        "height_px": receipt.height_px,
        "um_per_px": round(um_per_px, 6),
        "um_per_px_from": "detector" if receipt.um_per_px is None else "scan",
        "difference": difference,
        "references": [
            {
                "scan_id": reference.scan_id,
                "ok": registration.ok,
                "reason": registration.reason,
                "dy": round(float(np.median(registration.dy)), 3),
                "dx": round(float(np.median(registration.dx)), 3),
                "gain": [round(float(gain), 4) for gain in registration.gain],
                "peak": round(registration.peak, 3),
            }
            for reference, registration in zip(references, registrations, strict=True)
        ],
    }
