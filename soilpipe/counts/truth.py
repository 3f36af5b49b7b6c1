"""The truth that a scanner's series is made from: receipts, quarantine, publications, analyses, detection files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from soilpipe import layout
from soilpipe.analyses import PUBLICATIONS, Analysis, Publication, publications, published_analysis, read_analysis
from soilpipe.config import Scanner
from soilpipe.detections import DetectionFile, DetectionFileError, detected_scans, parse_detection_file
from soilpipe.ingest.clock import at_present
from soilpipe.ingest.quarantine import DECISIONS, Quarantined, open_quarantine, superseded_scans
from soilpipe.ingest.receipts import Receipt, list_receipts
from soilpipe.store import Entry, Store

READERS = 8
READ_AHEAD = 256
"""Files read at once: nothing on a disk, all the difference on S3."""


@dataclass(frozen=True)
class Truth:
    """What the store held of one scanner when it was read. Times are those that the project file gives now.

    receipts   of accepted scans that no decision put aside, by scan_id, in order of time
    refused    files in quarantine on which nobody has decided
    detected   the scans with a detection file, by analysis
    aside      receipts of scans that a decision put aside: kept, but in no series
    """

    receipts: Mapping[str, Receipt]
    refused: tuple[Quarantined, ...]
    publications: tuple[Publication, ...]
    analyses: Mapping[str, Analysis]
    detected: Mapping[str, frozenset[str]]
    aside: tuple[Receipt, ...] = ()

    @property
    def scans(self) -> list[tuple[str, datetime]]:
        """(scan_id, captured_at) of every scan."""
        return [(scan_id, receipt.captured_at) for scan_id, receipt in self.receipts.items()]

    def analysis_at(self, moment: datetime) -> Analysis | None:
        """The analysis published for a scan captured then."""
        analysis_id = published_analysis(self.publications, moment)
        return self.analyses[analysis_id] if analysis_id is not None else None

    def analysed(self, scan_id: str, analysis: Analysis | None) -> bool:
        return analysis is not None and scan_id in self.detected[analysis.id]


def read_truth(store: Store, scanner: Scanner) -> Truth:
    """Everything but the detections themselves.

    Here the time stored in receipts and refusals ends: everything made from this has the time by the present project
    file, so that a new `timezone` or `clock:` entry moves scans without a receipt being written again.
    """
    aside = superseded_scans(store, scanner.id)
    moved = (at_present(receipt, scanner) for receipt in list_receipts(store, scanner.id))
    listed = sorted(moved, key=lambda receipt: (receipt.captured_at, receipt.scan_id))
    published = tuple(publications(store, scanner.id))
    ids = dict.fromkeys(p.analysis_id for p in published)
    return Truth(
        receipts={r.scan_id: r for r in listed if r.scan_id not in aside},
        refused=tuple(at_present(q, scanner) for q in open_quarantine(store, scanner)),
        publications=published,
        analyses={i: read_analysis(store, i) for i in ids},
        detected={i: detected_scans(store, i, scanner.id) for i in ids},
        aside=tuple(r for r in listed if r.scan_id in aside),
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
