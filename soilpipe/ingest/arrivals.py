"""What is new in a scanner's inbox: ready to take, still growing, and of nobody."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

from soilpipe.config import Project, Scanner
from soilpipe.ingest.index import Index, load_index, save_index, sighted
from soilpipe.ingest.names import NameError_, NameParts, parse_name
from soilpipe.ingest.quarantine import list_contents
from soilpipe.ingest.readers import IMAGE_SUFFIXES
from soilpipe.ingest.receipts import list_scan_ids
from soilpipe.store import Entry, Inbox, Store


@dataclass(frozen=True)
class Arrival:
    """One file of a scanner. ``name`` is printable; ``entry.key`` is what the inbox calls it.

    ``device_time`` (naive) and ``captured_at`` (UTC) are from the name, None when it has no readable time; then
    ``name_problem`` says why.
    """

    entry: Entry
    name: str
    device_time: datetime | None
    captured_at: datetime | None
    name_problem: str | None = None


@dataclass(frozen=True)
class Arrivals:
    """``ready``: oldest first, those without a time last. ``growing``: too young to be trusted to be whole.

    ``repeats``: files known to be a second copy. ``known``: files dealt with before, repeats among them.
    ``strangers``: names of files that belong to no declared scanner or are no scans; each is told by the first
    scanner of its inbox, and left where it is.
    """

    ready: tuple[Arrival, ...]
    growing: tuple[Arrival, ...]
    repeats: int
    known: int
    strangers: tuple[str, ...]


def find_arrivals(project: Project, scanner: Scanner, store: Store, now: datetime) -> Arrivals:
    """List the inbox and sort out what is new. Notes young files in the index, so that a later look can trust them.

    A file is ready when it was last changed at least ``settle`` ago, or was listed the same that long ago. One that was
    dealt with is new again when neither a receipt nor the quarantine knows its content any more. Raises InboxError when
    the inbox does not exist.
    """
    now = now.astimezone(UTC)
    index = load_index(store, scanner.id)
    settled = _settled(store, scanner.id)
    ready, growing, strangers, repeats, known = [], [], [], 0, 0
    sightings = {}
    for entry in Inbox(scanner.inbox, scanner.inbox_options).list():
        name = printable(entry.key)
        if _is_beside_the_scans(name):
            continue
        arrival = claimed(project, scanner, entry)
        if isinstance(arrival, Stranger):
            strangers += [name] if arrival.told_here else []
            continue
        done = index.files.get(name)
        if done is not None and done.is_still(entry) and done.sha256[:8] in settled:
            known += 1
            repeats += done.kind == "repeat"
            continue
        sighting = index.growing.get(name)
        if sighting is None or not sighting.is_still(entry):
            sighting = sighted(entry, now)
        if max(now.timestamp() - entry.modified, (now - sighting.first_seen).total_seconds()) >= (
            scanner.settle.total_seconds()
        ):
            ready.append(arrival)
            if name in index.growing:
                sightings[name] = index.growing[name]
        else:
            growing.append(arrival)
            sightings[name] = sighting
    if sightings != index.growing:
        save_index(store, scanner.id, Index(files=index.files, growing=sightings))
    return Arrivals(_oldest_first(ready), _oldest_first(growing), repeats, known, tuple(strangers))


def _settled(store: Store, scanner_id: str) -> frozenset[str]:
    """The first 8 digits of every content that is a scan or in quarantine: the index alone proves nothing."""
    scans = {scan_id.rpartition("-")[2] for scan_id in list_scan_ids(store, scanner_id)}
    return frozenset(scans | {content[:8] for content in list_contents(store, scanner_id)})


def waiting(project: Project, scanner: Scanner, store: Store, now: datetime) -> datetime | None:
    """The time of the earliest file that is there but not dealt with: nothing past it may be detected yet."""
    arrivals = find_arrivals(project, scanner, store, now)
    return min((a.captured_at for a in arrivals.ready + arrivals.growing if a.captured_at), default=None)


@dataclass(frozen=True)
class Stranger:
    """A file that is not this scanner's. ``told_here``: nobody's, and this scanner is the one to say so."""

    told_here: bool


def claimed(project: Project, scanner: Scanner, entry: Entry) -> Arrival | Stranger:
    """Whether a file in the scanner's inbox is this scanner's."""
    name = printable(entry.key)
    sharing = [other for other in project.scanners if other.inbox == scanner.inbox] or [scanner]
    told_here = sharing[0].id == scanner.id
    parts, problem = _read_name(name, scanner.filename)
    owner = _owner(name, parts, scanner, sharing)
    if owner != scanner.id:
        return Stranger(told_here=owner is None and told_here)
    time = parts.time if parts else None
    return Arrival(entry, name, time, to_utc(time, scanner) if time else None, problem)


def _owner(name: str, parts: NameParts | None, scanner: Scanner, sharing: list[Scanner]) -> str | None:
    """The id of the scanner of this inbox whose file it is; None: nobody's."""
    if parts is not None and parts.scanner in (None, scanner.id):
        return scanner.id
    readable = parts is not None
    for pattern in dict.fromkeys(other.filename for other in sharing):
        other_parts, _ = _read_name(name, pattern)
        readable = readable or other_parts is not None
        if other_parts and any(s.filename == pattern and s.id == other_parts.scanner for s in sharing):
            return other_parts.scanner
    if readable or PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES:
        return None
    # A picture whose name nobody can read: of the only scanner, or of the one whose id it begins with.
    if len(sharing) == 1:
        return scanner.id
    ids = [s.id for s in sharing if re.match(re.escape(s.id) + r"(?![A-Za-z0-9])", name)]
    return max(ids, key=len, default=None)


def to_utc(device_time: datetime, scanner: Scanner) -> datetime:
    """The device's clock in the scanner's zone. Of doubled times the first; times that the clock skipped move on."""
    return device_time.replace(tzinfo=scanner.zone, fold=0).astimezone(UTC)


def printable(name: str) -> str:
    """A file name as text that any file can hold: bytes that are not UTF-8 and control characters escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda match: f"\\x{ord(match[0]):02x}", text)


def _read_name(name: str, pattern: str) -> tuple[NameParts | None, str | None]:
    try:
        return parse_name(name, pattern), None
    except NameError_ as error:
        return None, str(error)


def _is_beside_the_scans(name: str) -> bool:
    """Files that copying programs and file managers leave: hidden, unfinished, checksums."""
    left = (".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".sha256", ".md5", ".done", "~")
    return name.startswith(".") or name.lower().endswith(left) or name in ("Thumbs.db", "desktop.ini")


def _oldest_first(arrivals: list[Arrival]) -> tuple[Arrival, ...]:
    late = datetime.max.replace(tzinfo=UTC)
    return tuple(sorted(arrivals, key=lambda arrival: (arrival.captured_at or late, arrival.name)))
