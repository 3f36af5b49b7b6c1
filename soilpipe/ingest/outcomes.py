"""A file under examination, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from soilpipe.ingest.checksums import Told
from soilpipe.store import Entry

Kind = Literal["accepted", "refused", "repeat", "conflict", "vanished"]


@dataclass(frozen=True)
class Outcome:
    """What became of one file. ``reason``: for people, where it was not accepted, or a checksum or profile is no use.

    ``scan_id``: the scan that it is, or that a conflict contradicts.
    """

    kind: Kind
    name: str
    scan_id: str | None = None
    reason: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A file under examination: its bytes lie at ``path``; ``entry`` is how the inbox listed them.

    ``device_time`` None: to be asked of the file. ``accepted``: a person wants it whatever it contradicts.
    ``again``: refused before, and looked at once more. ``told``: what its sha256 should be.
    """

    name: str
    entry: Entry
    path: Path
    sha256: str
    device_time: datetime | None
    time_from: str = "name"
    name_problem: str | None = None
    accepted: bool = False
    again: bool = False
    told: tuple[Told, ...] = ()
