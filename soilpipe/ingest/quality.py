"""How good a scan's picture is, gathered from its bands; it flags, and never refuses.

``sharpness``: variance of the Laplacian of the green channel at full resolution, in grey values squared (Pech-Pacheco
et al. 2000); comparable between scans of one scanner. ``usable_fraction``: share of 64 px squares that are neither
flat (all one value) nor more than half saturated. ``flat_bands``: runs of at least 16 rows that are one colour from
side to side, half-open, px at full resolution: what a broken upload or a stuck scan head leaves.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from soilpipe.config import FrozenModel

SQUARE = 64
FLAT_ROWS = 16
SATURATED = 254


class Quality(FrozenModel):
    """See the module's docstring."""

    sharpness: float
    usable_fraction: float
    flat_bands: tuple[tuple[int, int], ...]


class QualityMeter:
    """Sees every band once, on its way to the store."""

    def __init__(self) -> None:
        self._rows = 0
        self._laplacian = np.zeros(3)  # count, sum, sum of squares
        self._usable = 0.0
        self._flat: list[tuple[int, int]] = []

    def watch(self, bands: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The same bands, looked at. Bands must be multiples of SQUARE rows but for the last."""
        for band in bands:
            self._look(band)
            yield band

    def result(self) -> Quality:
        """After the last band."""
        count, total, squares = self._laplacian
        variance = squares / count - (total / count) ** 2 if count else 0.0
        pixels = max(1, self._rows) * max(1, self._width)
        return Quality(
            sharpness=round(float(variance), 2),
            usable_fraction=round(float(self._usable / pixels), 4),
            flat_bands=tuple(run for run in _joined(self._flat) if run[1] - run[0] >= FLAT_ROWS),
        )

    _width = 0

    def _look(self, band: np.ndarray) -> None:
        height, self._width = band.shape[:2]
        green = np.ascontiguousarray(band[:, :, 1])
        edges = cv2.Laplacian(green, cv2.CV_16S)
        mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(edges))
        self._laplacian += (edges.size, edges.size * mean, edges.size * (deviation**2 + mean**2))
        self._usable += _usable_pixels(green)
        flat = (band == band[:, :1]).all(axis=(1, 2)) if _may_be_flat(green) else np.zeros(height, bool)
        changes = np.flatnonzero(np.diff(np.concatenate(([0], flat.view(np.int8), [0]))))
        self._flat += [(self._rows + int(a), self._rows + int(b)) for a, b in changes.reshape(-1, 2)]
        self._rows += height


def _may_be_flat(green: np.ndarray) -> bool:
    """Whether any row of at least FLAT_ROWS could be: rows of which three columns differ cannot."""
    columns = green[:, :: max(1, green.shape[1] // 16)]
    return bool((columns == columns[:, :1]).all(axis=1).any())


def _usable_pixels(green: np.ndarray) -> float:
    height, width = green.shape
    usable = 0.0
    for top in range(0, height, SQUARE):
        strip = green[top : top + SQUARE]
        starts = np.arange(0, width, SQUARE)
        flat = np.maximum.reduceat(strip.max(axis=0), starts) == np.minimum.reduceat(strip.min(axis=0), starts)
        saturated = np.add.reduceat((strip >= SATURATED).sum(axis=0), starts)
        areas = np.diff([*starts, width]) * len(strip)
        usable += float(areas[~flat & (saturated * 2 <= areas)].sum())
    return usable


def _joined(runs: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Runs that touch across bands, as one."""
    open_run: tuple[int, int] | None = None
    for run in runs:
        if open_run and open_run[1] == run[0]:
            open_run = (open_run[0], run[1])
            continue
        if open_run:
            yield open_run
        open_run = run
    if open_run:
        yield open_run
