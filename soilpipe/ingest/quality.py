"""How good a scan's picture is, gathered from its bands, from this scan alone; it flags, and never refuses.

``sharpness``: variance of the Laplacian of the green channel at full resolution, in grey values squared (Pech-Pacheco
et al. 2000); it holds the sensor's noise too, so compare it between scans of one scanner only. ``relative_detail``:
60th percentile over the window's cells of the fine detail (standard deviation below 0.34 mm) relative to the level;
fog and loss of focus lower it, exposure does not. ``level_mean``, ``level_median``: grey levels, 0 to 255, of the
whole window. ``saturated_fraction``: share of pixels whose green is at the sensor's upper end. ``flat_bands``: runs of
at least 16 rows that are one colour from side to side, half-open, px at full resolution: what a broken upload or a
stuck scan head leaves. ``lost_blocks``: rows, likewise, with a run of black between bright rows (`lost_blocks`), the
first MOST_LOST of them. ``usable_fraction``: share of the window that the mask leaves (`window_mask`); ``masked``: the
share that each reason masks. ``mask_cell_px``: side of the mask's cells, px at full resolution.

Receipts from before the mask lack the fields that have a default; those are then None.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from soilpipe.config import FrozenModel
from soilpipe.ingest.lost_blocks import BLACK, lost_runs
from soilpipe.ingest.window_mask import CELL, WORDS, Cells, mask_of, reduction, relative_detail

FLAT_ROWS = 16
SATURATED = 254
STRIP, STRIPS = 64, 4
"""Sharpness is taken from one strip of 64 rows in four: a quarter of the time, and the same figure to a few percent."""
_GRAIN = 4  # px of the reduced scan: what is finer is detail

MOST_LOST = 20
MANY_MASKED = 0.05
MANY_SATURATED = 0.05
LITTLE_DETAIL = 0.015
LITTLE_LIGHT = 1.0


class Quality(FrozenModel):
    """See the module's docstring."""

    sharpness: float
    usable_fraction: float
    flat_bands: tuple[tuple[int, int], ...]
    level_mean: float | None = None
    level_median: float | None = None
    saturated_fraction: float | None = None
    relative_detail: float | None = None
    masked: dict[str, float] | None = None
    mask_cell_px: int | None = None
    lost_blocks: tuple[tuple[int, int], ...] | None = None

    @property
    def flat_rows(self) -> int:
        """How many rows lie in `flat_bands`."""
        return sum(last - first for first, last in self.flat_bands)

    def doubts(self) -> str | None:
        """What is wrong with the picture, in words; None when nothing is. It deletes nothing: counts stay."""
        told = []
        if self.flat_bands:
            first, last = self.flat_bands[0]
            more = f" and {len(self.flat_bands) - 1} more" if len(self.flat_bands) > 1 else ""
            told.append(f"rows {first} to {last}{more} are one colour from side to side")
        if self.lost_blocks:
            first, last = self.lost_blocks[0]
            more = f" and {len(self.lost_blocks) - 1} more places" if len(self.lost_blocks) > 1 else ""
            told.append(f"black in rows {first} to {last}{more} ends where it began: a block of the file may be lost")
        if self.masked and sum(self.masked.values()) >= MANY_MASKED:
            parts = sorted(self.masked.items(), key=lambda item: -item[1])
            told.append("masked: " + ", ".join(f"{share:.1%} of the window {why}" for why, share in parts))
        if (self.saturated_fraction or 0.0) >= MANY_SATURATED:
            told.append(f"{self.saturated_fraction:.1%} of the pixels are saturated: too much light")
        if self.level_mean is not None and self.level_mean < LITTLE_LIGHT:
            told.append(f"nearly black (mean level {self.level_mean:.1f} of 255): too little light")
        elif self.relative_detail is not None and self.relative_detail < LITTLE_DETAIL:
            why = "fogged, out of focus, or a smooth ground"
            told.append(f"hardly any fine detail ({self.relative_detail:.1%} of the level): {why}")
        return "; ".join(told) or None


