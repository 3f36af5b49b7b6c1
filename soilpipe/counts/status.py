"""How each scanner is doing, and what needs a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from soilpipe.config import Project, Scanner
from soilpipe.counts.slots import Timetable, Unslotted, complete_through
from soilpipe.counts.tables import scanner_timetable
from soilpipe.counts.truth import Truth, read_truth
from soilpipe.errors import SoilpipeError
from soilpipe.ingest.arrivals import Arrival, find_arrivals
from soilpipe.ingest.quarantine import Quarantined
from soilpipe.schemas import STATES
from soilpipe.store import Store

SILENT_AFTER = timedelta(days=1)
"""A scanner whose slots have all been missing for this long needs a look."""


@dataclass(frozen=True)
class ScannerStatus:
    """One scanner, as of now.

    slots             number of slots by state
    waiting           files in the inbox that the next run takes
    growing           files in the inbox that are still being written, or too fresh to tell
    strangers         files in the inbox that no declared scanner's pattern fits; told by the first scanner of an inbox
    not_analysed      accepted scans in a slot that have no detection file under the analysis published for them
    quarantine        refused files and conflicts on which nobody has decided
    needs_person      what a person has to do, in sentences; empty when nothing
    """

    scanner_id: str
    site_id: str
    slots: Mapping[str, int]
    last_scan_id: str | None
    last_scan: datetime | None
    complete_through: datetime | None
    waiting: int
    growing: tuple[str, ...]
    strangers: tuple[str, ...]
    not_analysed: int
    quarantine: tuple[Quarantined, ...]
    unslotted: tuple[Unslotted, ...]
    needs_person: tuple[str, ...]


def project_status(project: Project, store: Store, now: datetime) -> list[ScannerStatus]:
    """The status of every scanner, in the order of the project file. Reads the truth, not the series."""
    return [scanner_status(project, scanner, store, now) for scanner in project.scanners]


def scanner_status(project: Project, scanner: Scanner, store: Store, now: datetime) -> ScannerStatus:
    """The status of one scanner. What cannot be read is told in ``needs_person``, and does not hide the rest."""
    needs: list[str] = []
    ready: tuple[Arrival, ...] = ()
    growing: tuple[Arrival, ...] = ()
    strangers: tuple[str, ...] = ()
    try:
        arrivals = find_arrivals(project, scanner, store, now)
        ready, growing, strangers = arrivals.ready, arrivals.growing, arrivals.strangers
    except SoilpipeError as error:
        needs.append(str(error))
    try:
        truth = read_truth(store, scanner.id)
    except SoilpipeError as error:
        needs.append(str(error))
        truth = Truth({}, (), (), {}, {})
    table = scanner_timetable(scanner, truth, now)
    needs += _refused(truth)
    needs += _silent(scanner, table, now)
    last = max(truth.scans, key=lambda s: (s[1], s[0]), default=(None, None))
    return ScannerStatus(
        scanner_id=scanner.id,
        site_id=scanner.site,
        slots={state: table.count(state) for state in STATES},
        last_scan_id=last[0],
        last_scan=last[1],
        complete_through=complete_through(table.slots),
        waiting=len(ready),
        growing=tuple(arrival.name for arrival in growing),
        strangers=strangers,
        not_analysed=_not_analysed(table, truth),
        quarantine=truth.refused,
        unslotted=table.unslotted,
        needs_person=tuple(needs),
    )


def _refused(truth: Truth) -> Iterator[str]:
    for file in truth.refused:
        reason = file.reason.rstrip(".")
        yield f"{file.source_name} was refused ({file.code}): {reason}. {file.remedy} (`soilpipe quarantine list`)"


def _silent(scanner: Scanner, table: Timetable, now: datetime) -> Iterator[str]:
    """Missing slots at the end of the series, when they span a day and the scanner has not been taken out."""
    if scanner.until is not None and now >= scanner.until:
        return
    told = [slot for slot in table.slots if slot.state != "pending"]
    seen = [i for i, slot in enumerate(told) if slot.state != "missing"]
    tail = told[seen[-1] + 1 :] if seen else told
    if tail and tail[-1].slot - tail[0].slot >= SILENT_AFTER:
        yield (
            f"{scanner.id} has sent nothing since {tail[0].slot:%Y-%m-%d %H:%M} UTC ({len(tail)} slots in a row): look "
            "at the device and its upload; when it has been taken out, set `until` in its block of the project file"
        )


def _not_analysed(table: Timetable, truth: Truth) -> int:
    return sum(
        slot.observed
        and slot.captured_at is not None
        and not truth.analysed(slot.scan_id or "", truth.analysis_at(slot.captured_at))
        for slot in table.slots
    )
