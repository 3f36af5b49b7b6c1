"""The last clause of the detector's gate: two detectors run over the scans of the last seven days. That of bundles is
`bundles.last_week`.

Figures on held-out tiles say which is better; this says what changing to it does to the counts. Where the counts of a
common taxon differ by more than a quarter, the series would jump for no reason of the field's, and a person decides. So
does one where there is nothing to compare, or far less than such a week has: then nothing was found out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from soilpipe.background import register_all
from soilpipe.config import Project
from soilpipe.detect.base import Detections, Detector
from soilpipe.detect.run import suitable_references
from soilpipe.ingest.clock import scan_times
from soilpipe.ingest.quarantine import superseded_scans
from soilpipe.ingest.receipts import Receipt, list_scan_ids, read_receipt
from soilpipe.store import Store
from soilpipe.taxonomy import Taxonomy
from soilpipe.tiles import open_image

DAYS = timedelta(days=7)
FACTOR = 1.25
COMMON = 20
"""Individuals that one of the two found, from which a taxon is common enough to be judged."""
LEAST_SHARE = 0.25
"""Of the scans of a usual week, from which those that both ran over speak for one."""
WEEKS = 8
"""Before the last one, by which is told what is usual."""
MOST_SCANS = 200
"""Of all scanners together; of more, evenly many are taken: at 1200 dpi each takes both detectors some ten seconds."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class WeekCounts:
    """What two detectors found on the same scans: individuals by taxon, those of the taxa in it included. skipped:
    scans whose pixels are gone. usual: scans that were to be compared if the week were one as those before it; 0 where
    there are none before it."""

    scans: int
    skipped: int
    candidate: Mapping[str, int]
    champion: Mapping[str, int]
    usual: int = 0


@dataclass(frozen=True)
class LastScans:
    """ids: of the last seven days, by scanner and time, at most MOST_SCANS. usual: how many there are as a rule (median
    of the weeks before), at most as many; 0 in a store without an earlier week."""

    ids: tuple[str, ...]
    usual: int


def last_scans(project: Project, store: Store, now: datetime) -> LastScans:
    """The accepted scans of the seven days that end with the newest one of the project.

    A scan from the future (of a clock that is wrong) is left out: alone it would be the last seven days for good.
    """
    times: dict[str, datetime] = {}
    for scanner in project.scanners:
        aside = superseded_scans(store, scanner.id)
        found = scan_times(store, scanner, [one for one in list_scan_ids(store, scanner.id) if one not in aside])
        times |= {scan: at for scan, at in found.items() if at <= now}
    if not times:
        return LastScans((), 0)
    newest, first = max(times.values()), min(times.values())
    of_week = Counter((newest - at) // DAYS for at in times.values())
    before = [of_week[week] for week in range(1, 1 + min(WEEKS, (newest - first) // DAYS))]
    chosen = [scan for scan, at in times.items() if at > newest - DAYS]
    step = max(1, -(-len(chosen) // MOST_SCANS))
    return LastScans(tuple(chosen[::step]), min(MOST_SCANS, int(median(before))) if before else 0)


def week_counts(
    project: Project,
    store: Store,
    candidate: Detector,
    champion: Detector,
    *,
    now: datetime,
    progress: Progress | None = None,
) -> WeekCounts:
    """Run both over the last scans, as a run would, and count. Nothing is written."""
    last = last_scans(project, store, now)
    scans = last.ids
    counts: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    skipped = 0
    for number, scan_id in enumerate(scans, start=1):
        receipt = read_receipt(store, scan_id)
        try:
            found = [_detect(project, store, receipt, detector) for detector in (candidate, champion)]
        except FileNotFoundError:
            skipped += 1
        else:
            for counted, detections in zip(counts, found, strict=True):
                counted.update(_totals(detections, project.taxonomy))
        if progress is not None:
            progress(number, len(scans))
    both = told_by_both(candidate.info.taxa, champion.info.taxa, project.taxonomy)
    ours, theirs = ({taxon: counted[taxon] for taxon in both} for counted in counts)
    return WeekCounts(len(scans) - skipped, skipped, ours, theirs, last.usual)


def why_untold(counts: WeekCounts) -> str | None:
    """In words, why nothing can be said of the last days; None where it can. A store that is too young to have a usual
    week needs a scan, and no more."""
    if not counts.scans:
        gone = f": none of its {counts.skipped} scans could be read by both" if counts.skipped else ""
        return f"no scan of the last 7 days shows what it does to the counts{gone}"
    if counts.scans < LEAST_SHARE * counts.usual:
        return (
            f"only {counts.scans} scans of the last 7 days show what it does to the counts, where a week has "
            f"{counts.usual} as a rule"
        )
    return None


def unlike(counts: WeekCounts) -> tuple[str, ...]:
    """In words, the common taxa whose counts differ by more than the factor."""
    words = []
    for taxon, ours in counts.candidate.items():
        theirs = counts.champion[taxon]
        if max(ours, theirs) >= COMMON and max(ours, theirs) > FACTOR * min(ours, theirs):
            words.append(f"{taxon} {theirs} -> {ours}")
    return tuple(words)


def _detect(project: Project, store: Store, receipt: Receipt, detector: Detector) -> Detections:
    scale = receipt.um_per_px or detector.info.um_per_px
    scan = open_image(store, receipt.scan_id, scale)
    references = []
    if detector.info.uses_difference:
        references = suitable_references(store, project.scanner(receipt.scanner_id), receipt, scale)
    return detector.detect(scan, references, register_all(scan, references))


def _totals(found: Detections, taxonomy: Taxonomy) -> Counter[str]:
    totals: Counter[str] = Counter()
    for index in range(len(found)):
        totals.update(with_above(found.taxon(index), taxonomy))
    return totals


def with_above(label: str, taxonomy: Taxonomy) -> tuple[str, ...]:
    """The taxon of a label and those above it; a label that the taxonomy does not have stands for itself."""
    if label not in taxonomy:
        return (label,)
    name = taxonomy.find(label).name
    return (name, *taxonomy.ancestors(name))


def told_by_both(ours: Iterable[str], theirs: Iterable[str], taxonomy: Taxonomy) -> list[str]:
    """The taxa that both report, or something in them: what only one can tell is no difference of counts."""
    one, other = ({name for taxon in taxa for name in with_above(taxon, taxonomy)} for taxa in (ours, theirs))
    return sorted(one & other)
