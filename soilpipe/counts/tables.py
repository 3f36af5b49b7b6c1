"""The tables of one scanner, year by year, as a function of the truth, the project file and `as_of`. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from soilpipe.config import Project, Scanner
from soilpipe.counts.abundance import MIN_USABLE_FRACTION, UNRANKED, Lineages, SlotCount, Tally, count_table, tally
from soilpipe.counts.matching import STATIONARY_SCANS, Seen, follow
from soilpipe.counts.slots import Slot, Timetable, complete_through, slots_by_year, timetable, told_until
from soilpipe.counts.truth import Truth, read_detections
from soilpipe.detections import DetectionFileError
from soilpipe.ingest.mask_files import read_mask
from soilpipe.ingest.receipts import Receipt
from soilpipe.ingest.window_mask import MaskError, masked
from soilpipe.schemas import DETECTIONS, SLOTS
from soilpipe.store import MissingKeyError, Store


@dataclass(frozen=True)
class YearTables:
    """The tables of one scanner and UTC year; ``as_of`` by table; ``problems``: detection files that cannot be read."""

    year: int
    tables: Mapping[str, pa.Table]
    as_of: Mapping[str, datetime | None]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _ScanRows:
    """The rows of one scan, before the columns of the series are added."""

    slot: Slot
    analysis_id: str
    rows: pa.Table
    taxa: list[str | None]
    changes: list[str | None]
    hidden: list[bool | None]
    """Whether each lies in the masked part of the window; None: the receipt is from before the mask."""


def scanner_timetable(scanner: Scanner, truth: Truth, as_of: datetime) -> Timetable:
    """The slots of a scanner as the truth has them."""
    return timetable(scanner, truth.scans, truth.refused, as_of)


def scanner_tables(
    project: Project, scanner: Scanner, store: Store, truth: Truth, slots: Sequence[Slot]
) -> Iterator[YearTables]:
    """The tables slots, counts and detections of every year, oldest first; one year is in memory at a time."""
    lineages = Lineages(project.taxonomy)
    reportable = {a.id: lineages.reportable(a.taxa) for a in truth.analyses.values()}
    earlier: list[Seen] = []
    before: SlotCount | None = None
    through = complete_through(slots)
    for year, of_year in slots_by_year(slots).items():
        found, broken, earlier = _year_rows(store, truth, of_year, lineages, earlier)
        counts: list[tuple[SlotCount, SlotCount | None]] = []
        for slot in of_year:
            count = _slot_count(slot, truth, found, reportable)
            if count is not None:
                counts.append((count, before))
            before = count
        tables = {
            "slots": _slot_table(scanner, of_year, truth, broken),
            "counts": count_table(
                scanner.site,
                scanner.id,
                scanner.zone,
                scanner.window_cm2,
                counts,
                lineages,
                # A slot still pending at the end of a year holds up the next one too.
                None if through is None else min(through, of_year[-1].slot),
            ),
            "detections": _detection_table(scanner, [*found.values()], lineages),
        }
        counted = [c.slot for c, _ in counts]
        told = {"slots": told_until(of_year, scanner), "counts": told_until(counted, scanner), "detections": None}
        yield YearTables(year, tables, told, tuple(broken.values()))


def _year_rows(
    store: Store, truth: Truth, slots: Sequence[Slot], lineages: Lineages, earlier: list[Seen]
) -> tuple[dict[str, _ScanRows], dict[str, str], list[Seen]]:
    """The detections of a year by scan, the scans whose file cannot be read, and the last scans for the year after."""
    by_scan: dict[str, tuple[Slot, str]] = {}
    for slot in slots:
        analysis = truth.analysis_at(slot.captured_at) if slot.captured_at and slot.observed else None
        if slot.scan_id is not None and analysis is not None and truth.analysed(slot.scan_id, analysis):
            by_scan[slot.scan_id] = slot, analysis.id
    found: dict[str, _ScanRows] = {}
    broken: dict[str, str] = {}
    wanted = [(analysis_id, scan_id) for scan_id, (_, analysis_id) in by_scan.items()]
    for scan_id, file in read_detections(store, wanted):
        if isinstance(file, DetectionFileError):
            broken[scan_id] = str(file)
            continue
        sides = np.stack([file.table[name].to_numpy() for name in ("x_min", "y_min", "x_max", "y_max")], axis=1)
        try:
            hidden = _hidden(store, truth.receipts[scan_id], sides)
        except (MaskError, MissingKeyError) as error:
            broken[scan_id] = str(error)
            continue
        slot, analysis_id = by_scan[scan_id]
        taxa = [None if name is None else lineages.name(name) for name in file.table["taxon"].to_pylist()]
        changes, seen = follow(sides, taxa, truth.receipts[scan_id].dpi, analysis_id, earlier)
        earlier = [seen, *earlier][: STATIONARY_SCANS - 1]
        found[scan_id] = _ScanRows(slot, analysis_id, file.table, taxa, changes, hidden)
    return found, broken, earlier


def _hidden(store: Store, receipt: Receipt, boxes: np.ndarray) -> list[bool | None]:
    """Which boxes, (n, 4) px, lie in the masked part of the window; None when the receipt is from before the mask."""
    cell_px = receipt.quality.mask_cell_px
    if cell_px is None:
        return [None] * len(boxes)
    mask = read_mask(store, receipt)
    return [False] * len(boxes) if mask is None else masked(mask, cell_px, boxes).tolist()


def _slot_count(
    slot: Slot, truth: Truth, found: Mapping[str, _ScanRows], reportable: Mapping[str, tuple[str, ...]]
) -> SlotCount | None:
    analysis = truth.analysis_at(slot.captured_at or slot.slot)
    if analysis is None:
        return None
    rows = found.get(slot.scan_id or "")
    receipt = truth.receipts.get(slot.scan_id or "")
    counted = _tally(rows) if rows else None
    return SlotCount(
        slot=slot,
        analysis_id=analysis.id,
        validation=analysis.validation,
        reportable=reportable[analysis.id],
        tally=counted,
        dpi=receipt.dpi if receipt else None,
        usable_fraction=receipt.quality.usable_fraction if receipt else None,
    )


def _tally(rows: _ScanRows) -> Tally:
    """What a scan's detections count for: those in the masked part for nothing."""
    seen = [i for i, hidden in enumerate(rows.hidden) if not hidden]
    return tally([rows.taxa[i] for i in seen], [rows.changes[i] for i in seen])


