"""What the first stage reads of a scan, kept for the second, so that no pixel is computed twice.

Reading is dear: chunks of a scan and its references are decoded, moved onto each other, and a median is taken. What was
read lies in a file without a name until the scan is done, or in memory where it is little.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from typing import IO

import numpy as np

from soilpipe.detect.network import CHANNELS, TOTAL_STRIDE
from soilpipe.detect.padding import padded
from soilpipe.detect.tiled import InputWindows

IN_MEMORY = 64_000_000  # bytes of a pass; of more the pixels lie in a file
CELL = TOTAL_STRIDE  # px: the first stage's tiles lie on that grid, so each cell was read whole or not
ZEROS = 1_000_000  # bytes written at a time, where a file cannot be given its size otherwise


class Kept:
    """Windows of a pass whose pixels are kept from their first reading on. May be read by several threads."""

    def __init__(self, windows: InputWindows, pixels: np.ndarray) -> None:
        self._windows, self._pixels = windows, pixels
        self.height, self.width, self.factor = windows.height, windows.width, windows.factor
        self._known = np.zeros((-(-self.height // CELL), -(-self.width // CELL)), bool)

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """As that of the windows, to the bit."""
        top, bottom, left, right = max(y0, 0), min(y1, self.height), max(x0, 0), min(x1, self.width)
        touched = slice(top // CELL, -(-bottom // CELL)), slice(left // CELL, -(-right // CELL))
        if top >= bottom or left >= right or self._known[touched].all():
            return padded((y0, y1, x0, x1), (self.height, self.width), self._inside)
        out = self._windows.read(y0, y1, x0, x1)
        self._pixels[:, top:bottom, left:right] = out[:, top - y0 : bottom - y0, left - x0 : right - x0]
        # A cell is known when all of it was read at once; those at the image's end are cut off.
        rows = slice(-(-top // CELL), _whole(bottom, self.height))
        columns = slice(-(-left // CELL), _whole(right, self.width))
        self._known[rows, columns] = True
        return out

    def _inside(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        return self._pixels[:, top:bottom, left:right]


def _whole(end: int, of: int) -> int:
    """How many cells lie whole before px `end` of `of`."""
    return -(-end // CELL) if end == of else end // CELL


def kept(windows: InputWindows) -> InputWindows:
    """The same windows, their pixels kept; as they are, with a warning, where the disk has no room for them."""
    shape = (CHANNELS, windows.height, windows.width)
    size = CHANNELS * windows.height * windows.width
    if size <= IN_MEMORY:
        return Kept(windows, np.empty(shape, np.uint8))
    try:
        with tempfile.TemporaryFile(prefix="soilpipe-pass-") as file:
            _make_room(file, size)  # now: a mapped file that grows on a full disk ends the program
            return Kept(windows, np.memmap(file, np.uint8, "r+", shape=shape))
    except OSError as error:
        warnings.warn(
            f"no room for {size / 1e6:.0f} MB in {tempfile.gettempdir()} ({error}): what the second stage looks at is "
            "read a second time from the scan. Make room there, or name another folder in TMPDIR",
            stacklevel=2,
        )
        return windows


def _make_room(file: IO[bytes], size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, ZEROS):
        file.write(bytes(min(ZEROS, size - start)))
    file.flush()
