"""The counts as a table for people: short enough to be read, and saying what it leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from deployments.commands.shown import print_table

if TYPE_CHECKING:
    import pandas as pd

    from soilpipe.counts.uncompared import Uncompared

COLUMNS = {
    "slot": ("slot", "scanner_id", "taxon", "state", "n", "n_total", "n_new", "n_stationary", "validation"),
    "day": ("date", "scanner_id", "taxon", "n_mean", "n_max", "slots_observed", "slots_expected", "validation"),
}
COLUMNS["week"] = COLUMNS["day"]
NUMBER = {"slot": "n_total", "day": "n_max", "week": "n_max"}  # the column that is empty where there is no count
WHEN = {"slot": "slot", "day": "date", "week": "date"}
TAIL = 4
"""Slots, days or weeks without a count that are shown after the last one with one: enough to see that they are."""
MOST = 1000
"""Rows of the table. Nobody reads more, and to lay them out takes as many milliseconds."""
SHOWN = 5
"""Scanners that are named in a sentence."""


def print_counts(frame: pd.DataFrame, by: str, named: bool, uncompared: Mapping[str, Uncompared] | None = None) -> None:
    """Print what `query_counts` gives. `named`: taxa were asked for by name, and are shown though never found.
    uncompared: what `uncompared_scans` gives for the same scanners and time."""
    if frame.empty:
        typer.echo("No counts yet: nothing is in the series for this choice. `soilpipe status` says what there is.")
        return
    frame = frame.reset_index(drop=True)
    found = frame.groupby("taxon")[NUMBER[by]].transform("max").fillna(0) > 0
    shown = frame if named or not found.any() else frame[found]
    notes = [behind(frame), *alone(uncompared or {})]
    left_out = frame["taxon"].nunique() - shown["taxon"].nunique()
    if left_out:
        notes.append(f"{left_out} taxa that were looked for and never found are left out; --json and csv have them.")
    shown, ends = _without_long_ends(shown, by)
    notes += ends
    if len(shown) > MOST:
        notes.append(
            f"Of {len(shown)} rows the last {MOST} are shown. --since, --until, --taxon, --scanner or --by week show "
            "others; --format csv --output FILE has all."
        )
        shown = shown.iloc[-MOST:]
    columns = COLUMNS[by]
    rows = shown.loc[:, list(columns)].itertuples(index=False, name=None)
    print_table("Counts", columns, rows, "\n".join(notes))


def behind(frame: pd.DataFrame) -> str:
    """What stands behind the numbers, in words."""
    from soilpipe.counts.query import VALIDATION_IN_WORDS

    present = [name for name in VALIDATION_IN_WORDS if name in set(frame["validation"].dropna())]
    return "; ".join(f"{name}: {VALIDATION_IN_WORDS[name]}" for name in present) or "no counts yet"


def alone(uncompared: Mapping[str, Uncompared]) -> list[str]:
    """A sentence where scans were compared with nothing: what looks like a drop of the counts may be that."""
    few = {scanner_id: one for scanner_id, one in uncompared.items() if one.uncompared}
    if not few:
        return []
    named = ", ".join(f"{scanner_id} {one.uncompared} of {one.scans}" for scanner_id, one in list(few.items())[:SHOWN])
    more = f" and {len(few) - SHOWN} more scanners" if len(few) > SHOWN else ""
    return [
        "Counted without an earlier scan to compare with, as at the start of a series, so that more animals were "
        f"missed: {named}{more}. `references_used` in series/slots is 0 for them."
    ]


def _without_long_ends(frame: pd.DataFrame, by: str) -> tuple[pd.DataFrame, list[str]]:
    """The table without what follows long after each scanner's last count, and a sentence for each that is shortened.

    Scans of past years are followed by thousands of missing slots, up to today, as long as the project file does not
    say when they end.
    """
    kept, notes = frame.index == -1, []
    for scanner_id, rows in frame.groupby("scanner_id", sort=False):
        counted = rows.loc[rows[NUMBER[by]].notna(), WHEN[by]]
        times = rows[WHEN[by]].drop_duplicates().sort_values()
        after = times[times > counted.max()] if len(counted) else times
        gone = after.iloc[TAIL:]
        kept |= frame.index.isin(rows.index[~rows[WHEN[by]].isin(gone)])
        if len(gone):
            notes.append(
                f"{scanner_id}: {len(gone)} more {by}{'s' if len(gone) > 1 else ''} without a count, to "
                f"{gone.iloc[-1]:%Y-%m-%d}, are left out. When it has been taken out, or its scans are old ones, set "
                "`until` in its block of the project file."
            )
    return frame[kept], notes
