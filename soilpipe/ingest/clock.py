"""When a scan really was taken: the device's clock, in the scanner's time zone, mended by the project file.

The one place that turns a time of a device into UTC. Names, ids and receipts keep what the device showed, so a change
of `timezone` or of a `clock:` entry needs no file to be read again: whoever asks here next gets the new time.

Entries add elapsed time. Where a clock change of the zone lies between the time shown and the real one, an hour on the
wall is lost or won just as on the device, whose clock knew nothing of the real date.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Self, TypeVar

from soilpipe import layout
from soilpipe.config import ClockEntry, Scanner
from soilpipe.ingest.receipts import read_receipt
from soilpipe.store import Store

SKIPPED = timedelta(microseconds=1)
"""What makes a time that the zone skips in spring another one than the real time an hour later, which is the same UTC.

A device that shows both does not follow summer time: its two scans are two, and no conflict.
"""

FIRST = datetime(2, 1, 1, tzinfo=UTC)
LAST = datetime(9998, 12, 31, tzinfo=UTC)
"""The calendar ends here: a name may say the year 1 or 9999, and slots beside it must still be computable."""

NEVER_BEFORE = datetime(2001, 1, 1, tzinfo=UTC)
"""Earlier times are those of clocks that were reset: to 1970 (Unix), 1980 (FAT, GPS) or 2000 (most clock chips)."""


class Dated(Protocol):
    """A receipt, or the refusal of a file (whose time may be unknown)."""

    @property
    def device_time(self) -> datetime | None: ...
    @property
    def captured_at(self) -> datetime | None: ...
    @property
    def source_modified(self) -> float: ...
    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self: ...


Record = TypeVar("Record", bound=Dated)


def to_utc(device_time: datetime, scanner: Scanner, modified: float | None = None) -> datetime:
    """When a scan was taken (UTC), if the device's clock showed ``device_time`` (naive).

    ``modified``: when its file was last changed in the inbox, epoch seconds. Only entries with `arrived_from` or
    `arrived_until` ask for it, and apply to no file without it.
    """
    shown = shown_utc(device_time, scanner)
    entry = entry_for(device_time, scanner, modified)
    return shown if entry is None else _within(shown, correction(entry, device_time, scanner))


def shown_utc(device_time: datetime, scanner: Scanner) -> datetime:
    """The device's clock as it was, in the scanner's zone. Of doubled times the first; skipped ones move on, and are
    told apart from those that they meet by SKIPPED."""
    try:
        moment = device_time.replace(tzinfo=scanner.zone, fold=0).astimezone(UTC)
        return min(max(moment + SKIPPED if is_skipped(device_time, scanner) else moment, FIRST), LAST)
    except OverflowError:
        return FIRST if device_time.year < FIRST.year else LAST


def is_skipped(device_time: datetime, scanner: Scanner) -> bool:
    """Whether the scanner's zone has no such time: clocks that follow it are put forward over it."""
    local = device_time.replace(tzinfo=scanner.zone, fold=0)
    before, after = local.utcoffset(), local.replace(fold=1).utcoffset()
    return before is not None and after is not None and before < after


def entry_for(device_time: datetime, scanner: Scanner, modified: float | None = None) -> ClockEntry | None:
    """The entry that mends this time, if one does; the project file allows one at most."""
    return next((entry for entry in scanner.clock if entry.covers(device_time, modified)), None)


def correction(entry: ClockEntry, device_time: datetime, scanner: Scanner) -> timedelta:
    """What is added to a time that the device showed while this entry held."""
    begin = shown_utc(entry.from_, scanner)
    added = entry.offset or timedelta()
    if entry.set_ is not None:
        added = shown_utc(entry.set_, scanner) - begin
    if entry.drift:
        added += entry.drift * ((shown_utc(device_time, scanner) - begin) / timedelta(days=1))
    return added


def _within(moment: datetime, added: timedelta) -> datetime:
    try:
        return min(max(moment + added, FIRST), LAST)
    except OverflowError:
        return FIRST if added < timedelta() else LAST


def at_present(record: Record, scanner: Scanner) -> Record:
    """A receipt or a refusal with the `captured_at` that follows from the project file as it is now.

    The one that is stored is the device's clock in the time zone of then: an identity, no time to reckon with.
    """
    if record.device_time is None:
        return record
    captured_at = to_utc(record.device_time, scanner, record.source_modified)
    return record if captured_at == record.captured_at else record.model_copy(update={"captured_at": captured_at})


def scan_times(store: Store, scanner: Scanner, scan_ids: Iterable[str]) -> dict[str, datetime]:
    """When each of these scans was taken (UTC), from their ids alone unless an entry asks when its file came."""
    times = {}
    for scan_id in scan_ids:
        device_time = layout.parse_scan_id(scan_id).device_time
        modified = None
        if any(entry.needs_arrival and entry.spans(device_time) for entry in scanner.clock):
            modified = read_receipt(store, scan_id).source_modified
        times[scan_id] = to_utc(device_time, scanner, modified)
    return times
