"""What a run would find to do, from listings and names alone: no file of an inbox is opened, nothing taken in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from soilpipe.config import Project, Scanner
from soilpipe.counts.truth import Truth, read_truth
from soilpipe.counts.undetected import damaged_detections, list_undetected
from soilpipe.errors import SoilpipeError
from soilpipe.ingest.arrivals import Arrival, find_arrivals
from soilpipe.ingest.void import void_conflicts
from soilpipe.store import Store

NOT_LOOKED_AT = (
    "No file was opened: what is damaged, incomplete, no image, too large or a second copy of another is known only "
    "when a run reads it."
)


@dataclass(frozen=True)
class Doubt:
    """A file that would be refused, or set beside for a person, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What a run of one scanner would do.

    take_in    files that it would take in, oldest first, those in doubt among them
    doubts     those of them that would be refused, or may be, as far as name, size and time tell
    growing    files that are too young to be trusted to be whole
    strangers  files in the inbox of no scanner that the project file declares
    try_again  files in quarantine that contradict nothing any more
    detect     accepted scans without (whole) detections; what is taken in is detected besides
    problem    why the inbox could not be looked at
    overdue    sentences on files that have been growing for longer than a scan is waited for
    """

    scanner_id: str
    take_in: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    growing: tuple[str, ...]
    strangers: tuple[str, ...]
    try_again: tuple[str, ...]
    detect: tuple[str, ...]
    problem: str | None = None
    overdue: tuple[str, ...] = ()


def plan_of(
    project: Project,
    scanner: Scanner,
    store: Store,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
    only: Literal["ingest", "detect", "series"] | None = None,
) -> Plan:
    """What a run now would do, of scans captured at or after ``since`` and before ``until``, in one stage or in all."""

    def covers(at: datetime | None) -> bool:
        return at is None or ((since is None or at >= since) and (until is None or at < until))

    if only == "series":
        return Plan(scanner.id, (), (), (), (), (), ())
    if only is not None:
        whole = plan_of(project, scanner, store, now, since, until)
        nothing: dict[str, Any] = {"detect": ()} if only == "ingest" else {"take_in": (), "doubts": (), "try_again": ()}
        return replace(whole, **nothing)
    truth = read_truth(store, scanner)
    waiting = list_undetected(truth, damaged=damaged_detections(store, scanner, truth, since=since, until=until))
    # Before its first run that detects, nothing is published, and everything waits.
    ids = [scan.scan_id for scan in waiting] if truth.publications else [scan_id for scan_id, _ in truth.scans]
    detect = tuple(scan_id for scan_id in ids if covers(truth.times[scan_id]))
    again = tuple(one.refusal.source_name for one in void_conflicts(scanner, store) if covers(one.captured_at))
    try:
        arrivals = find_arrivals(project, scanner, store, now)
    except SoilpipeError as error:
        return Plan(scanner.id, (), (), (), (), again, detect, str(error))
    ready = tuple(file for file in arrivals.ready if covers(file.captured_at))
    return Plan(
        scanner_id=scanner.id,
        take_in=tuple(file.name for file in ready),
        doubts=tuple(_doubts(ready, truth)),
        growing=tuple(file.name for file in arrivals.growing if covers(file.captured_at)),
        strangers=arrivals.strangers,
        try_again=again,
        detect=detect,
        overdue=tuple(late.sentence for late in arrivals.overdue),
    )


def _doubts(files: tuple[Arrival, ...], truth: Truth) -> Iterator[Doubt]:
    there: Mapping[datetime, str] = {at: scan_id for scan_id, at in truth.scans}
    of_time = Counter(file.captured_at for file in files)
    for file in files:
        at = file.captured_at
        if file.entry.size == 0:
            yield Doubt(file.name, "would be refused: it is empty (0 bytes)")
        elif at is None:
            why = file.name_problem or "its name holds no time"
            yield Doubt(file.name, f"would be refused, unless the file itself holds its time: {why}")
        elif at in there:
            yield Doubt(
                file.name,
                f"is of the time of scan {there[at]}: left as a second copy when its bytes are the same, else set "
                "beside as a conflict",
            )
        elif of_time[at] > 1:
            yield Doubt(
                file.name,
                f"is of one time with {'another file' if of_time[at] == 2 else f'{of_time[at] - 1} other files'}: the "
                "first is taken, and others with other bytes are set beside as conflicts",
            )
