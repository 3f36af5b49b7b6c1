"""The table of `soilpipe counts`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from deployments.commands.counts_table import MOST, TAIL, print_counts
from soilpipe.counts.uncompared import Uncompared

FIRST = datetime(2024, 3, 6, tzinfo=UTC)
SLOT = timedelta(hours=6)


def counts(scanner: str, counted: int, after: int, taxa: tuple[str, ...] = ("Acari", "Collembola")) -> pd.DataFrame:
    rows = [
        {
            "slot": pd.Timestamp(FIRST + SLOT * number),
            "scanner_id": scanner,
            "taxon": taxon,
            "state": "observed" if number < counted else "missing",
            "n": 1 if number < counted else None,
            "n_total": 1 if number < counted else None,
            "n_new": None,
            "n_stationary": None,
            "validation": "simulated",
        }
        for number in range(counted + after)
        for taxon in taxa
    ]
    return pd.DataFrame(rows).astype({"n": "Int64", "n_total": "Int64"})


def printed(frame: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], str]:
    """The rows of the table, and the rest."""
    print_counts(frame, "slot", named=False)
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.strip().startswith("20")]
    return rows, "\n".join(line for line in lines if line not in rows)


def test_of_scans_of_past_years_the_missing_slots_up_to_today_are_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame = pd.concat([counts("A20", 8, 3600), counts("B07", 8, 2)])
    rows, rest = printed(frame, capsys)
    assert len(rows) == 2 * (8 + TAIL) + 2 * (8 + 2)
    assert sum("A20" in row and "missing" in row for row in rows) == 2 * TAIL
    assert "A20: 3596 more slots without a count, to 2026-08-24, are left out." in rest
    assert "set `until` in its block" in rest
    assert "B07:" not in rest


def test_a_gap_between_counts_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    frame = counts("A20", 50, 0)
    frame.loc[10:79, ["n", "n_total"]] = pd.NA
    rows, rest = printed(frame, capsys)
    assert len(rows) == 100
    assert "left out" not in rest


def test_a_scanner_without_any_count_shows_how_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    rows, rest = printed(counts("A20", 0, 100), capsys)
    assert len(rows) == 2 * TAIL
    assert f"A20: {100 - TAIL} more slots" in rest


def test_a_long_table_shows_its_newest_rows_and_says_how_to_see_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    rows, rest = printed(counts("A20", MOST, 0), capsys)
    assert len(rows) == MOST
    assert f"Of {2 * MOST} rows the last {MOST} are shown." in rest
    last = FIRST + SLOT * (MOST - 1)
    assert f"{last:%Y-%m-%d}" in rows[-1]


def test_scans_that_were_compared_with_nothing_are_told_by_scanner(capsys: pytest.CaptureFixture[str]) -> None:
    frame = counts("A20", 4, 0)
    print_counts(frame, "slot", True, {"A20": Uncompared(4, 0)})
    assert "compare" not in capsys.readouterr().out
    print_counts(frame, "slot", True, {"A20": Uncompared(4, 0), **{f"B{n}": Uncompared(9, n) for n in range(1, 8)}})
    said = " ".join(capsys.readouterr().out.split())
    assert "B1 1 of 9, B2 2 of 9, B3 3 of 9, B4 4 of 9, B5 5 of 9 and 2 more scanners." in said and "A20 0" not in said
