"""Tasks of the first stage: what is new in an inbox, and taking it in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from prefect import task

from soilpipe.errors import SoilpipeError
from tasks.isolated import Isolated, WorkerCrashedError, WorkerTimeoutError
from tasks.opened import opened
from tasks.retries import IO_TASK

if TYPE_CHECKING:
    from soilpipe.ingest.arrivals import Arrival, Arrivals
    from soilpipe.ingest.conflicts import AcceptedScans
    from soilpipe.ingest.quarantine import Decision, Quarantined
    from soilpipe.ingest.scan import Outcome
    from soilpipe.ingest.void import VoidConflict
    from soilpipe.store import Entry

SCAN_TIMEOUT_S = 15 * 60.0
"""For one scan of unknown size; 2400 dpi takes about two minutes on two cores."""
START_S = 60.0
SLOWEST_PIXELS_S = 2e6
SLOWEST_BYTES_S = 0.5e6
"""Far below what a busy small machine decodes, and a bad line brings: what is slower hangs."""
MOST_PIXELS_A_BYTE = 1000
"""No format packs more into a byte (deflate 344 RGB pixels; JPEG, of one colour, some hundred)."""


def scan_timeout_s(size: int, max_pixels: float) -> float:
    """How long reading a file of so many bytes may take: a minute for a small one, 13 for a JPEG 2000 of 50 MB, an
    hour for an uncompressed scan at 2400 dpi."""
    pixels = min(max_pixels, MOST_PIXELS_A_BYTE * size)
    return START_S + pixels / SLOWEST_PIXELS_S + size / SLOWEST_BYTES_S


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
    outcome: Outcome = _read_or_refuse(worker, ingest_here, quarantine_here, project_file, scanner_id, arrival, now)
    if outcome.kind in ("refused", "conflict"):
        raise ScanRefusedError(outcome.reason or outcome.kind)
    return outcome


@task(name="find-void-conflicts", task_run_name="void conflicts of {scanner_id}", tags=["ingest"], **IO_TASK)
def find_void_conflicts(project_file: str, scanner_id: str) -> tuple[VoidConflict, ...]:
    """Files set beside as conflicts that contradict nothing any more, oldest first."""
    from soilpipe.ingest.void import void_conflicts

    project, store = opened(project_file)
    return tuple(void_conflicts(project.scanner(scanner_id), store))


@task(name="retry-conflict", task_run_name="look again at {refusal.source_name}", tags=["ingest"], **IO_TASK)
def retry_conflict(
    project_file: str, scanner_id: str, refusal: Quarantined, now: datetime, worker: Isolated
) -> Outcome:
    """Take in such a file, in the worker process; raises ScanRefusedError when something else is wrong with it."""
    outcome: Outcome = _read_or_refuse(
        worker, retry_conflict_here, quarantine_again_here, project_file, scanner_id, refusal, now
    )
    if outcome.kind in ("refused", "conflict"):
        raise ScanRefusedError(outcome.reason or outcome.kind)
    return outcome


def _read_or_refuse(
    worker: Isolated,
    read: Callable[..., Outcome],
    refuse: Callable[..., Outcome],
    project_file: str,
    scanner_id: str,
    file: Arrival | Quarantined,
    now: datetime,
) -> Any:
    """A file that crashes the worker, and then a fresh one, is refused: else every run would meet it again.

    So is one that hangs it in so many runs, one try in each. Until then raises ReadingHangsError.
    """
    from soilpipe.ingest.crashed import CRASHES, HANGS
    from soilpipe.ingest.hangs import TRIES, ReadingHangsError, forget_hang, note_hang

    how, code = "", CRASHES
    worker.within(scan_timeout_s(_listed(file)[1].size, opened(project_file).project.max_pixels))
    for _ in range(2):
        try:
            return worker.call(read, project_file, scanner_id, file, now)
        except WorkerCrashedError as error:
            how = f"{error}, twice"
        except WorkerTimeoutError as error:
            store = opened(project_file).store
            name, entry = _listed(file)
            runs = note_hang(store, scanner_id, name, entry)
            if runs < TRIES:
                # Without its cause, which is a time-out and would be tried again at once, for as long again.
                raise ReadingHangsError(
                    f"Reading it {error}. The next run tries it again; after {TRIES} runs it is refused "
                    f"(this was number {runs})."
                ) from None
            how, code = f"{error}, in each of {runs} runs", HANGS
            forget_hang(store, scanner_id, name)
            break
    return worker.call(refuse, project_file, scanner_id, file, now, how, code)


def _listed(file: Arrival | Quarantined) -> tuple[str, Entry]:
    """What a file is known by, and as what the inbox listed it."""
    from soilpipe.ingest.quarantine import Quarantined
    from soilpipe.store import Entry

    if isinstance(file, Quarantined):
        return file.sha256, Entry(file.source_name, file.source_size, file.source_modified, file.source_version)
    return file.name, file.entry


def ingest_here(project_file: str, scanner_id: str, arrival: Arrival, now: datetime) -> Outcome:
    """What the worker process runs."""
    from soilpipe.ingest.scan import ingest_file

    project, store = opened(project_file)
    accepted = _accepted(project_file, scanner_id, now)
    return ingest_file(project, project.scanner(scanner_id), store, arrival, now, accepted)


@lru_cache(maxsize=1)
def _accepted(project_file: str, scanner_id: str, now: datetime) -> AcceptedScans:
    """What is there already, listed once for all files of a run: `now` is the same for all of them."""
    from soilpipe.ingest.conflicts import AcceptedScans

    return AcceptedScans(opened(project_file).store, scanner_id)


def quarantine_here(
    project_file: str, scanner_id: str, arrival: Arrival, now: datetime, how: str, code: str
) -> Outcome:
    """What the worker process runs for a file that crashed it, or hung it."""
    from soilpipe.ingest.crashed import quarantine_crashed

    project, store = opened(project_file)
    return quarantine_crashed(project.scanner(scanner_id), store, arrival, now, how, code)


def retry_conflict_here(project_file: str, scanner_id: str, refusal: Quarantined, now: datetime) -> Outcome:
    """What the worker process runs to look again at a conflict that is none any more."""
    from soilpipe.ingest.void import retry_void

    project, store = opened(project_file)
    return retry_void(project, project.scanner(scanner_id), store, refusal, now)


def quarantine_again_here(
    project_file: str, scanner_id: str, refusal: Quarantined, now: datetime, how: str, code: str
) -> Outcome:
    """What the worker process runs for one that crashed it, or hung it."""
    from soilpipe.ingest.crashed import quarantine_crashed_again

    project, store = opened(project_file)
    return quarantine_crashed_again(project.scanner(scanner_id), store, refusal, now, how, code)


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
