"""The pixels of labelled crops, in a file while an encoder is tuned on them: they are more than memory should hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from soilpipe.classify.embedding import TunedOn, middles


class CropPixels:
    """Crops of one size, (7, s, s) uint8, added in turn and read by their row.

    path: of a file that is written here; it is the caller's to remove.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shape: tuple[int, ...] | None = None
        self._sides: list[int] = []
        self._told: list[np.ndarray] = []
        path.write_bytes(b"")

    def add(self, crops: TunedOn) -> np.ndarray:
        """Keep n crops; returns their rows, (n,) int64."""
        pixels, sides, told = crops
        if len(pixels) and self._shape is None:
            self._shape = pixels.shape[1:]
        if pixels.dtype != np.uint8 or not len(pixels) == len(sides) == len(told) or pixels.shape[1:] != self._shape:
            shapes = f"{pixels.shape} {pixels.dtype}, {len(sides)} and {len(told)}"
            raise ValueError(f"expected (n, *{self._shape}) uint8, n sides and n told, got {shapes}")
        first = len(self._sides)
        with self._path.open("ab") as file:
            file.write(np.ascontiguousarray(pixels).data)
        self._sides += sides.tolist()
        self._told += list(told)
        return np.arange(first, len(self._sides), dtype=np.int64)

    def sides(self, rows: np.ndarray) -> np.ndarray:
        """(n,) rows to (n,) int64, px: of each crop the middle that is looked at."""
        return np.array(self._sides, np.int64)[rows]

    def told(self, rows: np.ndarray) -> np.ndarray:
        """(n,) rows to (n, k) float32: what a look is told beside the pixels, k 0 where it is nothing."""
        return np.array([self._told[row] for row in rows.tolist()], np.float32).reshape(len(rows), -1)

    def read(self, rows: np.ndarray, side: int) -> np.ndarray:
        """The middles of these rows' crops, (n, 7, side, side) uint8."""
        if not len(rows) or self._shape is None:
            return np.zeros((0, 7, side, side), np.uint8)
        kept = np.memmap(self._path, np.uint8, "r", shape=(len(self._sides), *self._shape))
        return middles(kept[rows], side)

    def whole(self, rows: np.ndarray) -> TunedOn:
        """These crops as they were added, for another file of crops."""
        side = 0 if self._shape is None else self._shape[-1]
        return TunedOn(self.read(rows, side), self.sides(rows), self.told(rows))
