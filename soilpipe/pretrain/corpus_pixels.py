"""The pixels of a corpus: one file of crops one after another, mapped when it is read.

20,000 crops of 256 px are 9 GB: the system keeps in memory what is often used and lets go of the rest. The file is
written by ordinary writes, since a full disk under a mapped file ends the process.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from soilpipe.pretrain.manifest import CorpusError

FILE = "crops.u8"
CHANNELS = 7


def crop_bytes(side: int) -> int:
    """Bytes of one crop."""
    return CHANNELS * side * side


class PixelWriter:
    """Appends crops, then closes the gaps of those that were dropped. A context manager."""

    def __init__(self, folder: Path, side: int) -> None:
        self._path = folder / FILE
        self._size = crop_bytes(side)
        self.count = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        if isinstance(error, OSError):
            raise CorpusError(
                f"{self._path.parent}: the crops do not fit there ({error.strerror}). Make room, give the refresh a "
                "smaller budget of crops, or name a folder on a larger disk with XDG_CACHE_HOME"
            ) from error

    def append(self, pixels: np.ndarray) -> None:
        """(n, 7, side, side) uint8"""
        if pixels.dtype != np.uint8 or pixels[:1].size not in (0, self._size):
            raise ValueError(f"{pixels.shape} {pixels.dtype} are no crops of {self._size} bytes")
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(pixels).data)
        self.count += len(pixels)

    def read(self, row: int) -> bytes:
        """One crop as it was written."""
        self._file.seek(row * self._size)
        return self._file.read(self._size)

    def keep(self, rows: np.ndarray) -> None:
        """Keep these rows, ascending, and give the room of the others back."""
        for place, row in enumerate(rows.tolist()):
            if place != row:
                crop = self.read(row)
                self._file.seek(place * self._size)
                self._file.write(crop)
        self._file.truncate(len(rows) * self._size)
        self.count = len(rows)


def mapped_pixels(folder: Path, count: int, side: int) -> np.ndarray:
    """(count, 7, side, side) uint8, mapped; CorpusError when the file has another size."""
    path = folder / FILE
    size = path.stat().st_size if path.is_file() else -1
    if size != count * crop_bytes(side):
        raise CorpusError(
            f"{path} should hold {count} crops of {side} px; delete the folder {folder}, and the next refresh makes it "
            "again"
        )
    return np.memmap(path, np.uint8, "r", shape=(count, CHANNELS, side, side))
