"""What each year of a scanner's series was made from, so that a run makes only those again that would change.

It is no truth: absent, damaged, or of other code, every year is made again. It says of a year what it was made from
only after all its files were written, and a token (`touched.touch_series`) is there while they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import PurePosixPath

from pydantic import BaseModel, ValidationError

from soilpipe import layout
from soilpipe.code_digest import code_digest
from soilpipe.ingest.quarantine import Quarantined
from soilpipe.schemas import SERIES
from soilpipe.store import Store


class SeriesYear(BaseModel):
    """One year: the digest of what its tables depend on ("": not known), the latest `as_of` that they tell, what cannot
    be read by scan, and the hex sha256 of each file by its key."""

    made_from: str
    as_of: datetime | None
    problems: dict[str, str]
    files: dict[str, str]


class SeriesState(BaseModel):
    """The years of a scanner's series; ``refused``: the open refusals of the truth that it was last made equal to."""

    code: str = ""
    years: dict[int, SeriesYear]
    refused: list[Quarantined] = []

    def files(self, table: str) -> dict[str, str]:
        """The hex sha256 of each file of a table by its key, oldest year first."""
        begin = f"{layout.series_prefix(table)}/"
        return {k: d for _, made in sorted(self.years.items()) for k, d in made.files.items() if k.startswith(begin)}

    @property
    def as_of(self) -> datetime | None:
        """The latest that the files tell."""
        return max((made.as_of for made in self.years.values() if made.as_of is not None), default=None)

    def forget(self, years: Iterable[int]) -> None:
        """Have these years made again."""
        for year in years:
            if year in self.years:
                self.years[year].made_from = ""


def load(store: Store, scanner_id: str) -> SeriesState | None:
    """What was made; None when nothing is known."""
    try:
        state = SeriesState.model_validate_json(store.read_bytes(layout.series_state(scanner_id)))
    except (FileNotFoundError, ValidationError):
        return None
    return state if state.code == code_digest() else None


def save(store: Store, scanner_id: str, state: SeriesState, years: Collection[int]) -> None:
    """Keep the state of these years, and leave the others as a run beside this one may have written them by now."""
    now = load(store, scanner_id) or state
    merged = {**now.years, **{year: state.years[year] for year in years if year in state.years}}
    kept = {year: made for year, made in sorted(merged.items()) if year in state.years or year not in years}
    whole = SeriesState(code=code_digest(), years=kept, refused=state.refused)
    store.write_bytes(layout.series_state(scanner_id), whole.model_dump_json().encode())


def doubtful_years(state: SeriesState | None) -> frozenset[int]:
    """The device-clock years of scans whose detections cannot be read: what a person mends there is seen at once."""
    made = state.years.values() if state else ()
    return frozenset(layout.parse_scan_id(scan_id).device_time.year for year in made for scan_id in year.problems)


def damaged_years(store: Store, scanner_id: str, state: SeriesState, looked_at: Collection[int]) -> frozenset[int]:
    """Of these years, and the newest, those whose files are not as they were written."""
    newest = [max(state.years)] if state.years else []
    return frozenset(
        year
        for year in {*looked_at, *newest} & state.years.keys()
        if any(_digest(store, key) != digest for key, digest in state.years[year].files.items())
    )


def year_keys(scanner_id: str, year: int) -> list[str]:
    """The keys of a year's files."""
    return [layout.series_file(name, scanner_id, year) for name in SERIES]


def year_of(key: str) -> int:
    """The year of a series file."""
    return int(PurePosixPath(key).parent.name.removeprefix("year="))


def _digest(store: Store, key: str) -> str | None:
    try:
        return hashlib.sha256(store.read_bytes(key)).hexdigest()
    except FileNotFoundError:
        return None
