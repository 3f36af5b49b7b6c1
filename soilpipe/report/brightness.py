"""Dark scans made bright enough to look at: for pictures only, never for counting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from soilpipe.tiles import Pixels

TARGET = 150.0  # grey levels that the brightest fiftieth of a scan is brought to
MOST = 5.0
WORTH_IT = 1.25  # below this factor a picture stays as it is
SAMPLE_SIDE = 512  # px: the factor is taken from about as many rows and columns


@dataclass(frozen=True)
class Brightened:
    """A level of a scan, every value multiplied by `factor` and clipped; the `Pixels` protocol."""

    source: Pixels
    factor: float

    @property
    def height(self) -> int:
        return self.source.height

    @property
    def width(self) -> int:
        return self.source.width

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        values = np.clip(np.arange(256) * self.factor, 0, 255).round().astype(np.uint8)
        return np.asarray(cv2.LUT(np.ascontiguousarray(self.source.read(y0, y1, x0, x1)), values))


def brightened(levels: Sequence[Pixels]) -> tuple[Sequence[Pixels], float]:
    """The levels, and the factor by which they are brighter than the scan (1.0: as it is).

    The factor is told from the coarsest level that still has SAMPLE_SIDE px, in bands of its rows.
    """
    level = next((level for level in reversed(levels) if max(level.height, level.width) >= SAMPLE_SIDE), levels[0])
    step = max(1, max(level.height, level.width) // SAMPLE_SIDE)
    rows = [level.read(y, y + 1, 0, level.width)[0, ::step] for y in range(0, level.height, step)]
    bright = float(np.percentile(np.stack(rows).mean(axis=-1), 98))
    factor = min(TARGET / max(bright, 1.0), MOST)
    if factor < WORTH_IT:
        return levels, 1.0
    return [Brightened(level, factor) for level in levels], factor
