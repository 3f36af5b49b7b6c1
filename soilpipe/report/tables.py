"""Reading the published series of scanners, each file once, with a digest of what was read."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd
import pyarrow as pa

from soilpipe import layout
from soilpipe.counts.series_state import SeriesState
from soilpipe.errors import SoilpipeError
from soilpipe.parquet import from_parquet, metadata_of
from soilpipe.schemas import COUNTS, DETECTIONS, SLOTS
from soilpipe.store import Store

_EMPTY = {"slots": SLOTS, "counts": COUNTS, "detections": DETECTIONS}


class ReportError(SoilpipeError):
    """The pages cannot be made."""


@dataclass(frozen=True)
class SeriesKeys:
    """The keys of every scanner's series files, oldest year first; listed once for all scanners."""

    slots: Mapping[str, Sequence[str]]
    counts: Mapping[str, Sequence[str]]
    detections: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class ReadTable:
    """A table of one scanner; digest: of the files' sha256 (`digest_of`); as_of: ISO time up to which they tell."""

    frame: pd.DataFrame
    digest: str
    as_of: str | None


def list_series(store: Store) -> SeriesKeys:
    """Where the series of each scanner lie."""
    return SeriesKeys(*(_keys(store, table) for table in ("slots", "counts", "detections")))


def _keys(store: Store, table: str) -> Mapping[str, Sequence[str]]:
    keys: dict[str, list[str]] = defaultdict(list)
    for entry in store.list(layout.series_prefix(table), suffix=".parquet"):
        keys[PurePosixPath(entry.key).stem].append(entry.key)
    return {scanner: sorted(found) for scanner, found in keys.items()}


def digest_of(digests: Iterable[str]) -> str:
    """One for the hex sha256 of many files."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def known_series(state: SeriesState, scanner_id: str) -> SeriesKeys:
    """Where the series of one scanner lie, as its last run left them: without a listing of all years."""
    return SeriesKeys(*({scanner_id: list(state.files(table))} for table in ("slots", "counts", "detections")))


def read_table(store: Store, table: str, keys: Sequence[str]) -> ReadTable:
    """All these files as one table, in their order; an empty table with the right columns when there is none.

    Raises ReportError when one of them is damaged.
    """
    digests: list[str] = []
    parts: list[pa.Table] = []
    as_of: str | None = None
    for key in keys:
        data = store.read_bytes(key)
        digests.append(hashlib.sha256(data).hexdigest())
        try:
            parts.append(from_parquet(data))
            as_of = max(filter(None, (as_of, metadata_of(data).get("as_of"))), default=None)
        except (pa.ArrowException, OSError) as error:
            raise ReportError(
                f"{key} is not a whole table; run `soilpipe rebuild`, then make the pages again"
            ) from error
    whole = pa.concat_tables(parts, promote_options="default") if parts else _EMPTY[table].empty_table()
    # Nobody looks at a list column here, and it is what takes long to turn into pandas.
    flat = whole.select([field.name for field in whole.schema if not pa.types.is_list(field.type)])
    return ReadTable(flat.to_pandas(), digest_of(digests), as_of)


def newest_counted(store: Store, keys: Sequence[str]) -> ReadTable:
    """The counts of the newest year that has any; of the newest year where none has.

    Scans of past years are followed by years of missing slots, and in January nothing is counted yet.
    """
    for key in reversed(keys):
        table = read_table(store, "counts", [key])
        if table.frame["n"].notna().any():
            return table
    return read_table(store, "counts", keys[-1:])
