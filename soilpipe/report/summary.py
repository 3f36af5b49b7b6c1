"""What the pages say of a scanner, worked out from its tables; all times are made local here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import pandas as pd

from soilpipe.report.words import STATES
from soilpipe.taxonomy import ROOT

STRIP = 28  # slots in the strip of the index: a week at four a day
LATEST_SLOTS = 40


@dataclass(frozen=True)
class TaxonRow:
    taxon: str
    rank: str
    depth: int
    newest: int | None
    newest_new: int | None
    newest_stationary: int | None
    mean: float
    share_found: float


@dataclass(frozen=True)
class SlotRow:
    slot: str
    state: str
    delay: str
    animals: int | None
    reason: str


@dataclass(frozen=True)
class ScannerSummary:
    """states: number of slots per state; uncompared: of those counted, how many were compared with no earlier scan;
    strip: states of the last STRIP slots; times are words in local time."""

    states: dict[str, int]
    slots: int
    counted: int
    uncompared: int
    strip: tuple[str, ...]
    last_scan: str
    complete_through: str
    as_of: str
    newest_animals: int | None
    newest_slot: str
    validations: tuple[str, ...]

    @property
    def silent(self) -> bool:
        """Whether the last four slots that are due all stayed without a scan."""
        due = [state for state in self.strip if state != "pending"]
        return len(due) >= 4 and all(state == "missing" for state in due[-4:])


def local(time: datetime | pd.Timestamp | str | None, zone: ZoneInfo) -> str:
    """`6 Mar 2024, 06:00` in the scanner's time zone; an en dash for nothing."""
    if time is None or pd.isna(time):
        return "–"
    stamp = pd.Timestamp(time)
    stamp = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp
    stamp = stamp.tz_convert(zone)
    return f"{stamp.day} {stamp:%b %Y, %H:%M}"


def summarize(slots: pd.DataFrame, counts: pd.DataFrame, as_of: str | None, zone: ZoneInfo) -> ScannerSummary:
    """The numbers at the head of a scanner's page and in its line of the index. slots: sorted by slot."""
    totals = animals_per_slot(counts)
    seen = slots["captured_at"].dropna() if len(slots) else pd.Series(dtype="datetime64[ns, UTC]")
    complete = counts["complete_through"].dropna() if len(counts) else ()
    return ScannerSummary(
        states={state: int((slots["state"] == state).sum()) for state in STATES},
        slots=len(slots),
        counted=len(totals),
        uncompared=int((compared_with_nothing(slots) & slots["slot"].isin(totals.index)).sum()),
        strip=tuple(slots["state"].iloc[-STRIP:]),
        last_scan=local(seen.max() if len(seen) else None, zone),
        complete_through=local(max(complete) if len(complete) else None, zone),
        as_of=local(as_of, zone),
        newest_animals=int(totals.iloc[-1]) if len(totals) else None,
        newest_slot=local(totals.index[-1] if len(totals) else None, zone),
        validations=tuple(sorted(set(counts["validation"]))) if len(counts) else (),
    )


def compared_with_nothing(slots: pd.DataFrame) -> pd.Series:
    """Of each slot, whether its scan was detected without earlier ones to compare it with; False where nobody knows."""
    if "references_used" not in slots:  # a table of an earlier release
        return pd.Series(False, index=slots.index)
    return slots["references_used"] == 0


def animals_per_slot(counts: pd.DataFrame) -> pd.Series:
    """All animals of each counted slot; slots without a count are not in it."""
    known = counts[counts["n"].notna()]
    return known.groupby("slot")["n"].sum().sort_index()


def taxon_rows(counts: pd.DataFrame, ancestors: dict[str, int]) -> tuple[TaxonRow, ...]:
    """One row per taxon ever found, in the order of `ancestors` (taxon -> number of ancestors, in taxonomy order)."""
    known = counts[counts["n_total"].notna()]
    rows = []
    order = {taxon: place for place, taxon in enumerate(ancestors)}
    last = known["slot"].max() if len(known) else None
    for taxon, group in known.groupby("taxon", sort=True):
        if not (group["n_total"] > 0).any():
            continue
        now = group[group["slot"] == last]  # empty when the analysis of today no longer reports this taxon
        newest = now.iloc[0] if len(now) else {"n_total": None, "n_new": None, "n_stationary": None}
        rows.append(
            TaxonRow(
                taxon=str(taxon),
                rank=str(group["rank"].iloc[-1]) if taxon != ROOT else "all animals",
                depth=ancestors.get(str(taxon), 0),
                newest=_number(newest["n_total"]),
                newest_new=_number(newest["n_new"]),
                newest_stationary=_number(newest["n_stationary"]),
                mean=float(group["n_total"].mean()),
                share_found=float((group["n_total"] > 0).mean()),
            )
        )
    return tuple(sorted(rows, key=lambda row: order.get(row.taxon, len(order))))


def never_found(counts: pd.DataFrame) -> tuple[str, ...]:
    """Taxa that were looked for in every counted scan and never found: true zeros."""
    known = counts[counts["n_total"].notna()]
    most = known.groupby("taxon")["n_total"].max()
    return tuple(sorted(str(taxon) for taxon in most.index[most == 0]))


def slot_rows(slots: pd.DataFrame, counts: pd.DataFrame, zone: ZoneInfo) -> tuple[SlotRow, ...]:
    """The newest slots, newest first."""
    totals = animals_per_slot(counts)
    rows = []
    for row in slots.iloc[::-1].head(LATEST_SLOTS).to_dict("records"):
        animals = int(totals[row["slot"]]) if row["slot"] in totals.index else None
        reason = "" if pd.isna(row["reason"]) else str(row["reason"])
        if animals is None and not reason and row["state"] in ("observed", "late"):
            reason = "not counted: not detected yet, or less than half of the window usable"
        rows.append(SlotRow(local(row["slot"], zone), row["state"], _delay(row["delay_s"]), animals, reason))
    return tuple(rows)


def newest_scans(slots: pd.DataFrame, counts: pd.DataFrame, most: int) -> Sequence[pd.Series]:
    """The rows of the newest slots that have a count, newest first."""
    counted = set(animals_per_slot(counts).index)
    having = slots[slots["slot"].isin(counted) & slots["scan_id"].notna()]
    return [row for _, row in having.iloc[::-1].head(most).iterrows()]


def _number(value: object) -> int | None:
    return None if value is None or pd.isna(value) else int(value)  # type: ignore[call-overload]


def _delay(seconds: float | None) -> str:
    """Minutes or hours off the slot, where that is a minute or more."""
    if seconds is None or pd.isna(seconds) or abs(seconds) < 60:
        return ""
    minutes = round(abs(seconds) / 60)
    words = f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
    return f"{words} {'after' if seconds > 0 else 'before'}"
