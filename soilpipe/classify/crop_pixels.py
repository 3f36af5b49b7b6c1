"""The pixels of labelled crops, in a file while an encoder is tuned on them: they are more than memory should hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from soilpipe.classify.embedding import middles
from soilpipe.encoder.crops import SIDE

SHAPE = (7, SIDE, SIDE)


class CropPixels:
    """Crops (7, 96, 96) uint8, added in turn and read by their row; `sides`: of each the middle that is looked at, px.

    path: of a file that is written here; it is the caller's to remove.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sides: list[int] = []
        path.write_bytes(b"")

    def add(self, pixels: np.ndarray, sides: np.ndarray) -> np.ndarray:
        """Keep (n, 7, 96, 96) uint8 and their sides (n,); returns their rows, (n,) int64."""
        if pixels.shape[1:] != SHAPE or pixels.dtype != np.uint8 or len(pixels) != len(sides):
            raise ValueError(
                f"expected (n, *{SHAPE}) uint8 and n sides, got {pixels.shape} {pixels.dtype}, {len(sides)}"
            )
        first = len(self._sides)
        with self._path.open("ab") as file:
            file.write(np.ascontiguousarray(pixels).data)
        self._sides += sides.tolist()
        return np.arange(first, len(self._sides), dtype=np.int64)

    def sides(self, rows: np.ndarray) -> np.ndarray:
        """(n,) rows to (n,) int64, px."""
        return np.array(self._sides, np.int64)[rows]

    def read(self, rows: np.ndarray, side: int) -> np.ndarray:
        """The middles of these rows' crops, (n, 7, side, side) uint8."""
        if not len(rows):
            return np.zeros((0, 7, side, side), np.uint8)
        kept = np.memmap(self._path, np.uint8, "r", shape=(len(self._sides), *SHAPE))
        return middles(kept[rows], side)
