"""What ingest remembers of an inbox, so that it never reads again what it knows.

It is no truth: deleted, it is made again from receipts and quarantine, and what stands in neither (a second copy of
a known file) is read once more and found to be a repeat. Hence nothing guards it when two runs write it at once: what
one of them loses is read again.

It lies in two objects: all that is known, and the newest notes, which a file that was dealt with is added to. The notes
move to the rest when there are many, so that the price of a note does not grow with the years.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field, ValidationError

from soilpipe import layout
from soilpipe.config import FrozenModel
from soilpipe.ingest.quarantine import list_quarantine
from soilpipe.ingest.receipts import list_receipts
from soilpipe.store import Entry, Store

NOTES = 512
"""Notes that are kept apart: about 120 kB, a few milliseconds to add one."""


class KnownFile(FrozenModel):
    """A file that was dealt with, as the inbox listed it then. ``kind`` is the outcome's.

    ``year``: that of the scan which has its content, by the device's clock; None where only the quarantine has it.
    """

    size: int
    modified: float
    version: str
    sha256: str
    kind: str
    year: int | None = None

    def is_still(self, entry: Entry) -> bool:
        """Whether the inbox lists it unchanged."""
        return self.size == entry.size and self.modified == entry.modified and self.version == entry.version


class Sighting(FrozenModel):
    """A file that may still be growing, and when it was first listed as it is.

    ``waits_since``: when it was first listed at all, where it has changed since. ``changed``: as `Entry`'s.
    """

    size: int
    modified: float
    version: str
    first_seen: datetime
    waits_since: datetime | None = None
    changed: float = 0.0

    def is_still(self, entry: Entry) -> bool:
        """Whether the inbox lists it unchanged; on a disk, not even written to in place under its old time."""
        as_listed = (self.size, self.modified, self.version) == (entry.size, entry.modified, entry.version)
        return as_listed and (self.changed == entry.changed or 0.0 in (self.changed, entry.changed))

    @property
    def waiting_since(self) -> datetime:
        """When a file of this name, not taken yet, was first listed."""
        return self.waits_since or self.first_seen


class Round(FrozenModel):
    """How far the round through an inbox of S3 is, of which a run looks at a part (`ingest.look`).

    ``after``: the key after which the next part begins, "" at the beginning. ``again``: that part was looked at once,
    and something in it was new. ``scope``: what the round is through; with another one, it begins anew.
    """

    scope: str
    after: str = ""
    again: bool = False


class Index(FrozenModel):
    """By name in the inbox. ``version`` 2: an index of version 1 is made again.

    ``round`` None: there was none yet, or the index was lost.
    """

    version: Literal[2] = 2
    files: dict[str, KnownFile] = Field(default_factory=dict)
    growing: dict[str, Sighting] = Field(default_factory=dict)
    round: Round | None = None


def load_index(store: Store, scanner_id: str) -> Index:
    """The index, made again where it is absent or damaged."""
    known, notes = _read(store, layout.index(scanner_id)), _notes(store, scanner_id)
    if known is None:
        made_again = _known(store, scanner_id)
        return Index(files={**made_again.files, **notes.files}, growing=notes.growing)
    return Index(files={**known.files, **notes.files}, growing=notes.growing, round=notes.round)


def remember(
    store: Store, scanner_id: str, name: str, entry: Entry, sha256: str, kind: str, scan_id: str | None = None
) -> None:
    """Note that a file was dealt with. ``scan_id``: the scan that has its content."""
    file = KnownFile(
        size=entry.size,
        modified=entry.modified,
        version=entry.version,
        sha256=sha256,
        kind=kind,
        year=layout.parse_scan_id(scan_id).device_time.year if scan_id else None,
    )
    notes = _notes(store, scanner_id)
    files = {**notes.files, name: file}
    growing = {other: sighting for other, sighting in notes.growing.items() if other != name}
    if len(files) > NOTES or (not notes.files and not store.exists(layout.index(scanner_id))):
        known = _known(store, scanner_id)
        _save(store, layout.index(scanner_id), Index(files={**known.files, **files}))
        files = {}
    _save_notes(store, scanner_id, Index(files=files, growing=growing, round=notes.round))


def save_look(store: Store, scanner_id: str, growing: dict[str, Sighting], round_: Round | None) -> None:
    """Note which files may still be growing, and how far the round through the inbox is."""
    _save_notes(store, scanner_id, Index(files=_notes(store, scanner_id).files, growing=growing, round=round_))


def sighted(entry: Entry, now: datetime, earlier: Sighting | None = None) -> Sighting:
    """A file that may still grow. ``earlier``: what the look before noted of it; None at the first one."""
    if earlier is not None and earlier.is_still(entry):
        return earlier
    return Sighting(
        size=entry.size,
        modified=entry.modified,
        version=entry.version,
        first_seen=now.astimezone(UTC),
        waits_since=earlier.waiting_since if earlier else None,
        changed=entry.changed,
    )


def _known(store: Store, scanner_id: str) -> Index:
    if found := _read(store, layout.index(scanner_id)):
        return found
    made_again = _made_again(store, scanner_id)
    if made_again.files:
        _save(store, layout.index(scanner_id), made_again)
    return made_again


def _notes(store: Store, scanner_id: str) -> Index:
    return _read(store, layout.index_notes(scanner_id)) or Index()


def _read(store: Store, key: str) -> Index | None:
    try:
        return Index.model_validate_json(store.read_bytes(key))
    except (FileNotFoundError, ValidationError):
        return None


def _save(store: Store, key: str, index: Index) -> None:
    """Writes only what changed; equal values are equal bytes."""
    ordered = Index(
        files=dict(sorted(index.files.items())), growing=dict(sorted(index.growing.items())), round=index.round
    )
    store.write_if_changed(key, ordered.model_dump_json(exclude_none=True).encode())


def _save_notes(store: Store, scanner_id: str, notes: Index) -> None:
    key = layout.index_notes(scanner_id)
    if notes.files or notes.growing or notes.round or store.exists(key):
        _save(store, key, notes)


def _made_again(store: Store, scanner_id: str) -> Index:
    files: dict[str, KnownFile] = {}
    for quarantined in list_quarantine(store, scanner_id):
        files[quarantined.source_name] = KnownFile(
            size=quarantined.source_size,
            modified=quarantined.source_modified,
            version=quarantined.source_version,
            sha256=quarantined.sha256,
            kind="conflict" if quarantined.conflicts_with else "refused",
        )
    for receipt in list_receipts(store, scanner_id):
        refused = files.get(receipt.source_name)
        if refused is not None and refused.modified > receipt.source_modified:
            continue  # of two files of one name the later one is in the inbox
        files[receipt.source_name] = KnownFile(
            size=receipt.source_size,
            modified=receipt.source_modified,
            version=receipt.source_version,
            sha256=receipt.sha256,
            kind="accepted",
            year=receipt.device_time.year,
        )
    return Index(files=files)
