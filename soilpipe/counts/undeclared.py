"""Scanners that the store has scans of and the project file does not declare."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from soilpipe import layout
from soilpipe.config import Project
from soilpipe.ingest.receipts import list_scan_ids
from soilpipe.store import Store


@dataclass(frozen=True)
class UndeclaredScanner:
    """A scanner that was taken out of the project file, or is called otherwise in it now.

    scans        accepted scans in the store
    first, last  the first and last of them, by the device's own clock
    """

    scanner_id: str
    scans: int
    first: datetime
    last: datetime
    in_project_file: bool = False
    needs_person: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What became of it, and how it is had again."""
        scans = "1 scan is" if self.scans == 1 else f"{self.scans} scans are"
        return (
            f"{self.scanner_id}: no longer in the project file; {scans} kept ({self.first:%Y-%m-%d} to "
            f"{self.last:%Y-%m-%d}). Nothing was deleted, and no run makes its tables any more: put its block back to "
            "have it in status, counts and pages, with `until` when it has been taken out"
        )


def undeclared_scanners(project: Project, store: Store) -> list[UndeclaredScanner]:
    """Those with at least one scan, by id. Costs one listing of names, and of each such scanner all its receipts'."""
    declared = {scanner.id for scanner in project.scanners}
    found = []
    for scanner_id in store.folders(layout.RECEIPTS):
        if scanner_id in declared:
            continue
        times = sorted(layout.parse_scan_id(scan_id).device_time for scan_id in list_scan_ids(store, scanner_id))
        if times:
            found.append(UndeclaredScanner(scanner_id, len(times), times[0], times[-1]))
    return found
