"""Counts by slot, day or week, for people and scripts. A gap stays a gap.

A day or week is given with the number of its expected slots and of those that have a count; its mean is over those that
have one, and nothing is added up as if a missing scan had been empty. Rows of different dpi, analysis or validation are
never put together: they are rows of their own.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import pandas as pd
import pyarrow as pa

from soilpipe import layout
from soilpipe.config import Project
from soilpipe.errors import SoilpipeError
from soilpipe.parquet import from_parquet
from soilpipe.schemas import COUNTS
from soilpipe.store import Store

By = Literal["slot", "day", "week"]
Moment = date | datetime | None

VALIDATION_IN_WORDS = {
    "none": "nothing stands behind these numbers: the detector was never judged",
    "simulated": "the detector was only ever judged on simulated scenes, never on scans of real soil",
    "local": "the detector was judged on a random sample of this project's scans",
}

SLOT_COLUMNS = (
    "date",
    "slot",
    "site_id",
    "scanner_id",
    "taxon",
    "rank",
    "state",
    "n",
    "n_total",
    "n_new",
    "n_stationary",
    "n_per_m2_window",
    "validation",
    "dpi",
    "analysis_id",
)
PERIOD_COLUMNS = (
    "date",
    "site_id",
    "scanner_id",
    "taxon",
    "rank",
    "n_mean",
    "n_max",
    "n_sum",
    "n_new_sum",
    "n_new_slots",
    "n_per_m2_window_mean",
    "slots_observed",
    "slots_expected",
    "validation",
    "dpi",
    "analysis_id",
)
_INTEGERS = ("n", "n_total", "n_new", "n_stationary")


class QueryError(SoilpipeError):
    """The question cannot be answered as it was asked."""


def query_counts(
    project: Project,
    store: Store,
    scanners: Iterable[str] | None = None,
    taxa: Iterable[str] | None = None,
    since: Moment = None,
    until: Moment = None,
    by: By = "slot",
) -> pd.DataFrame:
    """Counts from the series. ``since`` and ``until``: a date is a local date of the scanner, and the last one is
    included; a datetime (UTC when it has no zone) is a time of a slot, and the last one is not.

    ``by="slot"``: columns SLOT_COLUMNS; n is exactly this taxon, n_total has its descendants too; null is no count.

    ``by="day"``, ``"week"`` (Monday): PERIOD_COLUMNS; n_mean, n_max and n_sum are of n_total over the slots_observed
    slots that have a count (n_sum counts an animal once in every scan that shows it); n_new_sum is over the n_new_slots
    slots for which what is new can be told. slots_expected is of the scanner and period, whatever the dpi or analysis.

    Raises ConfigError for an unknown scanner, QueryError for an unknown taxon or a damaged file.
    """
    if by not in ("slot", "day", "week"):
        raise QueryError(f"counts can be given by slot, day or week, not by {by!r}")
    ids = [project.scanner(s).id for s in scanners] if scanners else [s.id for s in project.scanners]
    rows = within(_read(store, ids, since, until), since, until)
    expected = rows.drop_duplicates(["scanner_id", "slot"])[["scanner_id", "slot", "date"]]
    wanted = list(taxa or ())
    if wanted:
        rows = rows[rows["taxon"].isin(_names(project, wanted, set(rows["taxon"])))]
    if by == "slot":
        return rows.loc[:, list(SLOT_COLUMNS)].reset_index(drop=True)
    return _by_period(rows, expected, by)


def _read(store: Store, scanner_ids: list[str], since: Moment, until: Moment) -> pd.DataFrame:
    found = []
    for key in partitions(store, "counts", scanner_ids, since, until):
        try:
            found.append(from_parquet(store.read_bytes(key)).select(COUNTS.names).cast(COUNTS))
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise QueryError(f"{key} is not a whole table of counts; run `soilpipe rebuild`") from error
    table = (pa.concat_tables(found) if found else COUNTS.empty_table()).replace_schema_metadata(None)
    rows = table.to_pandas().rename(columns={"date_local": "date"})
    rows = rows.astype(dict.fromkeys(_INTEGERS, "Int64"))
    order = {scanner_id: i for i, scanner_id in enumerate(scanner_ids)}
    # Stable: within a slot, taxa stay in the taxonomy's order.
    return rows.sort_values(
        ["scanner_id", "slot"], kind="stable", key=lambda c: c.map(order) if c.name == "scanner_id" else c
    )


def partitions(store: Store, table: str, scanner_ids: Iterable[str], since: Moment, until: Moment) -> list[str]:
    """The files of a table that hold the slots of these scanners and of this time, and maybe of a year more."""
    wanted = set(scanner_ids)
    first = since.year - 1 if since else 0  # a local date may lie in the UTC year beside it
    last = until.year + 1 if until else 9999
    keys = []
    for entry in store.list(layout.series_prefix(table), ".parquet"):
        folder, name = entry.key.rsplit("/", 2)[1:]
        if name.removesuffix(".parquet") in wanted and first <= int(folder.removeprefix("year=")) <= last:
            keys.append(entry.key)
    return keys


def within(rows: pd.DataFrame, since: Moment, until: Moment) -> pd.DataFrame:
    """The rows of a time, as `query_counts` takes it; columns `slot` (UTC) and `date` (local)."""
    keep = pd.Series(True, index=rows.index)
    if isinstance(since, datetime):
        keep &= rows["slot"] >= _utc(since)
    elif since is not None:
        keep &= rows["date"] >= since
    if isinstance(until, datetime):
        keep &= rows["slot"] < _utc(until)
    elif until is not None:
        keep &= rows["date"] <= until
    return rows[keep]


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _names(project: Project, wanted: list[str], present: set[str]) -> set[str]:
    names = set()
    for name in wanted:
        if name in project.taxonomy:
            names.add(project.taxonomy.find(name).name)
        elif name in present:
            names.add(name)
        else:
            animals = [taxon for taxon in project.taxonomy if not taxon.background]
            known = {one.casefold(): taxon.name for taxon in animals for one in (*taxon.synonyms, taxon.name)}
            known |= {one.casefold(): one for one in present}
            like = difflib.get_close_matches(name.casefold(), known, n=9, cutoff=0.6)
            near = list(dict.fromkeys(known[one] for one in like))[:3]
            told = f"the nearest are {', '.join(near)}" if near else "no name is like it"
            raise QueryError(f"no taxon is called {name!r}; {told}. `soilpipe counts --list-taxa` shows all")
    return names


def _by_period(rows: pd.DataFrame, expected: pd.DataFrame, by: By) -> pd.DataFrame:
    rows, expected = (frame.assign(date=_period(frame["date"], by)) for frame in (rows, expected))
    place = ["scanner_id", "date"]
    what = [*place, "site_id", "taxon", "rank"]
    kind = ["validation", "dpi", "analysis_id"]
    counted = rows[rows["n_total"].notna()]
    groups = counted.groupby([*what, *kind], dropna=False, sort=False)
    told = groups.agg(
        n_mean=("n_total", "mean"),
        n_max=("n_total", "max"),
        n_sum=("n_total", "sum"),
        n_new_slots=("n_new", "count"),
        n_per_m2_window_mean=("n_per_m2_window", "mean"),
        slots_observed=("n_total", "count"),
    ).reset_index()
    # min_count: with no slot to tell from, the sum is unknown and not zero.
    told["n_new_sum"] = groups["n_new"].sum(min_count=1).to_numpy() if len(told) else pd.array([], dtype="Int64")
    # A period without any count still has its row, so that it is seen to be a gap.
    gaps = rows[[*what, "validation", "analysis_id"]].drop_duplicates()
    gaps = gaps.merge(told[what].drop_duplicates(), on=what, how="left", indicator=True)
    gaps = gaps[gaps["_merge"] == "left_only"].drop(columns="_merge").assign(slots_observed=0, n_new_slots=0)
    result = pd.concat([told, gaps], ignore_index=True) if len(gaps) else told
    slots = expected.groupby(place, sort=False).size().rename("slots_expected").reset_index()
    result = result.merge(slots, on=place, how="left")
    result = result.astype({"n_max": "Int64", "n_sum": "Int64", "n_new_sum": "Int64", "n_mean": "Float64"})
    result = result.astype(dict.fromkeys(("slots_observed", "slots_expected", "n_new_slots"), "int64"))
    taxa = {taxon: i for i, taxon in enumerate(dict.fromkeys(rows["taxon"]))}
    ids = {scanner_id: i for i, scanner_id in enumerate(dict.fromkeys(rows["scanner_id"]))}
    order = pd.DataFrame(
        {
            "scanner": result["scanner_id"].map(ids),
            "date": result["date"],
            "taxon": result["taxon"].map(taxa),
            "dpi": result["dpi"],
            "analysis": result["analysis_id"],
        }
    ).sort_values(["scanner", "date", "taxon", "dpi", "analysis"], kind="stable")
    return result.loc[order.index, list(PERIOD_COLUMNS)].reset_index(drop=True)


def _period(dates: pd.Series, by: By) -> pd.Series:
    """The day itself, or the Monday of its week."""
    return dates if by == "day" else dates.map(lambda d: d - timedelta(days=d.weekday()))
