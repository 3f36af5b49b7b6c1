"""The lattice of a scanner: square cells that never overlap, each a place of its own.

Crops are cells, not windows anywhere: so two crops show the same ground exactly when they are of the same cell, and
"the same place at two times" has a sharp meaning, also for scans of one scanner that differ by a few pixels. An animal
on the border of two cells is seen in parts in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soilpipe.ingest.receipts import Scanned
from soilpipe.ingest.window_mask import USABLE

LEAST_USABLE = 0.75
"""Share of a cell that the window's mask must leave."""

Box = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max, px at full resolution, half-open."""


@dataclass(frozen=True)
class Lattice:
    """The cells of a scan of height x width px at the crops' scale; `factor` full-resolution px a px here.

    Cells of `side` px lie side by side from the corner of the scan on, as many as fit whole; what is left over at the
    right and below is of no cell. A scan smaller than a cell has one, which reaches beyond it on both sides.
    """

    height: int
    width: int
    side: int
    factor: float

    @property
    def rows(self) -> int:
        return max(1, self.height // self.side)

    @property
    def columns(self) -> int:
        return max(1, self.width // self.side)

    def __len__(self) -> int:
        return self.rows * self.columns

    def row_column(self, cell: int) -> tuple[int, int]:
        return divmod(cell, self.columns)

    def corner(self, cell: int) -> tuple[int, int]:
        """y0, x0 of a cell, px at the crops' scale; negative where the scan is smaller than a cell."""
        row, column = self.row_column(cell)
        return _start(row, self.height, self.side), _start(column, self.width, self.side)

    def boxes(self) -> np.ndarray:
        """(n, 4) float64, x_min y_min x_max y_max of every cell, px at full resolution, half-open."""
        top = [_start(row, self.height, self.side) for row in range(self.rows)]
        left = [_start(column, self.width, self.side) for column in range(self.columns)]
        low = np.stack([np.tile(left, self.rows), np.repeat(top, self.columns)], axis=1).astype(float)
        return np.concatenate([low, low + self.side], axis=1) * self.factor

    def cells_at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(n,) int64: in which cell each point lies, px at full resolution; -1 for what is left over."""
        row = np.floor((np.asarray(y, float) / self.factor - _start(0, self.height, self.side)) / self.side)
        column = np.floor((np.asarray(x, float) / self.factor - _start(0, self.width, self.side)) / self.side)
        inside = (row >= 0) & (row < self.rows) & (column >= 0) & (column < self.columns)
        return np.where(inside, row * self.columns + column, -1).astype(np.int64)


def _start(number: int, size: int, side: int) -> int:
    """Where a cell begins, whole px."""
    return number * side if size >= side else (size - side) // 2


def usable_cells(lattice: Lattice, receipt: Scanned, mask: np.ndarray | None, forbidden: Sequence[Box]) -> np.ndarray:
    """(n,) bool: the cells that may be learned from.

    Left out: cells of which less than `LEAST_USABLE` is unmasked, those with rows that are one colour from side to side
    (`flat_bands`), and those that touch a `forbidden` box.
    """
    boxes = lattice.boxes()
    usable = np.ones(len(boxes), bool)
    for first, last in receipt.quality.flat_bands:
        usable &= (boxes[:, 3] <= first) | (boxes[:, 1] >= last)
    for x_min, y_min, x_max, y_max in forbidden:
        apart = (boxes[:, 2] <= x_min) | (boxes[:, 0] >= x_max) | (boxes[:, 3] <= y_min) | (boxes[:, 1] >= y_max)
        usable &= apart
    cell_px = receipt.quality.mask_cell_px
    if mask is not None and cell_px is not None:
        clear = mask == USABLE
        for cell in np.flatnonzero(usable):
            x0, y0, x1, y1 = boxes[cell] / cell_px
            part = clear[max(0, int(y0)) : int(-(-y1 // 1)), max(0, int(x0)) : int(-(-x1 // 1))]
            usable[cell] = bool(part.size) and float(part.mean()) >= LEAST_USABLE
    return usable
