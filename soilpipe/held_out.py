"""The scans that pretraining must not see: those of the hold-out, which judges candidates and serves nothing else.

The hold-out itself is told in `detect.holdout`, from labelled images. Here it is told from the label records alone,
without cutting a pixel, for who chooses among unlabelled scans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from soilpipe import layout
from soilpipe.config import ConfigError, Project
from soilpipe.detect.holdout import hold_out_of
from soilpipe.detect.labelled import LabelledImage
from soilpipe.ingest.clock import scan_times
from soilpipe.labels.taken import newest_by_place
from soilpipe.store import Store


@dataclass(frozen=True)
class HeldOut:
    """scanner: held out whole, all of its scans, None with too few labelled scanners; since: by scanner, the first time
    (UTC) whose labels are held out; scans: those with a labelled tile of the hold-out."""

    scanner: str | None
    since: Mapping[str, datetime]
    scans: frozenset[str]

    def holds_scan(self, scanner_id: str, scan_id: str) -> bool:
        """Whether nothing of this scan may be learned from, labelled or not."""
        return scanner_id == self.scanner or scan_id in self.scans


def held_out(project: Project, store: Store) -> HeldOut:
    """By the labels that the store has now.

    Of scanners with labels up to their last fifth in time, only the scans with held-out tiles are kept away: all later
    scans too would be every new one until somebody labels again.
    """
    scans = sorted({tile.scan_id for tile, _ in newest_by_place(store)})
    times: dict[str, datetime] = {}
    for scanner_id in sorted({layout.parse_scan_id(scan).scanner_id for scan in scans}):
        try:
            scanner = project.scanner(scanner_id)
        except ConfigError:
            continue  # no longer in the project file: training and judging have no time for it either
        own = [scan for scan in scans if layout.parse_scan_id(scan).scanner_id == scanner_id]
        times |= scan_times(store, scanner, own)
    images = {scan: _looked_at(scan, at) for scan, at in times.items()}
    hold_out = hold_out_of(images.values())
    held = frozenset(scan for scan, image in images.items() if hold_out.holds(image))
    return HeldOut(hold_out.scanner, hold_out.since, held)


def _looked_at(scan_id: str, captured_at: datetime) -> LabelledImage:
    none = np.zeros(0, np.int64)
    return LabelledImage(
        file_name=scan_id,
        path=Path(scan_id),
        width=0,
        height=0,
        dpi=None,
        scanner_id=layout.parse_scan_id(scan_id).scanner_id,
        captured_at=captured_at,
        labelled=True,
        boxes=np.zeros((0, 4), np.float32),
        labels=none,
        crowd=none.astype(bool),
        scans_present=none,
    )
