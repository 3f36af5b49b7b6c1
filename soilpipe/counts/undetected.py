"""Which scans have no detections yet under the analysis that counts for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from soilpipe.analyses import Analysis, publish_current, write_analysis
from soilpipe.config import Scanner
from soilpipe.counts.known import known_truth
from soilpipe.counts.slots import believed
from soilpipe.counts.truth import Truth
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
    scan will be a reference of later ones. ``since <= captured_at < until`` narrows the list further.

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
    return list_undetected(truth, before=before, since=since, until=until)


def list_undetected(
    truth: Truth, *, before: datetime | None = None, since: datetime | None = None, until: datetime | None = None
) -> tuple[Undetected, ...]:
    """The scans without detections under their published analysis, oldest first; none where nothing is published."""
    ends = [moment for moment in (before, until) if moment is not None]
    end = min(ends, default=None)
    found = []
    for scan_id, captured_at in truth.scans:
        analysis_id = truth.analysis_id_at(captured_at)
        wanted = (since is None or captured_at >= since) and (end is None or captured_at < end)
        if analysis_id is not None and wanted and scan_id not in truth.detected[analysis_id]:
            found.append(Undetected(scan_id, captured_at, analysis_id))
    return tuple(sorted(found, key=lambda scan: (scan.captured_at, scan.scan_id)))
