"""Looking at a reference through its shifts: exact to the bit, whatever the window.

Shifts live on a lattice of the whole scan: node (i, j) of (gy, gx) sits at the middle of its cell,
y = (i + 1/2) H / gy, x = (j + 1/2) W / gx, px of the full resolution, measured from the outer edge of the image;
bilinear between, constant beyond. They are evaluated once per row and per run of `RUN` columns, runs counted from the
left edge of the image, and rounded to 1/32 px there, which is what `cv2.remap` would round them to anyway. All of
that depends on global positions only, and from there on the arithmetic is on integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.tiles import Pixels

RUN = 16  # columns that share a shift: neighbouring nodes are some hundred columns apart and differ by less than a px
_STEPS = 32  # cv2.remap's own fixed point: 1/32 px

Window = tuple[int, int, int, int]


def lattice_positions(
    first: int, last: int, step: int, factor: float, size: int, nodes: int, origin: int = 0
) -> npt.NDArray[np.float64]:
    """Positions, in nodes, of the middles of `step` px wide runs `first <= run < last`, clipped to the outer nodes.

    `factor`: full px per px; `size`: length of the image's side in full px; `origin`: where in it the runs begin.
    """
    middle = (np.arange(first, last, dtype=np.float64) * step + step / 2) * factor + origin
    return np.clip(middle * nodes / size - 0.5, 0.0, nodes - 1.0)


def bilinear(lattice: npt.NDArray, y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`lattice` (..., gy, gx) at the grid of positions y (h,) and x (w,), in nodes -> (..., h, w) float64.

    Written out, element by element: a matrix product would group the sums by the shape of the window.
    """
    grid = lattice.astype(np.float64)
    top = np.minimum(y.astype(np.intp), max(grid.shape[-2] - 2, 0))
    left = np.minimum(x.astype(np.intp), max(grid.shape[-1] - 2, 0))
    bottom = np.minimum(top + 1, grid.shape[-2] - 1)
    right = np.minimum(left + 1, grid.shape[-1] - 1)
    down = (y - top)[:, None]
    rows = grid[..., top, :] * (1.0 - down) + grid[..., bottom, :] * down
    across = x - left
    return rows[..., left] * (1.0 - across) + rows[..., right] * across


@dataclass(frozen=True)
class Shifts:
    """Shifts for one window, in 1/32 px of its level: (h, runs) int32 each; `runs` begins with the run of column x0."""

    dy: npt.NDArray[np.int32]
    dx: npt.NDArray[np.int32]


def shifts_in(dy: npt.NDArray, dx: npt.NDArray, window: Window, factor: float, height: int, width: int) -> Shifts:
    """The lattice's shifts (full px; scan (y, x) is seen at reference (y + dy, x + dx)) for a window of a level.

    `height`, `width`: of the image at full resolution. `factor`: full px per px of the level.
    """
    y0, y1, x0, x1 = window
    y = lattice_positions(y0, y1, 1, factor, height, dy.shape[0])
    x = lattice_positions(x0 // RUN, -(-x1 // RUN), RUN, factor, width, dy.shape[1])
    scale = _STEPS / factor
    return Shifts(
        np.rint(bilinear(dy, y, x) * scale).astype(np.int32), np.rint(bilinear(dx, y, x) * scale).astype(np.int32)
    )


def _spread(runs: npt.NDArray, window: Window) -> npt.NDArray:
    """One value per run -> one per column of the window."""
    _, _, x0, x1 = window
    skip = x0 % RUN
    return np.repeat(runs, RUN, axis=1)[:, skip : skip + x1 - x0]


def read_shifted(
    reference: Pixels, shifts: Shifts, window: Window
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_] | None]:
    """The reference under a window of the scan at the same level -> ((h, w, 3) uint8, (h, w) bool or None).

    The mask says where the reference has all the pixels that the interpolation needs; None: everywhere. The window
    must lie inside the image. Only what is needed of the reference is read.
    """
    y0, y1, x0, x1 = window
    whole_y, whole_x = shifts.dy >> 5, shifts.dx >> 5
    fine_y, fine_x = shifts.dy & 31, shifts.dx & 31
    need_y0, need_y1 = y0 + int(whole_y.min()), y1 + int(whole_y.max()) + 1
    need_x0, need_x1 = x0 + int(whole_x.min()), x1 + int(whole_x.max()) + 1
    inside = need_y0 >= 0 and need_x0 >= 0 and need_y1 <= reference.height and need_x1 <= reference.width
    block = _read_padded(reference, need_y0, need_y1, need_x0, need_x1)

    # Rows and columns are added as one 32-bit number (row in the upper half), then seen as the (x, y) pairs of 16-bit
    # integers that remap takes: both are >= 0 in the block, so nothing is carried from one into the other.
    down = np.arange(y0 - need_y0, y1 - need_y0, dtype=np.int32)[:, None]
    across = np.arange(x0 - need_x0, x1 - need_x0, dtype=np.int32)
    pairs = _spread((whole_y + down) * 65536 + whole_x, window)
    pairs += across  # in place: memory that was never touched takes several times as long
    where = pairs.astype("<i4", copy=False).view("<i2").reshape(y1 - y0, x1 - x0, 2)
    fraction = _spread((fine_y * _STEPS + fine_x).astype(np.uint16), window)
    seen = cv2.remap(block, where, np.ascontiguousarray(fraction), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if inside:
        return seen, None

    there = np.ones((y1 - y0, x1 - x0), np.bool_)
    if need_y0 < 0 or need_y1 > reference.height:
        row = np.arange(y0, y1, dtype=np.int32)[:, None] + whole_y
        there &= _spread((row >= 0) & (row + (fine_y > 0) < reference.height), window)
    # Only the outermost columns can miss the reference: those that the largest shifts on either side reach over.
    for a, b in ((x0, min(x1, -int(whole_x.min()))), (max(x0, reference.width - 1 - int(whole_x.max())), x1)):
        if a < b:
            runs = slice(a // RUN - x0 // RUN, -(-b // RUN) - x0 // RUN)
            part = (y0, y1, a, b)
            column = np.arange(a, b, dtype=np.int32) + _spread(whole_x[:, runs], part)
            inner = (column >= 0) & (column + (_spread(fine_x[:, runs], part) > 0) < reference.width)
            there[:, a - x0 : b - x0] &= inner
    return seen, there


def _read_padded(pixels: Pixels, y0: int, y1: int, x0: int, x1: int) -> npt.NDArray[np.uint8]:
    """A window that may reach beyond the image; the outermost pixels are repeated there."""
    top, bottom = min(max(y0, 0), pixels.height - 1), max(min(y1, pixels.height), 1)
    left, right = min(max(x0, 0), pixels.width - 1), max(min(x1, pixels.width), 1)
    block = pixels.read(top, max(bottom, top + 1), left, max(right, left + 1))
    before_y, before_x = top - y0, left - x0
    after_y, after_x = y1 - y0 - before_y - block.shape[0], x1 - x0 - before_x - block.shape[1]
    if not (before_y or before_x or after_y or after_x):
        return np.ascontiguousarray(block)
    if min(before_y, before_x, after_y, after_x) < 0:  # the window misses the image altogether: nothing there counts
        return np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
    return cv2.copyMakeBorder(block, before_y, after_y, before_x, after_x, cv2.BORDER_REPLICATE)
