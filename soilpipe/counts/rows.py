"""The rows of one scanner and year: read from detection files, and made into the tables slots and detections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from soilpipe.compared import Compared, compared_with
from soilpipe.config import Scanner
from soilpipe.counts.abundance import MIN_USABLE_FRACTION, UNRANKED, Lineages, Tally, tally
from soilpipe.counts.matching import STATIONARY_SCANS, Seen, follow
from soilpipe.counts.slots import Slot
from soilpipe.counts.truth import Truth, read_detections
from soilpipe.detections import DamagedDetectionsError, DetectionFile, DetectionFileError
from soilpipe.ingest.mask_files import read_mask
from soilpipe.ingest.quality import Quality
from soilpipe.ingest.receipts import KnownScan
from soilpipe.ingest.window_mask import MaskError, masked
from soilpipe.schemas import DETECTIONS, SLOTS
from soilpipe.store import MissingKeyError, Store


@dataclass(frozen=True)
class ScanRows:
    """The rows of one scan, before the columns of the series are added."""

    slot: Slot
    analysis_id: str
    rows: pa.Table
    taxa: list[str | None]
    changes: list[str | None]
    hidden: list[bool | None]
    """Whether each lies in the masked part of the window; None: the receipt is from before the mask."""
    compared: Compared

    @property
    def tally(self) -> Tally:
        """What they count for: those in the masked part for nothing."""
        seen = [i for i, hidden in enumerate(self.hidden) if not hidden]
        return tally([self.taxa[i] for i in seen], [self.changes[i] for i in seen])


def analysed_scans(truth: Truth, slots: Sequence[Slot]) -> dict[str, tuple[Slot, str]]:
    """The scans whose detections count, in order: the slot of each, and the analysis."""
    found: dict[str, tuple[Slot, str]] = {}
    for slot in slots:
        analysis_id = truth.analysis_id_at(slot.captured_at) if slot.captured_at and slot.observed else None
        if slot.scan_id is not None and analysis_id is not None and slot.scan_id in truth.detected[analysis_id]:
            found[slot.scan_id] = slot, analysis_id
    return found


def year_rows(
    store: Store, truth: Truth, scans: Mapping[str, tuple[Slot, str]], lineages: Lineages, earlier: list[Seen]
) -> tuple[dict[str, ScanRows], dict[str, str], list[Seen]]:
    """The detections by scan, the scans whose file cannot be read, and the last scans for the year after."""
    found: dict[str, ScanRows] = {}
    broken: dict[str, str] = {}
    wanted = [(analysis_id, scan_id) for scan_id, (_, analysis_id) in scans.items()]
    for scan_id, file in read_detections(store, wanted):
        hidden = _hidden_or_problem(store, truth.receipts[scan_id], file)
        if isinstance(hidden, str) or isinstance(file, DetectionFileError):
            broken[scan_id] = str(hidden)
            continue
        slot, analysis_id = scans[scan_id]
        taxa = _taxa(file, lineages)
        changes, seen = follow(_sides(file), taxa, truth.receipts[scan_id].dpi, analysis_id, earlier)
        earlier = [seen, *earlier][: STATIONARY_SCANS - 1]
        found[scan_id] = ScanRows(slot, analysis_id, file.table, taxa, changes, hidden, compared_with(file.metadata))
    return found, broken, earlier


def seen_before(store: Store, truth: Truth, scans: Iterable[tuple[str, str]], lineages: Lineages) -> list[Seen]:
    """What `year_rows` hands on after these scans (scan_id, analysis_id), the last ones before a year, newest first.

    It is the same as if all before them were followed too: no run is counted further than they reach.
    """
    earlier: list[Seen] = []
    analyses = dict(scans)
    for scan_id, file in read_detections(store, ((analysis_id, scan_id) for scan_id, analysis_id in analyses.items())):
        if isinstance(file, DetectionFile):
            dpi = truth.receipts[scan_id].dpi
            _, seen = follow(_sides(file), _taxa(file, lineages), dpi, analyses[scan_id], earlier)
            earlier = [seen, *earlier][: STATIONARY_SCANS - 1]
    return earlier


def problem_of(store: Store, truth: Truth, scan_id: str, analysis_id: str) -> str | None:
    """What is wrong with the detections of a scan, in the words of `year_rows`; None when nothing is."""
    ((_, file),) = read_detections(store, [(analysis_id, scan_id)])
    hidden = _hidden_or_problem(store, truth.receipts[scan_id], file)
    return hidden if isinstance(hidden, str) else None


def _sides(file: DetectionFile) -> np.ndarray:
    """(n, 4) boxes, px."""
    return np.stack([file.table[name].to_numpy() for name in ("x_min", "y_min", "x_max", "y_max")], axis=1)


def _taxa(file: DetectionFile, lineages: Lineages) -> list[str | None]:
    return [None if name is None else lineages.name(name) for name in file.table["taxon"].to_pylist()]


def _hidden_or_problem(
    store: Store, receipt: KnownScan, file: DetectionFile | DetectionFileError
) -> list[bool | None] | str:
    """Which boxes lie in the masked part of the window, None when the receipt is from before the mask; or why not."""
    if isinstance(file, DamagedDetectionsError):
        return f"{file.key} {file.what}; the next run detects the scan again"  # it finds it in the state of the series
    if isinstance(file, DetectionFileError):
        return str(file)
    boxes, quality = _sides(file), receipt.quality
    if quality.mask_cell_px is None:
        return [None] * len(boxes)
    try:
        mask = read_mask(store, receipt)
    except (MaskError, MissingKeyError) as error:
        return str(error)
    return [False] * len(boxes) if mask is None else masked(mask, quality.mask_cell_px, boxes).tolist()


def slot_table(
    scanner: Scanner, slots: Sequence[Slot], truth: Truth, broken: Mapping[str, str], found: Mapping[str, ScanRows]
) -> pa.Table:
    """Rows by schema SLOTS. ``broken``, ``found``: by scan, as `year_rows` gives them."""
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
            quality = receipt.quality
            compared = found[receipt.scan_id].compared if receipt.scan_id in found else Compared()
            why_not = slot.reason or _why_not_counted(receipt, quality, truth, broken)
            row |= {
                "dpi": receipt.dpi,
                "width_px": receipt.width_px,
                "height_px": receipt.height_px,
                "usable_fraction": quality.usable_fraction,
                "sharpness": quality.sharpness,
                "level_mean": quality.level_mean,
                "saturated_fraction": quality.saturated_fraction,
                "flat_rows": quality.flat_rows,
                "relative_detail": quality.relative_detail,
                "reason": _reasons(why_not, compared.doubt, quality.doubts()),
                "references_used": compared.references_used,
            }
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SLOTS)


def _reasons(*told: str | None) -> str | None:
    return "; ".join(reason for reason in told if reason) or None


def _why_not_counted(receipt: KnownScan, quality: Quality, truth: Truth, broken: Mapping[str, str]) -> str | None:
    if receipt.scan_id in broken:
        return broken[receipt.scan_id]
    if not truth.analysed(receipt.scan_id, truth.analysis_at(truth.times[receipt.scan_id])):
        return "not analysed yet"
    usable = quality.usable_fraction
    if usable is not None and usable < MIN_USABLE_FRACTION:
        return f"only {usable:.0%} of the window can be used; at least {MIN_USABLE_FRACTION:.0%} are needed for a count"
    return None


def detection_rows(scanner: Scanner, scans: Sequence[ScanRows], lineages: Lineages) -> pa.Table:
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
