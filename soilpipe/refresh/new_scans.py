"""Which scans are new to a refresh: those that none before it had before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from soilpipe.config import Project
from soilpipe.ingest.clock import scan_times
from soilpipe.ingest.receipts import list_scan_ids
from soilpipe.refresh.records import DroppedRefresh, RefreshRecord
from soilpipe.store import Store


def read_before(
    project: Project, done: Sequence[RefreshRecord], given_up: Sequence[DroppedRefresh] = ()
) -> dict[str, datetime]:
    """By scanner the time of the newest scan that a refresh has chosen from, so that one whose scans come once a month
    is read like the others. Of a scanner that is not there nothing was read."""
    found: dict[str, datetime] = {}
    for read in (*(_read_by(record, project) for record in done), *(record.read_until for record in given_up)):
        for scanner, at in read.items():
            found[scanner] = max(at, found.get(scanner, at))
    return found


def _read_by(record: RefreshRecord, project: Project) -> Mapping[str, datetime]:
    """Earlier releases read all scanners up to one time."""
    if record.read_until or record.until is None:
        return record.read_until
    return {scanner.id: record.until for scanner in project.scanners}


def newest_scans(project: Project, store: Store, now: datetime) -> dict[str, datetime]:
    """By scanner when its newest accepted scan was taken, UTC; none for a scanner without any.

    A scan from the future (of a clock that is wrong) says nothing of what is new: all later ones would be old for good.
    """
    newest = {}
    for scanner in project.scanners:
        scans = list_scan_ids(store, scanner.id)
        at = max((at for at in scan_times(store, scanner, scans).values() if at <= now), default=None)
        if at is not None:
            newest[scanner.id] = at
    return newest
