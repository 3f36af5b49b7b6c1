"""What is new in a scanner's inbox: ready to take, still growing, and of nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

from soilpipe import layout
from soilpipe.config import Project, Scanner
from soilpipe.ingest.clock import to_utc
from soilpipe.ingest.index import Index, KnownFile, Sighting, load_index, save_look
from soilpipe.ingest.look import look_into
from soilpipe.ingest.names import NameError_, NameParts, begin_and_time, parse_name
from soilpipe.ingest.quarantine import list_contents
from soilpipe.ingest.readers import IMAGE_SUFFIXES
from soilpipe.ingest.receipts import list_scan_ids
from soilpipe.ingest.rest import Overdue, Rest, overdue
from soilpipe.store import Entry, Store

_LEFT = (".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".sha256", ".md5", ".done", "~")


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
    ``overdue``: growing for so long that they hold nothing up any more, and need a person.

    ``repeats``: files known to be a second copy. ``known``: files dealt with before, repeats among them.
    ``strangers``: names of files that belong to no declared scanner or are no scans; each is told by the first
    scanner of its inbox, and left where it is. ``is_whole``: nothing in the inbox was left for a later look.
    """

    ready: tuple[Arrival, ...]
    growing: tuple[Arrival, ...]
    repeats: int
    known: int
    strangers: tuple[str, ...]
    is_whole: bool = True
    overdue: tuple[Overdue, ...] = ()


def find_arrivals(
    project: Project, scanner: Scanner, store: Store, now: datetime, *, everything: bool = True
) -> Arrivals:
    """List the inbox and sort out what is new. Notes young files in the index, so that a later look can trust them.

    A file is ready when it was last changed at least ``settle`` ago, or was listed the same that long ago; with
    ``done_marker`` as soon as its marker is there, and not before. One that was dealt with is new again when neither a
    receipt nor the quarantine knows its content any more. Raises InboxError when the inbox does not exist.

    ``everything`` False: of an inbox on S3 only what is recent and a part of the rest, in turn (see `look`). What an
    earlier look found growing elsewhere is growing still. ``known``, ``repeats`` and ``strangers`` are of that part.
    """
    now = now.astimezone(UTC)
    index = load_index(store, scanner.id)
    owners = Owners(project, scanner)

    def is_new(entry: Entry) -> bool:
        name = printable(entry.key)
        if _is_beside_the_scans(name, scanner.done_marker) or _is_known(index, name, entry):
            return False
        return isinstance(owners.claimed(name, entry), Arrival)

    look = look_into(project, scanner, index, now, is_new, everything=everything)
    files = [(printable(entry.key), entry) for entry in look.entries]
    unchanged = {name: index.files[name] for name, entry in files if _is_known(index, name, entry)}
    settled = (_settled if look.is_whole else _settled_of)(store, scanner, unchanged)
    rest = Rest(scanner, index, look.entries, now)
    ready, growing, strangers, repeats, known = [], [], [], 0, 0
    sightings: dict[str, Sighting] = {}
    for name, entry in files:
        if _is_beside_the_scans(name, scanner.done_marker):
            continue
        done = unchanged.get(name)
        if done is not None and done.sha256[:8] in settled:
            known += 1
            repeats += done.kind == "repeat"
            continue
        arrival = owners.claimed(name, entry)
        if isinstance(arrival, Stranger):
            strangers += [name] if arrival.told_here else []
            continue
        if rest.reached(name, entry):
            ready.append(arrival)
            sightings |= {name: index.growing[name]} if name in index.growing else {}
        else:
            growing.append(arrival)
            sightings[name] = rest.sighting(name, entry)
    for name, seen in index.growing.items():
        if not look.covers(name):
            sightings[name] = seen
            still = owners.claimed(name, Entry(name, seen.size, seen.modified, seen.version))
            growing += [still] if isinstance(still, Arrival) else []
    round_ = look.round_after(arrival.name for arrival in ready + growing)
    if sightings != index.growing or round_ != index.round:
        save_look(store, scanner.id, sightings, round_)
    late = {name: found for name, seen in sightings.items() if (found := overdue(scanner, name, seen, now))}
    return Arrivals(
        _oldest_first(ready),
        _oldest_first([arrival for arrival in growing if arrival.name not in late]),
        repeats,
        known,
        tuple(strangers),
        is_whole=look.is_whole,
        overdue=tuple(late[arrival.name] for arrival in _oldest_first(growing) if arrival.name in late),
    )


def _is_known(index: Index, name: str, entry: Entry) -> bool:
    done = index.files.get(name)
    return done is not None and done.is_still(entry)


