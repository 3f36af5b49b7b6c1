"""Two files that cannot both be right: other pictures of one time, or the same picture at two times."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from soilpipe import layout
from soilpipe.config import Scanner
from soilpipe.ingest.ahead import ReadAhead
from soilpipe.ingest.clock import scan_times
from soilpipe.ingest.quarantine import SAME_CONTENT, SAME_TIME, superseded_scans
from soilpipe.ingest.receipts import list_scan_ids, read_receipt
from soilpipe.store import Store


class Conflict(Exception):  # noqa: N818 - no error: two files that cannot both be right
    """``scan_id``: the accepted scan that the file contradicts."""

    def __init__(self, scan_id: str, code: str, reason: str) -> None:
        super().__init__(reason)
        self.scan_id = scan_id
        self.code = code
        self.reason = reason


class AcceptedScans:
    """The ids of a scanner's accepted scans, listed once for all files of a run.

    Scans that this run accepts are to be added. What another run accepts meanwhile for the same time is found by
    `check_twins`, which looks anew.
    """

    def __init__(self, store: Store, scanner_id: str) -> None:
        self._store = store
        self._scanner_id = scanner_id
        self._ids: set[str] | None = None

    @property
    def ids(self) -> set[str]:
        """Listed when first asked for."""
        if self._ids is None:
            self._ids = set(list_scan_ids(self._store, self._scanner_id))
        return self._ids

    def add(self, scan_id: str) -> None:
        self.ids.add(scan_id)


def check_conflicts(
    scanner: Scanner, store: Store, sha256: str, captured_at: datetime, ahead: ReadAhead, accepted: AcceptedScans
) -> None:
    """Raises Conflict when an accepted scan has the same content at another time, or the same time but other content.

    The file is first read to its end: a broken copy of a good scan is refused as broken, and contradicts nothing. That
    takes the bands of ``ahead``, which are those of a file that nobody wants any more.
    """
    same_time = set(_taken_at(scanner, store, captured_at, accepted.ids))
    alike = {scan_id for scan_id in accepted.ids if scan_id.endswith(f"-{sha256[:8]}")}
    for scan_id in _not_aside(scanner, store, sorted(same_time | alike)):
        try:
            same_content = read_receipt(store, scan_id).sha256 == sha256
        except FileNotFoundError:
            continue  # taken away since it was listed
        if not (scan_id in same_time or same_content):
            continue
        for _ in ahead.bands():
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
    found = _taken_at(scanner, store, captured_at, _listed_around(scanner, store, captured_at))
    for other in _not_aside(scanner, store, [one for one in found if one != scan_id]):
        reason = f"Its time is that of scan {other}, which arrived together with it; the pictures differ."
        raise Conflict(other, SAME_TIME, reason)


def live_scans_at(
    scanner: Scanner, store: Store, captured_at: datetime, accepted: AcceptedScans | None = None
) -> list[str]:
    """The accepted scans of one time that nobody has put aside: more than one only in a conflict."""
    listed = _listed_around(scanner, store, captured_at) if accepted is None else accepted.ids
    return _not_aside(scanner, store, _taken_at(scanner, store, captured_at, listed))


def _not_aside(scanner: Scanner, store: Store, scan_ids: list[str]) -> list[str]:
    """Decisions are read only where there is something that they could be about."""
    aside = superseded_scans(store, scanner.id) if scan_ids else frozenset()
    return [scan_id for scan_id in scan_ids if scan_id not in aside]


def _listed_around(scanner: Scanner, store: Store, captured_at: datetime) -> list[str]:
    """The scans, listed now, that may be of that time: all of them where the clock was wrong, else those of three days.

    One LIST call on S3, two around New Year.
    """
    if scanner.clock:
        return list_scan_ids(store, scanner.id)
    first, *_, last = _days_around(captured_at)
    keys: list[str] = []
    for year in sorted({first.year, last.year}):
        folder = layout.receipts_prefix(scanner.id, year)
        begin, end = (f"{folder}/{scanner.id}-{day.year:04d}{day:%m%d}" for day in (first, last + timedelta(days=1)))
        keys += store.keys(folder, ".json", after=begin, before=end)
    return [key.rpartition("/")[2].removesuffix(".json") for key in keys]


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
