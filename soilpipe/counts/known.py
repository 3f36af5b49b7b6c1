"""The truth of a scanner without reading all of it again: what an earlier run read, and what has changed since.

Looked at again in every run: the parts that a token names (`touched`), and the newest year. Everything that soilpipe
itself writes is found by its token. For what a person deletes or brings back by hand there is, once a day, a look at
the part that was looked at longest ago; so it is seen after as many days as there are years, or at once after
`soilpipe rebuild`. A look is a listing: objects whose size and time (or ETag) are as before are not read.

The number of listings and reads is that of the parts looked at, and does not grow with the years. What is known lies in
one object, so two runs that write it at once leave one of the two; what that one lacks, the tokens still tell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from soilpipe import layout
from soilpipe.analyses import Publication, publications
from soilpipe.config import Scanner
from soilpipe.counts import known_file
from soilpipe.counts.known_file import Knowledge, KnownRefusals, KnownYear
from soilpipe.counts.truth import PublishedAt, Truth, list_detected, mark_of, read_analyses, truth_of
from soilpipe.ingest.clock import to_utc
from soilpipe.ingest.quarantine import list_decisions, list_quarantine
from soilpipe.ingest.receipts import READERS, KnownScan, known_scan, read_receipt
from soilpipe.store import Entry, Store, StoreError
from soilpipe.touched import REFUSED, Tokens, tokens

DAY_S = 86_400.0


@dataclass(frozen=True)
class Known:
    """The truth as of a moment, the tokens listed just before, and the years of which objects were listed anew."""

    truth: Truth
    knowledge: Knowledge
    tokens: Tokens
    looked_at: frozenset[int]

    def is_as(self, other: Known) -> bool:
        """Whether both are of the same objects."""
        return _content(self) == _content(other)


def known_truth(
    store: Store, scanner: Scanner, *, also: Collection[int] = (), fresh: bool = False, keep: bool = True
) -> Known:
    """The truth of a scanner as of now. ``also``: years to be looked at besides; ``fresh``: believe nothing known.

    Without ``keep`` nothing is written. Raises what `read_truth` raises.
    """
    listed = tokens(store, scanner.id)
    knowledge = None if fresh else known_file.load(store, scanner.id)
    published = tuple(publications(store, scanner.id))
    look = _Look(store, scanner, published, listed.listed)
    if knowledge is None:
        knowledge = look.everything()
        looked_at = frozenset(knowledge.years)
    else:
        overdue = _overdue(knowledge, listed.listed)
        newest = _newest(knowledge.years, listed.listed)
        looked_at = frozenset({*listed.years, *newest, *overdue, *(year for year in also if year in knowledge.years)})
        for year in sorted(looked_at):
            look.again(knowledge, year)
        if REFUSED in listed.of_part or (not overdue and _is_overdue(knowledge.refusals.checked, listed.listed)):
            look.refusals(knowledge)
        look.newly_published(knowledge)
        look.moved |= bool(overdue)
    truth = truth_of(
        scanner,
        (scan for year in knowledge.years.values() for scan in year.scans.values()),
        knowledge.refusals.refused,
        knowledge.refusals.decisions,
        published,
        read_analyses(store, published),
        _joined(knowledge, published),
    )
    if keep and listed.is_fresh:
        with contextlib.suppress(StoreError):  # it is only for speed
            if look.moved:
                known_file.save(store, scanner.id, knowledge)
            for key in listed.old([REFUSED, *(f"{year:04d}" for year in looked_at)]):
                store.delete(key)
    return Known(truth, knowledge, listed, looked_at)


class _Look:
    """Looks at parts of the truth. ``moved``: whether what is known has to be written again."""

    def __init__(self, store: Store, scanner: Scanner, published: Sequence[Publication], now: float) -> None:
        self._store = store
        self._scanner = scanner
        self._published = PublishedAt(published)
        self._now = now
        self.moved = False

    def everything(self) -> Knowledge:
        """From the truth itself."""
        knowledge = Knowledge({}, KnownRefusals(self._now))
        of_year: dict[int, list[Entry]] = {}
        for entry in self._store.list(layout.receipts_prefix(self._scanner.id), ".json"):
            of_year.setdefault(int(entry.key.split("/")[-2]), []).append(entry)
        for year, entries in sorted(of_year.items()):
            self._take(knowledge, year, entries)
        self.refusals(knowledge)
        self.moved = True
        return knowledge

    def again(self, knowledge: Knowledge, year: int) -> None:
        """One year, of which only new and changed receipts are read."""
        self._take(knowledge, year, self._store.list(layout.receipts_prefix(self._scanner.id, year), ".json"))

    def refusals(self, knowledge: Knowledge) -> None:
        """Quarantine and decisions."""
        before = knowledge.refusals
        knowledge.refusals = KnownRefusals(
            self._now, list_quarantine(self._store, self._scanner.id), list_decisions(self._store, self._scanner.id)
        )
        same = (before.refused, before.decisions) == (knowledge.refusals.refused, knowledge.refusals.decisions)
        self.moved |= not same or _is_overdue(before.checked, self._now)

    def newly_published(self, knowledge: Knowledge) -> None:
        """Lists detections that nobody needed until now: a publication or the project file has moved a scan to them."""
        for year, known in knowledge.years.items():
            for analysis_id in self._needed(known.scans.values()) - set(known.detected):
                known.detected[analysis_id] = self._detected(analysis_id, year, known.scans)
                self.moved = True

    def _take(self, knowledge: Knowledge, year: int, entries: Sequence[Entry]) -> None:
        before = knowledge.years.get(year) or KnownYear(0.0)
        marks = {entry.key.rpartition("/")[2].removesuffix(".json"): mark_of(entry) for entry in entries}
        scans = {scan_id: before.scans[scan_id] for scan_id, mark in marks.items() if before.marks.get(scan_id) == mark}
        scans |= self._read([scan_id for scan_id in marks if scan_id not in scans])
        marks = {scan_id: mark for scan_id, mark in marks.items() if scan_id in scans}
        scans = {scan_id: scans[scan_id] for scan_id in marks}
        detected = {i: self._detected(i, year, scans) for i in self._needed(scans.values())}
        self.moved |= (before.marks, before.detected) != (marks, detected)
        if scans:
            knowledge.years[year] = KnownYear(self._now, scans, marks, detected)
        else:
            knowledge.years.pop(year, None)

    def _read(self, scan_ids: Sequence[str]) -> dict[str, KnownScan]:
        def read(scan_id: str) -> KnownScan | None:
            try:
                return known_scan(read_receipt(self._store, scan_id))
            except FileNotFoundError:  # deleted since it was listed
                return None

        with ThreadPoolExecutor(READERS) as pool:
            return {scan.scan_id: scan for scan in pool.map(read, scan_ids) if scan is not None}

    def _needed(self, scans: Iterable[KnownScan]) -> set[str]:
        """The analyses that count for these scans."""
        times = (to_utc(scan.device_time, self._scanner, scan.source_modified) for scan in scans)
        return {analysis_id for at in times if (analysis_id := self._published(at)) is not None}

    def _detected(self, analysis_id: str, year: int, scans: Collection[str]) -> dict[str, str]:
        found = list_detected(self._store, analysis_id, self._scanner.id, year)
        return {scan_id: found[scan_id] for scan_id in scans if scan_id in found}


def _is_overdue(checked: float, now: float) -> bool:
    return not 0 <= now - checked < DAY_S


def _overdue(knowledge: Knowledge, now: float) -> list[int]:
    """The year that was looked at longest ago, when that is more than a day, and longer ago than quarantine was."""
    last = min(((known.checked, year) for year, known in knowledge.years.items()), default=None)
    if last is None or last[0] > knowledge.refusals.checked or not _is_overdue(last[0], now):
        return []
    return [last[1]]


def _newest(years: Collection[int], now: float) -> list[int]:
    """The newest year, without those of clocks that are ahead."""
    this_year = datetime.fromtimestamp(now, UTC).year
    return [max((year for year in years if year <= this_year), default=max(years))] if years else []


def _joined(knowledge: Knowledge, published: Iterable[Publication]) -> dict[str, dict[str, str]]:
    """The detected scans of all years by analysis; every published analysis has its place."""
    joined: dict[str, dict[str, str]] = {p.analysis_id: {} for p in published}
    for year in knowledge.years.values():
        for analysis_id, marks in year.detected.items():
            if analysis_id in joined:
                joined[analysis_id] |= marks
    return joined


def _content(known: Known) -> tuple[object, ...]:
    years = {year: (of_year.marks, of_year.detected) for year, of_year in known.knowledge.years.items()}
    refusals = known.knowledge.refusals
    return years, refusals.refused, refusals.decisions, known.truth.publications
