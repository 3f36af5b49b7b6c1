"""Every path in the store, as pure functions from ids to POSIX keys. Nothing else builds a key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from soilpipe.errors import SoilpipeError

SCANS = "scans"
RECEIPTS = "receipts"
QUARANTINE = "quarantine"
DETECTIONS = "detections"
SERIES = "series"
RECORDS = "records"
LABELS = "labels"
PRETRAINING = "pretraining"

_SCAN_ID = re.compile(r"(?P<scanner>[A-Za-z0-9_-]+)-(?P<time>[0-9]{8}T[0-9]{6})-(?P<sha8>[0-9a-f]{8})")


class LayoutError(SoilpipeError):
    """Not an id that this store could have."""


@dataclass(frozen=True)
class ScanIdParts:
    """What a scan id says: the scanner, the device's own (naive) time and the first 8 digits of the sha256."""

    scanner_id: str
    device_time: datetime
    sha8: str


def make_scan_id(scanner_id: str, device_time: datetime, sha256: str) -> str:
    """``<scanner>-<device time as read>-<first 8 of the sha256>``. The time is naive: the device's own clock."""
    if device_time.tzinfo is not None:
        raise LayoutError(f"a scan id holds the device's own time, without a zone, not {device_time.isoformat()}")
    return f"{scanner_id}-{device_time.year:04d}{device_time:%m%dT%H%M%S}-{sha256[:8]}"


def parse_scan_id(scan_id: str) -> ScanIdParts:
    """The parts of a scan id. Raises LayoutError for anything else."""
    match = _SCAN_ID.fullmatch(scan_id)
    if match is None:
        raise LayoutError(f"{scan_id!r} is no scan id; one looks like DIAMS_A20_O-20240306T060000-1a2b3c4d")
    digits = match["time"]
    try:
        # The id names no zone on purpose: it is the device's clock as it was. (strptime takes four times as long.)
        time = datetime(  # noqa: DTZ001
            int(digits[:4]),
            int(digits[4:6]),
            int(digits[6:8]),
            int(digits[9:11]),
            int(digits[11:13]),
            int(digits[13:]),
        )
    except ValueError as error:
        raise LayoutError(f"{scan_id!r} is no scan id: its time does not exist") from error
    return ScanIdParts(match["scanner"], time, match["sha8"])


def _year(scan_id: str) -> tuple[str, str]:
    parts = parse_scan_id(scan_id)
    return parts.scanner_id, f"{parts.device_time.year:04d}"


def scan_folder(scan_id: str) -> str:
    """``scans/<scanner>/<year of the device time>/<scan_id>``"""
    scanner, year = _year(scan_id)
    return f"{SCANS}/{scanner}/{year}/{scan_id}"


def image_zarr(scan_id: str) -> str:
    """The OME-Zarr group of a scan."""
    return f"{scan_folder(scan_id)}/image.zarr"


def original(scan_id: str, ext: str) -> str:
    """The file as it came; ``ext`` with or without its dot."""
    return f"{scan_folder(scan_id)}/original.{ext.lstrip('.')}"


def window_mask(scan_id: str) -> str:
    """Which part of the window can be used, told at ingest: a PNG of one grey pixel a cell (`ingest.window_mask`)."""
    return f"{scan_folder(scan_id)}/mask.png"


def receipt(scan_id: str) -> str:
    """``receipts/<scanner>/<year of the device time>/<scan_id>.json``"""
    scanner, year = _year(scan_id)
    return f"{RECEIPTS}/{scanner}/{year}/{scan_id}.json"


def receipts_prefix(scanner_id: str, year: int | None = None) -> str:
    """The folder of a scanner's receipts, or of those of one device-clock year."""
    return f"{RECEIPTS}/{scanner_id}" + ("" if year is None else f"/{year:04d}")


def quarantine_prefix(scanner_id: str | None = None) -> str:
    """The folder of what was refused, of every scanner or of one."""
    return QUARANTINE if scanner_id is None else f"{QUARANTINE}/{scanner_id}"


def quarantine_folder(scanner_id: str, sha256: str) -> str:
    """The folder of one refused content."""
    return f"{QUARANTINE}/{scanner_id}/{sha256}"


def quarantine_reason(scanner_id: str, sha256: str) -> str:
    """Why it was refused; written last."""
    return f"{quarantine_folder(scanner_id, sha256)}/reason.json"


def analysis(analysis_id: str) -> str:
    """What made the detections of an analysis."""
    return f"analyses/{analysis_id}.json"


