"""Two files that cannot both be right: other pictures of one time, or the same picture at two times."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from soilpipe.config import Scanner
from soilpipe.ingest.clock import scan_times
from soilpipe.ingest.quarantine import SAME_CONTENT, SAME_TIME, superseded_scans
from soilpipe.ingest.readers import Reader
from soilpipe.ingest.receipts import list_scan_ids, read_receipt
from soilpipe.ingest.zarr_writer import SHARD
from soilpipe.store import Store


class Conflict(Exception):  # noqa: N818 - no error: two files that cannot both be right
    """``scan_id``: the accepted scan that the file contradicts."""

    def __init__(self, scan_id: str, code: str, reason: str) -> None:
        super().__init__(reason)
        self.scan_id = scan_id
        self.code = code
        self.reason = reason


def check_conflicts(scanner: Scanner, store: Store, sha256: str, captured_at: datetime, reader: Reader) -> None:
    """Raises Conflict when an accepted scan has the same content at another time, or the same time but other content.

    The file is first read to its end: a broken copy of a good scan is refused as broken, and contradicts nothing.
    """
    aside = superseded_scans(store, scanner.id)
    listed = list_scan_ids(store, scanner.id)
    same_time = set(_taken_at(scanner, store, captured_at, listed))
    alike = {scan_id for scan_id in listed if scan_id.endswith(f"-{sha256[:8]}")}
    for scan_id in sorted((same_time | alike) - aside):
        same_content = read_receipt(store, scan_id).sha256 == sha256
        if not (scan_id in same_time or same_content):
            continue
        for _ in reader.bands(SHARD):
            pass
        if same_content:
            raise Conflict(
                scan_id,
                SAME_CONTENT,
                f"Its content is that of scan {scan_id}, byte for byte, but its name says another time.",
            )
        raise Conflict(scan_id, SAME_TIME, f"Its time is that of scan {scan_id}, but the picture is another one.")


def check_twins(scanner: Scanner, store: Store, scan_id: str, captured_at: datetime) -> None:
    """Raises Conflict when another run accepted other content for this time while this one was accepted."""
    for other in live_scans_at(scanner, store, captured_at):
        if other != scan_id:
            reason = f"Its time is that of scan {other}, which arrived together with it; the pictures differ."
            raise Conflict(other, SAME_TIME, reason)


def live_scans_at(scanner: Scanner, store: Store, captured_at: datetime) -> list[str]:
    """The accepted scans of one time that nobody has put aside: more than one only in a conflict."""
    aside = superseded_scans(store, scanner.id)
    if scanner.clock:
        listed = list_scan_ids(store, scanner.id)
    else:
        years = sorted({day.year for day in _days_around(captured_at)})
        listed = [scan_id for year in years for scan_id in list_scan_ids(store, scanner.id, year)]
    return [scan_id for scan_id in _taken_at(scanner, store, captured_at, listed) if scan_id not in aside]


def _taken_at(scanner: Scanner, store: Store, captured_at: datetime, listed: Iterable[str]) -> list[str]:
    """Those of the scans listed that were taken then.

    A clock that was wrong may have shown any time. Without `clock:` entries the device's date is that of UTC or the
    next to it, and of years of scans only three days need a closer look.
    """
    near = list(listed)
    if not scanner.clock:
        begins = tuple(f"{scanner.id}-{day.year:04d}{day:%m%d}T" for day in _days_around(captured_at))
        near = [scan_id for scan_id in near if scan_id.startswith(begins)]
    return [scan_id for scan_id, at in scan_times(store, scanner, near).items() if at == captured_at]


def _days_around(moment: datetime) -> list[datetime]:
    return [moment + timedelta(days=days) for days in (-1, 0, 1)]