def _slot_table(scanner: Scanner, slots: Sequence[Slot], truth: Truth, broken: Mapping[str, str]) -> pa.Table:
    """Rows by schema SLOTS."""
    rows: list[dict[str, Any]] = []
    for slot in slots:
        receipt = truth.receipts.get(slot.scan_id or "")
        row: dict[str, Any] = {
            "site_id": scanner.site,
            "scanner_id": scanner.id,
            "slot": slot.slot,
            "state": slot.state,
            "scan_id": slot.scan_id,
            "captured_at": slot.captured_at,
            "delay_s": slot.delay_s,
            "window_cm2": scanner.window_cm2,
            "reason": slot.reason,
        }
        if receipt is not None:
            row |= {
                "dpi": receipt.dpi,
                "width_px": receipt.width_px,
                "height_px": receipt.height_px,
                "usable_fraction": receipt.quality.usable_fraction,
                "sharpness": receipt.quality.sharpness,
                "reason": _reasons(slot.reason or _why_not_counted(receipt, truth, broken), receipt.quality.doubts()),
            }
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SLOTS)


def _reasons(*told: str | None) -> str | None:
    return "; ".join(reason for reason in told if reason) or None


def _why_not_counted(receipt: Receipt, truth: Truth, broken: Mapping[str, str]) -> str | None:
    if receipt.scan_id in broken:
        return broken[receipt.scan_id]
    if not truth.analysed(receipt.scan_id, truth.analysis_at(truth.times[receipt.scan_id])):
        return "not analysed yet"
    usable = receipt.quality.usable_fraction
    if usable is not None and usable < MIN_USABLE_FRACTION:
        return f"only {usable:.0%} of the window can be used; at least {MIN_USABLE_FRACTION:.0%} are needed for a count"
    return None


def _detection_table(scanner: Scanner, scans: Sequence[_ScanRows], lineages: Lineages) -> pa.Table:
    """Rows by schema DETECTIONS: those of the files, with what the series knows besides."""
    if not scans:
        return DETECTIONS.empty_table()
    rows = pa.concat_tables([scan.rows.replace_schema_metadata(None) for scan in scans])
    heights = np.array([scan.rows.num_rows for scan in scans])
    of_row = np.repeat(np.arange(len(scans)), heights)

    def per_scan(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(values, type=kind).take(pa.array(of_row))

    n = rows.num_rows
    taxa = [taxon for scan in scans for taxon in scan.taxa]
    known = {taxon: lineages.rank(taxon) for taxon in set(taxa) if taxon is not None}
    added = {
        "scan_id": per_scan([scan.slot.scan_id for scan in scans], pa.string()),
        "site_id": pa.repeat(scanner.site, n),
        "scanner_id": pa.repeat(scanner.id, n),
        "slot": per_scan([scan.slot.slot.astimezone(UTC) for scan in scans], DETECTIONS.field("slot").type),
        "taxon": pa.array(taxa, type=pa.string()),
        "rank": pa.array([known.get(taxon) if taxon is not None else None for taxon in taxa], type=pa.string()),
        "change": pa.array([change for scan in scans for change in scan.changes], type=pa.string()),
        "review": pa.repeat("none", n),
        "analysis_id": per_scan([scan.analysis_id for scan in scans], pa.string()),
        "is_masked": pa.array([is_masked for scan in scans for is_masked in scan.hidden], type=pa.bool_()),
    }
    columns = [added[f.name] if f.name in added else rows[f.name] for f in DETECTIONS]
    table = pa.table(columns, schema=DETECTIONS)
    # A name of the file that the taxonomy doesn't have keeps the rank that the detector gave it.
    strange = pc.and_(pc.equal(table["rank"], UNRANKED), pc.is_valid(rows["rank"]))
    rank = pc.if_else(pc.fill_null(strange, False), rows["rank"], table["rank"])
    return table.set_column(table.schema.get_field_index("rank"), DETECTIONS.field("rank"), rank)
