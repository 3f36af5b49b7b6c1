"""Conflicts that are none any more, because the project file was mended or the other scan has gone: looked at again.

A clock that was reset shows times that other scans have. The files are set beside as conflicts, and once an entry below
`clock:` says when they really were taken, nothing contradicts them: the next run takes them in by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from soilpipe import layout
from soilpipe.config import Project, Scanner
from soilpipe.ingest.clock import scan_times, to_utc
from soilpipe.ingest.decisions import examine_again
from soilpipe.ingest.index import load_index, remember
from soilpipe.ingest.quarantine import SAME_CONTENT, SAME_TIME, Quarantined, list_quarantine, open_quarantine
from soilpipe.ingest.scan import Outcome
from soilpipe.store import Entry, Store


@dataclass(frozen=True)
class VoidConflict:
    """A refused file that contradicts nothing any more. ``captured_at``: by the project file of now, UTC."""

    refusal: Quarantined
    captured_at: datetime


def void_conflicts(scanner: Scanner, store: Store) -> list[VoidConflict]:
    """Those that nobody has decided on, oldest first.

    Where the index knows of no conflict it costs no more than reading that, and else one listing and a look at each
    conflict, until there is a void one.
    """
    contents = {file.sha256 for file in load_index(store, scanner.id).files.values() if file.kind == "conflict"}
    if not contents:
        return []
    newest: dict[tuple[str, datetime | None], Quarantined] = {}
    for q in list_quarantine(store, scanner.id, contents):
        same = newest.get((q.sha256, q.device_time), q)
        newest[q.sha256, q.device_time] = max(same, q, key=lambda one: one.first_seen)
    others = {q.conflicts_with for q in newest.values() if q.conflicts_with and q.code in (SAME_TIME, SAME_CONTENT)}
    there = store.present([layout.receipt(scan_id) for scan_id in others])
    times = scan_times(store, scanner, sorted(one for one in others if layout.receipt(one) in there))
    void = {
        event: to_utc(q.device_time, scanner, q.source_modified)
        for event, q in newest.items()
        if q.conflicts_with in others and q.device_time is not None and _is_void(q, scanner, times)
    }
    if not void:
        return []
    found = [
        VoidConflict(q, void[q.sha256, q.device_time])
        for q in open_quarantine(store, scanner)
        if q.code in (SAME_TIME, SAME_CONTENT) and (q.sha256, q.device_time) in void
    ]
    return sorted(found, key=lambda one: (one.captured_at, one.refusal.source_name))


def retry_void(project: Project, scanner: Scanner, store: Store, refusal: Quarantined, now: datetime) -> Outcome:
    """Look again at one of them. What is good becomes a scan; what is not stays, with what is wrong with it now."""
    outcome = examine_again(project, scanner, store, refusal, refusal.device_time, now)
    known = load_index(store, scanner.id).files.get(refusal.source_name)
    if outcome.kind in ("accepted", "repeat") and known is not None and known.sha256 == refusal.sha256:
        entry = Entry(refusal.source_name, known.size, known.modified, known.version)
        remember(store, scanner.id, refusal.source_name, entry, refusal.sha256, outcome.kind, outcome.scan_id)
    return outcome


def _is_void(q: Quarantined, scanner: Scanner, times: dict[str, datetime]) -> bool:
    """``times``: when the other scans that are there were taken. Bytes that have two times still contradict each other
    when both times move; when they become one, they are a second copy, and there is nothing to be taken.
    """
    assert q.conflicts_with is not None
    assert q.device_time is not None
    if q.conflicts_with not in times:
        return True
    return q.code == SAME_TIME and times[q.conflicts_with] != to_utc(q.device_time, scanner, q.source_modified)
