"""Candidate crops: of each scan since the last refresh, cells around change and detections, and cells anywhere.

A crop is read as the detector reads it: the scan with its difference from the scans that its detection file names, or
from those that suit where there is no such file. One scan is one task of Dask: its references are registered once for
all of its crops.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

import numpy as np

from soilpipe.background import ModelInput, Registration, register_all
from soilpipe.cluster import active_client, gathered, join_cluster
from soilpipe.config import Project
from soilpipe.detect.run import suitable_references
from soilpipe.detections import DetectionFileError, read_detection_file
from soilpipe.ingest.mask_files import read_mask
from soilpipe.ingest.receipts import Receipt, read_receipt
from soilpipe.ingest.window_mask import MaskError
from soilpipe.pretrain.candidates_cells import Lattice, usable_cells
from soilpipe.pretrain.candidates_change import changed_places
from soilpipe.pretrain.candidates_frame import ScanPlan, held_boxes
from soilpipe.pretrain.candidates_unreadable import reading
from soilpipe.pretrain.source import place_id
from soilpipe.store import MissingKeyError, Store
from soilpipe.tiles import ScanImage, open_image

log = logging.getLogger(__name__)

AROUND_CHANGE = 0.7
"""Share of a scan's crops that are taken around change or detections."""
LEAST_USABLE = 0.5
"""Share of the window; below, the scan's counts are null and its crops are not learned from."""
LEAST_LIGHT = 1.0
"""Grey levels: a darker scan shows nothing."""

IN_MEMORY = 1_000_000_000
"""Bytes of crops that are on their way from the workers at a time."""

Reason = Literal["change", "detection", "anywhere"]


@dataclass(frozen=True)
class Asked:
    """What is wanted of each scan: how many crops, of what side (px) and scale (um/px), drawn by what seed."""

    quota: int
    side: int
    um_per_px: float
    seed: int


@dataclass(frozen=True)
class Crop:
    """A window of a scan: corner y0, x0 and side in px of `um_per_px`, the scan's level that is nearest to the scale
    that was asked for; `factor` full-resolution px a px of it. references: the scans that its difference is from; none
    where it has no difference."""

    scan_id: str
    scanner_id: str
    captured_at: datetime
    y0: int
    x0: int
    side: int
    um_per_px: float
    factor: float
    place: int
    reason: Reason
    references: tuple[str, ...]


@dataclass(frozen=True)
class ScanCandidates:
    """The crops of one scan, by row and column, and their pixels, (n, 7, side, side) uint8.

    passed_over: why it gives none, in words; None where it does. cells: how many there were to choose from. changed:
    how many cells of the lattice show change or a detection; None where neither could be told.
    """

    scan_id: str
    crops: tuple[Crop, ...]
    pixels: np.ndarray
    passed_over: str | None = None
    cells: int = 0
    changed: int | None = None


