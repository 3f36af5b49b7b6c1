"""Local contrast normalisation: light and contrast of a scan made alike everywhere, as of any other scan.

A lamp that ages, a misted pane or another ground change how bright a scan is and how far an animal stands out of it,
which a network must otherwise learn to look past. Subtracting the local mean and dividing by the local standard
deviation takes both out beforehand (Jarrett et al. 2009, "What is the best multi-stage architecture for object
recognition?", section 2). Colours keep their proportions: each has a mean of its own, all share the deviation.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.background.tone import LocalTone
from soilpipe.tiles import Pixels, ScanImage, at_scale

MEAN, DEVIATION = 150.0, 28.0
"""Grey levels that every neighbourhood gets: five deviations of darkness fit below the mean."""
LEAST_DEVIATION = 4.0
"""Grey levels: calmer ground than that is not amplified to full contrast, since what is left of it is noise."""
_PITCH_UM = 1_000.0
_MEAN_UM, _DEVIATION_UM = 2_000.0, 4_000.0
"""Of the Gaussian neighbourhoods, standard deviation."""

Floats = npt.NDArray[np.float64]


def even_contrast(scan: ScanImage, um_per_px: float) -> LocalTone:
    """Gain and offset over the whole scan that even its contrast, told from the pyramid level nearest to `um_per_px`.

    Read in strips of a millimetre. What belongs to a place depends on the scan alone.
    """
    pixels, factor = at_scale(scan, um_per_px)
    pitch = _PITCH_UM / (scan.um_per_px * factor)
    rows, columns = (_edges(size, pitch) for size in (pixels.height, pixels.width))
    mean, square = _moments(pixels, rows, columns)
    level = _blurred(mean, _MEAN_UM / _PITCH_UM)
    grey, level_grey = mean.mean(axis=2), level.mean(axis=2)
    variance = _blurred(square - 2 * level_grey * grey + level_grey**2, _DEVIATION_UM / _PITCH_UM)
    deviation = np.sqrt(np.maximum(variance, LEAST_DEVIATION**2))
    gain = np.repeat((DEVIATION / deviation)[None], 3, axis=0)
    return LocalTone(gain.astype(np.float32), (MEAN - gain * np.moveaxis(level, -1, 0)).astype(np.float32))


def _edges(size: int, pitch: float) -> npt.NDArray[np.int64]:
    """Where the cells of a side begin, and where the last one ends, px."""
    cells = max(1, min(round(size / pitch), size))
    return np.arange(cells + 1, dtype=np.int64) * size // cells


def _moments(pixels: Pixels, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Mean of each colour, (gy, gx, 3), and mean square of their mean, (gy, gx), in cells; float64."""
    mean = np.empty((len(rows) - 1, len(columns) - 1, 3))
    square = np.empty(mean.shape[:2])
    for cell, (top, bottom) in enumerate(itertools.pairwise(rows)):
        strip = pixels.read(int(top), int(bottom), 0, pixels.width)
        grey = strip.sum(axis=2, dtype=np.uint32)
        count = (bottom - top) * np.diff(columns)
        mean[cell] = np.add.reduceat(strip.sum(axis=0, dtype=np.uint32), columns[:-1], axis=0) / count[:, None]
        squares = (grey * grey).sum(axis=0, dtype=np.uint64)
        square[cell] = np.add.reduceat(squares, columns[:-1]) / (9.0 * count)
    return mean, square


def _blurred(lattice: Floats, nodes: float) -> Floats:
    return cv2.GaussianBlur(lattice, (0, 0), nodes, borderType=cv2.BORDER_REPLICATE)
