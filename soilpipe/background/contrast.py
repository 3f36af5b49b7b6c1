"""Local contrast normalisation: light and contrast of a scan made alike everywhere, as of any other scan.

A lamp that ages, a misted pane or another ground change how bright a scan is and how far an animal stands out of it,
which a network must otherwise learn to look past. Subtracting the local mean and dividing by the local standard
deviation takes both out beforehand (Jarrett et al. 2009, "What is the best multi-stage architecture for object
recognition?", section 2). Each colour has a mean of its own; all share the deviation, which divides the difference from
the background too.

All of it is `contrast: local` on a detector's card: whoever changes what this file does to a scan gives it another word
there, or registered detectors would find something else under the same analysis.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.background.warp import Window, bilinear, lattice_positions
from soilpipe.tiles import Pixels, ScanImage, at_scale

MEAN, DEVIATION = 150.0, 28.0
"""Grey levels that every neighbourhood gets: five deviations of darkness fit below the mean."""
LEAST_DEVIATION = 4.0
"""Grey levels: calmer ground than that is not amplified to full contrast, since what is left of it is noise."""
_TOLD_AT_UM = 42.333
"""um/px of the pyramid level that mean and deviation are told from, whatever level is looked at: 600 dpi."""
_PITCH_UM = 1_000.0
_MEDIAN_NODES = 13
"""The mean is a median of so many cells a side, then smoothed: an animal that fills less than half of them is not taken
for the ground that it lies on, as it would be by a mean."""
_MEAN_UM, _DEVIATION_UM = 2_000.0, 8_000.0
"""Standard deviations of the Gaussian neighbourhoods."""
_CELL_UM = 170.0
"""Gain and offset are constant in cells of about this size, or in single px where those are larger."""
_BLACK, _WHITE = 2.0, 253.0
"""Cells of one grey level beyond these show no ground: the frame of a scan, a band that is burnt out."""

_NO_CHANGE = (128.0, 128.0, 128.0, 0.0)

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PixelTone:
    """Gain and offset of every pixel of a window, (h, w, 3) float32 each."""

    gain: Floats
    offset: Floats

    def of_colours(self, colours: Bytes) -> Bytes:
        """(h, w, 3) uint8, evened: rounded, clipped."""
        return cv2.add(cv2.multiply(colours, self.gain, dtype=cv2.CV_32F), self.offset, dtype=cv2.CV_8U)

    def of_difference(self, difference: Bytes) -> Bytes:
        """128 + difference, (h, w, 3) uint8, as of evened pictures; within 1..255."""
        changed = cv2.multiply(cv2.subtract(difference, _NO_CHANGE, dtype=cv2.CV_32F), self.gain)
        return np.maximum(cv2.add(changed, _NO_CHANGE, dtype=cv2.CV_8U), np.uint8(1))


@dataclass(frozen=True)
class EvenContrast:
    """What evens a scan: gain (gy, gx) and offset (3, gy, gx), float32, on a lattice over the whole scan.

    full: height and width of the scan, px. origin: y, x in it of the picture that is looked at, where that is a window
    cut out of the scan; such a window is evened as the scan is.
    """

    gain: Floats
    offset: Floats
    full: tuple[int, int]
    origin: tuple[int, int] = (0, 0)

    def cut_at(self, y: int, x: int) -> EvenContrast:
        """The same for a window of the scan that begins at row y and column x."""
        return replace(self, origin=(y, x))

    def save(self, path: Path) -> None:
        """Write it as .npz."""
        np.savez(path, gain=self.gain, offset=self.offset, full=np.array(self.full))

    @classmethod
    def load(cls, path: Path) -> EvenContrast:
        """What `save` wrote. OSError, ValueError or KeyError where it is not that."""
        try:
            with np.load(path, allow_pickle=False) as kept:
                height, width = kept["full"].tolist()
                return cls(kept["gain"], kept["offset"], (height, width))
        except (BadZipFile, EOFError) as error:  # cut short, empty
            raise ValueError(str(error)) from error

    def within(self, window: Window, factor: float, um_per_px: float) -> PixelTone:
        """For a window of a level of ``um_per_px``, with ``factor`` full px a px.

        What a pixel gets depends on its place in the scan alone, on a grid of cells counted from the picture's corner.
        """
        y0, y1, x0, x1 = window
        cell = max(1, round(_CELL_UM / um_per_px))
        first_y, first_x = y0 // cell, x0 // cell
        (height, width), (top, left), (gy, gx) = self.full, self.origin, self.gain.shape
        y = lattice_positions(first_y, -(-y1 // cell), cell, factor, height, gy, top)
        x = lattice_positions(first_x, -(-x1 // cell), cell, factor, width, gx, left)
        size = (cell * len(x), cell * len(y))
        rows = slice(y0 - first_y * cell, y1 - first_y * cell)
        columns = slice(x0 - first_x * cell, x1 - first_x * cell)

        def per_pixel(lattice: Floats) -> Floats:
            cells = np.moveaxis(bilinear(lattice, y, x), 0, -1).astype(np.float32)
            return cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST)[rows, columns]  # whole cells: no rounding

        return PixelTone(per_pixel(np.repeat(self.gain[None], 3, axis=0)), per_pixel(self.offset))


def even_contrast(scan: ScanImage) -> EvenContrast:
    """What evens the contrast of a scan, read in strips of a millimetre; of a window cut out, what it carries of it."""
    if scan.even is not None:
        return scan.even
    pixels, factor = at_scale(scan, _TOLD_AT_UM)
    pitch = _PITCH_UM / (scan.um_per_px * factor)
    rows, columns = (_edges(size, pitch) for size in (pixels.height, pixels.width))
    mean, square = _moments(pixels, rows, columns)
    grey = mean.mean(axis=2)
    flat = square - grey**2 < 1
    ground = np.where(flat & ((grey <= _BLACK) | (grey >= _WHITE)), 0.0, 1.0)
    ground = cv2.erode(ground, np.ones((3, 3)))  # cells beside those hold a part of them
    if not ground.any():
        ground[:] = 1
    level = _level(np.where(ground[..., None] > 0, mean, _blurred(mean, ground, _MEAN_UM)))
    level_grey = level.mean(axis=2)
    variance = _blurred(square - 2 * level_grey * grey + level_grey**2, ground, _DEVIATION_UM)
    gain = DEVIATION / np.sqrt(np.maximum(variance, LEAST_DEVIATION**2))
    offset = MEAN - gain * np.moveaxis(level, -1, 0)
    return EvenContrast(gain.astype(np.float32), offset.astype(np.float32), (scan.height, scan.width))


def _edges(size: int, pitch: float) -> npt.NDArray[np.int64]:
    """Where the cells of a side begin, and where the last one ends, px."""
    cells = max(1, min(round(size / pitch), size))
    return np.arange(cells + 1, dtype=np.int64) * size // cells


def _moments(
    pixels: Pixels, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
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


def _level(mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of the ground under every node, (gy, gx, 3)."""
    median = cv2.medianBlur(np.rint(mean).astype(np.uint8), _MEDIAN_NODES)  # of floats it knows 5 a side at most
    return cv2.GaussianBlur(median.astype(np.float64), (0, 0), _MEAN_UM / _PITCH_UM, borderType=cv2.BORDER_REPLICATE)


def _blurred(lattice: npt.NDArray[np.float64], ground: npt.NDArray[np.float64], um: float) -> npt.NDArray[np.float64]:
    """Weighted mean of a Gaussian neighbourhood of every node. Where no ground is near, that of all ground."""

    def blur(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return cv2.GaussianBlur(values, (0, 0), um / _PITCH_UM, borderType=cv2.BORDER_REPLICATE)

    weight = ground if lattice.ndim == 2 else ground[..., None]
    near = blur(ground) if lattice.ndim == 2 else blur(ground)[..., None]
    whole = (lattice * weight).sum(axis=(0, 1)) / ground.sum()
    return np.where(near > 0.01, blur(lattice * weight) / np.maximum(near, 1e-9), whole)
