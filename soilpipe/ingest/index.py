"""What ingest remembers of an inbox, so that it never reads again what it knows.

It is no truth: deleted, it is made again from receipts and quarantine, and what stands in neither (a second copy of
a known file) is read once more and found to be a repeat.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from soilpipe import layout
from soilpipe.config import FrozenModel
from soilpipe.ingest.quarantine import list_quarantine
from soilpipe.ingest.receipts import list_receipts
from soilpipe.store import Entry, Store, StoreError, canonical_json


class KnownFile(FrozenModel):
    """A file that was dealt with, as the inbox listed it then. ``kind`` is the outcome's."""

    size: int
    modified: float
    version: str
    sha256: str
    kind: str

    def is_still(self, entry: Entry) -> bool:
        """Whether the inbox lists it unchanged."""
        return (self.size, self.modified, self.version) == (entry.size, entry.modified, entry.version)


class Sighting(FrozenModel):
    """A file that may still be growing, and when it was first listed as it is."""

    size: int
    modified: float
    version: str
    first_seen: datetime

    def is_still(self, entry: Entry) -> bool:
        """Whether the inbox lists it unchanged."""
        return (self.size, self.modified, self.version) == (entry.size, entry.modified, entry.version)


class Index(FrozenModel):
    """By name in the inbox."""

    version: int = 1
    files: dict[str, KnownFile] = Field(default_factory=dict)
    growing: dict[str, Sighting] = Field(default_factory=dict)


def load_index(store: Store, scanner_id: str) -> Index:
    """The index, made again where it is absent or damaged."""
    try:
        return Index.model_validate(store.read_json(layout.index(scanner_id)))
    except (FileNotFoundError, StoreError, ValueError):
        return _made_again(store, scanner_id)


def save_index(store: Store, scanner_id: str, index: Index) -> None:
    """Writes only what changed."""
    store.write_if_changed(layout.index(scanner_id), canonical_json(index.model_dump(mode="json")))


def remember(store: Store, scanner_id: str, name: str, entry: Entry, sha256: str, kind: str) -> None:
    """Note that a file was dealt with."""
    index = load_index(store, scanner_id)
    known = KnownFile(size=entry.size, modified=entry.modified, version=entry.version, sha256=sha256, kind=kind)
    growing = {other: sighting for other, sighting in index.growing.items() if other != name}
    save_index(store, scanner_id, Index(files={**index.files, name: known}, growing=growing))


def forget(store: Store, scanner_id: str, sha256: str) -> None:
    """Let files of this content be looked at again."""
    index = load_index(store, scanner_id)
    files = {name: known for name, known in index.files.items() if known.sha256 != sha256}
    save_index(store, scanner_id, Index(files=files, growing=index.growing))


def sighted(entry: Entry, now: datetime) -> Sighting:
    """A first look at a file that may still grow."""
    return Sighting(size=entry.size, modified=entry.modified, version=entry.version, first_seen=now.astimezone(UTC))


def _made_again(store: Store, scanner_id: str) -> Index:
    files: dict[str, Any] = {}
    for quarantined in list_quarantine(store, scanner_id):
        files[quarantined.source_name] = KnownFile(
            size=quarantined.source_size,
            modified=quarantined.source_modified,
            version=quarantined.source_version,
            sha256=quarantined.sha256,
            kind="conflict" if quarantined.conflicts_with else "refused",
        )
    for receipt in list_receipts(store, scanner_id):
        files[receipt.source_name] = KnownFile(
            size=receipt.source_size,
            modified=receipt.source_modified,
            version=receipt.source_version,
            sha256=receipt.sha256,
            kind="accepted",
        )
    return Index(files=files)
