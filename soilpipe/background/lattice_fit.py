"""Refining shifts between two pictures at one pyramid level: Lucas-Kanade on rows and blocks, band by band.

A scan is not a photograph: its carriage stutters, so whole rows are displaced together, up to 2 px from one to the
next few; glass, ground and drift displace it smoothly. The displacement is therefore sought as

    d(y, x) = row(y) + smooth(y, x),

row(y) from all columns of a row together (thousands of px carry a hundredth of a px even in dull ground), smooth(y, x)
from blocks that are held against the median of their neighbours, so that blocks without texture, or with an animal,
follow the rest. Normal equations (Lucas and Kanade 1981) are summed over bands of rows and reweighted by what is left
over, so memory is bounded by the band.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.tiles import Pixels

BAND = 256  # rows at a time
_MARGIN = 12  # rows of context that the filters need
_SHARE, _ENOUGH = 0.125, 640  # of the columns, and px: at least so much of each row is looked at, or all there is
_SEAM = 8  # px of margin on either side of a strip: what the filters reach
_HIGH_PASS = 15  # px: ground is compared after its local mean is taken away, so that fog and lamp do not count
_LARGEST_STEP = 1.5  # px: beyond it the linear model says nothing
_STILL = 0.06  # px: steps shrink several times from one to the next; after one that moves less none follows
_ROW_PRIOR = 1.0  # px: how far rows may be expected to stray
_BLOCK_PRIOR = 0.5  # px
_ROW_SMOOTHING = 1.0  # rows, standard deviation

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Field:
    """Shifts at one level, px of that level: one node per row, a few across; (rows, gx) float32 each."""

    dy: Floats
    dx: Floats

    def at_level(self, rows: int, scale: float) -> Field:
        """The same shifts at a level `scale` times as fine, with `rows` rows."""
        size = (self.dy.shape[1], rows)
        return Field(cv2.resize(self.dy, size) * np.float32(scale), cv2.resize(self.dx, size) * np.float32(scale))


def luminance(block: npt.NDArray[np.uint8]) -> Floats:
    """(h, w, 3) uint8 -> (h, w) float32."""
    return cv2.cvtColor(np.ascontiguousarray(block), cv2.COLOR_RGB2GRAY).astype(np.float32)


def high_pass(grey: Floats) -> Floats:
    """What is left when the local mean is taken away."""
    return grey - cv2.blur(grey, (_HIGH_PASS, _HIGH_PASS), borderType=cv2.BORDER_REFLECT_101)


def warp_rows(reference: Pixels, field: Field, y0: int, y1: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Rows y0..y1 of the reference as the scan sees them -> (h, w, 3) uint8, and where the reference has a pixel."""
    size = (reference.width, y1 - y0)
    map_x = cv2.resize(field.dx[y0:y1], size) + np.arange(reference.width, dtype=np.float32)
    map_y = cv2.resize(field.dy[y0:y1], size) + np.arange(y0, y1, dtype=np.float32)[:, None]
    top, bottom = _rows_needed(map_y, reference.height)
    block = np.ascontiguousarray(reference.read(top, bottom, 0, reference.width))
    seen = cv2.remap(block, map_x, map_y - np.float32(top), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return seen, _has_pixel(map_y, map_x, reference)


def _rows_needed(map_y: Floats, height: int) -> tuple[int, int]:
    top = min(max(int(np.floor(map_y.min())), 0), height - 1)
    return top, max(min(int(np.ceil(map_y.max())) + 2, height), top + 1)


def _has_pixel(map_y: Floats, map_x: Floats, reference: Pixels) -> npt.NDArray[np.bool_]:
    return (map_y >= 0) & (map_y <= reference.height - 1) & (map_x >= 0) & (map_x <= reference.width - 1)


@dataclass(frozen=True)
class _Strips:
    """The columns that are looked at: one strip in the middle of each column of blocks, side by side.

    columns: (gx * side,) the level's columns in that order, `side` for each strip, its margins included; those of
    neighbouring strips may be the same.
    """

    columns: npt.NDArray[np.intp]
    groups: int
    side: int

    @classmethod
    def of(cls, width: int, groups: int) -> _Strips:
        wide = width / groups
        inner = int(wide * max(_SHARE, min(1.0, _ENOUGH / width)))
        side = min(inner + 2 * _SEAM, width)
        first = np.clip(np.rint((np.arange(groups) + 0.5) * wide - side / 2), 0, width - side).astype(np.intp)
        return cls((first[:, None] + np.arange(side)).ravel(), groups, side)

    def inner(self, values: npt.NDArray) -> npt.NDArray:
        """(h, gx * side) -> (h, gx, inner) without the margins, which the filters of the next strip reach into."""
        return values.reshape(values.shape[0], self.groups, self.side)[:, :, _SEAM:-_SEAM]


@dataclass
class Sums:
    """Normal equations per row and column of blocks: (5, rows, gx) float32: yy, yx, xx, ye, xe; and the noise seen."""

    values: Floats
    spreads: list[float]

    @property
    def noise(self) -> float:
        return float(np.median(self.spreads))


@dataclass
class Fit:
    """One reference being laid under a scan: its shifts so far, at the level that `refine` was last given.

    contrast: what the reference's contrast must be multiplied by to be the scan's; noise: what is left over.
    """

    field: Field
    contrast: float
    noise: float = float("inf")


def _add_band(
    sums: Sums, ours: Floats, reference: Pixels, fit: Fit, strips: _Strips, band: tuple[int, int, int, int]
) -> None:
    """Add the evidence of rows y0..y1 to the sums; `ours`: the scan's detail in the strips, rows top..bottom."""
    y0, y1, top, bottom = band
    size = (reference.width, bottom - top)
    map_x = cv2.resize(fit.field.dx[top:bottom], size)[:, strips.columns] + strips.columns.astype(np.float32)
    map_y = cv2.resize(fit.field.dy[top:bottom], size)[:, strips.columns]
    map_y += np.arange(top, bottom, dtype=np.float32)[:, None]
    first, last = _rows_needed(map_y, reference.height)
    grey = cv2.cvtColor(np.ascontiguousarray(reference.read(first, last, 0, reference.width)), cv2.COLOR_RGB2GRAY)
    seen = cv2.remap(grey, map_x, map_y - np.float32(first), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    theirs = high_pass(seen.astype(np.float32))
    theirs *= np.float32(fit.contrast)
    both = ours + theirs
    keep = slice(y0 - top, y1 - top)
    # A Sobel filter has eight times the slope, and two pictures are added up.
    gradient_y = strips.inner(cv2.Sobel(both, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 16)[keep])
    gradient_x = strips.inner(cv2.Sobel(both, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 16)[keep])
    left = strips.inner((ours - theirs)[keep])
    spread = 1.4826 * float(np.median(np.abs(left[::4, :, ::4]))) + 0.25
    sums.spreads.append(spread)
    weight = left * np.float32(1 / (2 * min(spread, 2 * fit.noise)))
    weight *= weight
    weight += 1
    np.divide(strips.inner(_has_pixel(map_y, map_x, reference)[keep]), weight, out=weight)
    weighted_y, weighted_x = weight * gradient_y, weight * gradient_x
    for k, (one, other) in enumerate(
        (
            (weighted_y, gradient_y),
            (weighted_y, gradient_x),
            (weighted_x, gradient_x),
            (weighted_y, left),
            (weighted_x, left),
        )
    ):
        np.einsum("ygx,ygx->yg", one, other, out=sums.values[k, y0:y1])


def _normal_equations(
    scan: Pixels, references: Sequence[Pixels], fits: Sequence[Fit], pool: ThreadPoolExecutor
) -> list[Sums]:
    rows, groups = fits[0].field.dy.shape
    strips = _Strips.of(scan.width, groups)
    sums = [Sums(np.zeros((5, rows, groups), np.float32), []) for _ in fits]
    for y0 in range(0, rows, BAND):
        y1 = min(y0 + BAND, rows)
        top, bottom = max(y0 - _MARGIN, 0), min(y1 + _MARGIN, rows)
        grey = luminance(scan.read(top, bottom, 0, scan.width))
        ours = high_pass(np.ascontiguousarray(grey[:, strips.columns]))
        band = (y0, y1, top, bottom)
        work = [
            pool.submit(_add_band, total, ours, reference, fit, strips, band)
            for total, reference, fit in zip(sums, references, fits, strict=True)
        ]
        for one in work:
            one.result()
    return sums


def _solve(sums: Floats, noise: float, prior: float) -> tuple[Floats, Floats]:
    """Steps (dy, dx) from normal equations (5, ...), drawn towards zero where the ground says little."""
    certain = np.float32((noise / prior) ** 2)
    yy, yx, xx, ye, xe = sums[0] + certain, sums[1], sums[2] + certain, sums[3], sums[4]
    determinant = yy * xx - yx * yx
    dy, dx = (xx * ye - yx * xe) / determinant, (yy * xe - yx * ye) / determinant
    return np.clip(dy, -_LARGEST_STEP, _LARGEST_STEP), np.clip(dx, -_LARGEST_STEP, _LARGEST_STEP)


def _calm_blocks(step: Floats) -> Floats:
    """Blocks held against the median of their 3 x 3 neighbours: one that strays follows them; then smoothed."""
    if step.shape[0] < 3 or step.shape[1] < 3:
        return np.full_like(step, np.median(step))
    neighbours = cv2.medianBlur(step, 3)
    stray = np.abs(step - neighbours)
    kept = np.where(stray > 3 * 1.4826 * np.median(stray) + 0.02, neighbours, step)
    return cv2.GaussianBlur(kept.astype(np.float32), (3, 3), 0.8, borderType=cv2.BORDER_REPLICATE)


def refine(
    scan: Pixels, references: Sequence[Pixels], fits: Sequence[Fit], steps: int, pool: ThreadPoolExecutor
) -> None:
    """Refine the shifts of each reference at one level until they stand still, or `steps` times. What is found for one
    depends on no other."""
    if not fits:
        return
    rows, groups = fits[0].field.dy.shape
    starts = np.linspace(0, rows, max(1, round(rows * groups / scan.width)) + 1).astype(np.intp)[:-1]
    going = list(zip(fits, references, strict=True))
    for _ in range(steps):
        sums = _normal_equations(scan, [reference for _, reference in going], [fit for fit, _ in going], pool)
        moved = [_step(fit, of_one, starts) for (fit, _), of_one in zip(going, sums, strict=True)]
        going = [one for one, by in zip(going, moved, strict=True) if by > _STILL]
        if not going:
            return


def _step(fit: Fit, sums: Sums, starts: npt.NDArray[np.intp]) -> float:
    """One step; by how much it moved rows and blocks, px: the root of the mean square."""
    fit.noise = noise = sums.noise
    row_y, row_x = _solve(_smooth_rows(sums.values.sum(2)), noise, _ROW_PRIOR)
    values = sums.values
    left_y = values[3] - values[0] * row_y[:, None] - values[1] * row_x[:, None]
    left_x = values[4] - values[1] * row_y[:, None] - values[2] * row_x[:, None]
    blocks = np.add.reduceat(np.stack([values[0], values[1], values[2], left_y, left_x]), starts, axis=1)
    block_y, block_x = (_calm_blocks(step) for step in _solve(blocks, noise, _BLOCK_PRIOR))
    rows, groups = fit.field.dy.shape
    fit.field = Field(
        fit.field.dy + row_y[:, None] + cv2.resize(block_y, (groups, rows)),
        fit.field.dx + row_x[:, None] + cv2.resize(block_x, (groups, rows)),
    )
    return float(np.sqrt(np.mean(row_y**2 + row_x**2) + np.mean(block_y**2 + block_x**2)))


def _smooth_rows(by_row: Floats) -> Floats:
    """Neighbouring rows share their evidence; (5, rows) float32."""
    radius = max(1, round(3 * _ROW_SMOOTHING))
    return cv2.GaussianBlur(
        by_row, (2 * radius + 1, 1), sigmaX=_ROW_SMOOTHING, sigmaY=1e-6, borderType=cv2.BORDER_REFLECT_101
    )
