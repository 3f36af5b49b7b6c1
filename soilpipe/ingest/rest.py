"""Whether a file has come to rest, or may still be growing: being there proves nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from soilpipe.config import Scanner
from soilpipe.ingest.index import Index, Sighting, sighted
from soilpipe.store import Entry


@dataclass(frozen=True)
class Overdue:
    """A file that has not come to rest, or has no marker, for longer than `missing_after`: its slot is given up.

    It is taken like any other as soon as it is whole; until then later scans are detected without it. ``sentence``
    says what a person has to look at.
    """

    name: str
    sentence: str


class Rest:
    """``index``: what earlier looks noted. ``listed``: all of the inbox that this look sees, markers among it."""

    def __init__(self, scanner: Scanner, index: Index, listed: Iterable[Entry], now: datetime) -> None:
        self._settle_s = scanner.settle.total_seconds()
        self._marker = scanner.done_marker
        self._index = index
        self._now = now
        marker = scanner.done_marker
        self._marked = {e.key.removesuffix(marker): e for e in listed if e.key.endswith(marker)} if marker else {}

    def sighting(self, name: str, entry: Entry) -> Sighting:
        """When it was first listed as it is."""
        return sighted(entry, self._now, self._index.growing.get(name))

    def reached(self, name: str, entry: Entry) -> bool:
        """Whether it may be read."""
        marker = self._marked.get(entry.key)
        if self._marker is not None:
            if marker is None:
                return False
            # A marker is of the file that it came after. One left from an earlier file of this name says nothing.
            if name not in self._index.files or written(marker) >= written(entry):
                return True
        listed_for = (self._now - self.sighting(name, entry).first_seen).total_seconds()
        return max(self._now.timestamp() - written(entry), listed_for) >= self._settle_s


def written(entry: Entry) -> float:
    """When a file was last written to, epoch seconds. On a disk not before its name, owner or rights last changed:
    programs that copy give a file the time of the one it is a copy of, some before its last byte, and this one nobody
    can set. That a file was only given other rights, or another name, costs it another wait."""
    return max(entry.modified, entry.changed)


def overdue(scanner: Scanner, name: str, seen: Sighting, now: datetime) -> Overdue | None:
    """What to say of a file that was not whole at any look for longer than a scan is waited for; None of others."""
    if now - seen.waiting_since <= scanner.missing_after:
        return None
    since = f"{seen.waiting_since:%Y-%m-%d %H:%M} UTC"
    if scanner.done_marker is None:
        what = f"has not come to rest since {since}"
        remedy = "see whether it is still being copied, and end that or move the file away"
    else:
        what = f"has waited for its marker {name}{scanner.done_marker} since {since}"
        remedy = "copy it again or write the marker, or move the file away"
    return Overdue(name, f"{name} {what}, and later scans are no longer held back for it: {remedy}")
