"""Counts: one row per slot and taxon that the analysis can report, zeros written out, gaps left empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from soilpipe.counts.slots import Slot
from soilpipe.schemas import COUNTS
from soilpipe.taxonomy import Taxon, Taxonomy

MIN_USABLE_FRACTION = 0.5
CM2_PER_M2 = 1e4
UNRANKED = "unranked"


@dataclass(frozen=True)
class Tally:
    """How many detections of each taxon a scan has: in all, new, and stationary."""

    all: Mapping[str, int]
    new: Mapping[str, int]
    stationary: Mapping[str, int]


@dataclass(frozen=True)
class SlotCount:
    """What is known of one slot: the analysis published for it, and, when its scan was analysed, the tally."""

    slot: Slot
    analysis_id: str
    validation: str
    reportable: tuple[str, ...]
    tally: Tally | None = None
    dpi: float | None = None
    usable_fraction: float | None = None

    @property
    def counted(self) -> bool:
        """Whether its numbers may be given: observed or late, analysed, and at least half the window usable."""
        usable = self.usable_fraction is None or self.usable_fraction >= MIN_USABLE_FRACTION
        return self.slot.observed and self.tally is not None and usable

    def follows(self, before: SlotCount | None) -> bool:
        """Whether what is new here can be told from the slot before."""
        return (
            before is not None and before.counted and before.analysis_id == self.analysis_id and before.dpi == self.dpi
        )


class Lineages:
    """Taxa by the names that detections carry: their name in the taxonomy, rank, and line of ancestors.

    A name that the taxonomy does not have stands for itself, unranked and without ancestors: a detector may know taxa
    that the project file leaves out, and they must not vanish.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self._known: dict[str, Taxon | None] = {}
        self._lines: dict[str, tuple[str, ...]] = {}

    def _taxon(self, name: str) -> Taxon | None:
        if name not in self._known:
            self._known[name] = self.taxonomy.find(name) if name in self.taxonomy else None
        return self._known[name]

    def name(self, taxon: str) -> str:
        found = self._taxon(taxon)
        return found.name if found else taxon

    def rank(self, taxon: str) -> str:
        found = self._taxon(taxon)
        return found.rank if found else UNRANKED

    def line(self, taxon: str) -> tuple[str, ...]:
        """The taxon itself, then its ancestors."""
        if taxon not in self._lines:
            found = self._taxon(taxon)
            self._lines[taxon] = (found.name, *self.taxonomy.ancestors(found.name)) if found else (taxon,)
        return self._lines[taxon]

    def reportable(self, taxa: Iterable[str]) -> tuple[str, ...]:
        """What an analysis with these classes can report: they and their ancestors, without background, in the
        taxonomy's order; names that the taxonomy does not have come last."""
        found = {name: self._taxon(name) for name in taxa}
        animals = [taxon.name for taxon in found.values() if taxon is not None and not taxon.background]
        return *self.taxonomy.with_ancestors(animals), *sorted(name for name, taxon in found.items() if taxon is None)


def tally(taxa: Sequence[str | None], changes: Sequence[str | None]) -> Tally:
    """Count detections by taxon (names of the taxonomy) and change; those without a taxon are nobody's."""
    told = [(taxon, change) for taxon, change in zip(taxa, changes, strict=True) if taxon is not None]
    return Tally(
        all=Counter(taxon for taxon, _ in told),
        new=Counter(taxon for taxon, change in told if change == "new"),
        stationary=Counter(taxon for taxon, change in told if change == "stationary"),
    )


def with_descendants(numbers: Mapping[str, int], lineages: Lineages) -> dict[str, int]:
    """Each taxon's number with that of every taxon in it."""
    totals: Counter[str] = Counter()
    for taxon, number in numbers.items():
        for name in lineages.line(taxon):
            totals[name] += number
    return dict(totals)


def count_table(
    site_id: str,
    scanner_id: str,
    zone: ZoneInfo,
    window_cm2: float | None,
    counts: Iterable[tuple[SlotCount, SlotCount | None]],
    lineages: Lineages,
    complete_through: datetime | None,
) -> pa.Table:
    """Rows by schema COUNTS, in the order of the slots. ``counts``: every slot, with the expected slot before it."""
    columns: dict[str, list[Any]] = {name: [] for name in COUNTS.names}
    ranks: dict[str, str] = {}
    for count, before in counts:
        rows = _rows(count, before, window_cm2, lineages)
        k = len(count.reportable)
        for name, values in rows.items():
            columns[name] += values
        columns["rank"] += [ranks.setdefault(taxon, lineages.rank(taxon)) for taxon in count.reportable]
        for name, value in (
            ("slot", count.slot.slot),
            ("date_local", count.slot.slot.astimezone(zone).date()),
            ("state", count.slot.state),
            ("validation", count.validation),
            ("dpi", count.dpi),
            ("analysis_id", count.analysis_id),
        ):
            columns[name] += [value] * k
    height = len(columns["slot"])
    constant = {"site_id": site_id, "scanner_id": scanner_id, "complete_through": complete_through}
    # The columns of an audit that does not exist yet stay null.
    unknown = dict.fromkeys(("expected_n", "n_low", "n_high"))
    columns |= {name: [value] * height for name, value in (constant | unknown).items()}
    return pa.table([pa.array(columns[f.name], type=f.type) for f in COUNTS], schema=COUNTS)


def _rows(
    count: SlotCount, before: SlotCount | None, window_cm2: float | None, lineages: Lineages
) -> dict[str, list[Any]]:
    """One slot: taxon, n, n_total, n_new, n_stationary, n_per_m2_window."""
    taxa = list(count.reportable)
    gap: list[Any] = [None] * len(taxa)
    if not count.counted or count.tally is None:
        return {"taxon": taxa, "n": gap, "n_total": gap, "n_new": gap, "n_stationary": gap, "n_per_m2_window": gap}
    total = with_descendants(count.tally.all, lineages)
    new = with_descendants(count.tally.new, lineages)
    stationary = with_descendants(count.tally.stationary, lineages)
    area_m2 = (window_cm2 or 0.0) * (count.usable_fraction or 0.0) / CM2_PER_M2
    return {
        "taxon": taxa,
        "n": [count.tally.all.get(taxon, 0) for taxon in taxa],
        "n_total": [total.get(taxon, 0) for taxon in taxa],
        "n_new": [new.get(taxon, 0) for taxon in taxa] if count.follows(before) else gap,
        "n_stationary": [stationary.get(taxon, 0) for taxon in taxa],
        "n_per_m2_window": [total.get(taxon, 0) / area_m2 for taxon in taxa] if area_m2 > 0 else gap,
    }
