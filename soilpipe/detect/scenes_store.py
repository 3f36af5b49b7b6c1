"""Ground to paste on from the scans that a project has stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from soilpipe.background import register_all
from soilpipe.config import Project, Scanner
from soilpipe.detect.dataset import Progress, Sample
from soilpipe.detect.labelled import LabelledImage, LabelSet
from soilpipe.detect.pictures import Scene
from soilpipe.detect.run import suitable_references
from soilpipe.detect.scenes_grounds import BUDGET, free_images, windows_in, windows_of
from soilpipe.ingest.clock import at_present, scan_times
from soilpipe.ingest.quarantine import superseded_scans
from soilpipe.ingest.receipts import list_scan_ids, read_receipt
from soilpipe.store import Store
from soilpipe.tiles import open_image

SCANS = 24  # opened at most: registering the references of an A4 scan takes seconds


def grounds_of_store(
    project: Project,
    store: Store,
    um_per_px: float,
    *,
    labels: LabelSet,
    trained_on: LabelSet,
    even: bool = False,
    scans: int = SCANS,
    budget: int = BUDGET,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Sample]:
    """Windows of up to `scans` stored scans, drawn by `seed`, with the difference that detection would see.

    labels, trained_on: as for `scenes_grounds.grounds_of_labels`: what is held back, and what shows the same ground,
    is left out. Scans of unknown resolution and those without their pixels are passed over. Each scanner has the same
    chance, however many scans it has. `even`: their contrast is evened. `budget`: bytes of windows.
    """
    rng = np.random.default_rng([seed, 6])
    free = [_free_scans(store, scanner, labels, trained_on) for scanner in project.scanners]
    drawn = [[ids[index] for index in rng.permutation(len(ids))] for ids in free]
    turns = [ids[turn] for turn in range(max(map(len, drawn), default=0)) for ids in drawn if turn < len(ids)]
    each = max(1, windows_in(budget) // max(1, min(scans, len(turns))))
    grounds: list[Sample] = []
    opened = 0
    for scan_id in turns:
        if opened == scans:
            break
        scene = _scene(project, store, scan_id)
        if scene is None:
            continue
        opened += 1
        grounds += windows_of(scene, um_per_px, each, rng, even=even)
        if progress:
            progress(opened, min(scans, len(turns)))
    return grounds


def _free_scans(store: Store, scanner: Scanner, labels: LabelSet, trained_on: LabelSet) -> Sequence[str]:
    """Ids of a scanner's scans that show nothing of what is held back."""
    put_aside = superseded_scans(store, scanner.id)
    ids = [scan_id for scan_id in list_scan_ids(store, scanner.id) if scan_id not in put_aside]
    times = scan_times(store, scanner, ids)
    stored = [_unlabelled(scan_id, scanner.id, time, (1, 1), None) for scan_id, time in times.items()]
    together = replace(labels, images=(*labels.labelled, *stored))
    return [image.file_name for image in free_images(together, trained_on)]


def _scene(project: Project, store: Store, scan_id: str) -> Scene | None:
    """A stored scan with its references; None without its pixels or its resolution."""
    receipt = read_receipt(store, scan_id)
    scanner = project.scanner(receipt.scanner_id)
    scale = receipt.um_per_px
    if scale is None:
        return None
    try:
        scan = open_image(store, scan_id, scale)
    except FileNotFoundError:
        return None
    references = suitable_references(store, scanner, receipt, scale)
    size = receipt.height_px, receipt.width_px
    image = _unlabelled(scan_id, scanner.id, at_present(receipt, scanner).captured_at, size, receipt.dpi)
    return Scene(image, scan, tuple(references), tuple(register_all(scan, references)))


def _unlabelled(
    scan_id: str, scanner_id: str, time: datetime, size: tuple[int, int], dpi: float | None
) -> LabelledImage:
    """A stored scan as an image that nobody labelled; its size is height and width."""
    return LabelledImage(
        file_name=scan_id,
        path=Path(scan_id),
        width=size[1],
        height=size[0],
        dpi=dpi,
        scanner_id=scanner_id,
        captured_at=time,
        labelled=False,
        boxes=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, np.int64),
        crowd=np.zeros(0, bool),
        scans_present=np.zeros(0, np.int64),
    )
