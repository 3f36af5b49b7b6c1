"""The earlier scans that labelled tiles are compared with, registered to whole scans as in a run.

On the tile alone fewer references may be found than a run finds (bare ground has nothing to hold on to), and a detector
would be judged, and trained, without the difference that it has in use.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from soilpipe.background import Registration, cut_references, save_references
from soilpipe.background.registered_before import RegisteredBefore
from soilpipe.config import Project
from soilpipe.detect.run import suitable_references
from soilpipe.errors import SoilpipeError
from soilpipe.ingest.receipts import read_receipt
from soilpipe.labels.pictures import ASSUMED_UM_PER_PX
from soilpipe.store import Store
from soilpipe.tiles import ScanImage, open_image


def add_references(
    project: Project,
    store: Store,
    labels: Path,
    names: Collection[str] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write what tiles of `write_coco`'s label file are compared with beside them, and name it there (`registered`).

    names: file names of the tiles; None: all of them. References are those that a tile was drawn with; where one of
    them has lost its pixels, those that a run would take now. Each scan is read once for all of its tiles, and what it
    was registered to before is not registered again. `progress` is told how many tiles are done, of how many.
    """
    data = json.loads(labels.read_text(encoding="utf-8"))
    wanted = [entry for entry in data["images"] if names is None or entry["file_name"] in names]
    done, before = 0, RegisteredBefore(store.root)
    for scan_id, entries in groupby(wanted, key=lambda entry: str(entry["scan_id"])):
        whole = _Whole(project, store, scan_id, before)
        for entry in entries:
            entry["registered"] = f"{Path(entry['file_name']).stem}-registered.npz"
            (x0, y0), height, width = entry["origin"], entry["height"], entry["width"]
            whole.save(labels.parent / entry["registered"], entry["references"], (y0, y0 + height, x0, x0 + width))
            done += 1
            if progress:
                progress(done, len(wanted))
    before.tidy()
    labels.write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8")


class _Whole:
    """A labelled scan, and its references as far as they have been registered: tiles of several draws may differ."""

    def __init__(self, project: Project, store: Store, scan_id: str, before: RegisteredBefore) -> None:
        self._project, self._store, self._before = project, store, before
        self._receipt = read_receipt(store, scan_id)
        self._um_per_px = self._receipt.um_per_px or ASSUMED_UM_PER_PX
        self._scan = open_image(store, scan_id, self._um_per_px)
        self._found: dict[str, tuple[ScanImage, Registration]] = {}

    def save(self, path: Path, named: Sequence[str], window: tuple[int, int, int, int]) -> None:
        """Write what a window, y0, y1, x0, x1, needs of the references that are named for it."""
        images = self._opened(named)
        new = {scan_id: image for scan_id, image in images.items() if scan_id not in self._found}
        registered = self._before.register(self._scan, list(new.values()))
        self._found |= dict(zip(new, zip(new.values(), registered, strict=True), strict=True))
        references = [self._found[scan_id] for scan_id in images]
        images_, registrations = [image for image, _ in references], [found for _, found in references]
        save_references(path, cut_references(self._scan, images_, registrations, window))

    def _opened(self, named: Sequence[str]) -> Mapping[str, ScanImage]:
        try:
            return {scan_id: open_image(self._store, scan_id, self._um_per_px) for scan_id in named}
        except (FileNotFoundError, ValueError, SoilpipeError):
            scanner = self._project.scanner(self._receipt.scanner_id)
            now: list[Any] = suitable_references(self._store, scanner, self._receipt, self._um_per_px)
            return {str(image.scan_id): image for image in now}
