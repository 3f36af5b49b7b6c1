"""Check the store against itself, and make the series again.

`verify` reads; `rebuild` writes. Both go scanner by scanner and year by year, so that their memory does not grow with
the number of scanners.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath

from soilpipe import layout
from soilpipe.config import Project, Scanner
from soilpipe.counts.problem import Problem
from soilpipe.counts.project_tables import project_tables
from soilpipe.counts.series import SeriesSummary, build_series, same_table, series_files, stored_as_of
from soilpipe.counts.series import series_keys as _series_keys
from soilpipe.counts.tables import scanner_tables, scanner_timetable
from soilpipe.counts.truth import Truth, read_detections, read_truth
from soilpipe.counts.verify_records import model_problems, record_problems
from soilpipe.detections import DamagedDetectionsError, DetectionFileError
from soilpipe.errors import SoilpipeError
from soilpipe.ingest.quarantine import list_contents, quarantined_file
from soilpipe.ingest.receipts import Receipt, known_scan, list_receipts, seal_of
from soilpipe.leftovers import find_scans
from soilpipe.schemas import SERIES
from soilpipe.store import Store, StoreError

Progress = Callable[[str, int, int], None]
"""Told (what is being checked, how many done, how many in all)."""


def rebuild(project: Project, store: Store, as_of: datetime | None = None) -> list[SeriesSummary]:
    """Make every scanner's series from receipts, detections and records; nothing changes when they are right already.

    All of it is read: nothing that runs keep in `.index/` is believed, and it is made anew.

    ``as_of``: when pending and missing are told (default: now); what the files already tell is never taken back.
    """
    moment = as_of or datetime.now(UTC)
    return [build_series(project, store, scanner.id, moment, fresh=True) for scanner in project.scanners]


def verify(
    project: Project,
    store: Store,
    since: datetime | None = None,
    sample: int | None = None,
    progress: Progress | None = None,
) -> list[Problem]:
    """Everything that is wrong in the store; [] when it is sound.

    Every receipt's files are read and hashed: of scans captured at or after ``since``, or of ``sample`` of those drawn
    anew each time, so that many small checks see everything in the end. Without either, refused files and models too.
    Detection files, records, labels and series are checked whole: a series file must hold exactly the table that the
    truth gives.
    """
    told = progress or (lambda what, done, of: None)
    problems: list[Problem] = []
    drawn = _Sample(sample)
    for done, scanner in enumerate(project.scanners):
        told("scanners", done, len(project.scanners))
        try:
            whole = list_receipts(store, scanner.id)
            truth = read_truth(store, scanner, map(known_scan, whole))
        except SoilpipeError as error:
            problems.append(Problem("record", scanner.id, str(error)))
            continue
        problems += _receipt_problems(truth, whole)
        problems += _detection_problems(store, scanner, truth)
        problems += _series_problems(project, store, scanner.id, truth)
        if since is None and sample is None:
            problems += _quarantine_problems(store, scanner.id)
        receipts = [r for r in whole if since is None or truth.times[r.scan_id] >= since]
        if sample is None:
            problems += _all_scan_problems(store, receipts, f"scans of {scanner.id}", told)
        else:
            drawn.offer(receipts)
    told("scanners", len(project.scanners), len(project.scanners))
    problems += _all_scan_problems(store, drawn.receipts, "drawn scans", told)
    problems += _project_table_problems(project, store)
    problems += _strays(project, store)
    problems += record_problems(store)
    if since is None and sample is None:
        problems += model_problems(store)
    problems += _lost_receipts(store, {problem.key for problem in problems})
    return problems


class _Sample:
    """A uniform sample of a stream of unknown length (reservoir sampling; Vitter 1985, algorithm R)."""

    def __init__(self, size: int | None) -> None:
        self.receipts: list[Receipt] = []
        self._size = max(size or 0, 0)
        self._offered = 0
        self._chance = random.Random()

    def offer(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            self._offered += 1
            if len(self.receipts) < self._size:
                self.receipts.append(receipt)
            elif (place := self._chance.randrange(self._offered)) < self._size:
                self.receipts[place] = receipt


def _all_scan_problems(store: Store, receipts: Sequence[Receipt], what: str, told: Progress) -> Iterator[Problem]:
    for done, receipt in enumerate(receipts):
        told(what, done, len(receipts))
        yield from _scan_problems(store, receipt)
    if receipts:
        told(what, len(receipts), len(receipts))


def _scan_problems(store: Store, receipt: Receipt) -> Iterator[Problem]:
    folder = layout.scan_folder(receipt.scan_id)
    remedy = (
        f"bring {receipt.source_name} back to the inbox of {receipt.scanner_id}, delete "
        f"{layout.receipt(receipt.scan_id)}, and run again; or restore the file from a backup"
    )
    for file in receipt.files:
        key = f"{folder}/{file.path}"
        try:
            digest = store.sha256(key)
        except FileNotFoundError:
            yield Problem("scan", key, f"is in the receipt of {receipt.scan_id}, but not in the store; {remedy}")
            continue
        if digest != file.sha256:
            yield Problem(
                "scan", key, f"is not what was written (sha256 {digest[:12]}, receipt {file.sha256[:12]}); {remedy}"
            )


def _receipt_problems(truth: Truth, receipts: Sequence[Receipt]) -> Iterator[Problem]:
    """Receipts that were edited, and scans that were detected but have no receipt any more."""
    for receipt in receipts:
        if layout.make_scan_id(receipt.scanner_id, receipt.device_time, receipt.sha256) != receipt.scan_id:
            yield Problem(
                "record",
                layout.receipt(receipt.scan_id),
                "does not tell the scan that it is called after; restore it from a backup",
            )
        elif receipt.seal is not None and receipt.seal != seal_of(receipt):
            yield Problem(
                "record",
                layout.receipt(receipt.scan_id),
                "is not as it was written (its seal is broken): it was edited or damaged; restore it from a backup",
            )
    known = {receipt.scan_id for receipt in receipts}
    for analysis_id, scans in truth.detected.items():
        for scan_id in sorted(scans.keys() - known):
            yield Problem(
                "record",
                layout.receipt(scan_id),
                f"is not there, though {layout.detection_file(analysis_id, scan_id)} is: its slot has no counts; "
                "restore it from a backup, or put the scanner's file back into the inbox and run again",
            )


def _quarantine_problems(store: Store, scanner_id: str) -> Iterator[Problem]:
    """Refused files that are no longer what was refused: a person could accept the wrong bytes, or none."""
    for content in sorted(list_contents(store, scanner_id)):
        try:
            key = quarantined_file(store, scanner_id, content)
            if store.sha256(key) != content:
                yield Problem("quarantine", key, "is not the file that was refused; restore it from a backup")
        except StoreError as error:
            yield Problem("quarantine", layout.quarantine_folder(scanner_id, content), str(error))


def _detection_problems(store: Store, scanner: Scanner, truth: Truth) -> Iterator[Problem]:
    for analysis_id, scans in truth.detected.items():
        for scan_id, file in read_detections(store, ((analysis_id, scan_id) for scan_id in sorted(scans))):
            key = layout.detection_file(analysis_id, scan_id)
            if isinstance(file, DamagedDetectionsError):
                yield Problem("detections", key, f"{file.what}; {_detect_again(scanner, truth, analysis_id, scan_id)}")
            elif isinstance(file, DetectionFileError):
                yield Problem("detections", key, str(file))


def _detect_again(scanner: Scanner, truth: Truth, analysis_id: str, scan_id: str) -> str:
    """The command that makes a damaged file again; one from which nothing is counted is in nobody's way."""
    if scan_id not in truth.receipts or truth.analysis_id_at(truth.times[scan_id]) != analysis_id:
        return "nothing is counted from it: delete it"
    day = f"{truth.times[scan_id].astimezone(scanner.zone):%Y-%m-%d}"
    return f"`soilpipe run --scanner {scanner.id} --since {day} --until {day}` detects the scan again"


