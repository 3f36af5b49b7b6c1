"""The tables of one scanner, year by year, as a function of the truth, the project file and `as_of`. Writes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from soilpipe.code_digest import code_digest
from soilpipe.config import Project, Scanner
from soilpipe.counts.abundance import Lineages, SlotCount, Tally, count_table
from soilpipe.counts.matching import STATIONARY_SCANS, Seen
from soilpipe.counts.rows import analysed_scans, detection_rows, problem_of, seen_before, slot_table, year_rows
from soilpipe.counts.slots import Slot, Timetable, complete_through, slots_by_year, timetable, told_until
from soilpipe.counts.truth import Truth
from soilpipe.store import Store

_SOMETHING = Tally({}, {}, {})


@dataclass(frozen=True)
class YearTables:
    """The tables of one scanner and UTC year; ``as_of`` by table; ``made_from``: a digest of all that they depend on.

    ``problems``: by scan, what is wrong with detections that cannot be read.
    """

    year: int
    tables: Mapping[str, pa.Table]
    as_of: Mapping[str, datetime | None]
    problems: Mapping[str, str]
    made_from: str


@dataclass(frozen=True)
class MadeYear:
    """What is known of the tables of a year that were made before: as in YearTables."""

    made_from: str
    problems: Mapping[str, str] = field(default_factory=dict)


def scanner_timetable(scanner: Scanner, truth: Truth, as_of: datetime) -> Timetable:
    """The slots of a scanner as the truth has them."""
    return timetable(scanner, truth.scans, truth.refused, as_of)


def scanner_tables(
    project: Project,
    scanner: Scanner,
    store: Store,
    truth: Truth,
    slots: Sequence[Slot],
    made: Mapping[int, MadeYear] | None = None,
) -> Iterator[YearTables]:
    """The tables slots, counts and detections of every year, oldest first; one year is in memory at a time.

    Years are left out whose tables are those that were ``made`` before, since nothing that they depend on has changed:
    the scans of other years that they look at (the last ones before) are among it.
    """
    lineages = Lineages(project.taxonomy)
    reportable = {a.id: lineages.reportable(a.taxa) for a in truth.analyses.values()}
    settings = _settings(project, scanner)
    through = complete_through(slots)
    earlier: list[Seen] | None = []  # None: not known, since the year before was left out
    last_scans: list[tuple[str, str]] = []
    before: SlotCount | None = None
    for year, of_year in slots_by_year(slots).items():
        # A slot still pending at the end of a year holds up the next one too.
        complete = None if through is None else min(through, of_year[-1].slot)
        scans = analysed_scans(truth, of_year)
        made_from = _made_from(settings, truth, of_year, complete, last_scans, before)
        old = (made or {}).get(year)
        if old is not None and old.made_from == made_from and _still_so(store, truth, scans, old.problems):
            broken = old.problems
            counted = of_year[-1].scan_id in scans and of_year[-1].scan_id not in broken
            before = _slot_count(of_year[-1], truth, _SOMETHING if counted else None, reportable)
            earlier = None
        else:
            if earlier is None:
                earlier = seen_before(store, truth, last_scans, lineages)
            found, broken, earlier = year_rows(store, truth, scans, lineages, earlier)
            counts: list[tuple[SlotCount, SlotCount | None]] = []
            for slot in of_year:
                rows = found.get(slot.scan_id or "")
                count = _slot_count(slot, truth, rows.tally if rows else None, reportable)
                if count is not None:
                    counts.append((count, before))
                before = count
            tables = {
                "slots": slot_table(scanner, of_year, truth, broken, found),
                "counts": count_table(
                    scanner.site, scanner.id, scanner.zone, scanner.window_cm2, counts, lineages, complete
                ),
                "detections": detection_rows(scanner, [*found.values()], lineages),
            }
            told = {
                "slots": told_until(of_year, scanner),
                "counts": told_until([count.slot for count, _ in counts], scanner),
                "detections": None,
            }
            yield YearTables(year, tables, told, broken, made_from)
        whole = [(scan_id, analysis_id) for scan_id, (_, analysis_id) in scans.items() if scan_id not in broken]
        last_scans = [*last_scans, *whole][-(STATIONARY_SCANS - 1) :]


def _still_so(store: Store, truth: Truth, scans: Mapping[str, tuple[Slot, str]], problems: Mapping[str, str]) -> bool:
    """Whether what could not be read still cannot: a mask that was brought back changes nothing that is listed."""
    return all(
        scan_id in scans and problem_of(store, truth, scan_id, scans[scan_id][1]) == problem
        for scan_id, problem in problems.items()
    )


def _settings(project: Project, scanner: Scanner) -> str:
    """What the tables depend on besides the truth: the code, the scanner's block, and the taxa."""
    block = scanner.model_dump_json(exclude={"inbox", "inbox_options"})
    return json.dumps([code_digest(), block, project.snapshot()["taxa"]], sort_keys=True)


def _made_from(
    settings: str,
    truth: Truth,
    slots: Sequence[Slot],
    complete: datetime | None,
    last_scans: Sequence[tuple[str, str]],
    before: SlotCount | None,
) -> str:
    """The digest of all that the tables of these slots depend on. An analysis is its id: that is its content's."""
    digest = hashlib.sha256(settings.encode())
    earlier = [(s, a, truth.detected[a].get(s), truth.receipts[s].dpi) for s, a in last_scans]
    known_before = None if before is None else (before.counted, before.analysis_id, before.dpi)
    digest.update(repr((complete, earlier, known_before)).encode())
    for slot in slots:
        analysis_id = truth.analysis_id_at(slot.captured_at or slot.slot)
        mark = truth.detected[analysis_id].get(slot.scan_id or "") if analysis_id else None
        told = (slot, analysis_id, mark, truth.receipts.get(slot.scan_id or ""))
        digest.update(repr(told).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _slot_count(
    slot: Slot, truth: Truth, counted: Tally | None, reportable: Mapping[str, tuple[str, ...]]
) -> SlotCount | None:
    analysis = truth.analysis_at(slot.captured_at or slot.slot)
    if analysis is None:
        return None
    receipt = truth.receipts.get(slot.scan_id or "")
    return SlotCount(
        slot=slot,
        analysis_id=analysis.id,
        validation=analysis.validation,
        reportable=reportable[analysis.id],
        tally=counted,
        dpi=receipt.dpi if receipt else None,
        usable_fraction=receipt.quality.usable_fraction if receipt else None,
    )