def _settled(store: Store, scanner: Scanner, known: Mapping[str, KnownFile]) -> frozenset[str]:
    """The first 8 digits of every content that is a scan or in quarantine: the index alone proves nothing.

    Only the years are listed of which a known file is still in the inbox. So one that is emptied from time to time
    costs the same few listings however many years lie in the store.
    """
    years = {file.year for file in known.values()}
    scans = {
        scan_id.rpartition("-")[2]
        for year in sorted(year for year in years if year is not None)
        for scan_id in list_scan_ids(store, scanner.id, year)
    }
    contents = list_contents(store, scanner.id) if years else ()
    return frozenset(scans | {content[:8] for content in contents})


def _settled_of(store: Store, scanner: Scanner, known: Mapping[str, KnownFile]) -> frozenset[str]:
    """Of these files alone, and so by looking for the receipts and refusals that they should have.

    For one that is not found where its name says, such as a second copy under another name, whole years are listed.
    """
    receipts, refusals = {}, {}
    for name, file in known.items():
        timed = begin_and_time(name, scanner.filename)
        if file.year is None:
            refusals[layout.quarantine_reason(scanner.id, file.sha256)] = file.sha256[:8]
        elif timed is not None:
            scan_id = layout.make_scan_id(scanner.id, timed[1], file.sha256)
            receipts[layout.receipt(scan_id)] = file.sha256[:8]
    found = {keys[key] for keys in (receipts, refusals) for key in store.present(keys)}
    others = {name: file for name, file in known.items() if file.sha256[:8] not in found}
    return frozenset(found | _settled(store, scanner, others))


def waiting(project: Project, scanner: Scanner, store: Store, now: datetime) -> datetime | None:
    """The time of the earliest file that is there but not dealt with: nothing past it may be detected yet."""
    arrivals = find_arrivals(project, scanner, store, now)
    return min((a.captured_at for a in arrivals.ready + arrivals.growing if a.captured_at), default=None)


@dataclass(frozen=True)
class Stranger:
    """A file that is not this scanner's. ``told_here``: nobody's, and this scanner is the one to say so."""

    told_here: bool


class Owners:
    """Whose the files of a scanner's inbox are."""

    def __init__(self, project: Project, scanner: Scanner) -> None:
        self._scanner = scanner
        sharing = [other for other in project.scanners if other.inbox == scanner.inbox] or [scanner]
        self._ids = [other.id for other in sharing]
        self._of_pattern: dict[str, set[str]] = {}
        for other in sharing:
            self._of_pattern.setdefault(other.filename, set()).add(other.id)

    def claimed(self, name: str, entry: Entry) -> Arrival | Stranger:
        """Whether a file in the scanner's inbox is this scanner's."""
        parts, problem = _read_name(name, self._scanner.filename)
        owner = self._owner(name, parts)
        if owner != self._scanner.id:
            return Stranger(told_here=owner is None and self._ids[0] == self._scanner.id)
        time = parts.time if parts else None
        return Arrival(entry, name, time, to_utc(time, self._scanner, entry.modified) if time else None, problem)

    def _owner(self, name: str, parts: NameParts | None) -> str | None:
        """The id of the scanner of this inbox whose file it is; None: nobody's."""
        if parts is not None and parts.scanner in (None, self._scanner.id):
            return self._scanner.id
        readable = parts is not None
        for pattern, ids in self._of_pattern.items():
            # The scanner's own pattern was read already.
            other_parts = parts if pattern == self._scanner.filename else _read_name(name, pattern)[0]
            readable = readable or other_parts is not None
            if other_parts and other_parts.scanner in ids:
                return other_parts.scanner
        if readable or PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES:
            return None
        # A picture whose name nobody can read: of the only scanner, or of the one whose id it begins with.
        if len(self._ids) == 1:
            return self._scanner.id
        begun = [one for one in self._ids if re.match(re.escape(one) + r"(?![A-Za-z0-9])", name)]
        return max(begun, key=len, default=None)


def printable(name: str) -> str:
    """A file name as text that any file can hold: bytes that are not UTF-8 and control characters escaped."""
    if name.isascii() and name.isprintable():
        return name
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda match: f"\\x{ord(match[0]):02x}", text)


def _read_name(name: str, pattern: str) -> tuple[NameParts | None, str | None]:
    try:
        return parse_name(name, pattern), None
    except NameError_ as error:
        return None, str(error)


def _is_beside_the_scans(name: str, done_marker: str | None) -> bool:
    """Files that copying programs and file managers leave: hidden, unfinished, checksums, markers."""
    if done_marker is not None and name.endswith(done_marker):
        return True
    return name.startswith(".") or name.lower().endswith(_LEFT) or name in ("Thumbs.db", "desktop.ini")


def _oldest_first(arrivals: list[Arrival]) -> tuple[Arrival, ...]:
    late = datetime.max.replace(tzinfo=UTC)
    return tuple(sorted(arrivals, key=lambda arrival: (arrival.captured_at or late, arrival.name)))
