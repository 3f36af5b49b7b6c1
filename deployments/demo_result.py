"""The end of the demo: the counts beside the truth, and what became of every slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from deployments.commands.shown import print_table

if TYPE_CHECKING:
    import pandas as pd

    from soilpipe.config import Project
    from soilpipe.simulate.faults import Delivery
    from soilpipe.store import Store

EVERYTHING = "all animals"


def show_result(project: Project, store: Store, deliveries: Mapping[str, Sequence[Delivery]]) -> None:
    """Print both tables."""
    from soilpipe.counts.query import VALIDATION_IN_WORDS, query_counts

    counts = query_counts(project, store)
    rows = compare(project, counts, deliveries)
    behind = " ".join(
        f"Validation: {VALIDATION_IN_WORDS[name]}." for name in VALIDATION_IN_WORDS if name in set(counts["validation"])
    )
    caption = (
        "Summed over the scans of a day that have a count; the truth is of the same scans. The right sum can hide wrong"
        " boxes: look at the pictures.\n" + behind
    )
    print_table("Counts beside the truth", ("scanner", "day", "taxon", "counted", "truth"), rows, caption)
    print_table("Slots", ("scanner", "slot (UTC)", "state", "animals", "note"), slot_rows(project, store, deliveries))


def compare(
    project: Project, counts: pd.DataFrame, deliveries: Mapping[str, Sequence[Delivery]]
) -> list[tuple[Any, ...]]:
    """(scanner, day, taxon, counted, truth) of every taxon counted or there; taxa as the detector tells them.

    The truth's finer taxa are summed into the finest taxon that the detector can tell, as its own `n_total` is.
    """
    counted = counts[counts["n"].notna()]
    reported = set(counted["taxon"])
    coarse = {taxon for name in reported for taxon in project.taxonomy.ancestors(name)}
    finest = reported - coarse
    truth = {
        (scanner_id, delivery.captured_at.astimezone(UTC)): delivery.counts
        for scanner_id, of_scanner in deliveries.items()
        for delivery in of_scanner
        if delivery.captured_at is not None
    }
    captured = _capture_times(deliveries)
    rows: list[tuple[Any, ...]] = []
    for key, group in counted.groupby(["scanner_id", "date"], sort=True):
        scanner_id, day = map(str, key)
        times = [captured[scanner_id, slot.to_pydatetime()] for slot in group["slot"].unique()]
        there: dict[str, int] = {}
        for time in times:
            for name, n in truth[scanner_id, time].items():
                told = next((t for t in (name, *project.taxonomy.ancestors(name)) if t in finest), name)
                there[told] = there.get(told, 0) + n
        found = group[group["taxon"].isin(finest)].groupby("taxon")["n_total"].sum()
        for taxon in sorted(set(found.index[found > 0]) | {name for name, n in there.items() if n}):
            rows.append((scanner_id, day, taxon, int(found.get(taxon, 0)), there.get(taxon, 0)))
        if len(finest) > 1:
            rows.append((scanner_id, day, EVERYTHING, int(group["n"].sum()), sum(there.values())))
    return rows


def slot_rows(project: Project, store: Store, deliveries: Mapping[str, Sequence[Delivery]]) -> list[tuple[Any, ...]]:
    """What became of every slot, and what the demo had done to it."""
    from soilpipe.report.summary import animals_per_slot
    from soilpipe.report.tables import list_series, read_table

    keys = list_series(store)
    done = {
        (scanner_id, delivery.slot): delivery.fault for scanner_id, found in deliveries.items() for delivery in found
    }
    words = {"twice": "delivered twice, counted once", "missing": "never came", "late": "taken 2.5 h late"}
    rows: list[tuple[Any, ...]] = []
    for scanner in project.scanners:
        slots = read_table(store, "slots", keys.slots.get(scanner.id, ())).frame
        totals = animals_per_slot(read_table(store, "counts", keys.counts.get(scanner.id, ())).frame)
        for row in slots.to_dict("records"):
            slot = row["slot"].to_pydatetime()
            fault = done.get((scanner.id, slot))
            animals = int(totals[row["slot"]]) if row["slot"] in totals.index else None
            told = (words.get(fault or "", ""), row["reason"] if isinstance(row["reason"], str) else "")
            note = "; ".join(part for part in told if part)
            rows.append((scanner.id, f"{slot:%Y-%m-%d %H:%M}", row["state"], animals, note))
    return rows


def _capture_times(deliveries: Mapping[str, Sequence[Delivery]]) -> dict[tuple[str, datetime], datetime]:
    return {
        (scanner_id, delivery.slot): delivery.captured_at
        for scanner_id, found in deliveries.items()
        for delivery in found
        if delivery.captured_at is not None
    }