def candidates(
    store: Store,
    project: Project,
    plans: Sequence[ScanPlan],
    asked: Asked,
    *,
    workers: int | None = None,
    in_memory: int = IN_MEMORY,
) -> Iterator[ScanCandidates]:
    """The candidates of each scan, in the order of the plans, whatever the number of workers.

    Read by the project's Dask cluster, or one that is active, else (or when that is lost) by threads (`workers`;
    None: one a core). A few scans a worker are in memory at a time, and no more than have `in_memory` bytes of crops
    together (one at least).
    """
    import dask

    threads = workers or os.cpu_count() or 1
    of_scan = asked.quota * 7 * asked.side**2
    wave = max(1, min(2 * max(threads, 4), in_memory // of_scan))
    if (alone := join_cluster(project.dask)) is not None:
        log.warning("%s", alone)
    client = active_client()
    one = dask.delayed(candidates_of_scan, pure=False)
    with dask.config.set(num_workers=threads):
        for start in range(0, len(plans), wave):
            work = [one(store, project, plan, asked) for plan in plans[start : start + wave]]
            read = gathered(client, partial(client.compute, work)) if client is not None else None
            yield from dask.compute(*work, scheduler="threads") if read is None else read


def candidates_of_scan(store: Store, project: Project, plan: ScanPlan, asked: Asked) -> ScanCandidates:
    """Take the candidates of one scan.

    Around `AROUND_CHANGE` of them show change or a detection, in turn while there are both; if there are too few such
    cells, there are so many crops fewer. The others are drawn from all other usable cells. Where change cannot be told
    (no references yet, and not detected), all are drawn from anywhere.

    A scan without pixels, and one whose pixels cannot be decoded, is passed over. Errors of the store are raised, and
    UnreadableScanError for whatever else breaks the reading.
    """
    with reading(plan.scan_id):
        return _candidates_of_scan(store, project, plan, asked)


def _candidates_of_scan(store: Store, project: Project, plan: ScanPlan, asked: Asked) -> ScanCandidates:
    receipt = read_receipt(store, plan.scan_id)
    if (why := _unfit(receipt)) is not None:
        return _nothing(plan, asked, why)
    scale = asked.um_per_px if receipt.um_per_px is None else receipt.um_per_px
    try:
        scan = open_image(store, plan.scan_id, scale)
        named, found = _detected(store, plan)
        references = _open_all(store, named, scale) or suitable_references(
            store, project.scanner(plan.scanner_id), receipt, scale
        )
        return _taken(store, receipt, plan, asked, scan, references, register_all(scan, references), found)
    except FileNotFoundError:
        return _nothing(plan, asked, "its pixels are no longer stored")
    except (ValueError, RuntimeError) as error:  # what zarr and its codecs raise for a damaged chunk
        return _nothing(plan, asked, f"its pixels cannot be decoded ({error}); `soilpipe verify` tells what is damaged")


def _unfit(receipt: Receipt) -> str | None:
    quality = receipt.quality
    if quality.usable_fraction < LEAST_USABLE:
        return f"less than {LEAST_USABLE:.0%} of its window is usable"
    if quality.level_mean is not None and quality.level_mean < LEAST_LIGHT:
        return "it is nearly black"
    return None


def _nothing(plan: ScanPlan, asked: Asked, why: str) -> ScanCandidates:
    return ScanCandidates(plan.scan_id, (), np.zeros((0, 7, asked.side, asked.side), np.uint8), why)


def _detected(store: Store, plan: ScanPlan) -> tuple[tuple[str, ...], np.ndarray | None]:
    """The references that the scan's detection file names, and the middle of each box, (n, 2) x y px at full
    resolution; None where there is no whole file."""
    if plan.analysis_id is None:
        return (), None
    try:
        file = read_detection_file(store, plan.analysis_id, plan.scan_id)
    except (MissingKeyError, DetectionFileError):
        return (), None
    x_min, y_min, x_max, y_max = (
        file.table[name].to_numpy().astype(float) for name in ("x_min", "y_min", "x_max", "y_max")
    )
    named = tuple(str(one["scan_id"]) for one in file.metadata.get("references", ()))
    return named, np.stack([(x_min + x_max) / 2, (y_min + y_max) / 2], axis=1)


def _open_all(store: Store, scan_ids: Sequence[str], um_per_px: float) -> list[ScanImage]:
    """Those that still have their pixels."""
    images = []
    for scan_id in scan_ids:
        try:
            images.append(open_image(store, scan_id, um_per_px))
        except FileNotFoundError:
            continue
    return images


def _taken(
    store: Store,
    receipt: Receipt,
    plan: ScanPlan,
    asked: Asked,
    scan: ScanImage,
    references: Sequence[ScanImage],
    registrations: Sequence[Registration],
    found: np.ndarray | None,
) -> ScanCandidates:
    windows = ModelInput(scan, references, registrations, asked.um_per_px)
    lattice = Lattice(windows.height, windows.width, asked.side, windows.factor)
    compared = tuple(str(image.scan_id) for image, laid in zip(references, registrations, strict=True) if laid.ok)
    try:
        mask = read_mask(store, receipt)
    except (MissingKeyError, MaskError):
        return _nothing(plan, asked, "the mask of its window is not there or damaged")
    shown = {str(image.scan_id) for image in references}
    usable = usable_cells(lattice, receipt, mask, held_boxes(plan.held, plan.captured_at, shown))
    changed = changed_places(scan, references, registrations)
    chosen = choose_cells(
        usable,
        None if found is None else _cells(lattice, found),
        None if changed is None else _cells(lattice, changed),
        asked.quota,
        np.random.default_rng([asked.seed, _number(plan.scan_id)]),
    )
    told = [cells for cells in (found, changed) if cells is not None]
    crops, pixels = [], np.empty((len(chosen), 7, asked.side, asked.side), np.uint8)
    for index, cell in enumerate(sorted(chosen)):  # along the rows, as chunks are stored
        y0, x0 = lattice.corner(cell)
        um_per_px = round(scan.um_per_px * windows.factor, 6)
        pixels[index] = windows.read(y0, y0 + asked.side, x0, x0 + asked.side)
        crops.append(
            Crop(
                scan_id=plan.scan_id,
                scanner_id=plan.scanner_id,
                captured_at=plan.captured_at,
                y0=y0,
                x0=x0,
                side=asked.side,
                um_per_px=um_per_px,
                factor=windows.factor,
                place=place_id(plan.scanner_id, um_per_px, asked.side, y0, x0),
                reason=chosen[cell],
                references=compared if windows.usable else (),
            )
        )
    cells = np.unique(_cells(lattice, np.concatenate(told))) if told else None
    return ScanCandidates(
        plan.scan_id,
        tuple(crops),
        pixels,
        None if crops else "no part of its window is free and usable",
        int(usable.sum()),
        None if cells is None else len(cells),
    )


def _cells(lattice: Lattice, places: np.ndarray) -> np.ndarray:
    cells = np.unique(lattice.cells_at(places[:, 0], places[:, 1]))
    return cells[cells >= 0]


def _number(scan_id: str) -> int:
    return int.from_bytes(hashlib.sha256(scan_id.encode()).digest()[:8], "big")


def choose_cells(
    usable: np.ndarray,
    detected: np.ndarray | None,
    changed: np.ndarray | None,
    quota: int,
    rng: np.random.Generator,
) -> dict[int, Reason]:
    """Which cells are taken, and why: at most `quota`, each once.

    usable: (n,) bool. detected, changed: the cells with a detection, or with change; None where that cannot be told.
    """
    chosen: dict[int, Reason] = {}
    around = round(AROUND_CHANGE * quota)
    if detected is None and changed is None:
        around = 0
    queues: list[tuple[Reason, list[int]]] = [
        ("detection", _shuffled(detected, usable, rng)),
        ("change", _shuffled(changed, usable, rng)),
    ]
    while len(chosen) < around and any(queue for _, queue in queues):
        for reason, queue in queues:
            while queue:
                cell = queue.pop()
                if cell not in chosen:
                    chosen[cell] = reason
                    break
            if len(chosen) == around:
                break
    told = detected is not None or changed is not None
    anywhere = quota - round(AROUND_CHANGE * quota) if told else quota
    for cell in rng.permutation(np.flatnonzero(usable)).tolist():
        if anywhere == 0:
            break
        if cell not in chosen:
            chosen[cell] = "anywhere"
            anywhere -= 1
    return chosen


def _shuffled(cells: np.ndarray | None, usable: np.ndarray, rng: np.random.Generator) -> list[int]:
    if cells is None:
        return []
    cells = np.unique(cells)
    found: list[int] = rng.permutation(cells[usable[cells]]).tolist()
    return found
