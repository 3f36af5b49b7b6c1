"""Tokens that say where the truth is about to change, so that a run need not list every year to find out.

Whoever writes truth of a scanner (a receipt, a detection file, a reason in quarantine, a decision) first writes a token
for its part: a device-clock year, or `REFUSED`. A run lists the tokens, which is one short listing, and looks again at
those parts alone (`counts.known`). Whoever is killed between token and truth leaves a token too many, which costs
one look.

A token is deleted by a run that has looked at its part, and only when it is older than `GRACE`: what was written under
it was written within `REUSE` of it, so that look has seen it, also where two runs write at once. The ages compared are
those of a store's clock and this machine's; on S3 a server refuses who is 15 minutes off.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from time import time as clock

from soilpipe import layout
from soilpipe.store import Entry, Store

REUSE_S = 1800.0
"""One token serves what a process writes in this time after it: a batch of 200 scans does not leave 400 of them."""
GRACE_S = 7200.0
REFUSED = "refused"
"""The part of quarantine and of the decisions on it."""
SERIES = "series"
"""Begins the parts that are years of the series: tokens of a run that is writing them."""

_written: dict[tuple[str, str, str], float] = {}


@dataclass(frozen=True)
class Tokens:
    """The tokens of a scanner: by part; ``listed`` is when, epoch seconds."""

    listed: float
    of_part: dict[str, list[Entry]] = field(default_factory=dict)

    @property
    def years(self) -> frozenset[int]:
        """The device-clock years whose receipts or detections may have changed."""
        return frozenset(int(part) for part in self.of_part if part.isdecimal())

    @property
    def series_years(self) -> frozenset[int]:
        """The years of the series that a run began to write, and perhaps has not finished."""
        parts = (part.partition("-") for part in self.of_part)
        return frozenset(int(year) for kind, _, year in parts if kind == SERIES and year.isdecimal())

    @property
    def is_fresh(self) -> bool:
        """Whether what was read after this listing may still be kept for others: not by a run that slept in between."""
        return 0 <= clock() - self.listed < REUSE_S

    def old(self, parts: Iterable[str]) -> list[str]:
        """The keys of those of these parts that may be deleted once the parts were looked at."""
        wanted = [entry for part in parts for entry in self.of_part.get(part, ())]
        return [entry.key for entry in wanted if self.listed - entry.modified > GRACE_S]


def touch(store: Store, scanner_id: str, when: datetime) -> None:
    """To be called before a receipt or a detection file of this device time is written or deleted."""
    _touch(store, scanner_id, f"{when.year:04d}")


def touch_scan(store: Store, scan_id: str) -> None:
    """The same by the id of the scan."""
    parts = layout.parse_scan_id(scan_id)
    touch(store, parts.scanner_id, parts.device_time)


def touch_refused(store: Store, scanner_id: str) -> None:
    """To be called before a reason in quarantine or a decision is written."""
    _touch(store, scanner_id, REFUSED)


def touch_series(store: Store, scanner_id: str, year: int) -> str:
    """To be called before series files of a year are written; the key, to be deleted when all of it is done."""
    return _write(store, scanner_id, f"{SERIES}-{year:04d}")


def tokens(store: Store, scanner_id: str) -> Tokens:
    """All tokens of a scanner."""
    listed = clock()
    of_part: dict[str, list[Entry]] = {}
    for entry in store.list(layout.touched_prefix(scanner_id), ".json"):
        of_part.setdefault(entry.key.rpartition("/")[2].rpartition("-")[0], []).append(entry)
    return Tokens(listed, of_part)


def _touch(store: Store, scanner_id: str, part: str) -> None:
    name = (store.root, scanner_id, part)
    if not 0 <= clock() - _written.get(name, 0.0) < REUSE_S:
        begun = clock()
        _write(store, scanner_id, part)
        _written[name] = begun


def _write(store: Store, scanner_id: str, part: str) -> str:
    key = layout.touched(scanner_id, part, secrets.token_hex(6))
    store.write_bytes(key, b"{}\n")
    return key
