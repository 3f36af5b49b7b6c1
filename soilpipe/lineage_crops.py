"""Which labelled crops an encoder has learned from: place by place, from the manifests of its line.

The hold-out serves no pretraining. But scans come before their labels, and a scan that was learned from may fall into
the hold-out later. What counts then is the place: a refresh takes some dozens of the two thousand cells of a scan, and
what was never shown is as good to judge by as any other. As pretraining keeps away from the tiles of the hold-out
(`candidates_frame.held_boxes`), so a crop is learned from where a corpus had the same place of the scanner at most 72
hours before or after, or compared its own crop there with the scan.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from soilpipe import layout
from soilpipe.detect.split import NEIGHBOURING
from soilpipe.lineage import line_of
from soilpipe.store import MissingKeyError, Store


@dataclass(frozen=True)
class OfScanner:
    """The crops of one scanner that a line of encoders learned from, each once.

    boxes_mm  (n, 4) float64, x_min y_min x_max y_max from the scan's corner
    at        (n,) float64, s since 1970 UTC
    compared  scan -> the rows whose difference is from it
    """

    boxes_mm: np.ndarray
    at: np.ndarray
    compared: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class LearnedCrops:
    """By scanner what was learned from. unknown: encoders of the line whose manifest is gone: all may be theirs."""

    scanners: Mapping[str, OfScanner]
    unknown: tuple[str, ...] = ()

    def meet(self, scanner: str, scan_id: str, captured_at: datetime, boxes_mm: np.ndarray) -> np.ndarray:
        """(k,) bool: which places of a scan, (k, 4) mm, were learned from. All, where a manifest is gone."""
        boxes = np.asarray(boxes_mm, np.float64).reshape(-1, 4)
        if self.unknown:
            return np.ones(len(boxes), bool)
        there = self.scanners.get(scanner)
        if there is None:
            return np.zeros(len(boxes), bool)
        near = np.abs(there.at - captured_at.timestamp()) <= NEIGHBOURING.total_seconds()
        near[there.compared.get(scan_id, np.zeros(0, np.int64))] = True
        others = there.boxes_mm[near]
        apart = (
            (boxes[:, None, 0] >= others[None, :, 2])
            | (boxes[:, None, 2] <= others[None, :, 0])
            | (boxes[:, None, 1] >= others[None, :, 3])
            | (boxes[:, None, 3] <= others[None, :, 1])
        )
        return np.asarray(~apart.all(axis=1))

    def last(self, scanner: str) -> datetime | None:
        """When the newest scan of a scanner was taken that was learned from, UTC; None where none was."""
        there = self.scanners.get(scanner)
        return None if there is None else datetime.fromtimestamp(float(there.at.max()), UTC)


def learned_crops(store: Store, encoder: str, scanners: Collection[str]) -> LearnedCrops:
    """What an encoder, and those that it began from, learned from of some scanners."""
    rows: dict[str, dict[tuple[Any, ...], tuple[list[float], float, tuple[str, ...]]]] = defaultdict(dict)
    unknown = []
    for version, manifest_hash in line_of(store, encoder):
        if not manifest_hash or not scanners:
            continue
        crops = _crops(store, manifest_hash)
        if crops is None:
            unknown.append(version)
            continue
        for crop in crops:
            if crop["scanner_id"] in scanners:
                key = (crop["scan_id"], crop["y0"], crop["x0"], crop["side"], crop["um_per_px"])
                rows[crop["scanner_id"]].setdefault(key, _row(crop))
    return LearnedCrops({scanner: _of(list(found.values())) for scanner, found in rows.items()}, tuple(unknown))


def _crops(store: Store, manifest_hash: str) -> list[Mapping[str, Any]] | None:
    try:
        data = store.read_bytes(layout.corpus_manifest(manifest_hash))
    except MissingKeyError:
        return None
    return list(json.loads(gzip.decompress(data))["crops"])


def _row(crop: Mapping[str, Any]) -> tuple[list[float], float, tuple[str, ...]]:
    mm = crop["um_per_px"] / 1000
    x0, y0, side = crop["x0"] * mm, crop["y0"] * mm, crop["side"] * mm
    at = datetime.fromisoformat(crop["captured_at"])
    return [x0, y0, x0 + side, y0 + side], at.timestamp(), tuple(crop["references"])


def _of(rows: Iterable[tuple[list[float], float, tuple[str, ...]]]) -> OfScanner:
    rows = list(rows)
    compared: dict[str, list[int]] = defaultdict(list)
    for number, (_, _, references) in enumerate(rows):
        for scan_id in references:
            compared[scan_id].append(number)
    return OfScanner(
        np.array([box for box, _, _ in rows], np.float64).reshape(-1, 4),
        np.array([at for _, at, _ in rows], np.float64),
        {scan_id: np.array(found, np.int64) for scan_id, found in compared.items()},
    )
