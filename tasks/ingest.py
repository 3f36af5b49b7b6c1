"""Tasks of the first stage: what is new in an inbox, and taking it in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from prefect import task

from soilpipe.errors import SoilpipeError
from tasks.isolated import Isolated, WorkerCrashedError
from tasks.opened import opened
from tasks.retries import IO_TASK

if TYPE_CHECKING:
    from soilpipe.ingest.arrivals import Arrival, Arrivals
    from soilpipe.ingest.quarantine import Decision
    from soilpipe.ingest.scan import Outcome

SCAN_TIMEOUT_S = 15 * 60.0
"""For one scan; 2400 dpi takes about two minutes on two cores."""


class ScanRefusedError(SoilpipeError):
    """A file was put into quarantine in this run. It reddens its task run and its flow run."""


@task(name="find-arrivals", task_run_name="look into the inbox of {scanner_id}", tags=["ingest"], **IO_TASK)
def find_new_files(project_file: str, scanner_id: str, now: datetime, everything: bool) -> Arrivals:
    """What is new in a scanner's inbox, oldest first; `everything` off: on S3 in the part that a scheduled run sees."""
    from soilpipe.ingest.arrivals import find_arrivals

    project, store = opened(project_file)
    return find_arrivals(project, project.scanner(scanner_id), store, now, everything=everything)


@task(name="ingest-scan", task_run_name="take in {arrival.name}", tags=["ingest"], **IO_TASK)
def ingest_scan(project_file: str, scanner_id: str, arrival: Arrival, now: datetime, worker: Isolated) -> Outcome:
    """Take in one file, in the worker process; raises ScanRefusedError when it goes into quarantine."""
    outcome = _ingest_or_quarantine(worker, project_file, scanner_id, arrival, now)
    if outcome.kind in ("refused", "conflict"):
        raise ScanRefusedError(outcome.reason or outcome.kind)
    return outcome


def _ingest_or_quarantine(
    worker: Isolated, project_file: str, scanner_id: str, arrival: Arrival, now: datetime
) -> Outcome:
    """A file that crashes the worker, and then a fresh one, is refused: else every run would meet it again."""
    outcome: Outcome
    for _ in range(2):
        try:
            outcome = worker.call(ingest_here, project_file, scanner_id, arrival, now)
            return outcome
        except WorkerCrashedError as error:
            how = str(error)
    outcome = worker.call(quarantine_here, project_file, scanner_id, arrival, now, how)
    return outcome


def ingest_here(project_file: str, scanner_id: str, arrival: Arrival, now: datetime) -> Outcome:
    """What the worker process runs."""
    from soilpipe.ingest.scan import ingest_file

    project, store = opened(project_file)
    return ingest_file(project, project.scanner(scanner_id), store, arrival, now)


def quarantine_here(project_file: str, scanner_id: str, arrival: Arrival, now: datetime, how: str) -> Outcome:
    """What the worker process runs for a file that crashed it."""
    from soilpipe.ingest.crashed import quarantine_crashed

    project, store = opened(project_file)
    return quarantine_crashed(project.scanner(scanner_id), store, arrival, now, how)


def retry_here(project_file: str, scanner_id: str, sha256: str, now: datetime) -> list[Outcome]:
    """What the worker process runs to look again at what was refused."""
    from soilpipe.ingest.decisions import retry

    project, store = opened(project_file)
    return retry(project, project.scanner(scanner_id), store, now, sha256=sha256)


def accept_here(
    project_file: str, scanner_id: str, content: str, now: datetime, device_time: datetime | None, note: str
) -> Decision:
    """What the worker process runs to take a refused file as it is."""
    from soilpipe.ingest.decisions import accept

    project, store = opened(project_file)
    return accept(project, project.scanner(scanner_id), store, content, now, device_time=device_time, note=note)
