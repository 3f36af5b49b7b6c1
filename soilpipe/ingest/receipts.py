"""The receipt of a scan, written last: with it the scan is there, without it nothing of it is."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

from pydantic import ValidationError

from soilpipe import layout
from soilpipe.config import FrozenModel
from soilpipe.ingest.colours import Colours
from soilpipe.ingest.quality import Quality
from soilpipe.store import Store, StoreError, canonical_json
from soilpipe.touched import touch

READERS = 8
"""Receipts read at once: nothing on a disk, all the difference on S3."""


class FileRecord(FrozenModel):
    """One object of a scan: ``path`` relative to the scan's folder, ``size`` in bytes."""

    path: str
    size: int
    sha256: str


class Receipt(FrozenModel):
    """What is known of an accepted scan. A function of the file and the project: written twice, the same bytes."""

    scan_id: str
    scanner_id: str
    site_id: str
    sha256: str
    source_name: str
    source_size: int
    source_modified: float
    """Epoch seconds, as the inbox had it."""
    source_version: str = ""
    """The ETag on S3."""
    captured_at: datetime
    """UTC, by the device's clock as it was and the time zone of then: what this scan was first taken for. When it was
    taken, by the project file of now, says `ingest.clock.at_present`."""
    device_time: datetime
    """Naive: the device's own clock, as read."""
    time_from: str
    """name, file (EXIF or a tag) or person."""
    timezone: str
    """In which the device's clock was understood."""
    dpi: float | None
    dpi_from: str
    """file, project or unknown."""
    width_px: int
    height_px: int
    format: str
    orientation: int
    """Degrees clockwise that turn the picture upright; boxes stay in the file's frame."""
    quality: Quality
    code_version: str
    files: tuple[FileRecord, ...]
    checksum_from: str | None = None
    """Who told the same sha256 as was found: the name of a file beside it, or S3; None where nobody did."""
    colours: Colours | None = None
    """What became of the colours; None where nobody asked for a conversion: they are as in the file."""
    seal: str | None = None
    """sha256 of the rest, by which `verify` finds one that was damaged or edited; None in receipts from before it."""

    @property
    def um_per_px(self) -> float | None:
        """Micrometres a pixel, None where the resolution is unknown."""
        return None if self.dpi is None else 25_400.0 / self.dpi


class Scanned(Protocol):
    """What the series need of a receipt."""

    @property
    def scan_id(self) -> str: ...
    @property
    def device_time(self) -> datetime: ...
    @property
    def source_name(self) -> str: ...
    @property
    def source_modified(self) -> float: ...
    @property
    def dpi(self) -> float | None: ...
    @property
    def width_px(self) -> int: ...
    @property
    def height_px(self) -> int: ...
    @property
    def quality(self) -> Quality: ...


@dataclass(frozen=True, slots=True)
class KnownScan:
    """A receipt without its list of files: a tenth of the memory. ``told_quality`` is the quality as JSON."""

    scan_id: str
    device_time: datetime
    source_name: str
    source_modified: float
    dpi: float | None
    width_px: int
    height_px: int
    told_quality: str

    @property
    def quality(self) -> Quality:
        """As the receipt has it."""
        return Quality.model_validate_json(self.told_quality)


def known_scan(receipt: Receipt) -> KnownScan:
    """What the series need of it."""
    return KnownScan(
        receipt.scan_id,
        receipt.device_time,
        receipt.source_name,
        receipt.source_modified,
        receipt.dpi,
        receipt.width_px,
        receipt.height_px,
        receipt.quality.model_dump_json(),
    )


def write_receipt(store: Store, receipt: Receipt) -> None:
    """The last step of a scan's ingest. The receipt is written with its seal."""
    sealed = receipt.model_copy(update={"seal": seal_of(receipt)})
    touch(store, receipt.scanner_id, receipt.device_time)
    store.write_json(layout.receipt(receipt.scan_id), sealed.model_dump(mode="json"))


def seal_of(receipt: Receipt) -> str:
    """The seal that fits: hex sha256 of everything else in it, as JSON.

    ``captured_at`` is left out, since it follows from the device's time and the project file, and is made again from
    them. Fields that are null count for nothing, so that a field added later breaks no seal.
    """
    content = receipt.model_dump(mode="json", exclude={"seal", "captured_at"}, exclude_none=True)
    return hashlib.sha256(canonical_json(content)).hexdigest()


def read_receipt(store: Store, scan_id: str) -> Receipt:
    """Raises MissingKeyError (a FileNotFoundError) when the scan is not there, StoreError when it is damaged."""
    return _read(store, layout.receipt(scan_id))


def list_receipts(store: Store, scanner_id: str, year: int | None = None) -> list[Receipt]:
    """Every receipt of a scanner, oldest by the device's clock first; ``year`` is that of the device's clock."""
    keys = [entry.key for entry in store.list(layout.receipts_prefix(scanner_id, year), ".json")]
    with ThreadPoolExecutor(READERS) as pool:
        receipts = list(pool.map(partial(_read, store), keys))
    return sorted(receipts, key=lambda receipt: (receipt.captured_at, receipt.scan_id))


def list_scan_ids(store: Store, scanner_id: str, year: int | None = None) -> list[str]:
    """The ids of a scanner's accepted scans from one listing, without reading them.

    ``year`` is that of the device's clock, as in the ids.
    """
    keys = store.keys(layout.receipts_prefix(scanner_id, year), ".json")
    return [key.rpartition("/")[2].removesuffix(".json") for key in keys]


def _read(store: Store, key: str) -> Receipt:
    remedy = "restore it from a backup, or delete it, rebuild and run again while the scanner's file is in the inbox"
    try:
        receipt = Receipt.model_validate(store.read_json(key))
        if receipt.scan_id != key.rpartition("/")[2].removesuffix(".json"):
            raise StoreError(f"{key} holds the receipt of {receipt.scan_id!r}; {remedy}")
        return receipt
    except FileNotFoundError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StoreError(f"{key} is no receipt soilpipe can read ({where}: {first['msg']}); {remedy}") from error
    except StoreError as error:
        if not isinstance(error.__cause__, ValueError):
            raise
        raise StoreError(f"{error} It is no receipt soilpipe can read; {remedy}") from error
