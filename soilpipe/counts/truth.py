"""The truth that a scanner's series is made from: receipts, quarantine, publications, analyses, detection files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from soilpipe import layout
from soilpipe.analyses import PUBLICATIONS, Analysis, Publication, publications, published_analysis, read_analysis
from soilpipe.config import Scanner
from soilpipe.detections import DetectionFile, DetectionFileError, detected_scans, parse_detection_file
from soilpipe.ingest.clock import at_present, to_utc
from soilpipe.ingest.quarantine import DECISIONS, Quarantined, open_quarantine, superseded_scans
from soilpipe.ingest.receipts import Receipt, list_receipts
from soilpipe.store import Entry, Store

READERS = 8
READ_AHEAD = 256
"""Files read at once: nothing on a disk, all the difference on S3."""


@dataclass(frozen=True)
class Truth:
    """What the store held of one scanner when it was read.

    receipts   of accepted scans that no decision put aside, by scan_id, in order of time
    refused    files in quarantine on which nobody has decided
    detected   the scans with a detection file, by analysis
    aside      receipts of scans that a decision put aside: kept, but in no series
    times      when each scan was taken (UTC), by the project file of now: a receipt's own `captured_at` is what it was
               taken for when it came, and counts for nothing here

    The times of refused files are those of now as well.
    """

    receipts: Mapping[str, Receipt]
    refused: tuple[Quarantined, ...]
    publications: tuple[Publication, ...]
    analyses: Mapping[str, Analysis]
    detected: Mapping[str, frozenset[str]]
    aside: tuple[Receipt, ...] = ()
    times: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def scans(self) -> list[tuple[str, datetime]]:
        """(scan_id, when it was taken) of every scan that was not put aside, in order of time."""
        return [(scan_id, self.times[scan_id]) for scan_id in self.receipts]

    def analysis_at(self, moment: datetime) -> Analysis | None:
        """The analysis published for a scan captured then."""
        analysis_id = published_analysis(self.publications, moment)
        return self.analyses[analysis_id] if analysis_id is not None else None

    def analysed(self, scan_id: str, analysis: Analysis | None) -> bool:
        return analysis is not None and scan_id in self.detected[analysis.id]


def read_truth(store: Store, scanner: Scanner) -> Truth:
    """Everything but the detections themselves.

    Here the times stored in receipts and refusals end: everything made from this goes by the present project file, so
    that a new `timezone` or `clock:` entry moves scans without a receipt being written again.
    """
    aside = superseded_scans(store, scanner.id)
    listed = list_receipts(store, scanner.id)
    times = {r.scan_id: to_utc(r.device_time, scanner, r.source_modified) for r in listed}
    listed.sort(key=lambda receipt: (times[receipt.scan_id], receipt.scan_id))
    published = tuple(publications(store, scanner.id))
    ids = dict.fromkeys(p.analysis_id for p in published)
    return Truth(
        receipts={r.scan_id: r for r in listed if r.scan_id not in aside},
        refused=tuple(at_present(q, scanner) for q in open_quarantine(store, scanner)),
        publications=published,
        analyses={i: read_analysis(store, i) for i in ids},
        detected={i: detected_scans(store, i, scanner.id) for i in ids},
        aside=tuple(r for r in listed if r.scan_id in aside),
        times=times,
    )


def list_truth(store: Store, scanner_id: str) -> frozenset[Entry]:
    """Every object that ``read_truth`` and the detections depend on: equal listings, equal truth."""
    prefixes = [
        layout.receipts_prefix(scanner_id),
        layout.quarantine_prefix(scanner_id),
        f"{layout.records_prefix(DECISIONS)}/{scanner_id}",
        f"{layout.records_prefix(PUBLICATIONS)}/{scanner_id}",
    ]
    found = [entry for prefix in prefixes for entry in store.list(prefix)]
    for analysis_id in dict.fromkeys(p.analysis_id for p in publications(store, scanner_id)):
        found += store.list(layout.detections_prefix(analysis_id, scanner_id))
    return frozenset(found)


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
