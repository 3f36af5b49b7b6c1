"""Write the series of a scanner: list the truth, write what follows from it, list the truth again; if it moved, again.

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
from soilpipe.counts.project_tables import project_tables
from soilpipe.counts.slots import Unslotted, complete_through
from soilpipe.counts.tables import YearTables, scanner_tables, scanner_timetable
from soilpipe.counts.truth import list_truth, read_truth
from soilpipe.errors import SoilpipeError
from soilpipe.parquet import from_parquet, metadata_of, to_parquet
from soilpipe.schemas import SERIES, STATES
from soilpipe.store import Store, canonical_json

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


def build_series(project: Project, store: Store, scanner_id: str, now: datetime) -> SeriesSummary:
    """Make the series files of one scanner equal to what the truth gives as of ``now``.

    ``now`` earlier than what the files already tell (a clock that went back, a run that waited) does not take back what
    they tell. Raises SeriesError when the truth keeps moving.
    """
    scanner = project.scanner(scanner_id)
    changed = {*record_config(project, store), *write_project_tables(project, store)}
    for _ in range(MAX_ROUNDS):
        as_of = max(now.astimezone(UTC), stored_as_of(store, scanner_id) or now.astimezone(UTC))
        listed = list_truth(store, scanner_id)
        truth = read_truth(store, scanner)
        table = scanner_timetable(scanner, truth, as_of)
        problems: list[str] = []
        expected: set[str] = set()
        for tables in scanner_tables(project, scanner, store, truth, table.slots):
            problems += tables.problems
            for key, content in series_files(scanner_id, tables):
                expected.add(key)
                if _write(store, key, content):
                    changed.add(key)
        for key in set(series_keys(store, scanner_id)) - expected:
            store.delete(key)
            changed.add(key)
        if list_truth(store, scanner_id) == listed:
            return SeriesSummary(
                scanner_id=scanner_id,
                changed=tuple(sorted(changed)),
                slots={state: table.count(state) for state in STATES},
                unslotted=table.unslotted,
                problems=tuple(problems),
                complete_through=complete_through(table.slots),
                as_of=as_of,
            )
    raise SeriesError(
        f"the receipts and detections of {scanner_id} changed in each of {MAX_ROUNDS} attempts to write its series; "
        "let the other runs of this scanner finish, then run again with --only series"
    )


def series_files(scanner_id: str, tables: YearTables) -> Iterable[tuple[str, pa.Table]]:
    """(key, table with its metadata) of each file of a scanner and year."""
    for name in SERIES:
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
        for name in SERIES
        for entry in store.list(layout.series_prefix(name), ".parquet")
        if entry.key.endswith(f"/{scanner_id}.parquet")
    ]


def stored_as_of(store: Store, scanner_id: str) -> datetime | None:
    """The latest `as_of` that the scanner's files tell; None when there is none. Damaged files tell nothing."""
    found = []
    for key in series_keys(store, scanner_id):
        try:
            told = metadata_of(store.read_bytes(key)).get(AS_OF)
            found += [datetime.fromisoformat(told)] if told else []
        except (FileNotFoundError, pa.ArrowException, ValueError):
            continue
    return max(found, default=None)


def record_config(project: Project, store: Store) -> list[str]:
    """Keep what the project file says now, once for each content; the keys written."""
    data = canonical_json(project.snapshot())
    key = layout.record("config", hashlib.sha256(data).hexdigest()[:16])
    return [key] if store.write_if_changed(key, data) else []


def write_project_tables(project: Project, store: Store) -> list[str]:
    """Write series/sites, scanners and taxa; the keys that changed."""
    tables = project_tables(project)
    return [key for name, table in tables.items() if _write(store, key := layout.series_table(name), table)]


def _write(store: Store, key: str, table: pa.Table) -> bool:
    data = to_parquet(table)
    try:
        if same_table(store.read_bytes(key), table):
            return False
    except FileNotFoundError:
        pass
    store.write_bytes(key, data)
    return True


def same_table(data: bytes, table: pa.Table) -> bool:
    """Whether a file holds this table: rows, types, and what the metadata says."""
    try:
        return bool(from_parquet(data).equals(table, check_metadata=True))
    except (pa.ArrowException, OSError):
        return False