def _series_problems(project: Project, store: Store, scanner_id: str, truth: Truth) -> Iterator[Problem]:
    scanner = project.scanner(scanner_id)
    present = set(_series_keys(store, scanner_id))
    as_of = stored_as_of(store, scanner_id)
    if as_of is None:
        if scanner_timetable(scanner, truth, datetime.now(UTC)).slots:
            yield Problem("series", scanner_id, "has scans but no series; run `soilpipe rebuild`")
        return
    slots = scanner_timetable(scanner, truth, as_of).slots
    for tables in scanner_tables(project, scanner, store, truth, slots):
        for key, table in series_files(scanner_id, tables):
            present.discard(key)
            try:
                if not same_table(store.read_bytes(key), table):
                    yield Problem("series", key, "is not what the truth gives; run `soilpipe rebuild`")
            except FileNotFoundError:
                yield Problem("series", key, "is not there; run `soilpipe rebuild`")
    for key in sorted(present):
        yield Problem("series", key, "follows from no slot of this scanner; run `soilpipe rebuild`")


def _project_table_problems(project: Project, store: Store) -> Iterator[Problem]:
    for name, table in project_tables(project).items():
        key = layout.series_table(name)
        try:
            if not same_table(store.read_bytes(key), table):
                yield Problem("series", key, "is not what the project file says; run `soilpipe rebuild`")
        except FileNotFoundError:
            if any(store.list(layout.series_prefix(table_name)) for table_name in SERIES):
                yield Problem("series", key, "is not there; run `soilpipe rebuild`")


def _lost_receipts(store: Store, told: Collection[str]) -> Iterator[Problem]:
    """Scans that are there to their last byte, or named elsewhere, and have no receipt; but those that are told."""
    for scan_id in find_scans(store, datetime.now(UTC)).lost:
        if (key := layout.receipt(scan_id)) not in told:
            yield Problem(
                "record",
                key,
                f"is not there, though {layout.scan_folder(scan_id)} is, and is no leftover of a killed run: restore "
                "it from a backup, or put the scanner's file back into the inbox and run again",
            )


def _strays(project: Project, store: Store) -> Iterator[Problem]:
    """Files in series/ that nothing here wrote: one of them is enough for pandas not to open the folder."""
    declared = {scanner.id for scanner in project.scanners}
    whole = {layout.series_table(name) for name in project_tables(project)}
    tables = {layout.series_prefix(name) for name in SERIES}
    for entry in store.list(layout.SERIES):
        path = PurePosixPath(entry.key)
        if entry.key in whole:
            continue
        year = path.parent.name.removeprefix("year=")
        in_place = path.suffix == ".parquet" and str(path.parent.parent) in tables and year.isdigit()
        if not in_place or entry.key != layout.series_file(path.parent.parent.name, path.stem, int(year)):
            yield Problem("stray", entry.key, "does not belong into series/ and may keep readers from it; delete it")
        elif path.stem not in declared:
            yield Problem(
                "stray",
                entry.key,
                f"is of {path.stem}, which the project file does not declare; put its block back (with `until`, "
                "when the scanner has gone), or delete the file",
            )
