"""The hold-out of a project: which of its labelled scans judge candidates and serve nothing else.

What it is, is told in `detect.holdout`. Here it is told of a project, from its label records alone: their scans, and
when they were imported. No pixel is cut, and no setting of the project has a part in it, so two machines with the same
labels agree, and a clock that is put right, or a scanner that leaves the project file, moves nothing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from soilpipe.config import ConfigError, Project
from soilpipe.detect.holdout import hold_out_of
from soilpipe.detect.labelled import LabelledImage
from soilpipe.ingest.clock import scan_times
from soilpipe.labels.taken import looked_at_since
from soilpipe.layout import parse_scan_id
from soilpipe.store import Store


@dataclass(frozen=True)
class HeldOut:
    """scanner: held out whole, all of its scans, None with too few labelled scanners; scans: those with a labelled tile
    of the hold-out; times: their scanners and times (UTC, by the present project file)."""

    scanner: str | None
    scans: frozenset[str]
    times: frozenset[tuple[str, datetime]]

    def holds_scan(self, scanner_id: str, scan_id: str) -> bool:
        """Whether nothing of this scan may be learned from, labelled or not."""
        return scanner_id == self.scanner or scan_id in self.scans

    def holds(self, image: LabelledImage) -> bool:
        """Whether a labelled image of the project is of the hold-out."""
        if image.scanner_id is None:
            return False
        known = image.captured_at is not None and (image.scanner_id, image.captured_at) in self.times
        return image.scanner_id == self.scanner or known


def held_out(project: Project, store: Store) -> HeldOut:
    """By the labels that the store has now, in the order in which they were imported.

    Times are those of the devices' clocks, which stand in the ids of the scans. Of scanners with labels up to their
    last fifth in time, only the scans with held-out tiles are kept away: all later scans too would be every new one
    until somebody labels again.
    """
    imports: dict[datetime, list[str]] = defaultdict(list)
    for scan_id, at in looked_at_since(store).items():
        imports[at].append(scan_id)
    hold_out = hold_out_of([_taken(scan_id) for scan_id in imports[at]] for at in sorted(imports))
    of_scanner: dict[str, list[str]] = defaultdict(list)
    for scan_id in sorted(scan_id for scans in imports.values() for scan_id in scans):
        if hold_out.holds(*_taken(scan_id)):
            of_scanner[_taken(scan_id)[0]].append(scan_id)
    scans: set[str] = set()
    times: set[tuple[str, datetime]] = set()
    for scanner_id, held in of_scanner.items():
        try:
            scanner = project.scanner(scanner_id)
        except ConfigError:
            continue  # no longer in the project file: nothing reads its scans
        scans.update(held)
        times |= {(scanner_id, at) for at in scan_times(store, scanner, held).values()}
    return HeldOut(hold_out.scanner, frozenset(scans), frozenset(times))


def _taken(scan_id: str) -> tuple[str, datetime]:
    parts = parse_scan_id(scan_id)
    return parts.scanner_id, parts.device_time
