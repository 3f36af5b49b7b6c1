"""Write the series of a scanner: look at the truth, write what follows from it, look again; if it moved, again.

A file whose table is the same is left alone, to the byte. What no longer follows from the truth is removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from soilpipe import layout
from soilpipe.config import Project
from soilpipe.counts import series_state
from soilpipe.counts.known import known_truth
from soilpipe.counts.project_tables import project_tables
from soilpipe.counts.series_state import (
    SeriesState,
    SeriesYear,
    damaged_years,
    doubtful_years,
    year_keys,
    year_of,
)
from soilpipe.counts.slots import Unslotted, complete_through
from soilpipe.counts.tables import MadeYear, YearTables, scanner_tables, scanner_timetable
from soilpipe.errors import SoilpipeError
from soilpipe.parquet import from_parquet, metadata_of, to_parquet
from soilpipe.schemas import SERIES as TABLES
from soilpipe.schemas import STATES
from soilpipe.store import Store, canonical_json
from soilpipe.touched import SERIES, Tokens, touch_series

AS_OF = "as_of"
MAX_ROUNDS = 20


class SeriesError(SoilpipeError):
    """The series cannot be written."""


@dataclass(frozen=True)
class SeriesSummary:
    """What a build did and found.

    changed    keys written or removed
    slots      number of slots by state
    unslotted  accepted scans without a slot
    problems   detection files that cannot be read: their slots have no counts, and a person is needed
    as_of      the time up to which pending and missing were told
    """

    scanner_id: str
    changed: tuple[str, ...]
    slots: Mapping[str, int]
    unslotted: tuple[Unslotted, ...]
    problems: tuple[str, ...]
    complete_through: datetime | None
    as_of: datetime


def build_series(
    project: Project, store: Store, scanner_id: str, now: datetime, *, fresh: bool = False
) -> SeriesSummary:
    """Make the series files of one scanner equal to what the truth gives as of ``now``.

    Only years are made again on which something has changed that they depend on (`series_state`, `known`). ``fresh``:
    nothing that earlier runs knew or made is believed; every year is made again and compared.

    ``now`` earlier than what the files already tell (a clock that went back, a run that waited) does not take back what
    they tell. Raises SeriesError when the truth keeps moving.
    """
    scanner = project.scanner(scanner_id)
    changed = {*record_config(project, store), *write_project_tables(project, store)}
    state = None if fresh else series_state.load(store, scanner_id)
    known = known_truth(store, scanner, also=doubtful_years(state), fresh=fresh)
    writing = _Writing(store, scanner_id, known.tokens)
    if state is None:
        state = _found(store, scanner_id)
    else:
        state.forget(known.tokens.series_years | damaged_years(store, scanner_id, state, known.looked_at))
    for _ in range(MAX_ROUNDS):
        told = max(filter(None, (state.as_of, *writing.told(known.tokens.series_years))), default=None)
        as_of = max(now.astimezone(UTC), told or now.astimezone(UTC))
        table = scanner_timetable(scanner, known.truth, as_of)
        before = {year: MadeYear(made.made_from, made.problems) for year, made in state.years.items()}
        wrote: set[int] = set()
        for tables in scanner_tables(project, scanner, store, known.truth, table.slots, before):
            wrote.add(tables.year)
            made, keys = writing.year(tables)
            state.years[tables.year] = made
            changed |= keys
        follow = {slot.slot.year for slot in table.slots}
        for year in (state.years.keys() | known.tokens.series_years) - follow:
            wrote.add(year)
            changed |= writing.remove(year)
            state.years.pop(year, None)
        refused = list(known.truth.refused)
        if wrote or state.refused != refused:
            state.refused = refused
            series_state.save(store, scanner_id, state, wrote)
        again = known_truth(store, scanner) if wrote else known
        if again.is_as(known):
            writing.done()
            return SeriesSummary(
                scanner_id=scanner_id,
                changed=tuple(sorted(changed)),
                slots={name: table.count(name) for name in STATES},
                unslotted=table.unslotted,
                problems=tuple(
                    problem for _, made in sorted(state.years.items()) for problem in made.problems.values()
                ),
                complete_through=complete_through(table.slots),
                as_of=as_of,
            )
        known = again
        state.forget(wrote)  # made of another truth: also where a run beside this one says it has made them again
    raise SeriesError(
        f"the receipts and detections of {scanner_id} changed in each of {MAX_ROUNDS} attempts to write its series; "
        "let the other runs of this scanner finish, then run again with --only series"
    )


class _Writing:
    """Writes the files of years. Before the first file of a year a token is left, and taken away when all is done:

    who is killed in between, or writes beside another run, leaves a year that the next run makes again.
    """

    def __init__(self, store: Store, scanner_id: str, found: Tokens) -> None:
        self._store = store
        self._scanner_id = scanner_id
        self._tokens: dict[int, str] = {}
        self._abandoned = found

    def year(self, tables: YearTables) -> tuple[SeriesYear, set[str]]:
        """What is to be kept of the year, and the keys that were written."""
        self._announce(tables.year)
        digests, changed = {}, set()
        for key, content in series_files(self._scanner_id, tables):
            data, is_new = _write(self._store, key, content)
            digests[key] = hashlib.sha256(data).hexdigest()
            changed |= {key} if is_new else set()
        as_of = max(filter(None, tables.as_of.values()), default=None)
        return SeriesYear(
            made_from=tables.made_from, as_of=as_of, problems=dict(tables.problems), files=digests
        ), changed

    def remove(self, year: int) -> set[str]:
        """Remove the files of a year that follows from nothing; the keys that were there."""
        self._announce(year)
        keys = {key for key in year_keys(self._scanner_id, year) if self._store.exists(key)}
        for key in keys:
            self._store.delete(key)
        return keys

    def told(self, years: Iterable[int]) -> list[datetime]:
        """What the files of these years tell, whoever wrote them."""
        return [as_of for year in years for as_of in _told_by(self._store, year_keys(self._scanner_id, year))]

    def done(self) -> None:
        """Everything is written, and the truth has not moved."""
        parts = [f"{SERIES}-{year:04d}" for year in self._abandoned.series_years]
        for key in (*self._tokens.values(), *self._abandoned.old(parts)):
            self._store.delete(key)

    def _announce(self, year: int) -> None:
        if year not in self._tokens:
            self._tokens[year] = touch_series(self._store, self._scanner_id, year)


def _found(store: Store, scanner_id: str) -> SeriesState:
    """What is there when nothing is known of it: years to be made again, and what they tell."""
    years: dict[int, list[str]] = {}
    for key in series_keys(store, scanner_id):
        years.setdefault(year_of(key), []).append(key)
    return SeriesState(
        years={
            year: SeriesYear(made_from="", as_of=max(_told_by(store, keys), default=None), problems={}, files={})
            for year, keys in years.items()
        }
    )


def series_files(scanner_id: str, tables: YearTables) -> Iterable[tuple[str, pa.Table]]:
    """(key, table with its metadata) of each file of a scanner and year."""
    for name in TABLES:
        table = tables.tables[name]
        as_of = tables.as_of[name]
        if as_of is not None:
            metadata = {**(table.schema.metadata or {}), AS_OF.encode(): as_of.astimezone(UTC).isoformat().encode()}
            table = table.replace_schema_metadata(metadata)
        yield layout.series_file(name, scanner_id, tables.year), table


def series_keys(store: Store, scanner_id: str) -> list[str]:
    """The series files that a scanner has, of every table and year."""
    return [
        entry.key
        for name in TABLES
        for entry in store.list(layout.series_prefix(name), ".parquet")
        if entry.key.endswith(f"/{scanner_id}.parquet")
    ]


def stored_as_of(store: Store, scanner_id: str) -> datetime | None:
    """The latest `as_of` that the scanner's files tell; None when there is none. Damaged files tell nothing."""
    return max(_told_by(store, series_keys(store, scanner_id)), default=None)


