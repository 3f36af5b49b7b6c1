"""How often reading a file was given up, so that one that hangs its decoder does not cost every run its time limit.

A time limit also passes when a disk or a line is slow for once: so a file has TRIES runs, with one try in each, before
it is refused. The count is of a file as the inbox lists it: one that is copied again begins anew.

It is no truth. Lost, or written by two runs at once, a file has a try or two more.
"""

from __future__ import annotations

from pydantic import Field, ValidationError

from soilpipe import layout
from soilpipe.config import FrozenModel
from soilpipe.errors import SoilpipeError
from soilpipe.store import Entry, Store

TRIES = 3


class ReadingHangsError(SoilpipeError):
    """Reading a file was given up; the next run tries it again. Not to be tried again at once: it takes so long."""


class Hung(FrozenModel):
    """A file as the inbox listed it, and in how many runs reading it was given up."""

    size: int
    modified: float
    version: str
    runs: int


class HungFiles(FrozenModel):
    """By name in the inbox; files from quarantine by their sha256."""

    files: dict[str, Hung] = Field(default_factory=dict)


def note_hang(store: Store, scanner_id: str, name: str, entry: Entry) -> int:
    """Note that reading the file was given up; in how many runs that was, this one included."""
    known = _load(store, scanner_id)
    before = known.get(name)
    same = before is not None and Entry(name, before.size, before.modified, before.version).is_now(entry)
    runs = 1 + (before.runs if same and before is not None else 0)
    hung = Hung(size=entry.size, modified=entry.modified, version=entry.version, runs=runs)
    _save(store, scanner_id, {**known, name: hung})
    return runs


def forget_hang(store: Store, scanner_id: str, name: str) -> None:
    """Count the file from the beginning."""
    known = _load(store, scanner_id)
    if name in known:
        _save(store, scanner_id, {other: hung for other, hung in known.items() if other != name})


def _load(store: Store, scanner_id: str) -> dict[str, Hung]:
    try:
        return HungFiles.model_validate_json(store.read_bytes(layout.hung(scanner_id))).files
    except (FileNotFoundError, ValidationError):
        return {}


def _save(store: Store, scanner_id: str, files: dict[str, Hung]) -> None:
    store.write_bytes(layout.hung(scanner_id), HungFiles(files=dict(sorted(files.items()))).model_dump_json().encode())
