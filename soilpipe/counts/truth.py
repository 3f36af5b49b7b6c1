"""The truth that a scanner's series is made from: receipts, quarantine, publications, analyses, detection files."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import islice

from soilpipe import layout
from soilpipe.analyses import Analysis, Publication, publications, read_analysis
from soilpipe.config import Scanner
from soilpipe.detections import DetectionFile, DetectionFileError, parse_detection_file
from soilpipe.ingest.clock import at_present, to_utc
from soilpipe.ingest.quarantine import (
    Decision,
    Quarantined,
    list_decisions,
    list_quarantine,
    set_aside,
    still_open,
)
from soilpipe.ingest.receipts import KnownScan, known_scan, list_receipts
from soilpipe.store import Entry, Store

READERS = 8
READ_AHEAD = 256
"""Files read at once: nothing on a disk, all the difference on S3."""


@dataclass(frozen=True)
class Truth:
    """What the store held of one scanner when it was read.

    receipts   (in short) of accepted scans that no decision put aside, by scan_id, in order of time
    refused    files in quarantine on which nobody has decided
    detected   by analysis, the scans with a detection file, and the mark of each (`mark_of`)
    aside      receipts of scans that a decision put aside: kept, but in no series
    times      when each scan was taken (UTC), by the project file of now: a receipt's own `captured_at` is what it was
               taken for when it came, and counts for nothing here

    The times of refused files are those of now as well.
    """

    receipts: Mapping[str, KnownScan]
    refused: tuple[Quarantined, ...]
    publications: tuple[Publication, ...]
    analyses: Mapping[str, Analysis]
    detected: Mapping[str, Mapping[str, str]]
    aside: tuple[KnownScan, ...] = ()
    times: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def scans(self) -> list[tuple[str, datetime]]:
        """(scan_id, when it was taken) of every scan that was not put aside, in order of time."""
        return [(scan_id, self.times[scan_id]) for scan_id in self.receipts]

    @cached_property
    def _published(self) -> PublishedAt:
        return PublishedAt(self.publications)

    def analysis_id_at(self, moment: datetime) -> str | None:
        """The id of the analysis published for a scan captured then. (An analysis works its own out each time.)"""
        return self._published(moment)

    def analysis_at(self, moment: datetime) -> Analysis | None:
        """The analysis published for a scan captured then."""
        analysis_id = self._published(moment)
        return self.analyses[analysis_id] if analysis_id is not None else None

    def analysed(self, scan_id: str, analysis: Analysis | None) -> bool:
        return analysis is not None and scan_id in self.detected[analysis.id]


class PublishedAt:
    """`analyses.published_analysis`, for a great many times."""

    def __init__(self, published: Iterable[Publication]) -> None:
        ordered = sorted(published, key=lambda p: p.order)
        self._begins = [p.order[0] for p in ordered]
        self._ids = [p.analysis_id for p in ordered]

    def __call__(self, moment: datetime) -> str | None:
        place = bisect_right(self._begins, moment)
        return self._ids[place - 1] if place else None


def mark_of(entry: Entry) -> str:
    """What tells one content of an object from another, by its listing: size and ETag, or size and time."""
    return f"{entry.size}-{entry.version or entry.modified!r}"


def read_truth(store: Store, scanner: Scanner, receipts: Iterable[KnownScan] | None = None) -> Truth:
    """Everything but the detections themselves, from the truth itself. ``receipts``: all, where they are read already.

    Here the times stored in receipts and refusals end: everything made from this goes by the present project file, so
    that a new `timezone` or `clock:` entry moves scans without a receipt being written again.
    """
    if receipts is None:
        receipts = map(known_scan, list_receipts(store, scanner.id))
    published = tuple(publications(store, scanner.id))
    return truth_of(
        scanner,
        receipts,
        list_quarantine(store, scanner.id),
        list_decisions(store, scanner.id),
        published,
        read_analyses(store, published),
        {i: list_detected(store, i, scanner.id) for i in dict.fromkeys(p.analysis_id for p in published)},
    )


def truth_of(
    scanner: Scanner,
    receipts: Iterable[KnownScan],
    refused: Sequence[Quarantined],
    decisions: Sequence[Decision],
    published: tuple[Publication, ...],
    analyses: Mapping[str, Analysis],
    detected: Mapping[str, Mapping[str, str]],
) -> Truth:
    """The truth from what was read of it. ``refused``, ``decisions``: all there ever were."""
    aside = set_aside(decisions)
    listed = list(receipts)
    times = {r.scan_id: to_utc(r.device_time, scanner, r.source_modified) for r in listed}
    listed.sort(key=lambda receipt: (times[receipt.scan_id], receipt.scan_id))
    still = still_open(scanner, refused, decisions, times, lambda: {r.source_name for r in listed})
    return Truth(
        receipts={r.scan_id: r for r in listed if r.scan_id not in aside},
        refused=tuple(at_present(q, scanner) for q in still),
        publications=published,
        analyses=analyses,
        detected=detected,
        aside=tuple(r for r in listed if r.scan_id in aside),
        times=times,
    )


def read_analyses(store: Store, published: Iterable[Publication]) -> dict[str, Analysis]:
    """The analyses that are published, by id."""
    return {i: read_analysis(store, i) for i in dict.fromkeys(p.analysis_id for p in published)}


def list_detected(store: Store, analysis_id: str, scanner_id: str, year: int | None = None) -> dict[str, str]:
    """The scans with a detection file (of one device-clock year), and the mark of each file."""
    entries = store.list(layout.detections_prefix(analysis_id, scanner_id, year), ".parquet")
    return {entry.key.rpartition("/")[2].removesuffix(".parquet"): mark_of(entry) for entry in entries}


def read_detections(
    store: Store, wanted: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, DetectionFile | DetectionFileError]]:
    """(scan_id, its detections or what is wrong with them) for every (analysis_id, scan_id), in order, read ahead."""

    def read(pair: tuple[str, str]) -> bytes | None:
        try:
            return store.read_bytes(layout.detection_file(*pair))
        except FileNotFoundError:  # deleted since it was listed: the listing afterwards will tell
            return None

    with ThreadPoolExecutor(READERS) as pool:
        for pairs in batched(wanted, READ_AHEAD):
            for (analysis_id, scan_id), data in zip(pairs, pool.map(read, pairs), strict=True):
                key = layout.detection_file(analysis_id, scan_id)
                if data is None:
                    yield scan_id, DetectionFileError(f"{key} has gone; the next run detects the scan again")
                    continue
                try:
                    yield scan_id, parse_detection_file(data, key)
                except DetectionFileError as error:
                    yield scan_id, error


def batched(items: Iterable[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    """The items in lists of at most ``size``."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch
