"""A window's pixels from top to bottom, read a block of rows ahead by a thread while the network is at work."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

BLOCK = 512  # rows read at a time; stored chunks are as high, so that each is decoded once
MARGIN = 256  # rows that stay: what is computed next looks back no further


class Readable(Protocol):
    """read(y0, y1, x0, x1) -> (7, y1 - y0, x1 - x0) uint8; the window may reach beyond the image."""

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray: ...


class RowsAhead:
    """One window of an image, `strips.PixelRows`: rows are asked for in order but for a few, and read once.

    window: y0, y1, x0, x1, half-open, px of the image; y0 a multiple of 32. `reader`: its thread reads, one block
    ahead of what was asked for. Errors of reading are raised by `rows`.
    """

    def __init__(self, windows: Readable, window: tuple[int, int, int, int], reader: ThreadPoolExecutor) -> None:
        self._windows, self._window, self._reader = windows, window, reader
        y0, y1, x0, x1 = window
        self.height, self.width = y1 - y0, x1 - x0
        # Blocks end where those of the image do, whatever the window begins with.
        ends = [*range((y0 // BLOCK + 1) * BLOCK, y1, BLOCK), y1]
        self._blocks = deque(zip([y0, *ends[:-1]], ends, strict=True))
        self._coming: Future[np.ndarray] | None = None
        self._first = y0
        self._kept = np.empty((7, 0, self.width), np.uint8)
        self._ask()

    def rows(self, y0: int, y1: int) -> Tensor:
        """(1, 7, y1 - y0, width) uint8: rows of the window, from its top."""
        top, bottom = y0 + self._window[0], y1 + self._window[0]
        while self._coming is not None and self._first + self._kept.shape[1] < bottom:
            new = self._coming.result()
            self._ask()
            forget = max(0, min(self._kept.shape[1], top - MARGIN - self._first))
            self._kept = np.concatenate([self._kept[:, forget:], new], axis=1)
            self._first += forget
        if top < self._first:
            raise ValueError(f"row {y0} of the window was read and forgotten")
        return torch.from_numpy(self._kept[:, top - self._first : bottom - self._first])[None]

    def _ask(self) -> None:
        """Begin to read the next block."""
        self._coming = None
        if self._blocks:
            y0, y1 = self._blocks.popleft()
            self._coming = self._reader.submit(self._windows.read, y0, y1, *self._window[2:])