def detection_file(analysis_id: str, scan_id: str) -> str:
    """What an analysis found in a scan."""
    scanner, year = _year(scan_id)
    return f"{DETECTIONS}/{analysis_id}/{scanner}/{year}/{scan_id}.parquet"


def detections_prefix(analysis_id: str, scanner_id: str, year: int | None = None) -> str:
    """The folder of what an analysis found in a scanner's scans, or in those of one device-clock year."""
    return f"{DETECTIONS}/{analysis_id}/{scanner_id}" + ("" if year is None else f"/{year:04d}")


def model_folder(role: str, version: str) -> str:
    """A model's weights and card."""
    return f"models/{role}/{version}"


def models_prefix(role: str) -> str:
    """The folder of a role's models."""
    return f"models/{role}"


def series_prefix(table: str) -> str:
    """The folder of a table that is partitioned by year and scanner."""
    return f"{SERIES}/{table}"


def series_file(table: str, scanner_id: str, year: int) -> str:
    """One partition of a table; ``year`` is the slot's UTC year."""
    return f"{series_prefix(table)}/year={year:04d}/{scanner_id}.parquet"


def series_table(name: str) -> str:
    """A small table of one file: sites, scanners, taxa."""
    return f"{SERIES}/{name}.parquet"


def records_prefix(kind: str) -> str:
    """The folder of one kind of record."""
    return f"{RECORDS}/{kind}"


def record(kind: str, name: str) -> str:
    """One append-only record."""
    return f"{records_prefix(kind)}/{name}.json"


def label_draws_prefix() -> str:
    """The folder of the draws: which tiles people were to look at."""
    return f"{LABELS}/draws"


def label_draw(draw_id: str) -> str:
    """One draw of tiles; append-only."""
    return f"{label_draws_prefix()}/{draw_id}.json"


def label_files_prefix() -> str:
    """The folder of what people marked in tiles."""
    return f"{LABELS}/annotations"


def label_file(name: str) -> str:
    """What one import brought; append-only."""
    return f"{label_files_prefix()}/{name}.json"


def replay_memory() -> str:
    """Which crops of earlier scans pretraining keeps, so that it does not forget them."""
    return f"{PRETRAINING}/memory/members.json"


def replay_crops_prefix() -> str:
    """The folder of their pixels."""
    return f"{PRETRAINING}/memory/crops"


def replay_crop(scan_id: str, name: str) -> str:
    """One of them: a PNG of its seven planes, one below the other."""
    return f"{replay_crops_prefix()}/{parse_scan_id(scan_id).scanner_id}/{scan_id}-{name}.png"


def corpus_manifest(manifest_hash: str) -> str:
    """Which crops a refresh learned from, and why: the manifest that a model's card names, compressed."""
    return f"{PRETRAINING}/manifests/{manifest_hash}.json.gz"


def scans_of_refreshes() -> str:
    """The folder of the lists of scans that refreshes had before them."""
    return f"{PRETRAINING}/scans"


def scans_of_refresh(run_id: str) -> str:
    """The scans that were new to one refresh, whether it learned from them or not, compressed."""
    return f"{scans_of_refreshes()}/{run_id}.json.gz"


def index(scanner_id: str) -> str:
    """What ingest knows of a scanner's inbox; may be deleted, and is made again."""
    return f".index/{scanner_id}.json"


def index_notes(scanner_id: str) -> str:
    """The newest notes of it."""
    return f".index/{scanner_id}.notes.json"


def hung(scanner_id: str) -> str:
    """How often reading files of a scanner was given up; may be deleted, and counting begins anew."""
    return f".index/hung/{scanner_id}.json"


def touched_prefix(scanner_id: str) -> str:
    """The folder of the tokens that say where a scanner's truth may have changed (`touched`)."""
    return f".index/touched/{scanner_id}"


def touched(scanner_id: str, part: str, unique: str) -> str:
    """One token."""
    return f"{touched_prefix(scanner_id)}/{part}-{unique}.json"


def known_truth(scanner_id: str) -> str:
    """What is known of a scanner's truth; may be deleted, and is read again from the truth."""
    return f".index/truth/{scanner_id}.bin"


def series_state(scanner_id: str) -> str:
    """What each year of a scanner's series was made from; may be deleted, and all of it is made again."""
    return f".index/series/{scanner_id}.json"


def index_line(scanner_id: str) -> str:
    """A scanner's line of the pages' index; may be deleted, and is worked out from the series again."""
    return f".index/pages/{scanner_id}.json"


def report(name: str) -> str:
    """A page or picture for people."""
    return f"reports/{name}"
