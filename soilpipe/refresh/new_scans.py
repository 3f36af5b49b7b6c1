"""Which scans are new to a refresh: those that none before it had before it, whenever they were taken.

Scans may come long after they were taken: an archive, a card that was found in the field. So each refresh keeps the ids
of the scans that were new to it, drawn or not, in a small file of its own: those of one week, packed. A refresh of an
earlier release has no such file: it had all scans up to the times in its record.
"""

from __future__ import annotations

import gzip
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from soilpipe import layout
from soilpipe.atomic import write_atomically
from soilpipe.config import FrozenModel, Project
from soilpipe.ingest.clock import scan_times
from soilpipe.ingest.quarantine import superseded_scans
from soilpipe.ingest.receipts import list_scan_ids
from soilpipe.refresh.records import DroppedRefresh, RefreshRecord
from soilpipe.refresh.state import RefreshError
from soilpipe.store import Store, canonical_json

FILE = "scans.json.gz"
"""In the folder of a refresh."""


class ScanList(FrozenModel):
    """Scans by scanner: their ids, with a space between two."""

    schema_version: Literal[1] = 1
    scans: Mapping[str, str]

    def encoded(self) -> bytes:
        """The bytes of its file; of equal lists the same."""
        return gzip.compress(canonical_json(self.model_dump(mode="json")), mtime=0)


@dataclass(frozen=True)
class Had:
    """What refreshes have had before them: the scans in `lists`, and of `by_time`'s scanners all up to these times.

    read_until: by scanner the time of the newest of all these.
    """

    lists: Mapping[str, Sequence[str]]
    by_time: Mapping[str, datetime]
    read_until: Mapping[str, datetime]

    def has(self, scanner_id: str, times: Mapping[str, datetime]) -> set[str]:
        """Which of a scanner's scans, {scan_id: captured_at}, were had."""
        until = self.by_time.get(scanner_id)
        listed = set(" ".join(self.lists.get(scanner_id, ())).split())
        return {one for one, at in times.items() if one in listed or (until is not None and at <= until)}


@dataclass(frozen=True)
class Found:
    """By scanner: its new scans, in order of their ids; when the earliest of them, and when its newest scan of all was
    taken, UTC. A scanner without any is in none of them."""

    new: Mapping[str, Sequence[str]]
    earliest: Mapping[str, datetime]
    newest: Mapping[str, datetime]


def had_before(
    project: Project, store: Store, done: Sequence[RefreshRecord], given_up: Sequence[DroppedRefresh] = ()
) -> Had:
    """What refreshes that were finished, or given up on account of their scans, have had before them."""
    there = set(store.keys(layout.scans_of_refreshes(), ".json.gz"))
    lists: dict[str, list[str]] = defaultdict(list)
    by_time: dict[str, datetime] = {}
    read_until: dict[str, datetime] = {}
    read = [(record.run_id, _read_by(record, project)) for record in done]
    read += [(record.run_id, record.read_until) for record in given_up if record.read_until]
    for run_id, until in read:
        key = layout.scans_of_refresh(run_id)
        if key in there:
            for scanner, ids in _decoded(store.read_bytes(key), key).scans.items():
                lists[scanner].append(ids)
        else:
            _raise_to(by_time, until)
        _raise_to(read_until, until)
    return Had(lists, by_time, read_until)


def _raise_to(bounds: dict[str, datetime], until: Mapping[str, datetime]) -> None:
    for scanner, at in until.items():
        bounds[scanner] = max(at, bounds.get(scanner, at))


def _read_by(record: RefreshRecord, project: Project) -> Mapping[str, datetime]:
    """Earlier releases read all scanners up to one time."""
    if record.read_until or record.until is None:
        return record.read_until
    return {scanner.id: record.until for scanner in project.scanners}


def look(project: Project, store: Store, had: Had, now: datetime) -> Found:
    """Look through all accepted scans for those that are new.

    A scan from the future (of a clock that is wrong) is not there yet: it would make all later ones old.
    """
    new, earliest, newest = {}, {}, {}
    for scanner in project.scanners:
        aside = superseded_scans(store, scanner.id)
        ids = (one for one in list_scan_ids(store, scanner.id) if one not in aside)
        times = {one: at for one, at in scan_times(store, scanner, ids).items() if at <= now}
        fresh = sorted(times.keys() - had.has(scanner.id, times))
        if fresh:
            new[scanner.id], earliest[scanner.id] = fresh, min(times[one] for one in fresh)
        if times:
            newest[scanner.id] = max(times.values())
    return Found(new, earliest, newest)


def note_new(work: Path, new: Mapping[str, Sequence[str]]) -> None:
    """Keep in the folder of a refresh which scans are new to it."""
    listed = ScanList(scans={scanner: " ".join(ids) for scanner, ids in new.items()})
    write_atomically(work / FILE, work, iter((listed.encoded(),)))


def noted_new(work: Path) -> dict[str, set[str]] | None:
    """By scanner the ids of what is new to the refresh in this folder; None where it was begun by an earlier release,
    which told it by time."""
    try:
        data = (work / FILE).read_bytes()
    except FileNotFoundError:
        return None
    return {scanner: set(ids.split()) for scanner, ids in _decoded(data, str(work / FILE)).scans.items()}


def keep_read(store: Store, work: Path, run_id: str) -> None:
    """Keep in the store which scans a refresh has had before it. Its record, which makes it count, comes after this."""
    path = work / FILE
    if path.is_file():
        store.write_if_changed(layout.scans_of_refresh(run_id), path.read_bytes())


def _decoded(data: bytes, where: str) -> ScanList:
    try:
        return ScanList.model_validate_json(gzip.decompress(data))
    except (OSError, EOFError, zlib.error, ValidationError) as error:
        raise RefreshError(
            f"{where} is no list of scans that this release reads. Without it what is new is told by time: remove it "
            "and refresh again"
        ) from error