def _told_by(store: Store, keys: Iterable[str]) -> list[datetime]:
    found = []
    for key in keys:
        try:
            told = metadata_of(store.read_bytes(key)).get(AS_OF)
            found += [datetime.fromisoformat(told)] if told else []
        except (FileNotFoundError, pa.ArrowException, ValueError):
            continue
    return found


def record_config(project: Project, store: Store) -> list[str]:
    """Keep what the project file says now, once for each content; the keys written."""
    data = canonical_json(project.snapshot())
    key = layout.record("config", hashlib.sha256(data).hexdigest()[:16])
    return [key] if store.write_if_changed(key, data) else []


def write_project_tables(project: Project, store: Store) -> list[str]:
    """Write series/sites, scanners and taxa; the keys that changed."""
    tables = project_tables(project)
    return [key for name, table in tables.items() if _write(store, key := layout.series_table(name), table)[1]]


def _write(store: Store, key: str, table: pa.Table) -> tuple[bytes, bool]:
    """The bytes that are there then, and whether they were written."""
    try:
        if same_table(there := store.read_bytes(key), table):
            return there, False
    except FileNotFoundError:
        pass
    data = to_parquet(table)
    store.write_bytes(key, data)
    return data, True


def same_table(data: bytes, table: pa.Table) -> bool:
    """Whether a file holds this table: rows, types, and what the metadata says."""
    try:
        return bool(from_parquet(data).equals(table, check_metadata=True))
    except (pa.ArrowException, OSError):
        return False