class QualityMeter:
    """Sees every band once, on its way to the store. ``dpi`` None: taken for 1200."""

    def __init__(self, dpi: float | None = None) -> None:
        self._factor = reduction(dpi)
        self.cell_px = CELL * self._factor
        self._rows = self._width = 0
        self._laplacian = np.zeros(3)  # count, sum, sum of squares
        self._saturated = 0
        self._levels = np.zeros(256, np.int64)
        self._cells: list[Cells] = []
        self._flat: list[tuple[int, int]] = []
        self._lost: list[tuple[int, int]] = []

    def watch(self, bands: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The same bands, looked at. Bands must be multiples of ``cell_px`` rows but for the last."""
        for band in bands:
            self._look(band)
            yield band
            del band  # not to be held while the next is decoded

    def result(self) -> tuple[Quality, np.ndarray]:
        """After the last band: the quality, and the mask (`window_mask`), (rows, columns) uint8."""
        count, total, squares = self._laplacian
        variance = squares / count - (total / count) ** 2 if count else 0.0
        bands = tuple(run for run in _joined(self._flat) if run[1] - run[0] >= FLAT_ROWS)
        lost = [one for one in self._lost if not any(one[0] < last and first < one[1] for first, last in bands)]
        cells = _stacked(self._cells)
        for first, last in bands:
            cells.flat[first // self.cell_px : max(first // self.cell_px + 1, round(last / self.cell_px))] = True
        mask = mask_of(cells)
        areas = np.outer(self._sides(self._rows, len(mask)), self._sides(self._width, mask.shape[1]))
        shares = {why: float(areas[mask == code].sum() / areas.sum()) for code, why in WORDS.items()}
        pixels = max(1, self._rows * self._width)
        detail = relative_detail(cells)
        quality = Quality(
            sharpness=round(float(variance), 2),
            usable_fraction=round(1.0 - sum(shares.values()), 4),
            flat_bands=bands,
            level_mean=round(float((self._levels * np.arange(256)).sum() / self._levels.sum()), 2),
            level_median=float(np.searchsorted(self._levels.cumsum(), self._levels.sum() / 2)),
            saturated_fraction=round(self._saturated / pixels, 5),
            relative_detail=None if detail is None else round(detail, 4),
            masked={why: round(share, 4) for why, share in shares.items() if share > 0},
            mask_cell_px=self.cell_px,
            lost_blocks=tuple(lost[:MOST_LOST]) or None,
        )
        return quality, mask

    def _sides(self, size: int, cells: int) -> np.ndarray:
        """Extent of each cell along one axis, px: the last may be cut by the image's edge."""
        return np.minimum(self.cell_px, size - self.cell_px * np.arange(cells)).astype(np.float64)

    def _look(self, band: np.ndarray) -> None:
        height, self._width = band.shape[:2]
        green = cv2.extractChannel(band, 1)
        for top in range(0, height, STRIP * STRIPS):
            edges = cv2.Laplacian(green[top : top + STRIP], cv2.CV_16S)
            mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(edges))
            self._laplacian += (edges.size, edges.size * mean, edges.size * (deviation**2 + mean**2))
        self._cells.append(self._measured(band, green))
        flat = _flat_rows(band, green)
        changes = np.flatnonzero(np.diff(np.concatenate(([0], flat.view(np.int8), [0]))))
        self._flat += [(self._rows + int(a), self._rows + int(b)) for a, b in changes.reshape(-1, 2)]
        lost = [(first // self._width, -(-last // self._width)) for first, last in lost_runs(band)]
        self._lost += [(self._rows + first, self._rows + last) for first, last in lost]
        self._rows += height

    def _measured(self, band: np.ndarray, green: np.ndarray) -> Cells:
        grey = cv2.cvtColor(_reduced(band, self._factor), cv2.COLOR_RGB2GRAY)
        self._levels += cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().astype(np.int64)
        rows, columns = -(-len(green) // self.cell_px), -(-green.shape[1] // self.cell_px)
        pad = ((0, rows * CELL - grey.shape[0]), (0, columns * CELL - grey.shape[1]))
        exact = np.pad(grey, pad, mode="symmetric").astype(np.float32)
        smooth = cv2.resize(exact, (columns * CELL // _GRAIN, rows * CELL // _GRAIN), interpolation=cv2.INTER_AREA)
        level, squares, coarse = (
            cv2.resize(values, (columns, rows), interpolation=cv2.INTER_AREA).reshape(rows, columns)
            for values in (smooth, exact * exact, smooth * smooth)
        )
        likely_flat = (squares - level * level < 0.5) & (level > BLACK)
        return Cells(
            level=level,
            detail=np.sqrt(np.maximum(squares - coarse, 0.0)),
            saturated=self._saturated_cells(green),
            flat=self._one_colour(band, likely_flat),
        )

    def _saturated_cells(self, green: np.ndarray) -> np.ndarray:
        """(rows, columns) bool, and the pixels counted."""
        _, over = cv2.threshold(green, SATURATED - 1, 255, cv2.THRESH_BINARY)
        self._saturated += cv2.countNonZero(over)
        return np.asarray(_of_cells(over, self.cell_px) > 127)

    def _one_colour(self, band: np.ndarray, likely: np.ndarray) -> np.ndarray:
        """Those of the cells that look flat when reduced which are so to the last pixel."""
        for row, column in zip(*np.nonzero(likely), strict=True):
            top, left = row * self.cell_px, column * self.cell_px
            cell = band[top : top + self.cell_px, left : left + self.cell_px]
            likely[row, column] = bool((cell == cell[:1, :1]).all())
        return likely


def _reduced(band: np.ndarray, factor: int) -> np.ndarray:
    """(h // factor, w // factor, 3), at least 1 px a side: means of 2 x 2, again and again; what is left over at the
    edges is not looked at."""
    while factor > 1:
        rows, columns = max(1, band.shape[0] // 2), max(1, band.shape[1] // 2)
        whole = band[: max(1, 2 * (band.shape[0] // 2)), : max(1, 2 * (band.shape[1] // 2))]
        band = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
        factor //= 2
    return band


def _of_cells(values: np.ndarray, side: int) -> np.ndarray:
    """(H, W) uint8 → (rows, columns) uint8: each cell's mean, the cells at the edges cut by the image."""
    height, width = values.shape
    downs = [(0, height - height % side), (height - height % side, height)]
    acrosses = [(0, width - width % side), (width - width % side, width)]
    means = []
    for top, bottom in downs:
        row = []
        for left, right in acrosses:
            size = (-(-(right - left) // side), -(-(bottom - top) // side))
            if all(size):
                row.append(cv2.resize(values[top:bottom, left:right], size, interpolation=cv2.INTER_AREA))
        if row:
            means.append(np.concatenate([part.reshape(part.shape[0], -1) for part in row], axis=1))
    return np.concatenate(means)


def _flat_rows(band: np.ndarray, green: np.ndarray) -> np.ndarray:
    """(h,) bool: rows of one colour. Those of which sixteen columns differ are not looked at further."""
    columns = green[:, :: max(1, green.shape[1] // 16)]
    flat = np.asarray((columns == columns[:, :1]).all(axis=1))
    for row in np.flatnonzero(flat):
        flat[row] = bool((band[row] == band[row, :1]).all())
    return flat


def _stacked(parts: list[Cells]) -> Cells:
    return Cells(*(np.concatenate([getattr(part, name) for part in parts]) for name in Cells.__annotations__))


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
