"""Which detections are new, which were there before, and which never move.

Scans of one scanner are comparable when they have the same dpi and analysis: the device doesn't move, so a box is at
the same place when its pixels are. Two detections are of one kind and place when their taxon is the same, the smaller
box has at least half the area of the larger one, and they overlap (IoU 0.5 or more) or their centres are within 0.1 mm:
at 1200 dpi that is 4.7 px, more than carriage jitter and the detector's own, and less than a mite.

- new: nothing of its kind was at this place in the 11 scans before.
- persistent: something was, in one of them at least; a detection that flickers is not new each time.
- stationary: it was there in each of the 11 scans before, matched one to one from scan to scan.

All of it depends on the 11 scans before and on nothing older, so that the series of a year can be made from that year
and the last scans of the one before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

STATIONARY_SCANS = 12
MIN_IOU = 0.5
MIN_AREA_RATIO = 0.5
MAX_CENTRE_DISTANCE_MM = 0.1
MM_PER_INCH = 25.4
TYPICAL_DPI = 1200.0


@dataclass(frozen=True)
class Seen:
    """The detections of one scan.

    boxes  (n, 4) float64, x_min y_min x_max y_max, px at full resolution, half-open
    taxa   (n,) str, "" where nothing can be said
    runs   (n,) int64, in how many consecutive scans, this one included, it was there; counted up to 12
    dpi, analysis_id   what must be the same for two scans to be comparable
    """

    boxes: np.ndarray
    taxa: np.ndarray
    runs: np.ndarray
    dpi: float | None
    analysis_id: str

    def comparable(self, dpi: float | None, analysis_id: str) -> bool:
        return self.dpi == dpi and self.analysis_id == analysis_id


def follow(
    boxes: np.ndarray, taxa: Iterable[str | None], dpi: float | None, analysis_id: str, earlier: Sequence[Seen]
) -> tuple[list[str | None], Seen]:
    """The change of every detection (None: no earlier scan to compare with), and what the next scan needs to know.

    ``boxes`` (n, 4) px; ``earlier``: the scans before, newest first; only the unbroken comparable ones among the first
    11 are looked at.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    names = np.array([name or "" for name in taxa], dtype=object)
    before = _comparable(earlier, dpi, analysis_id)
    runs = np.ones(len(boxes), np.int64)
    if not before:
        return [None] * len(boxes), Seen(boxes, names, runs, dpi, analysis_id)
    tolerance = MAX_CENTRE_DISTANCE_MM / MM_PER_INCH * (dpi or TYPICAL_DPI)
    for here, there in _pairs(boxes, names, before[0], tolerance):
        runs[here] = min(before[0].runs[there] + 1, STATIONARY_SCANS)
    known = runs > 1
    known[~known] = _was_there(boxes[~known], names[~known], before, tolerance)
    changes: list[str | None] = [
        "stationary" if run >= STATIONARY_SCANS else "persistent" if seen else "new"
        for run, seen in zip(runs, known, strict=True)
    ]
    return changes, Seen(boxes, names, runs, dpi, analysis_id)


def _comparable(earlier: Sequence[Seen], dpi: float | None, analysis_id: str) -> list[Seen]:
    found = []
    for scan in earlier[: STATIONARY_SCANS - 1]:
        if not scan.comparable(dpi, analysis_id):
            break
        found.append(scan)
    return found


def _pairs(boxes: np.ndarray, taxa: np.ndarray, before: Seen, tolerance: float) -> list[tuple[int, int]]:
    """One-to-one pairs (row here, row before), the best overlap first, then the nearest centres."""
    fits, iou, distance = _fit(boxes, taxa, before.boxes, before.taxa, tolerance)
    here, there = np.nonzero(fits)
    order = np.lexsort((there, here, distance[here, there], -iou[here, there]))
    used_here: set[int] = set()
    used_there: set[int] = set()
    pairs = []
    for k in order:
        i, j = int(here[k]), int(there[k])
        if i not in used_here and j not in used_there:
            used_here.add(i)
            used_there.add(j)
            pairs.append((i, j))
    return pairs


def _was_there(boxes: np.ndarray, taxa: np.ndarray, scans: Sequence[Seen], tolerance: float) -> np.ndarray:
    """(n,) bool: something of its kind was at this place in one of the scans."""
    if not len(boxes) or not scans:
        return np.zeros(len(boxes), bool)
    earlier_boxes = np.concatenate([scan.boxes for scan in scans])
    earlier_taxa = np.concatenate([scan.taxa for scan in scans])
    fits, _, _ = _fit(boxes, taxa, earlier_boxes, earlier_taxa, tolerance)
    return np.asarray(fits.any(axis=1))


def _fit(
    a: np.ndarray, a_taxa: np.ndarray, b: np.ndarray, b_taxa: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, m) each: of one kind and place; IoU; distance of the centres in px."""
    if not len(a) or not len(b):
        empty = np.zeros((len(a), len(b)))
        return empty.astype(bool), empty, empty
    ax0, ay0, ax1, ay1 = a.T[:, :, None]
    bx0, by0, bx1, by1 = b.T[:, None, :]
    width = np.minimum(ax1, bx1) - np.maximum(ax0, bx0)
    height = np.minimum(ay1, by1) - np.maximum(ay0, by0)
    shared = np.where((width > 0) & (height > 0), width * height, 0.0)
    a_area, b_area = ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) for box in (a, b))
    iou = shared / np.maximum(a_area[:, None] + b_area[None] - shared, 1e-9)
    distance = np.hypot(ax0 + ax1 - bx0 - bx1, ay0 + ay1 - by0 - by1) / 2
    alike = np.minimum(a_area[:, None], b_area[None]) >= MIN_AREA_RATIO * np.maximum(a_area[:, None], b_area[None])
    same = a_taxa[:, None] == b_taxa[None]
    return same & alike & ((iou >= MIN_IOU) | (distance <= tolerance)), iou, distance
