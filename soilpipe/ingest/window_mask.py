"""Which part of the window can be used, told from one scan alone, in square cells.

A cell is 16 px of the scan reduced to about 300 dpi: 1.35 mm (64 px at 1200 dpi; also where the resolution is
unknown). The mask is (rows, columns) uint8, one value a cell, 0 where animals can be seen, else why not:

- SATURATED: half of its pixels or more are at the sensor's upper end.
- FLAT: all of one colour that is not black, or in rows of one colour from side to side: a broken upload.
- BAND: part of a dark band across the window, sharp enough to be seen all along: a lamp or a piece of the bar failed.
- VEILED: the ground's fine detail, relative to its level, is less than a third of what is usual in this scan, in a
  patch of at least 5 mm whose edge fades away: condensation that hides the ground, a smear, or a gap in which the
  ground is out of focus.

Darkness alone masks nothing: the ground of real scans is often at the sensor's lower end, and an animal before it is
seen all the better. So a gap filled with black, or a band across ground that is black anyway, is not told. A patch
with a sharp edge all around is a thing, not a veil, unless it is larger than LARGEST_THING: stones are smooth, as
are slugs. Single drops that do not hide the ground, as the simulator draws them, are not masked.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from soilpipe.errors import SoilpipeError

CELL = 16
"""Side of a cell, px of the reduced scan."""
REDUCED_DPI = 300.0
LIKELY_DPI = 1200.0
USABLE, SATURATED, FLAT, BAND, VEILED = range(5)
WORDS = {SATURATED: "saturated", FLAT: "of one colour", BAND: "dark bands", VEILED: "veiled or out of focus"}

DARK = 10.0
"""Grey levels: below, missing detail says nothing."""
USUAL = 60
"""Percentile of the cells' relative detail that is taken for the ground seen clearly: a veil over more than that share
of the window is not told from a smooth ground, and so not masked; `Quality.doubts` still tells that detail is low."""
VEIL = 0.33
PATCH = 4
"""Cells: the least side of a veiled patch."""
FADING = 1.0
LARGEST_THING = 550
"""Cells, 10 cm²."""
BAND_SHARE = 0.5
BAND_STEP = 4.0
BAND_REACH = 20
"""Cells to either side whose median a row is compared with."""
SEGMENTS = 16


class MaskError(SoilpipeError):
    """A mask that cannot be read."""


@dataclass(frozen=True)
class Cells:
    """What was measured in each cell, all (rows, columns): ``level`` mean grey level 0 to 255, ``detail`` standard
    deviation below 4 px of the reduced scan in grey levels (both float32), ``saturated`` and ``flat`` (bool)."""

    level: np.ndarray
    detail: np.ndarray
    saturated: np.ndarray
    flat: np.ndarray


def reduction(dpi: float | None) -> int:
    """By how much the scan is reduced, a power of two: to 300 dpi, as near as may be."""
    return int(2 ** max(0, round(np.log2((dpi or LIKELY_DPI) / REDUCED_DPI))))


def mask_of(cells: Cells) -> np.ndarray:
    """The mask, (rows, columns) uint8."""
    mask = np.zeros(cells.level.shape, np.uint8)
    mask[_veiled(cells)] = VEILED
    mask[_dark_bands(cells.level) | _dark_bands(cells.level.T).T] = BAND
    mask[cells.flat] = FLAT
    mask[cells.saturated] = SATURATED
    return mask


def relative_detail(cells: Cells) -> float | None:
    """The USUAL detail / level of the cells that are neither dark nor flat; None where there is no such cell."""
    told = _telling(cells)
    return float(np.percentile(cells.detail[told] / cells.level[told], USUAL)) if told.any() else None


def _telling(cells: Cells) -> np.ndarray:
    return (cells.level >= DARK) & ~cells.flat & ~cells.saturated


def _veiled(cells: Cells) -> np.ndarray:
    usual = relative_detail(cells)
    told = _telling(cells)
    if usual is None or min(told.shape) < PATCH:
        return np.zeros_like(told)
    share = cells.detail / np.maximum(cells.level, DARK) / usual
    smooth = (told & (share < VEIL)).astype(np.uint8)
    patches = cv2.morphologyEx(smooth, cv2.MORPH_OPEN, np.ones((PATCH, PATCH), np.uint8), borderValue=0)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(patches, connectivity=4)
    veiled = np.zeros_like(told)
    for label in range(1, count):
        patch = (labels == label).astype(np.uint8)
        grown = cv2.dilate(patch, np.ones((5, 5), np.uint8)) & smooth  # opening has cut off what is round
        around = (cv2.dilate(grown, np.ones((3, 3), np.uint8)) > 0) & (grown == 0) & told
        fades = not around.any() or float(np.median(share[around])) < FADING
        if fades or stats[label, cv2.CC_STAT_AREA] > LARGEST_THING:
            veiled |= grown > 0
    return veiled


def _dark_bands(level: np.ndarray) -> np.ndarray:
    """Rows of cells that are, in nearly every part of the width, half as bright as the rows around them."""
    rows, columns = level.shape
    found = np.zeros(level.shape, bool)
    if rows < 8 or columns < 8:
        return found
    bounds = np.linspace(0, columns, min(SEGMENTS, columns) + 1).astype(int)
    parts = np.stack([level[:, a:b].mean(axis=1) for a, b in pairwise(bounds)], axis=1)
    reach = min(BAND_REACH, rows - 1)
    padded = np.pad(parts, ((reach, reach), (0, 0)), mode="reflect")
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0), axis=-1)
    dark = (parts < BAND_SHARE * around) & (around - parts > BAND_STEP)
    found[dark.mean(axis=1) >= 0.9] = True
    return found


def encode_mask(mask: np.ndarray) -> bytes:
    """The mask as a PNG, one grey pixel a cell."""
    done, data = cv2.imencode(".png", mask)
    if not done:
        raise MaskError(f"a mask of {mask.shape} cells cannot be written as PNG")
    return bytes(data)


def decode_mask(data: bytes, name: str) -> np.ndarray:
    """(rows, columns) uint8. Raises MaskError with the file's name when it is no mask."""
    mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if mask is None or mask.ndim != 2 or mask.dtype != np.uint8:
        raise MaskError(f"{name} is no mask of a window; restore it from a backup")
    return np.asarray(mask)


def masked(mask: np.ndarray, cell_px: int, boxes: np.ndarray) -> np.ndarray:
    """(n,) bool: whose centre lies in a masked cell. boxes: (n, 4) x_min y_min x_max y_max, px at full resolution."""
    middle = np.asarray(boxes, np.float64).reshape(-1, 4)
    columns = ((middle[:, 0] + middle[:, 2]) / 2 // cell_px).astype(int).clip(0, mask.shape[1] - 1)
    rows = ((middle[:, 1] + middle[:, 3]) / 2 // cell_px).astype(int).clip(0, mask.shape[0] - 1)
    return mask[rows, columns] != USABLE
