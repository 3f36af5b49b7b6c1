"""How each scanner is doing, and what needs a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from soilpipe.config import Project, Scanner
from soilpipe.counts.clocks import ClockDoubt, clock_doubts
from soilpipe.counts.known import known_truth
from soilpipe.counts.slots import FUTURE, Timetable, Unslotted, complete_through, twins_of
from soilpipe.counts.strangers import strangers_that_need_a_person
from soilpipe.counts.tables import scanner_timetable
from soilpipe.counts.truth import Truth
from soilpipe.errors import SoilpipeError
from soilpipe.ingest.arrivals import Arrival, find_arrivals
from soilpipe.ingest.clock import NEVER_BEFORE, is_skipped, shown_utc
from soilpipe.ingest.dpi import dpi_doubt
from soilpipe.ingest.quarantine import Quarantined
from soilpipe.schemas import STATES
from soilpipe.store import Store

SILENT_AFTER = timedelta(days=1)
"""A scanner whose slots have all been missing for this long needs a look."""

ALONE = timedelta(days=365)
"""The first scans, when the others follow only so much later, look like those of a clock that was reset."""


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
    in_project_file   always True; those that are not in it are told by `undeclared_scanners`
    clock             signs that the device's clock is or was wrong; their sentences are in ``needs_person`` too
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
    clock: tuple[ClockDoubt, ...] = ()
    in_project_file: bool = True


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
        needs += [late.sentence for late in arrivals.overdue]
    except SoilpipeError as error:
        needs.append(str(error))
    try:
        truth = known_truth(store, scanner, keep=False).truth
    except SoilpipeError as error:
        needs.append(str(error))
        truth = Truth({}, (), (), {}, {})
    table = scanner_timetable(scanner, truth, now)
    needs += strangers_that_need_a_person(project, scanner, strangers)
    needs += _refused(scanner, truth)
    needs += _twins(scanner, truth)
    doubts = clock_doubts(scanner, list(truth.receipts.values()), table.slots, now)
    needs += [doubt.sentence for doubt in doubts]
    needs += _wrong_clock(scanner, table, doubts)
    needs += _skipped(scanner, truth)
    needs += _silent(scanner, table, now)
    needs += _other_dpi(scanner, truth)
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
        clock=tuple(doubts),
    )


def _twins(scanner: Scanner, truth: Truth) -> Iterator[str]:
    """Accepted scans of one time: the project file moved them there."""
    for at, scans in sorted(twins_of(truth.scans).items()):
        yield (
            f"{' and '.join(scans)} are of one time, {at:%Y-%m-%d %H:%M} UTC, by `timezone` and `clock:` of the "
            "project file, and none is counted: correct those, or keep one with "
            f"`soilpipe quarantine accept {scanner.id} {scans[0]}`"
        )


def _wrong_clock(scanner: Scanner, table: Timetable, doubts: Sequence[ClockDoubt]) -> Iterator[str]:
    """Scans whose time can't be right: they have no counts, or stretch the series over years of missing slots."""
    for scan in table.unslotted:
        if scan.reason == FUTURE:
            yield f"{scan.scan_id} has no slot and no counts: {scan.reason}; mend the device's below `clock:`"
    if scanner.from_ is not None or isinstance(scanner.slots, str) or any(doubt.kind == "jump" for doubt in doubts):
        return
    times = [slot.captured_at for slot in table.slots if slot.captured_at is not None]
    gap, next_scan = max(((after - before, after) for before, after in pairwise(times)), default=(timedelta(0), None))
    if gap > ALONE:
        yield (
            f"{scanner.id} has scans of {times[0]:%Y-%m-%d} and later none until {next_scan:%Y-%m-%d}: when the clock "
            f"of the device was wrong at first, mend it below `clock:`, or leave those scans out by "
            f"`from: {next_scan:%Y-%m-%d}` in its block of the project file; write `from: {times[0]:%Y-%m-%d}` when it "
            "was right"
        )


def _skipped(scanner: Scanner, truth: Truth) -> Iterator[str]:
    """Scans of times that the zone does not have: the device's clock is not put forward in spring."""
    found = sorted(
        (scan.device_time, scan.scan_id) for scan in truth.receipts.values() if is_skipped(scan.device_time, scanner)
    )
    if found and not scanner.clock:
        at, scan_id = found[-1]
        yield (
            f"{scan_id} shows {at:%Y-%m-%d %H:%M}, a time that {scanner.timezone} skips: the clock of {scanner.id} "
            "does not follow summer time, and its scans of every summer are taken for an hour too early; give it a "
            "`timezone` without one in the project file (winter time of central Europe: Etc/GMT-1)"
        )


def _other_dpi(scanner: Scanner, truth: Truth) -> Iterator[str]:
    """The newest scan has another resolution than the project file says. What was so before may have been changed."""
    newest = max(truth.scans, key=lambda scan: (scan[1], scan[0]), default=None)
    if newest and (doubt := dpi_doubt(scanner, truth.receipts[newest[0]].dpi)):
        yield f"{newest[0]}, the newest scan: {doubt}"


def _refused(scanner: Scanner, truth: Truth) -> Iterator[str]:
    for file in truth.refused:
        reason = file.reason.rstrip(".")
        if file.conflicts_with:
            advice = f"{file.remedy}{_twice(scanner, file)}"
            yield f"{file.source_name} contradicts {file.conflicts_with}: {reason}. {advice}"
        else:
            yield f"{file.source_name} was refused ({file.code}): {reason}. {file.remedy} (`soilpipe quarantine list`)"


def _twice(scanner: Scanner, conflict: Quarantined) -> str:
    """Further advice on a conflict at a time to which clocks are reset, as they are at every loss of power."""
    if conflict.device_time is None or shown_utc(conflict.device_time, scanner) >= NEVER_BEFORE:
        return ""
    return (
        " When the clock began again there more than once, give each time an entry of its own below `clock:`, with "
        "`arrived_from` and `arrived_until`"
    )


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
