"""How many of the counted scans were compared with nothing, and so show fewer animals than there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from soilpipe.config import Project
from soilpipe.counts.query import Moment, QueryError, partitions, within
from soilpipe.parquet import from_parquet
from soilpipe.store import Store

COLUMNS = ["scanner_id", "slot", "references_used"]


class Uncompared(NamedTuple):
    """Of `scans` that a detector which compares has looked at, so many had nothing to be compared with."""

    scans: int
    uncompared: int


def uncompared_scans(
    project: Project, store: Store, scanners: Iterable[str] | None = None, since: Moment = None, until: Moment = None
) -> dict[str, Uncompared]:
    """By scanner, of the time that `query_counts` would give; scanners of whose scans nobody knows are left out.

    Raises ConfigError for an unknown scanner, QueryError for a damaged file.
    """
    told = {}
    for scanner in [project.scanner(one) for one in scanners] if scanners else project.scanners:
        rows = _read(store, scanner.id, since, until)
        if len(rows):
            rows["date"] = rows["slot"].dt.tz_convert(scanner.zone).dt.date
            used = within(rows, since, until)["references_used"].dropna()
            if len(used):
                told[scanner.id] = Uncompared(len(used), int((used == 0).sum()))
    return told


def _read(store: Store, scanner_id: str, since: Moment, until: Moment) -> pd.DataFrame:
    found = []
    for key in partitions(store, "slots", [scanner_id], since, until):
        try:
            table = from_parquet(store.read_bytes(key))
            if COLUMNS[-1] in table.column_names:  # a table of an earlier release lacks it
                found.append(table.select(COLUMNS).to_pandas())
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise QueryError(f"{key} is not a whole table of slots; run `soilpipe rebuild`") from error
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=COLUMNS)
