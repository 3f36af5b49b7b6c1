"""The counts of a scanner's newest counted scan, for places that show one scan: Prefect's UI, the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from soilpipe.config import Project
from soilpipe.counts import series_state
from soilpipe.report.summary import local, newest_scans
from soilpipe.report.tables import known_series, list_series, read_table
from soilpipe.report.words import banner
from soilpipe.store import Store


@dataclass(frozen=True)
class NewestCounts:
    """`when` is the scan's local time; `rows` hold taxon, n, new and stationary of every taxon found.

    `animals` is the sum over taxa; `validation` says in a sentence what stands behind the numbers; `doubt` is what the
    slot's `reason` says, "" when all is well.
    """

    when: str
    animals: int
    rows: tuple[Mapping[str, Any], ...]
    validation: str
    doubt: str = ""


def newest_counts(project: Project, store: Store, scanner_id: str) -> NewestCounts | None:
    """Counts of the newest scan that has any; None while nothing is counted."""
    state = series_state.load(store, scanner_id)
    keys = known_series(state, scanner_id) if state else list_series(store)
    years = keys.slots.get(scanner_id, ())
    newest: Sequence[pd.Series] = ()
    for last in range(1, len(years) + 1):  # in January, or of past years, there may be none in the newest
        slots = read_table(store, "slots", years[-last:]).frame
        counts = read_table(store, "counts", keys.counts.get(scanner_id, ())[-last:]).frame
        if newest := newest_scans(slots, counts, 1):
            break
    if not newest:
        return None
    scan = newest[0]
    rows = counts[counts["slot"] == scan["slot"]]
    found = rows[rows["n"] > 0].sort_values(["n", "taxon"], ascending=[False, True])
    return NewestCounts(
        when=local(scan["captured_at"], project.scanner(scanner_id).zone),
        animals=int(rows["n"].sum()),
        rows=tuple(
            {
                "taxon": row["taxon"],
                "n": int(row["n"]),
                "new": _number(row["n_new"]),
                "stationary": _number(row["n_stationary"]),
            }
            for row in found.to_dict("records")
        ),
        validation=banner(set(rows["validation"])).headline,
        doubt="" if pd.isna(scan["reason"]) else str(scan["reason"]),
    )


def _number(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)
