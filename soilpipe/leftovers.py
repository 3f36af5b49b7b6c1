"""What killed runs and refused files leave in the store: unfinished writes, and scans that never got a receipt.

Nothing reads them, and they cost only room. A run may be at work at the same time, so only what has not changed for
long is ever taken for a leftover: what a run writes is new. On a disk that is told by the later of the two times of a
file, of which no program can set one back; so a store that was copied back from a backup, scans before receipts, has
as long as a new one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from soilpipe import layout
from soilpipe.layout import LayoutError
from soilpipe.store import Entry, Store

WRITE_AFTER = timedelta(days=1)
SCAN_AFTER = timedelta(days=7)
"""A file that is refused, or whose run was killed, is looked at again long before."""


@dataclass(frozen=True)
class Leftover:
    """``key``: an unfinished write, or the folder of a scan. ``size`` in bytes, ``changed`` last, UTC.

    ``upload``: the server's name of an unfinished upload on S3.
    """

    kind: Literal["unfinished write", "scan without receipt"]
    key: str
    size: int
    changed: datetime
    upload: str = ""


@dataclass(frozen=True)
class Leftovers:
    """``lost``: scans without a receipt that are no leftovers, see `find_scans`; they stay."""

    found: tuple[Leftover, ...]
    lost: tuple[str, ...]


def find_leftovers(store: Store, now: datetime) -> Leftovers:
    """Listings alone; of scans without a receipt, what could name them is read too.

    Raises StoreError, also where the keys of an S3 account may not list uploads.
    """
    writes = [
        Leftover("unfinished write", entry.key, entry.size, datetime.fromtimestamp(entry.modified, UTC), entry.version)
        for entry in store.unfinished()
        if entry.modified < (now - WRITE_AFTER).timestamp()
    ]
    scans = find_scans(store, now)
    return Leftovers((*writes, *scans.found), scans.lost)


def find_scans(store: Store, now: datetime) -> Leftovers:
    """Scans without a receipt, not changed for long; ``lost`` are those that something else in the store names, or
    whose original is whole: they are no leftovers, their receipt was lost."""
    found: list[Leftover] = []
    lost: list[str] = []
    for scanner_id in store.folders(layout.SCANS):
        for year in store.folders(f"{layout.SCANS}/{scanner_id}"):
            old = dict(_without_receipt(store, scanner_id, year, now))
            named = _named(store, scanner_id, year, old)
            for scan_id, entries in old.items():
                if scan_id in named or _is_whole(store, scan_id, entries):
                    lost.append(scan_id)
                    continue
                newest = datetime.fromtimestamp(max(map(_last_change, entries)), UTC)
                size = sum(entry.size for entry in entries)
                found.append(Leftover("scan without receipt", layout.scan_folder(scan_id), size, newest))
    return Leftovers(tuple(found), tuple(lost))


def remove_leftover(store: Store, leftover: Leftover, now: datetime) -> int:
    """Remove one, or as much of it as is still old; how many bytes that freed. A scan that has a receipt by now stays.

    Killed in between, or done twice, the next time finds the rest.
    """
    if leftover.kind == "unfinished write":
        return store.discard(Entry(leftover.key, leftover.size, leftover.changed.timestamp(), leftover.upload))
    if store.exists(layout.receipt(leftover.key.rpartition("/")[2])):
        return 0
    return store.delete_older(leftover.key, (now - SCAN_AFTER).timestamp())


def _without_receipt(store: Store, scanner_id: str, year: str, now: datetime) -> Iterator[tuple[str, Sequence[Entry]]]:
    # Folders first: one that comes while the receipts are listed is not missed among them.
    folders = store.folders(f"{layout.SCANS}/{scanner_id}/{year}")
    keys = store.keys(f"{layout.RECEIPTS}/{scanner_id}/{year}", ".json")
    known = {key.rpartition("/")[2].removesuffix(".json") for key in keys}
    for scan_id in folders:
        if scan_id in known or not _is_scan(scan_id, scanner_id, year):
            continue
        entries = store.list(f"{layout.SCANS}/{scanner_id}/{year}/{scan_id}")
        if entries and max(map(_last_change, entries)) < (now - SCAN_AFTER).timestamp():
            yield scan_id, entries


def _is_scan(name: str, scanner_id: str, year: str) -> bool:
    """Whether a folder is of a scan: what else lies there is nobody's of ours."""
    try:
        parts = layout.parse_scan_id(name)
    except LayoutError:
        return False
    return (parts.scanner_id, f"{parts.device_time.year:04d}") == (scanner_id, year)


def _last_change(entry: Entry) -> float:
    return max(entry.modified, entry.changed)


def _is_whole(store: Store, scan_id: str, entries: Sequence[Entry]) -> bool:
    """Whether the file as it came is there to its last byte: it may be the only copy."""
    sha8 = layout.parse_scan_id(scan_id).sha8
    originals = [entry.key for entry in entries if entry.key.rpartition("/")[2].startswith("original.")]
    return any(store.sha256(key).startswith(sha8) for key in originals)


def _named(store: Store, scanner_id: str, year: str, scan_ids: Collection[str]) -> set[str]:
    """Those of the scans that detections, refusals, decisions or labels name."""
    if not scan_ids:
        return set()
    named: set[str] = set()
    for analysis_id in store.folders(layout.DETECTIONS):
        keys = store.keys(layout.detections_prefix(analysis_id, scanner_id, int(year)), ".parquet")
        named |= {key.rpartition("/")[2].removesuffix(".parquet") for key in keys}
    for prefix in (layout.quarantine_prefix(scanner_id), f"{layout.RECORDS}/quarantine/{scanner_id}", layout.LABELS):
        for key in store.keys(prefix, ".json"):
            text = store.read_bytes(key)
            named |= {scan_id for scan_id in scan_ids if scan_id.encode() in text}
    return named & set(scan_ids)
