"""Which scans candidates are taken from: those since the last refresh, but for the hold-out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from soilpipe.analyses import publications, published_analysis
from soilpipe.config import Project, Scanner
from soilpipe.detect.split import NEIGHBOURING
from soilpipe.detections import detected_scans
from soilpipe.held_out import HeldOut
from soilpipe.ingest.clock import scan_times
from soilpipe.ingest.quarantine import superseded_scans
from soilpipe.ingest.receipts import list_scan_ids
from soilpipe.labels.taken import newest_by_place
from soilpipe.layout import parse_scan_id
from soilpipe.pretrain.candidates_cells import Box
from soilpipe.store import Store

NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class HeldTile:
    """A labelled tile of the hold-out: its scan, when that was taken, and its box there, px at full resolution."""

    scan_id: str
    captured_at: datetime
    box: Box


def held_boxes(tiles: Sequence[HeldTile], captured_at: datetime, references: Collection[str]) -> list[Box]:
    """Where another scan of the same scanner shows what a hold-out tile shows, px at full resolution.

    That is the tile's place in scans at most `NEIGHBOURING` away in time, which show the same ground and often the same
    animals, and in scans that are compared with the tile's own: its pixels are in their difference.
    """
    return [
        tile.box for tile in tiles if abs(tile.captured_at - captured_at) <= NEIGHBOURING or tile.scan_id in references
    ]


@dataclass(frozen=True)
class ScanPlan:
    """A scan to take candidates from.

    analysis_id: the published analysis that has detected it, None where none has. held: the tiles of the hold-out of
    its scanner.
    """

    scan_id: str
    scanner_id: str
    captured_at: datetime
    analysis_id: str | None = None
    held: tuple[HeldTile, ...] = ()


@dataclass(frozen=True)
class Frame:
    """The scans to read, by scanner and time, and how many there were before the choice.

    since: accepted scans that are new since the last refresh. held_out: of them, those of the hold-out.
    scanner_held_out: the scanner that is held out whole.
    """

    plans: tuple[ScanPlan, ...]
    since: int
    held_out: int
    scanner_held_out: str | None
    scanners: Mapping[str, int] = field(default_factory=dict)


Bound = datetime | Mapping[str, datetime] | None
"""A time, UTC, of all scanners, or of each its own; None: no bound."""


New = Mapping[str, Collection[str]] | None
"""By scanner the ids of scans; None: they are told by time."""


def scans_to_read(
    store: Store,
    project: Project,
    held: HeldOut,
    *,
    since: Bound,
    until: Bound = None,
    new: New = None,
    most: int,
    seed: int,
) -> Frame:
    """Choose at most `most` of the scans captured after `since` and up to `until`, or, where `new` names scans, of
    these, whenever they were captured; each scanner with the same chance.

    A scanner that `since` does not name is read from its first scan on; one that `until` does not name is not read. One
    scan is drawn of each scanner in turn, so scanners with few scans are read whole. The same store and seed give
    the same scans.
    """
    free: dict[str, list[tuple[datetime, str]]] = {}
    seen = withheld = 0
    for scanner in sorted(project.scanners, key=lambda scanner: scanner.id):
        if new is None:
            found = _scans_of(store, scanner, _bound(since, scanner, None), _bound(until, scanner, NEVER))
        else:
            found = [pair for pair in _scans_of(store, scanner, None, None) if pair[1] in new.get(scanner.id, ())]
        seen += len(found)
        free[scanner.id] = [pair for pair in found if not held.holds_scan(scanner.id, pair[1])]
        withheld += len(found) - len(free[scanner.id])
    chosen = _in_turn(free, most, np.random.default_rng([seed, 51]))
    tiles = held_tiles(store, project, held)
    plans = [
        plan
        for scanner_id in sorted(chosen)
        for plan in _plans(store, project.scanner(scanner_id), chosen[scanner_id], tiles.get(scanner_id, []))
    ]
    return Frame(
        plans=tuple(plans),
        since=seen,
        held_out=withheld,
        scanner_held_out=held.scanner,
        scanners={scanner_id: len(found) for scanner_id, found in chosen.items() if found},
    )


def _bound(bound: Bound, scanner: Scanner, without: datetime | None) -> datetime | None:
    return bound.get(scanner.id, without) if isinstance(bound, Mapping) else bound


def _scans_of(
    store: Store, scanner: Scanner, since: datetime | None, until: datetime | None
) -> list[tuple[datetime, str]]:
    """(captured_at, scan_id), in order, of the scans that no decision put aside; times by the present project file."""
    aside = superseded_scans(store, scanner.id)
    ids = [scan_id for scan_id in list_scan_ids(store, scanner.id) if scan_id not in aside]
    times = scan_times(store, scanner, ids)
    return sorted(
        (at, scan_id)
        for scan_id, at in times.items()
        if (since is None or at > since) and (until is None or at <= until)
    )


def _in_turn(
    free: Mapping[str, Sequence[tuple[datetime, str]]], most: int, rng: np.random.Generator
) -> dict[str, list[tuple[datetime, str]]]:
    """At most `most` in all, one of each scanner in turn, in random order; sorted by time again."""
    drawn = {scanner_id: [found[i] for i in rng.permutation(len(found))] for scanner_id, found in free.items()}
    chosen: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    left = most
    for turn in range(max(map(len, drawn.values()), default=0)):
        for scanner_id, found in drawn.items():
            if turn < len(found) and left > 0:
                chosen[scanner_id].append(found[turn])
                left -= 1
    return {scanner_id: sorted(found) for scanner_id, found in chosen.items()}


def held_tiles(store: Store, project: Project, held: HeldOut) -> dict[str, list[HeldTile]]:
    """The labelled tiles of the hold-out by scanner, in the order of their places."""
    boxes: dict[str, list[tuple[str, Box]]] = defaultdict(list)
    for tile, _ in newest_by_place(store) if held.scans else ():
        if tile.scan_id in held.scans:
            box = (float(tile.x0), float(tile.y0), float(tile.x1), float(tile.y1))
            boxes[parse_scan_id(tile.scan_id).scanner_id].append((tile.scan_id, box))
    found = {}
    for scanner_id, tiles in boxes.items():
        times = scan_times(store, project.scanner(scanner_id), {scan_id for scan_id, _ in tiles})
        found[scanner_id] = [HeldTile(scan_id, times[scan_id], box) for scan_id, box in tiles]
    return found


def _plans(
    store: Store,
    scanner: Scanner,
    scans: Sequence[tuple[datetime, str]],
    tiles: Sequence[HeldTile],
) -> list[ScanPlan]:
    published = publications(store, scanner.id)
    detected = {
        analysis_id: detected_scans(store, analysis_id, scanner.id)
        for analysis_id in sorted({publication.analysis_id for publication in published})
    }
    plans = []
    for at, scan_id in scans:
        analysis_id = published_analysis(published, at)
        if analysis_id is not None and scan_id not in detected[analysis_id]:
            analysis_id = None
        plans.append(ScanPlan(scan_id, scanner.id, at, analysis_id, tuple(tiles)))
    return plans
