"""Which scans have no detections yet under the analysis that counts for them, or have some that are damaged.

That a detection file is there is known from a listing; that it is whole, from reading it. The series read the files of
a year that is made again, and tell of those that are damaged; so does `verify` of all. A run looks at what the series
told, and, of a period that a person names, at every file.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from soilpipe.analyses import Analysis, publish_current, write_analysis
from soilpipe.config import Scanner
from soilpipe.counts import series_state
from soilpipe.counts.known import known_truth
from soilpipe.counts.slots import believed
from soilpipe.counts.truth import Truth, read_detections
from soilpipe.detections import DamagedDetectionsError
from soilpipe.store import Store


@dataclass(frozen=True)
class Undetected:
    """A scan to be detected, and the analysis that is published for its time."""

    scan_id: str
    captured_at: datetime
    analysis_id: str


def publish_and_list_undetected(
    store: Store,
    scanner: Scanner,
    analysis: Analysis,
    *,
    before: datetime | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    now: datetime | None = None,
) -> tuple[Undetected, ...]:
    """Publish the analysis in use from the first scan it concerns, and list the scans to be detected, oldest first.

    Only scans captured earlier than ``before``, which is the time of the earliest file still waiting in the inbox: its
    scan will be a reference of later ones. ``since <= captured_at < until`` narrows the list further, and has every
    detection file of that time read: one that is damaged counts for nothing, and its scan is listed.

    A scan from the future (as of ``now``, by default this moment) does not say from when an analysis counts: a file of
    the year 2099, detected by an older model, would keep every later one out for good.
    """
    truth = known_truth(store, scanner).truth
    if not truth.receipts:
        return ()
    write_analysis(store, analysis)
    published = publish_current(store, scanner.id, analysis.id, believed(truth.scans, now or datetime.now(UTC)))
    if tuple(published) != truth.publications:
        truth = known_truth(store, scanner).truth
    damaged = damaged_detections(store, scanner, truth, since=since, until=until)
    return list_undetected(truth, before=before, since=since, until=until, damaged=damaged)


def damaged_detections(
    store: Store, scanner: Scanner, truth: Truth, *, since: datetime | None = None, until: datetime | None = None
) -> frozenset[str]:
    """The scans whose detection file is there but damaged: of those that the series told, and of this time, if any."""
    state = series_state.load(store, scanner.id)
    doubted = {scan_id for year in state.years.values() for scan_id in year.problems} if state else set()
    if since is not None or until is not None:
        doubted |= {scan_id for scan_id, at in truth.scans if _is_within(at, since, until)}
    wanted = []
    for scan_id in sorted(doubted & truth.receipts.keys()):
        analysis_id = truth.analysis_id_at(truth.times[scan_id])
        if analysis_id is not None and scan_id in truth.detected[analysis_id]:
            wanted.append((analysis_id, scan_id))
    return frozenset(
        scan_id for scan_id, file in read_detections(store, wanted) if isinstance(file, DamagedDetectionsError)
    )


def list_undetected(
    truth: Truth,
    *,
    before: datetime | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    damaged: Collection[str] = (),
) -> tuple[Undetected, ...]:
    """The scans without detections under their published analysis, oldest first; none where nothing is published.

    ``damaged``: scans whose detections are no use, though they are there.
    """
    ends = [moment for moment in (before, until) if moment is not None]
    end = min(ends, default=None)
    found = []
    for scan_id, captured_at in truth.scans:
        analysis_id = truth.analysis_id_at(captured_at)
        if analysis_id is None or not _is_within(captured_at, since, end):
            continue
        if scan_id not in truth.detected[analysis_id] or scan_id in damaged:
            found.append(Undetected(scan_id, captured_at, analysis_id))
    return tuple(sorted(found, key=lambda scan: (scan.captured_at, scan.scan_id)))


def _is_within(at: datetime, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or at >= since) and (until is None or at < until)
