"""The stages of a scanner's run. Each does all it can, and notes what needs a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.run import Run
from tasks.artifacts import leave_artifacts as leave
from tasks.detect import detect_scan, find_undetected
from tasks.ingest import find_new_files, find_void_conflicts, ingest_scan, retry_conflict
from tasks.series import build_series, write_report

if TYPE_CHECKING:
    from soilpipe.ingest.arrivals import Arrival

SETTLED = {"accepted": "taken in", "repeat": "here already", "vanished": "gone before it could be read"}
"""What becomes of a file that is not refused, in words."""
ARRIVING = "has just come or is still growing; a later run takes it"


def look_into_inbox(run: Run) -> None:
    """What is there to take in, oldest first. A missing inbox is noted, and the run goes on without new files."""
    arrivals = run.attempt("inbox", find_new_files, run.project_file, run.scanner_id, run.now, run.whole_inbox)
    if arrivals is None:
        run.tell("ingest", str(run.problems.found[-1]), "error")
        return
    run.inbox_known = True
    if not arrivals.is_whole:
        run.tell("ingest", "looked at what is recent and, in turn, at a part of the older files in the inbox")
    for file in arrivals.growing:
        run.tell("ingest", f"{file.name} {ARRIVING}")
    for late in arrivals.overdue:
        run.problems.note(late.name, late.sentence)
        run.tell("ingest", late.sentence, "error")
    for name in arrivals.strangers:
        run.tell(
            "ingest",
            f"{name} in this inbox is not taken: by its name it is no scan of a scanner that takes from here",
            "warning",
        )
    run.growing = tuple(arrivals.growing)
    run.ready = tuple(file for file in arrivals.ready if run.covers(file.captured_at))


def retry_void_conflicts(run: Run) -> None:
    """Take in what contradicted another scan until a clock was mended in the project file, oldest first."""
    found = run.attempt("quarantine", find_void_conflicts, run.project_file, run.scanner_id)
    void = [one.refusal for one in found or () if run.covers(one.captured_at)]
    for number, refusal in enumerate(void, start=1):
        subject = refusal.source_name
        outcome = run.attempt(subject, retry_conflict, run.project_file, run.scanner_id, refusal, run.now, run.worker)
        if outcome is None:
            run.tell("ingest", str(run.problems.found[-1]), "error", number, len(void))
        else:
            note = f"{subject} {SETTLED.get(outcome.kind, outcome.kind)}: it contradicts no other scan any more"
            run.tell("ingest", note, "info", number, len(void))


def ingest_arrivals(run: Run, batch: Sequence[Arrival]) -> None:
    """Take in each file by itself: one that is refused, or fails, stops none of the others."""
    for arrival in batch:
        outcome = run.attempt(arrival.name, ingest_scan, run.project_file, run.scanner_id, arrival, run.now, run.worker)
        run.tried += 1
        if outcome is None:
            run.tell("ingest", str(run.problems.found[-1]), "error", run.tried, len(run.ready))
        else:
            note = f"{arrival.name} {SETTLED.get(outcome.kind, outcome.kind)}"
            doubt = outcome.reason if outcome.kind == "accepted" else None
            run.tell(
                "ingest",
                f"{note}, but {doubt}" if doubt else note,
                "warning" if doubt else "info",
                run.tried,
                len(run.ready),
            )


def detect_undetected(run: Run) -> None:
    """Detect oldest first, never past an earlier file that still waits: its scan is a reference of later ones."""
    if not run.inbox_known:
        run.tell("detect", "nothing is detected while it is unknown what waits in the inbox", "warning")
        return
    before = run.earliest_waiting()
    found = run.attempt("detector", find_undetected, run.project_file, run.scanner_id, run.since, run.until, before)
    for scan_id, sentence in found.cannot if found else ():
        run.problems.note(scan_id, sentence)
        run.tell("detect", sentence, "error")
    scans = found.scans if found else ()
    for number, scan in enumerate(scans, start=1):
        done = run.attempt(scan.scan_id, detect_scan, run.project_file, scan)
        if done is None:
            run.tell("detect", str(run.problems.found[-1]), "error", number, len(scans))
        else:
            note = f"{scan.scan_id}: {done.n} found"
            told = f"{note}, but {done.doubt}" if done.doubt else note
            run.tell("detect", told, "warning" if done.doubt else "info", number, len(scans))


def publish_counts(run: Run) -> None:
    """The published tables, then the pages."""
    summary = run.attempt("series", build_series, run.project_file, run.scanner_id, run.now)
    if summary is None:
        return
    for problem in summary.problems:
        run.problems.note("series", problem)
    slots = ", ".join(f"{n} {state}" for state, n in summary.slots.items() if n)
    run.tell("series", f"slots: {slots or 'none yet'}", "info", 1, 1)
    run.attempt("report", write_report, run.project_file, run.scanner_id)


def leave_artifacts(run: Run) -> None:
    """What a person wants to see of a run, in Prefect's UI. The counts stand without them."""
    leave(run.project_file, run.scanner_id)
