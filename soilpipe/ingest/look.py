"""Which part of an inbox a look lists, so that on S3 its price does not grow with the years.

A disk lists everything at once, and so does a look for a person. On S3, where 1,000 names are one request, the look of
a scheduled run lists

- the ends: from MARGIN known files before the newest one (by the time in its name) on, as long as there is something
  new; so too from before the file that arrived last, which is where a clock that was reset goes on;
- the round: of everything, one page for each scanner whose names lie there, from where the run before stopped, over and
  over. Late files, odd names and lost receipts are found by it: with n names in one scanner's inbox within
  n / 1,000 + 2 runs or so. At one run a slot, that is one day for every 1,000 days of scans, whatever the scanner.
  A part in which something is new is looked at twice, so that what was too young or failed is not left for a round.

What no look has seen yet holds nothing up: as a file that comes late, it is taken and detected when it is found.

A look lists everything where nothing is known (the first one, a lost index, another pattern or inbox), and always where
names do not sort by time (`ci600`, times from the files): what is new may then be anywhere. So it does where names
begin in more than HEADS ways.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from soilpipe.config import Project, Scanner
from soilpipe.config.places import PRESETS_NAME_THE_SCANNER, names_scanner
from soilpipe.ingest.index import Index, Round
from soilpipe.ingest.names import begin_and_time
from soilpipe.store import Entry, Inbox

MARGIN = 300
"""Known files before the newest that are listed with it: those that come some days late are found at once."""
HEADS = 4
DORMANT = timedelta(days=60)
"""Names that begin in a way that has been out of use for so long are left to the round."""
AHEAD = timedelta(days=2)
"""Times in names that are further in the future than this are those of a wrong clock, and not the newest."""

LAST = chr(0x10FFFF)
IsNew = Callable[[Entry], bool]


@dataclass(frozen=True)
class Span:
    """What was listed: the names that begin with ``begins``, after ``after`` and up to ``end`` (None: all further)."""

    begins: str
    after: str
    end: str | None
    entries: tuple[Entry, ...] = ()

    def covers(self, name: str) -> bool:
        """Whether the name would have been listed."""
        return name.startswith(self.begins) and self.after < name and (self.end is None or name <= self.end)


EVERYTHING = Span("", "", None)


@dataclass(frozen=True)
class Look:
    """``entries``: what was listed, by name, nothing twice. ``is_whole``: nothing was left out.

    ``round``: the round as it is after this look, if nothing was new in ``part``, the round's.
    """

    entries: tuple[Entry, ...]
    ends: tuple[Span, ...] = ()
    part: Span = EVERYTHING
    before: Round | None = None
    round: Round | None = None

    @property
    def is_whole(self) -> bool:
        return self.part is EVERYTHING

    def covers(self, name: str) -> bool:
        """Whether a file of that name is not there if it is not among the entries."""
        return any(span.covers(name) for span in (self.part, *self.ends))

    def round_after(self, new: Iterable[str]) -> Round | None:
        """The round to be noted, where these names were new. The part that holds one is looked at once more."""
        before = self.before
        if before is None or self.is_whole or before.again:
            return self.round
        left = any(self.part.covers(name) and not any(end.covers(name) for end in self.ends) for name in new)
        return Round(scope=before.scope, after=before.after, again=True) if left else self.round


def look_into(
    project: Project, scanner: Scanner, index: Index, now: datetime, is_new: IsNew, *, everything: bool
) -> Look:
    """List the inbox, or that part of it which a scheduled run looks at. Raises InboxError when it does not exist.

    ``is_new``: whether a file is the scanner's, and not known.
    """
    inbox = Inbox(scanner.inbox, scanner.inbox_options)
    if everything or not inbox.has_pages:
        return Look(tuple(inbox.list()), before=index.round, round=index.round)
    sharing = [other for other in project.scanners if other.inbox == scanner.inbox] or [scanner]
    begins = _own_begin(scanner, sharing)
    fresh = Round(scope=f"{scanner.inbox} {scanner.filename} {begins}")
    newest = newest_names(scanner, index, now)
    if not 0 < len(newest) <= HEADS or index.round is None or index.round.scope != fresh.scope:
        return Look(tuple(inbox.list()), before=index.round, round=fresh)
    known = sorted(index.files)
    ends = [_end(inbox, known, head, name, is_new) for head, name in newest.items()]
    last = max(index.files, key=lambda name: (index.files[name].modified, name))
    if not any(span.covers(last) for span in ends):
        head = next((head for head, _ in _timed(last, scanner.filename)), None)
        ends.append(_end(inbox, known, head, last, is_new))
    pages = sum(other.id.startswith(begins) for other in sharing)
    part = _part(inbox, begins, index.round.after, pages)
    round_ = Round(scope=fresh.scope, after=part.end or "")
    listed = {entry.key: entry for span in (part, *ends) for entry in span.entries}
    entries = tuple(listed[key] for key in sorted(listed))
    return Look(entries, tuple(ends), part, index.round, round_)


def newest_names(scanner: Scanner, index: Index, now: datetime) -> dict[str, str]:
    """Of each beginning in use, the known name that tells the newest time; none where names do not sort by time."""
    latest = now.astimezone(UTC).astimezone(scanner.zone).replace(tzinfo=None) + AHEAD
    years = {file.year for file in index.files.values() if file.year is not None and file.year <= latest.year}
    since = max(years, default=0) - 1  # to read the names of all years would take seconds
    names = [name for name, file in index.files.items() if file.year is None or file.year >= since]
    timed = [(time, head, name) for name in names for head, time in _timed(name, scanner.filename)]
    timed = [one for one in timed if one[0] <= latest] or timed
    newest: dict[str, tuple[datetime, str]] = {}
    for time, head, name in timed:
        newest[head] = max(newest.get(head, (time, name)), (time, name))
    latest = max((time for time, _ in newest.values()), default=latest)
    return {head: name for head, (time, name) in newest.items() if latest - time <= DORMANT}


def _timed(name: str, pattern: str) -> list[tuple[str, datetime]]:
    found = begin_and_time(name, pattern)
    return [found] if found else []


def _own_begin(scanner: Scanner, sharing: list[Scanner]) -> str:
    """How the names of all files begin that the round of this scanner has to find.

    In an inbox that scanners share, names by a preset begin with the scanner's id. The first of them also tells what is
    nobody's, and a pattern of one's own may have the scanner anywhere: they go through everything.
    """
    preset = scanner.filename in PRESETS_NAME_THE_SCANNER and names_scanner(scanner.filename)
    return scanner.id if preset and scanner.id != sharing[0].id else ""


def _end(inbox: Inbox, known: list[str], head: str | None, name: str, is_new: IsNew) -> Span:
    """From MARGIN known names before this one, to where nothing is new any more; within its ``head``, if it has one."""
    begins, behind = head or "", LAST if head is None else f"{head}:"  # ":" follows the digits: no time begins so
    place = bisect_left(known, name) - MARGIN
    start = known[place] if place >= 0 and known[place].startswith(begins) else ""
    end: str | None = start
    found: list[Entry] = []
    while end is not None:
        page = inbox.page(end, begins)
        found += page.entries
        end = page.end
        if end is not None and (end >= behind or (end >= name and not any(map(is_new, page.entries)))):
            break
    return Span(begins, start, end, tuple(found))


def _part(inbox: Inbox, begins: str, after: str, pages: int) -> Span:
    """The next pages of the round. The last file of a page is left for the next one: its marker may be there."""
    found: list[Entry] = []
    end = after
    for _ in range(pages):
        page = inbox.page(end, begins)
        found += page.entries
        if page.end is None:
            return Span(begins, after, None, tuple(found))
        end = page.end
    last = 0
    for number, entry in enumerate(found):
        if not entry.key.startswith(found[last].key):
            last = number
    if last:
        found = found[:last]
        end = found[-1].key
    return Span(begins, after, end, tuple(found))
